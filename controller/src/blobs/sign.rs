//! Signatures of blob URLs: HMAC-SHA256 of `METHOD\nkey\nexpires`, hex.

use hmac::{Hmac, Mac};
use sha2::Sha256;

fn mac(secret: &[u8], method: &str, key: &str, expires: i64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(format!("{method}\n{key}\n{expires}").as_bytes());
    mac
}

pub fn signature(secret: &[u8], method: &str, key: &str, expires: i64) -> String {
    super::hex(&mac(secret, method, key, expires).finalize().into_bytes())
}

/// Compares in constant time.
pub fn matches(secret: &[u8], method: &str, key: &str, expires: i64, signature: &str) -> bool {
    let Some(given) = unhex(signature) else {
        return false;
    };
    mac(secret, method, key, expires)
        .verify_slice(&given)
        .is_ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}
