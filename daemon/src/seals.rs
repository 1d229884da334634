//! What daemons of one cluster say to each other so that nobody else can read or change it.
//!
//! They have a file of secrets, one a line. The first seals, each opens: a new one is put on top, and the old
//! one is taken out once nothing is sealed with it any more.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};

pub use ring::aead::NONCE_LEN;

/// The secrets of a file.
pub struct Seals {
    keys: Vec<LessSafeKey>,
}

impl std::fmt::Debug for Seals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seals").finish_non_exhaustive()
    }
}

impl Seals {
    /// One secret a line, the one that seals first. `None` if there is none.
    pub fn read(text: &str) -> Option<Seals> {
        let secrets = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: Vec<LessSafeKey> = secrets
            .filter_map(|secret| {
                let key = digest(&SHA256, secret.as_bytes());
                Some(LessSafeKey::new(
                    UnboundKey::new(&AES_256_GCM, key.as_ref()).ok()?,
                ))
            })
            .collect();
        (!keys.is_empty()).then_some(Seals { keys })
    }

    /// What opens with the same nonce and only as being `about` the same. A nonce must never come twice.
    pub fn seal(&self, content: &[u8], about: &[u8], nonce: [u8; NONCE_LEN]) -> Option<Vec<u8>> {
        let mut sealed = content.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.keys
            .first()?
            .seal_in_place_append_tag(nonce, Aad::from(about), &mut sealed)
            .ok()?;
        Some(sealed)
    }

    /// What was sealed with any of the secrets.
    pub fn open(&self, sealed: &[u8], about: &[u8], nonce: [u8; NONCE_LEN]) -> Option<Vec<u8>> {
        self.keys.iter().find_map(|key| {
            let mut copy = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(nonce);
            let opened = key
                .open_in_place(nonce, Aad::from(about), &mut copy)
                .ok()?
                .len();
            copy.truncate(opened);
            Some(copy)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_a_known_secret_and_for_what_it_is_about() {
        let (old, both) = (
            Seals::read("old\n").expect("a secret"),
            Seals::read("\nnew\nold\n").expect("two secrets"),
        );
        let nonce = [7; NONCE_LEN];
        let sealed = old.seal(b"content", b"a", nonce).expect("sealed");
        assert!(!sealed.windows(7).any(|part| part == b"content"));
        assert_eq!(
            both.open(&sealed, b"a", nonce).as_deref(),
            Some(&b"content"[..])
        );
        assert_eq!(both.open(&sealed, b"b", nonce), None);
        assert_eq!(both.open(&sealed, b"a", [8; NONCE_LEN]), None);
        let sealed = both.seal(b"content", b"a", nonce).expect("sealed");
        assert_eq!(old.open(&sealed, b"a", nonce), None);
        assert!(Seals::read(" \n").is_none());
    }
}
