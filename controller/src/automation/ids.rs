//! Ids of automation: 24 hexadecimal digits, the first eight the time of birth in seconds, so that
//! sorting by id sorts by age.

/// A new id.
pub fn new_id() -> String {
    let seconds = u32::try_from(crate::ops::now() / 1_000_000).unwrap_or(u32::MAX);
    let rest: [u8; 8] = rand::random();
    format!("{seconds:08x}{}", crate::blobs::hex(&rest))
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
        assert_ne!(first, second);
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
