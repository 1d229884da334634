//! The Python libraries that every pack may import (contract §9.7), staged once for the cluster.

use super::fault::Fault;
use crate::automation::Automation;
use crate::store::automation::packs::Pack;
use sqlx::AnyConnection;

/// The pack whose staged content they are: it brings nothing else.
pub const PACK: &str = "_base";

impl Automation {
    /// Checksum of the libraries; None until they are staged.
    pub async fn base_environment(
        &self,
        connection: &mut AnyConnection,
    ) -> Result<Option<String>, Fault> {
        Ok(Pack::find(connection, PACK)
            .await?
            .and_then(|row| row.archive_sha256))
    }
}
