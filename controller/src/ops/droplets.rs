//! Droplets, as they are listed.

use super::list::{Columns, ListQuery, Listing};
use super::{Ops, Refusal, apps, of_apps_in_sight, sees_secrets};
use crate::domain::access::{Action, Actor};
use crate::store::droplets::Droplet;

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("states", "state"),
        ("app_guids", "app_guid"),
        ("package_guids", "package_guid"),
    ],
    others: &["space_guids"],
    orders: &[],
};

/// A droplet, and whether the actor may see the start commands in it.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenDroplet {
    pub droplet: Droplet,
    pub with_secrets: bool,
}

/// Which droplets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of<'a> {
    Everything,
    App(&'a str),
    Package(&'a str),
}

impl Ops {
    pub async fn droplet(&self, actor: &Actor, guid: &str) -> Result<SeenDroplet, Refusal> {
        let mut connection = self.store.read().await?;
        let droplet = Droplet::find(&mut connection, guid)
            .await?
            .ok_or(Refusal::NotFound("Droplet"))?;
        let (_, space) = apps::owner_for(
            &mut connection,
            actor,
            Action::Read,
            &droplet.app_guid,
            "Droplet",
        )
        .await?;
        Ok(SeenDroplet {
            droplet,
            with_secrets: sees_secrets(actor, &space),
        })
    }

    pub async fn current_droplet(&self, actor: &Actor, app: &str) -> Result<SeenDroplet, Refusal> {
        let mut connection = self.store.read().await?;
        let (app, space) = apps::app_for(&mut connection, actor, Action::Read, app).await?;
        let guid = app
            .current_droplet_guid
            .ok_or(Refusal::NotFound("Droplet"))?;
        let droplet = Droplet::find(&mut connection, &guid)
            .await?
            .ok_or(Refusal::NotFound("Droplet"))?;
        Ok(SeenDroplet {
            droplet,
            with_secrets: sees_secrets(actor, &space),
        })
    }

    pub async fn list_droplets(
        &self,
        actor: &Actor,
        of: Of<'_>,
        query: &ListQuery,
    ) -> Result<Listing<Droplet>, Refusal> {
        let mut filter = query.filter(&COLUMNS)?;
        match of {
            Of::Everything => {}
            Of::App(app) => {
                self.app(actor, app).await?;
                filter = filter.equals("app_guid", app);
            }
            Of::Package(package) => {
                self.package(actor, package).await?;
                filter = filter.equals("package_guid", package);
            }
        }
        let mut connection = self.store.read().await?;
        filter = of_apps_in_sight(&mut connection, actor, query, filter).await?;
        Ok(Droplet::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?
        .into())
    }
}
