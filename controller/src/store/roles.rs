//! Roles: which user may do what where. Exactly one of organization and space is set.

use super::query::Filter;
use super::{StoreError, row};
use sqlx::AnyConnection;

row! {
    pub struct Role in "roles", key guid {
        guid: String,
        /// `organization_user`, `space_developer`…
        kind => "type": String,
        user_guid: String,
        organization_guid: Option<String>,
        space_guid: Option<String>,
        created_at: i64,
        updated_at: i64,
    }
}

pub async fn of_user(connection: &mut AnyConnection, user: &str) -> Result<Vec<Role>, StoreError> {
    Role::fetch(connection, Filter::new().equals("user_guid", user), "read the roles of a user").await
}

pub async fn delete_of_space(connection: &mut AnyConnection, space: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM roles WHERE space_guid = $1")
        .bind(space.to_string())
        .execute(connection)
        .await
        .map_err(StoreError::during("delete the roles of a space"))?;
    Ok(())
}

pub async fn delete_of_organization(connection: &mut AnyConnection, organization: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM roles WHERE organization_guid = $1")
        .bind(organization.to_string())
        .execute(connection)
        .await
        .map_err(StoreError::during("delete the roles of an organization"))?;
    Ok(())
}
