//! A WebSocket of a client that speaks HTTP/2 (RFC 8441), asked for at an instance in HTTP/1 (RFC 6455).
//!
//! ```text
//!  client ──CONNECT, :protocol websocket──▶ router ──GET, Upgrade: websocket, a key──▶ instance
//!         ◀──────────200──────────────────        ◀──101, the answer to the key──────
//! ```
//!
//! In HTTP/2 there is no key: it exists so that a server of HTTP/1 cannot switch by mistake. So the router makes it and
//! judges the answer. What is easily overlooked: an instance that ignores the upgrade answers 200, which to the client
//! would be the tunnel it asked for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// RFC 6455 §1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What an instance did with the wish for a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Switched,
    /// It said no; the client may be told its answer.
    Refused,
    /// It means something else than a WebSocket.
    Misunderstood(&'static str),
}

/// A wish for a WebSocket under way.
#[derive(Debug)]
pub struct Offer {
    accept: String,
}

impl Offer {
    /// Adds what asks for it; `key` is random.
    pub fn make(headers: &mut HeaderMap, key: [u8; 16]) -> Offer {
        let key = STANDARD.encode(key);
        let accept = accept_of(&key);
        let key = HeaderValue::from_str(&key).expect("Base64 is visible ASCII");
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        // (One of the client's own has no meaning here.)
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
        headers
            .entry(header::SEC_WEBSOCKET_VERSION)
            .or_insert(HeaderValue::from_static("13"));
        Offer { accept }
    }

    /// Judges the answer, and takes from one that switches what belongs to HTTP/1.
    pub fn judge(&self, status: StatusCode, headers: &mut HeaderMap) -> Answer {
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return match status.is_success() {
                true => Answer::Misunderstood("the instance did not switch to WebSocket"),
                false => Answer::Refused,
            };
        }
        let upgrade = headers.remove(header::UPGRADE);
        let accept = headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        headers.remove(header::CONNECTION);
        if !upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket")) {
            return Answer::Misunderstood("the instance switched to another protocol");
        }
        match accept.is_some_and(|accept| accept.as_bytes() == self.accept.as_bytes()) {
            true => Answer::Switched,
            false => {
                Answer::Misunderstood("the instance answered another key (Sec-WebSocket-Accept)")
            }
        }
    }
}

/// The answer to a key.
fn accept_of(key: &str) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    STANDARD.encode(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_has_the_answer_of_the_standard() {
        // RFC 6455 §1.3.
        let accept = accept_of("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn only_an_instance_that_means_it_switches() {
        let mut asked = HeaderMap::new();
        asked.insert("sec-websocket-key", HeaderValue::from_static("mine"));
        let offer = Offer::make(&mut asked, *b"the sample nonce");
        assert_eq!(asked["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(asked["sec-websocket-version"], "13");
        let judged = |status, lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            let answer = offer.judge(StatusCode::from_u16(status).unwrap(), &mut headers);
            (answer, headers.len())
        };
        let good = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let to = ("upgrade", "WebSocket");
        let kept = ("sec-websocket-protocol", "chat");
        let switched = judged(101, &[good, to, ("connection", "upgrade"), kept]);
        assert_eq!(switched, (Answer::Switched, 1));
        let misunderstood = |answer| matches!(answer, (Answer::Misunderstood(_), _));
        assert!(misunderstood(judged(101, &[to])));
        assert!(misunderstood(judged(
            101,
            &[to, ("sec-websocket-accept", "x")]
        )));
        assert!(misunderstood(judged(101, &[good, ("upgrade", "h2c")])));
        assert!(misunderstood(judged(200, &[])));
        assert_eq!(judged(403, &[]), (Answer::Refused, 0));
        assert_eq!(judged(302, &[]), (Answer::Refused, 0));
    }
}
