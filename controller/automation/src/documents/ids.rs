//! Ids of documents that exist without having been stored: runners, policy types, built-in trigger types.

use sha2::{Digest, Sha256};

/// The id of a built-in document, made from its uid. The same on every controller and after every
/// restart; 24 lower-case hex digits like every other id.
pub fn derived_id(uid: &str) -> String {
    let digest = Sha256::digest(uid.as_bytes());
    digest[..12]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_stable_and_looks_like_every_other_id() {
        let id = derived_id("runner_type:noop");
        assert_eq!(id, derived_id("runner_type:noop"));
        assert_ne!(id, derived_id("runner_type:orquesta"));
        assert_eq!(id.len(), 24);
        assert!(
            id.chars()
                .all(|digit| digit.is_ascii_digit() || ('a'..='f').contains(&digit))
        );
    }
}
