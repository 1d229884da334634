//! Roles: given and taken.

use super::list::{Columns, ListQuery, Listing};
use super::tokens::ORIGIN;
use super::{Ops, Refusal, authorize, by, new_guid, now, visible_spaces};
use crate::domain::access::{Action, Actor, Object, RoleKind, Sight, sight};
use crate::store::StoreError;
use crate::store::audit_events::{self, On};
use crate::store::organizations::Organization;
use crate::store::roles::Role;
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::users::{self, User};
use serde_json::json;

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("types", "type"),
        ("user_guids", "user_guid"),
        ("organization_guids", "organization_guid"),
        ("space_guids", "space_guid"),
    ],
    others: &["include"],
    orders: &[],
};

/// Whom a role is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Whom {
    Guid(String),
    Name {
        username: String,
        origin: Option<String>,
    },
}

/// The place of a role, with the right to give roles there.
async fn place(
    connection: &mut Connection,
    actor: &Actor,
    organization: Option<&str>,
    space: Option<&str>,
) -> Result<(Option<Space>, Organization), Refusal> {
    let missing = |noun: &str| {
        Refusal::Unprocessable(format!(
            "Invalid {noun}. Ensure that the {noun} exists and you have access to it."
        ))
    };
    let space = match space {
        Some(guid) => Some(
            Space::find(connection, guid)
                .await?
                .ok_or_else(|| missing("space"))?,
        ),
        None => None,
    };
    let guid = space
        .as_ref()
        .map_or_else(
            || organization.unwrap_or_default(),
            |space| &space.organization_guid,
        )
        .to_string();
    let organization = Organization::find(connection, &guid)
        .await?
        .ok_or_else(|| missing("organization"))?;
    let object = match &space {
        Some(space) => Object::Space {
            guid: &space.guid,
            organization: &organization.guid,
        },
        None => Object::Organization(&organization.guid),
    };
    authorize(actor, Action::Manage, &object, "Role").map_err(|refusal| match refusal {
        Refusal::NotFound(_) => missing(if space.is_some() {
            "space"
        } else {
            "organization"
        }),
        refusal => refusal,
    })?;
    Ok((space, organization))
}

impl Ops {
    pub async fn list_roles(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<(Listing<Role>, Vec<User>), Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        if let Some(spaces) = visible_spaces(&mut connection, actor).await? {
            let organizations: Vec<String> = match sight(actor) {
                Sight::Only { organizations, .. } => organizations.into_iter().collect(),
                Sight::Everything => Vec::new(),
            };
            filter = filter.any_of_two("space_guid", &spaces, "organization_guid", &organizations);
        }
        let (rows, total) = Role::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?;
        let mut included = Vec::new();
        if query
            .list("include")
            .is_some_and(|names| names.iter().any(|name| name == "user"))
        {
            let mut guids: Vec<&str> = rows.iter().map(|role| role.user_guid.as_str()).collect();
            guids.sort_unstable();
            guids.dedup();
            for guid in guids {
                included.extend(User::find(&mut connection, guid).await?);
            }
        }
        Ok((Listing { rows, total }, included))
    }

    pub async fn create_role(
        &self,
        actor: &Actor,
        kind: &str,
        whom: &Whom,
        organization: Option<&str>,
        space: Option<&str>,
    ) -> Result<Role, Refusal> {
        let Some(kind) = RoleKind::parse(kind) else {
            let known: Vec<&str> = RoleKind::ALL.iter().map(|kind| kind.name()).collect();
            return Refusal::unprocessable(format!(
                "Type must be one of the allowed types [{}]",
                known.join(", ")
            ));
        };
        if kind.is_of_space() != space.is_some() || kind.is_of_space() == organization.is_some() {
            return Refusal::unprocessable(format!(
                "Role of type {} needs the relationship '{}' and no other place",
                kind.name(),
                if kind.is_of_space() {
                    "space"
                } else {
                    "organization"
                }
            ));
        }
        let mut tx = self.store.write("create role").await?;
        let (space, organization) = place(&mut tx, actor, organization, space).await?;
        let user = match whom {
            Whom::Guid(guid) => User::find(&mut tx, guid).await?,
            Whom::Name { username, origin } => {
                users::by_name(&mut tx, username, origin.as_deref().unwrap_or(ORIGIN)).await?
            }
        };
        let Some(user) = user else {
            return match whom {
                Whom::Guid(_) => Refusal::unprocessable(
                    "Invalid user. Ensure that the user exists and you have access to it.",
                ),
                Whom::Name { username, .. } => Refusal::unprocessable(format!(
                    "No user exists with the username '{username}'."
                )),
            };
        };
        let held = crate::store::roles::of_user(&mut tx, &user.guid).await?;
        let same = |role: &&Role| {
            role.kind == kind.name()
                && match &space {
                    Some(space) => role.space_guid.as_deref() == Some(&space.guid),
                    None => role.organization_guid.as_deref() == Some(&organization.guid),
                }
        };
        let given = || {
            let (noun, name) = match &space {
                Some(space) => ("space", &space.name),
                None => ("organization", &organization.name),
            };
            Refusal::Unprocessable(format!(
                "User '{}' already has '{}' role in {noun} '{name}'.",
                user.username,
                kind.name()
            ))
        };
        if held.iter().any(|role| same(&role)) {
            return Err(given());
        }
        let now = now();
        let role = Role {
            guid: new_guid(),
            kind: kind.name().to_string(),
            user_guid: user.guid.clone(),
            organization_guid: space.is_none().then(|| organization.guid.clone()),
            space_guid: space.as_ref().map(|space| space.guid.clone()),
            created_at: now,
            updated_at: now,
        };
        role.insert(&mut tx).await.map_err(|error| match error {
            // Given twice at once (PostgreSQL): taken once, it would still be held.
            StoreError::Taken { .. } => given(),
            error => error.into(),
        })?;
        let target = On {
            guid: &user.guid,
            kind: "user",
            name: &user.username,
            space: role.space_guid.as_deref(),
            organization: Some(&organization.guid),
        };
        audit_events::record(
            &mut tx,
            &format!("audit.user.{}_add", kind.name()),
            by(actor),
            target,
            json!({}),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(role)
    }

    pub async fn delete_role(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        let mut tx = self.store.write("delete role").await?;
        let role = Role::find(&mut tx, guid)
            .await?
            .ok_or(Refusal::NotFound("Role"))?;
        let (_, organization) = place(
            &mut tx,
            actor,
            role.organization_guid.as_deref(),
            role.space_guid.as_deref(),
        )
        .await
        .map_err(|refusal| match refusal {
            Refusal::Unprocessable(_) => Refusal::NotFound("Role"),
            refusal => refusal,
        })?;
        Role::delete(&mut tx, guid).await?;
        let name = User::find(&mut tx, &role.user_guid)
            .await?
            .map(|user| user.username)
            .unwrap_or_default();
        let target = On {
            guid: &role.user_guid,
            kind: "user",
            name: &name,
            space: role.space_guid.as_deref(),
            organization: Some(&organization.guid),
        };
        audit_events::record(
            &mut tx,
            &format!("audit.user.{}_remove", role.kind),
            by(actor),
            target,
            json!({}),
            now(),
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }
}
