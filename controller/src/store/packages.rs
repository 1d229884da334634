//! Packages: uploaded sources.

use super::row;

pub const AWAITING_UPLOAD: &str = "AWAITING_UPLOAD";
pub const PROCESSING_UPLOAD: &str = "PROCESSING_UPLOAD";
pub const READY: &str = "READY";
pub const FAILED: &str = "FAILED";

row! {
    /// The zip is the blob `packages/<sha256>`.
    pub struct Package in "packages", key guid, versioned {
        guid: String,
        app_guid: String,
        /// `bits`
        kind => "type": String,
        state: String,
        error: Option<String>,
        sha1: Option<String>,
        sha256: Option<String>,
        size_bytes: Option<i64>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}
