//! Domains. Without an organization: shared by all.

use super::query::Filter;
use super::{StoreError, row};
use crate::store::sql::Connection;
use proto::ports::Transport;

row! {
    pub struct Domain in "domains", key guid, versioned {
        guid: String,
        name: String,
        internal: bool,
        organization_guid: Option<String>,
        /// Its routes have ports of this router group; None: they have hosts and paths.
        router_group_guid: Option<String>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

impl Domain {
    /// What its routes carry, if they have ports.
    pub fn transport(&self) -> Option<Transport> {
        Transport::of_group(self.router_group_guid.as_deref()?)
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
