//! Seals what must not stand in the database in the clear: the credentials of services.
//!
//! The key is the one that automation keeps its secrets with: whoever moves or restores a cluster has one key
//! to think of. What cannot be opened again (another key, a changed row) is an error that says nothing of the
//! content.

use automation::datastore::{self, CryptoError, SymmetricKey};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// The cluster's key. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vault {
    key: Arc<SymmetricKey>,
}

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("decrypting with the cluster's key")]
    Sealed(#[source] CryptoError),
    /// Without the cause, which quotes what it could not read.
    #[error("what was decrypted has another form than expected")]
    Form,
}

impl Vault {
    pub fn new(key: SymmetricKey) -> Vault {
        Vault { key: Arc::new(key) }
    }

    pub fn key(&self) -> Arc<SymmetricKey> {
        self.key.clone()
    }

    pub fn seal(&self, value: &Value) -> String {
        datastore::encrypt(&self.key, &rand::random(), &value.to_string())
    }

    pub fn open<T: DeserializeOwned>(&self, sealed: &str) -> Result<T, VaultError> {
        let plain = datastore::decrypt(&self.key, sealed).map_err(VaultError::Sealed)?;
        serde_json::from_str(&plain).map_err(|_| VaultError::Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_only() {
        let vault = Vault::new(SymmetricKey::generate(&[1; 64]));
        let secret = json!({"password": "sesame"});
        let sealed = vault.seal(&secret);
        assert!(!sealed.contains("sesame"));
        assert_ne!(sealed, vault.seal(&secret), "never twice the same");
        assert_eq!(vault.open::<Value>(&sealed).expect("its own"), secret);
        let other = Vault::new(SymmetricKey::generate(&[2; 64]));
        assert!(matches!(
            other.open::<Value>(&sealed),
            Err(VaultError::Sealed(_))
        ));
        let error = vault.open::<Vec<String>>(&sealed).expect_err("no list");
        assert!(matches!(error, VaultError::Form));
    }
}
