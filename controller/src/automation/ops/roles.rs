//! Roles of automation: which there are, who has them, what they are made of.

use super::callers::{Permission, SYSTEM_ROLES};
use super::fault::Fault;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::ids::new_id;
use crate::ops::now;
use crate::ops::tokens::ORIGIN;
use crate::store::automation::role_assignments::RoleAssignment;
use crate::store::query::Filter;
use crate::store::users;

/// Kinds of things, and what can be done with each.
pub const PERMISSION_TYPES: &[(&str, &[&str])] = &[
    (
        "action",
        &[
            "list", "view", "create", "modify", "delete", "execute", "all",
        ],
    ),
    (
        "action_alias",
        &[
            "list", "view", "create", "modify", "delete", "match", "help", "all",
        ],
    ),
    (
        "api_key",
        &["list", "view", "create", "modify", "delete", "all"],
    ),
    (
        "execution",
        &[
            "list",
            "view",
            "re_run",
            "stop",
            "modify",
            "views_filters_list",
            "all",
        ],
    ),
    ("inquiry", &["list", "view", "respond", "all"]),
    ("key_value_pair", &["list", "view", "set", "delete", "all"]),
    (
        "pack",
        &[
            "list",
            "view",
            "create",
            "modify",
            "delete",
            "install",
            "uninstall",
            "register",
            "config",
            "search",
            "views_index_health",
            "all",
        ],
    ),
    (
        "policy",
        &["list", "view", "create", "modify", "delete", "all"],
    ),
    ("policy_type", &["list", "view", "all"]),
    (
        "rule",
        &["list", "view", "create", "modify", "delete", "all"],
    ),
    ("rule_enforcement", &["list", "view"]),
    ("rule_type", &["list", "view", "all"]),
    ("runner_type", &["list", "view", "modify", "all"]),
    ("sensor_type", &["list", "view", "modify", "all"]),
    ("stream", &["view"]),
    ("timer", &["list", "view", "all"]),
    ("trace", &["list", "view", "all"]),
    (
        "trigger",
        &["list", "view", "create", "modify", "delete", "all"],
    ),
    ("webhook", &["list", "view", "send", "delete", "all"]),
];

/// Which assignments are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct AssignmentsAsked<'a> {
    pub role: Option<&'a str>,
    pub user: Option<&'a str>,
    pub source: Option<&'a str>,
}

/// Where an assignment made over the API comes from.
const SOURCE: &str = "API";

impl Automation {
    pub async fn list_role_assignments(
        &self,
        caller: &Caller,
        asked: AssignmentsAsked<'_>,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<RoleAssignment>, u64), Fault> {
        caller.allow(Permission::Administer, "role_assignment_list")?;
        let mut filter = Filter::new();
        for (column, wanted) in [
            ("role", asked.role),
            ("username", asked.user),
            ("source", asked.source),
        ] {
            if let Some(wanted) = wanted {
                filter = filter.equals(column, wanted);
            }
        }
        let filter = filter.order_by("created_at", "id", false);
        let mut connection = self.ops.store.read().await?;
        Ok(RoleAssignment::page(&mut connection, filter, limit, offset).await?)
    }

    pub async fn role_assignment(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<RoleAssignment, Fault> {
        caller.allow(Permission::Administer, "role_assignment_view")?;
        RoleAssignment::find(&mut *self.ops.store.read().await?, id)
            .await?
            .ok_or_else(|| missing(id))
    }

    pub async fn assign_role(
        &self,
        caller: &Caller,
        role: &str,
        user: &str,
        description: &str,
    ) -> Result<RoleAssignment, Fault> {
        caller.allow(Permission::Administer, "role_assignment_create")?;
        // The first of the roles follows from being an administrator of the platform.
        let mut known = SYSTEM_ROLES.iter().skip(1).map(|(name, _)| *name);
        if !known.any(|name| name == role) {
            return Err(Fault::Invalid(format!(
                "Role \"{role}\" cannot be assigned: use one of admin, operator, observer."
            )));
        }
        let mut tx = self.ops.store.write("assign a role").await?;
        if users::by_name(&mut tx, user, ORIGIN).await?.is_none() {
            return Err(Fault::Invalid(format!("User \"{user}\" does not exist.")));
        }
        let same = Filter::new().equals("role", role).equals("username", user);
        let there = RoleAssignment::fetch(&mut tx, same, "find a role's assignment").await?;
        if let Some(there) = there.into_iter().next() {
            let name = format!("{role} of {user}");
            return Err(Fault::duplicate("role assignment", &name, there.id));
        }
        let row = RoleAssignment {
            id: new_id(),
            role: role.to_string(),
            username: user.to_string(),
            source: SOURCE.to_string(),
            description: description.to_string(),
            created_at: now(),
        };
        row.insert(&mut tx).await?;
        tx.commit().await?;
        Ok(row)
    }

    pub async fn take_role(&self, caller: &Caller, id: &str) -> Result<(), Fault> {
        caller.allow(Permission::Administer, "role_assignment_delete")?;
        let mut tx = self.ops.store.write("take a role away").await?;
        if !RoleAssignment::delete(&mut tx, id).await? {
            return Err(missing(id));
        }
        tx.commit().await?;
        Ok(())
    }
}

fn missing(id: &str) -> Fault {
    Fault::NotFound(format!("UserRoleAssignment with id \"{id}\" not found."))
}
