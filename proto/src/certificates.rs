//! Certificates that the cluster ordered, on their way from the controller to the routers: one document each in
//! the cluster store, which nobody else may read.

use serde::{Deserialize, Serialize};

/// Under it, by domain.
pub const PREFIX: &str = "/stackyard/certificates/";

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCertificate {
    /// The chain in PEM, its own certificate first.
    pub chain: String,
    /// The private key in PEM, sealed (`daemon::seals`) as being about the domain; Base64, like its nonce.
    pub sealed_key: String,
    pub nonce: String,
}
