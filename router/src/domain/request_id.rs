//! The number that the router gives each request, as apps, clients and the log are told it.

use super::header_room;
use http::HeaderValue;
use uuid::fmt::Hyphenated;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; Hyphenated::LENGTH]);

impl RequestId {
    /// Of a random number.
    pub fn of(id: uuid::Uuid) -> RequestId {
        let mut text = [0; Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        RequestId(text)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a uuid is ASCII")
    }

    /// For those who need a header of it.
    pub fn value(&self) -> HeaderValue {
        header_room::value(|out| out.extend_from_slice(&self.0)).expect("a uuid is visible ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_whoever_is_told() {
        let id = RequestId::of(uuid::Uuid::from_u128(0xA1));
        let text = "00000000-0000-0000-0000-0000000000a1";
        assert_eq!((id.as_str(), id.as_bytes()), (text, text.as_bytes()));
        assert_eq!(id.value(), text);
    }
}
