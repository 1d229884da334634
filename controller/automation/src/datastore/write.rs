//! What a write makes of a value: kept as it is, encrypted here, or checked to be encrypted already.

use super::crypto::{SymmetricKey, decrypt, encrypt};
use thiserror::Error;

/// What a request asks to be stored.
#[derive(Clone, Copy)]
pub struct Written<'a> {
    /// The key's name, for errors.
    pub name: &'a str,
    /// The value as sent.
    pub value: &'a str,
    /// To be encrypted before it is stored.
    pub secret: bool,
    /// Encrypted already, with the key of this installation; it is secret then, whatever `secret`
    /// says: else anybody could have a secret decrypted by storing its ciphertext as a plain value.
    pub encrypted: bool,
    /// Seconds until it ends.
    pub ttl: Option<i64>,
}

/// What is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Plain, or ciphertext if secret.
    pub value: String,
    /// Whether it is ciphertext.
    pub secret: bool,
    /// Unix milliseconds after which it is no longer there.
    pub expires_at: Option<i64>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Stored")
            .field("secret", &self.secret)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Stored {
    /// Whether it is still there.
    pub fn is_live(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// Why a value is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WriteError {
    /// Secrets need a key.
    #[error("Crypto key not found. Unable to encrypt / decrypt value for key {0}.")]
    NoKey(String),
    /// Sent as encrypted, but does not decrypt.
    #[error(
        "Failed to verify the integrity of the provided value for key \"{0}\". Ensure that the value is encrypted with the correct key and not corrupted."
    )]
    Integrity(String),
    /// A time to live is a positive number of seconds.
    #[error("the ttl of key \"{name}\" must be at least 1 second, not {ttl}")]
    Ttl {
        /// The key.
        name: String,
        /// As sent.
        ttl: i64,
    },
}

/// Decides what is stored. The IV is used only if the value is encrypted here.
pub fn stored(
    written: Written<'_>,
    key: Option<&SymmetricKey>,
    iv: &[u8; 16],
    now: i64,
) -> Result<Stored, WriteError> {
    let name = || written.name.to_owned();
    let key = || key.ok_or_else(|| WriteError::NoKey(name()));
    let expires_at = match written.ttl {
        None | Some(0) => None,
        Some(seconds) if seconds > 0 => Some(now.saturating_add(seconds.saturating_mul(1000))),
        Some(ttl) => return Err(WriteError::Ttl { name: name(), ttl }),
    };
    let value = if written.encrypted {
        decrypt(key()?, written.value).map_err(|_| WriteError::Integrity(name()))?;
        written.value.to_owned()
    } else if written.secret {
        encrypt(key()?, iv, written.value)
    } else {
        written.value.to_owned()
    };
    Ok(Stored {
        value,
        secret: written.secret || written.encrypted,
        expires_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Written<'static> = Written {
        name: "token",
        value: "hunter2",
        secret: false,
        encrypted: false,
        ttl: None,
    };

    fn key() -> SymmetricKey {
        SymmetricKey::generate(&[3; 64])
    }

    #[test]
    fn a_plain_value_is_kept_as_it_is() {
        let stored = stored(PLAIN, None, &[0; 16], 0).expect("stored");
        assert_eq!((stored.value.as_str(), stored.secret), ("hunter2", false));
        assert!(stored.is_live(i64::MAX));
    }

    #[test]
    fn a_secret_is_encrypted_and_needs_a_key() {
        let written = Written {
            secret: true,
            ..PLAIN
        };
        let kept = stored(written, Some(&key()), &[1; 16], 0).expect("stored");
        assert!(kept.secret);
        assert_eq!(decrypt(&key(), &kept.value).as_deref(), Ok("hunter2"));
        assert!(!format!("{kept:?}").contains(&kept.value));
        assert_eq!(
            stored(written, None, &[1; 16], 0),
            Err(WriteError::NoKey("token".to_owned()))
        );
    }

    #[test]
    fn what_comes_encrypted_is_checked_and_is_secret() {
        let cipher = encrypt(&key(), &[2; 16], "hunter2");
        let written = Written {
            value: &cipher,
            encrypted: true,
            ..PLAIN
        };
        let kept = stored(written, Some(&key()), &[1; 16], 0).expect("stored");
        assert_eq!((kept.value.as_str(), kept.secret), (cipher.as_str(), true));
        let error = stored(
            Written {
                value: "0000",
                ..written
            },
            Some(&key()),
            &[1; 16],
            0,
        );
        assert_eq!(error, Err(WriteError::Integrity("token".to_owned())));
    }

    #[test]
    fn a_time_to_live_is_counted_in_seconds() {
        let with = |ttl| {
            stored(
                Written {
                    ttl: Some(ttl),
                    ..PLAIN
                },
                None,
                &[0; 16],
                5_000,
            )
        };
        let kept = with(10).expect("stored");
        assert_eq!(kept.expires_at, Some(15_000));
        assert!(kept.is_live(14_999) && !kept.is_live(15_000));
        assert_eq!(with(0).expect("stored").expires_at, None);
        assert_eq!(
            with(-1),
            Err(WriteError::Ttl {
                name: "token".to_owned(),
                ttl: -1
            })
        );
        assert!(with(i64::MAX).expect("stored").is_live(i64::MAX - 1));
    }
}
