//! `rbac`: roles, who has them, and the words for what they permit (contract §11).

use super::extract::{Body, Caller};
use super::listing::{Asked, page};
use super::{Answer, created, no_content, ok};
use crate::automation::Automation;
use crate::automation::ops::callers::SYSTEM_ROLES;
use crate::automation::ops::roles::{AssignmentsAsked, PERMISSION_TYPES};
use crate::automation::ops::{Fault, Permission};
use crate::store::automation::role_assignments::RoleAssignment;
use automation::documents::derived_id;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/rbac/roles", get(list_roles))
        .route("/rbac/roles/{name_or_id}", get(show_role))
        .route("/rbac/role_assignments", get(list).post(assign))
        .route("/rbac/role_assignments/{id}", get(show).delete(take))
        .route("/rbac/permission_types", get(permission_types))
        .route("/rbac/permission_types/{kind}", get(permission_type))
}

fn roles() -> impl Iterator<Item = Value> {
    SYSTEM_ROLES.iter().map(|(name, description)| {
        let uid = format!("role:{name}");
        json!({
            "id": derived_id(&uid), "uid": uid, "name": name, "description": description,
            "system": true, "permission_grants": [],
        })
    })
}

async fn list_roles(caller: Caller, asked: Asked) -> Answer {
    caller.allow(Permission::View, "role_list")?;
    let window = asked.window(caller.is_admin())?;
    let found: Vec<Value> = match asked.flag("system")? {
        Some(false) => Vec::new(),
        Some(true) | None => roles().collect(),
    };
    let total = found.len() as u64;
    let (skip, most) = (
        usize::try_from(window.offset).unwrap_or(usize::MAX),
        usize::try_from(window.limit).unwrap_or(usize::MAX),
    );
    Ok(page(
        found.into_iter().skip(skip).take(most).collect(),
        total,
        window,
    ))
}

async fn show_role(caller: Caller, Path(name_or_id): Path<String>) -> Answer {
    caller.allow(Permission::View, "role_view")?;
    roles()
        .find(|role| role["name"] == name_or_id || role["id"] == name_or_id)
        .map(ok)
        .ok_or_else(|| Fault::NotFound(format!("Role with name or id \"{name_or_id}\" not found.")))
}

fn present(row: &RoleAssignment) -> Value {
    json!({
        "id": row.id, "role": row.role, "user": row.username, "source": row.source,
        "description": row.description, "is_remote": false,
    })
}

async fn list(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let window = asked.window(caller.is_admin())?;
    let wanted = AssignmentsAsked {
        role: asked.text("role"),
        user: asked.text("user"),
        source: asked.text("source"),
    };
    let (rows, total) = match asked.flag("remote")? {
        // Nothing here comes from a directory of another system.
        Some(true) => {
            caller.allow(Permission::Administer, "role_assignment_list")?;
            (Vec::new(), 0)
        }
        Some(false) | None => {
            automation
                .list_role_assignments(&caller, wanted, window.limit, window.offset)
                .await?
        }
    };
    Ok(page(rows.iter().map(present).collect(), total, window))
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    Ok(ok(present(
        &automation.role_assignment(&caller, &id).await?,
    )))
}

#[derive(Debug, Deserialize)]
struct Assign {
    role: String,
    user: String,
    description: Option<String>,
}

async fn assign(
    State(automation): State<Automation>,
    caller: Caller,
    Body(wanted): Body<Assign>,
) -> Answer {
    let description = wanted.description.unwrap_or_default();
    let row = automation
        .assign_role(&caller, &wanted.role, &wanted.user, &description)
        .await?;
    Ok(created(present(&row)))
}

async fn take(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    automation.take_role(&caller, &id).await?;
    Ok(no_content())
}

/// `action` with `["action_list", …]`
fn words(kind: &str, verbs: &[&str]) -> Value {
    let words: Vec<String> = verbs.iter().map(|verb| format!("{kind}_{verb}")).collect();
    json!(words)
}

async fn permission_types(caller: Caller) -> Answer {
    caller.allow(Permission::View, "permission_type_list")?;
    let all: Map<String, Value> = PERMISSION_TYPES
        .iter()
        .map(|(kind, verbs)| (kind.to_string(), words(kind, verbs)))
        .collect();
    Ok(ok(all))
}

async fn permission_type(caller: Caller, Path(kind): Path<String>) -> Answer {
    caller.allow(Permission::View, "permission_type_list")?;
    PERMISSION_TYPES
        .iter()
        .find(|(name, _)| *name == kind)
        .map(|(name, verbs)| ok(words(name, verbs)))
        .ok_or_else(|| Fault::NotFound(format!("Invalid resource type: {kind}")))
}
