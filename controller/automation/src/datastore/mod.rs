//! Keys of the datastore: how they are named, when they end, and how secret values are encrypted.

mod crypto;
mod key;
mod write;

pub use crypto::{CryptoError, SymmetricKey, decrypt, encrypt};
pub use key::{Key, KeyError, Scope, ScopeFilter};
pub use write::{Stored, WriteError, Written, stored};
