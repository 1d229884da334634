//! Domains. Without an organization: shared by all.

use super::query::Filter;
use super::{StoreError, row};
use crate::store::sql::Connection;

row! {
    pub struct Domain in "domains", key guid, versioned {
        guid: String,
        name: String,
        internal: bool,
        organization_guid: Option<String>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

pub async fn by_name(
    connection: &mut Connection,
    name: &str,
) -> Result<Option<Domain>, StoreError> {
    Ok(Domain::fetch(
        connection,
        Filter::new().equals("name", name),
        "find domain",
    )
    .await?
    .pop())
}

pub async fn all(connection: &mut Connection) -> Result<Vec<Domain>, StoreError> {
    Domain::fetch(
        connection,
        Filter::new().order("created_at", false),
        "list domains",
    )
    .await
}
