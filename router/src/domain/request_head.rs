//! A request as it is written to an instance that speaks HTTP/1.

use bytes::BufMut;
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Uri};

/// How its body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// It has none. (What its headers say of a length, 0 it must be, stays.)
    None,
    Length(u64),
    Chunked,
}

/// Writes the head, with further lines. What the headers say of the framing of a body is said anew.
pub fn write(
    out: &mut Vec<u8>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    further: impl FnOnce(&mut Vec<u8>),
    framing: Framing,
) {
    out.reserve(USUAL);
    out.put_slice(method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(uri.path().as_bytes());
    if let Some(query) = uri.query() {
        out.put_u8(b'?');
        out.put_slice(query.as_bytes());
    }
    out.put_slice(b" HTTP/1.1\r\n");
    for (name, value) in headers {
        let is_framing = match *name {
            header::TRANSFER_ENCODING => true,
            header::CONTENT_LENGTH => framing != Framing::None,
            _ => false,
        };
        if !is_framing {
            line(out, name, value.as_bytes());
        }
    }
    further(out);
    match framing {
        Framing::None => {}
        Framing::Length(length) => {
            line(out, &header::CONTENT_LENGTH, length.to_string().as_bytes());
        }
        Framing::Chunked => line(out, &header::TRANSFER_ENCODING, b"chunked"),
    }
    out.put_slice(b"\r\n");
}

/// More than most heads.
const USUAL: usize = 1024;

/// One line of a head.
pub fn line(out: &mut impl BufMut, name: &HeaderName, value: &[u8]) {
    out.put_slice(name.as_str().as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn written(
        method: Method,
        uri: &'static str,
        lines: &[(&str, &str)],
        further: Option<&str>,
        framing: Framing,
    ) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_str(value).expect("a value"),
            );
        }
        let mut out = Vec::new();
        let uri = Uri::from_static(uri);
        write(
            &mut out,
            &method,
            &uri,
            &headers,
            |out| {
                if let Some(value) = further {
                    line(out, &HeaderName::from_static("x-further"), value.as_bytes());
                }
            },
            framing,
        );
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_request_is_written() {
        assert_eq!(
            written(
                Method::GET,
                "/a%20b?c=d",
                &[("host", "x"), ("x-a", "1"), ("x-a", "2")],
                Some("f"),
                Framing::None
            ),
            "GET /a%20b?c=d HTTP/1.1\r\nhost: x\r\nx-a: 1\r\nx-a: 2\r\nx-further: f\r\n\r\n"
        );
        assert_eq!(
            written(Method::OPTIONS, "*", &[], None, Framing::None),
            "OPTIONS * HTTP/1.1\r\n\r\n"
        );
    }

    #[test]
    fn the_framing_is_said_once() {
        let said = [("content-length", "0"), ("transfer-encoding", "chunked")];
        let of = |framing| written(Method::POST, "/", &said, None, framing);
        let head = "POST / HTTP/1.1\r\n";
        assert_eq!(
            of(Framing::None),
            format!("{head}content-length: 0\r\n\r\n")
        );
        assert_eq!(
            of(Framing::Length(0)),
            format!("{head}content-length: 0\r\n\r\n")
        );
        assert_eq!(
            of(Framing::Length(u64::MAX)),
            format!("{head}content-length: 18446744073709551615\r\n\r\n")
        );
        assert_eq!(
            of(Framing::Chunked),
            format!("{head}transfer-encoding: chunked\r\n\r\n")
        );
    }
}
