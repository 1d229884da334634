//! Whether an answer is packed on its way to the client, and what its headers say then.
//!
//! Packed is what is worth it: text, of some length, that nobody has coded yet, for a client that says it takes gzip.
//! A stream of events is left alone: its pieces are too small to gain, and each open one would hold an encoder.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Version};

/// What is known to be shorter is sent as it is.
const SHORTEST: u64 = 1024;

/// What of a request decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taker {
    /// Takes answers packed with gzip.
    takes_gzip: bool,
}

impl Taker {
    /// Of a request whose answer may have a body of any length; none: leave its answer alone.
    pub fn of(method: &Method, version: Version, headers: &HeaderMap) -> Option<Taker> {
        // A client of HTTP/1.0 would have to be told the length beforehand, one that asks for a part counts bytes.
        let whole = *method != Method::HEAD
            && version >= Version::HTTP_11
            && !headers.contains_key(header::RANGE);
        whole.then(|| Taker {
            takes_gzip: takes_gzip(headers),
        })
    }

    /// Makes an answer's headers say what becomes of it; true: it has to be packed.
    pub fn prepare(self, status: StatusCode, headers: &mut HeaderMap) -> bool {
        if !is_worth_it(status, headers) {
            return false;
        }
        // Caches have to know that others get it differently.
        add_vary(headers);
        if !self.takes_gzip {
            return false;
        }
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::ACCEPT_RANGES);
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        weaken_tag(headers);
        true
    }
}

/// `gzip;q=0.5, *;q=0`: what is named counts before `*`, and 0 is a no.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let (mut named, mut any) = (None, None);
    for element in values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let mut parts = element.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let weight = parts
            .find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")))
            .map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            named = Some(weight > 0.0);
        } else if coding == "*" {
            any = Some(weight > 0.0);
        }
    }
    named.or(any).unwrap_or(false)
}

fn is_worth_it(status: StatusCode, headers: &HeaderMap) -> bool {
    // Answers without a body, parts of one, and those that say nothing is to be changed.
    let whole = status.is_success() || status.is_client_error() || status.is_server_error();
    if !whole
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::RESET_CONTENT
        || status == StatusCode::PARTIAL_CONTENT
        || headers.contains_key(header::CONTENT_ENCODING)
        || headers.contains_key(header::CONTENT_RANGE)
        || names(headers, header::CACHE_CONTROL, "no-transform")
    {
        return false;
    }
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_none_or(|length| length >= SHORTEST) && is_text(headers)
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .map(|kind| kind.trim().to_ascii_lowercase())
        .unwrap_or_default();
    match kind.split_once('/') {
        Some(("text", of)) => of != "event-stream",
        Some(("application", of)) => {
            matches!(
                of,
                "json" | "javascript" | "x-javascript" | "xml" | "wasm" | "x-ndjson"
            ) || of.ends_with("+json")
                || of.ends_with("+xml")
        }
        Some(("image", of)) => of == "svg+xml",
        _ => false,
    }
}

/// Whether one of the elements of a header is this.
fn names(headers: &HeaderMap, header: header::HeaderName, wanted: &str) -> bool {
    headers
        .get_all(header)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|element| element.trim().eq_ignore_ascii_case(wanted))
}

fn add_vary(headers: &mut HeaderMap) {
    let is_said = |wanted| names(headers, header::VARY, wanted);
    if !is_said("accept-encoding") && !is_said("*") {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// The bytes are others than those that the app tagged; what they mean is the same (RFC 9110 §8.8.1).
fn weaken_tag(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG) else {
        return;
    };
    if tag.as_bytes().starts_with(b"W/") {
        return;
    }
    let weak = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat());
    match weak {
        Ok(weak) => headers.insert(header::ETAG, weak),
        Err(_) => headers.remove(header::ETAG),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_client_says_what_it_takes() {
        for (accepted, takes) in [
            ("gzip", true),
            ("br, GZIP;q=0.2", true),
            ("gzip;q=0, *", false),
            ("*", true),
            ("*;q=0", false),
            ("deflate", false),
            ("gzip; q=0.000", false),
            ("", false),
        ] {
            let headers = headers(&[("accept-encoding", accepted)]);
            assert_eq!(takes_gzip(&headers), takes, "{accepted}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
        let ask = headers(&[("accept-encoding", "gzip")]);
        assert!(Taker::of(&Method::HEAD, Version::HTTP_11, &ask).is_none());
        assert!(Taker::of(&Method::GET, Version::HTTP_10, &ask).is_none());
        let part = headers(&[("accept-encoding", "gzip"), ("range", "bytes=0-5")]);
        assert!(Taker::of(&Method::GET, Version::HTTP_2, &part).is_none());
    }

    #[test]
    fn text_of_some_length_is_packed_and_its_headers_say_so() {
        let taker = Taker { takes_gzip: true };
        let mut answer = headers(&[
            ("content-type", "text/html; charset=utf-8"),
            ("content-length", "5000"),
            ("accept-ranges", "bytes"),
            ("etag", "\"abc\""),
            ("vary", "Cookie"),
        ]);
        assert!(taker.prepare(StatusCode::OK, &mut answer));
        let expected = headers(&[
            ("content-type", "text/html; charset=utf-8"),
            ("content-encoding", "gzip"),
            ("etag", "W/\"abc\""),
            ("vary", "Cookie"),
            ("vary", "Accept-Encoding"),
        ]);
        assert_eq!(answer, expected);
    }

    #[test]
    fn who_takes_no_gzip_gets_it_as_it_is_and_caches_are_told() {
        let taker = Taker { takes_gzip: false };
        let mut answer = headers(&[("content-type", "application/json")]);
        assert!(!taker.prepare(StatusCode::OK, &mut answer));
        let expected = headers(&[
            ("content-type", "application/json"),
            ("vary", "Accept-Encoding"),
        ]);
        assert_eq!(answer, expected);
    }

    #[test]
    fn what_would_gain_nothing_or_must_not_be_changed_stays() {
        let taker = Taker { takes_gzip: true };
        let text = ("content-type", "text/plain");
        for (status, lines) in [
            (200, vec![("content-type", "image/png")]),
            (200, vec![("content-type", "text/event-stream")]),
            (200, vec![text, ("content-length", "1023")]),
            (200, vec![text, ("content-encoding", "br")]),
            (200, vec![text, ("cache-control", "private, no-transform")]),
            (206, vec![text]),
            (204, vec![text]),
            (304, vec![text]),
            (200, vec![]),
        ] {
            let mut answer = headers(&lines);
            let status = StatusCode::from_u16(status).unwrap();
            assert!(!taker.prepare(status, &mut answer), "{status} {lines:?}");
            assert_eq!(answer, headers(&lines));
        }
    }
}
