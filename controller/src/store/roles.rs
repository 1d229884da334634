//! Roles: which user may do what where. Exactly one of organization and space is set.

use super::query::Filter;
use super::{StoreError, row};
use crate::store::sql::{self, Connection, query};

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

pub async fn of_user(connection: &mut Connection, user: &str) -> Result<Vec<Role>, StoreError> {
    Role::fetch(
        connection,
        Filter::new().equals("user_guid", user),
        "read the roles of a user",
    )
    .await
}

pub async fn delete_of_space(connection: &mut Connection, space: &str) -> Result<(), StoreError> {
    query("DELETE FROM roles WHERE space_guid = $1")
        .bind(space.to_string())
        .execute(connection)
        .await
        .map_err(StoreError::during("delete the roles of a space"))?;
    Ok(())
}

pub async fn delete_of_organization(
    connection: &mut Connection,
    organization: &str,
) -> Result<(), StoreError> {
    query("DELETE FROM roles WHERE organization_guid = $1")
        .bind(organization.to_string())
        .execute(connection)
        .await
        .map_err(StoreError::during("delete the roles of an organization"))?;
    Ok(())
}

/// A role with the organization it is in, for access decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub kind: String,
    /// The space, else the organization.
    pub place: String,
    pub organization: String,
}

pub async fn granted_to(
    connection: &mut Connection,
    user: &str,
) -> Result<Vec<Granted>, StoreError> {
    let operation = "read what a user may do";
    let rows = query(
        "SELECT r.type, r.organization_guid, r.space_guid, s.organization_guid FROM roles r \
         LEFT JOIN spaces s ON s.guid = r.space_guid WHERE r.user_guid = $1",
    )
    .bind(user.to_string())
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(|row| {
            let text = |column: usize| {
                row.try_get::<Option<String>, _>(column)
                    .map(Option::unwrap_or_default)
            };
            let (organization, space, above) = (text(1)?, text(2)?, text(3)?);
            let in_space = !space.is_empty();
            Ok(Granted {
                kind: row.try_get(0)?,
                place: if in_space {
                    space
                } else {
                    organization.clone()
                },
                organization: if in_space { above } else { organization },
            })
        })
        .collect::<Result<_, sql::Error>>()
        .map_err(StoreError::during(operation))
}
