//! Ids of automation: 24 hexadecimal digits, the first eight the time of birth in seconds, the next ten the
//! process's, the last six counted, so that sorting by id sorts by age.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the ids of this process have in common.
static PROCESS: LazyLock<[u8; 5]> = LazyLock::new(rand::random);
/// From somewhere in the lower half on, so that it takes long to begin anew.
static COUNT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::random::<u32>() >> 9));

/// A new id.
pub fn new_id() -> String {
    let seconds = u32::try_from(crate::ops::now() / 1_000_000).unwrap_or(u32::MAX);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) & 0xff_ffff;
    let process = crate::blobs::hex(&*PROCESS);
    format!("{seconds:08x}{process}{count:06x}")
}

pub fn is_id(text: &str) -> bool {
    text.len() == 24
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_that_clients_expect() {
        let (first, second) = (new_id(), new_id());
        assert!(is_id(&first) && is_id(&second));
        assert!(first < second, "in the same second too: {first} {second}");
        for wrong in [
            "",
            "0123",
            "g23456789012345678901234",
            "A23456789012345678901234",
        ] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }
}
