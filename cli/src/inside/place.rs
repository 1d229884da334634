//! Which instances a command means.

use super::connection::Inside;
use crate::apps::find;
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use clap::Args;
use proto::api::Process;
use serde::Deserialize;

#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Number of the instance
    #[arg(short, long, conflicts_with = "all")]
    index: Option<u32>,
    /// What was kept of a crashed instance (without an index: of the one that crashed last)
    #[arg(long, conflicts_with = "all")]
    crashed: bool,
    /// Type of the process
    #[arg(long, default_value = "web", value_name = "TYPE")]
    process: String,
    /// Every instance, one after the other
    #[arg(long)]
    pub all: bool,
}

#[derive(Deserialize)]
struct Access {
    enabled: bool,
    reason: String,
}

/// Instances of one app that are meant.
pub struct Meant {
    client: Client,
    process: Process,
    place: Place,
}

impl Meant {
    /// Refuses what the proxy would refuse without a word.
    pub async fn of(client: Client, app: &str, place: Place) -> Outcome<Meant> {
        let found = find::app(&client, app).await?;
        let access: Access = client
            .get(&format!("/v3/apps/{}/ssh_enabled", found.guid), &[])
            .await?;
        if !access.enabled {
            return Err(Failure::new(
                Code::NotAllowed,
                format!("go inside {app}: {}", access.reason),
            )
            .fix("whoever develops the app, or manages its space, switches the feature ssh on"));
        }
        let processes = find::processes(&client, &found).await?;
        let process = processes
            .into_iter()
            .find(|process| process.kind == place.process)
            .ok_or_else(|| {
                Failure::new(
                    Code::NotFound,
                    format!("the app {app} has no process {}", place.process),
                )
            })?;
        Ok(Meant {
            client,
            process,
            place,
        })
    }

    /// The numbers of the instances; without `--all` one, which may be unknown.
    pub fn indices(&self) -> Vec<Option<u32>> {
        if self.place.all {
            return (0..self.process.instances).map(Some).collect();
        }
        let first = if self.place.crashed { None } else { Some(0) };
        vec![self.place.index.or(first)]
    }

    /// Logs in at one of them.
    pub async fn enter(&self, index: Option<u32>) -> Outcome<Inside> {
        let kind = if self.place.crashed { "crashed" } else { "cf" };
        let guid = &self.process.guid;
        let user = match index {
            Some(index) => format!("{kind}:{guid}/{index}"),
            None => format!("{kind}:{guid}"),
        };
        Inside::enter(&self.client, &user).await
    }
}
