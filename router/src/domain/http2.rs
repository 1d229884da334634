//! The strict front for HTTP/2: is there exactly one way to say this request in HTTP/1?
//!
//! **Problem.** HTTP/2 has lengths of its own, so a request cannot hide in another one there. It can
//! once it is written down as HTTP/1 for an instance: a length that is not the body's, a coding, a line
//! end in a value, two hosts. That is how "downgrade" attacks work (H2.CL, H2.TE).
//!
//! **Approach.** hyper's decoder ends a stream whose header block is malformed by itself: upper case or
//! control characters, pseudo headers repeated, unknown or late, headers of one connection, a body that
//! is not as long as its Content-Length. What it lets through is judged here, with the rules of
//! [`super::framing`], and written as the HTTP/1 front would have handed it on: origin form, one
//! Host, one Cookie. From there on a request is a request.
//!
//! **What a newcomer gets wrong.** `:authority` and `Host` may both be there; only if they agree is it
//! known whose the request is. And `:path` must be a path: an absolute target in it would be a
//! second authority.

use super::framing::{MAX_HEADERS, check_host, parse_length, same_host};
use super::refusal::Fault;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri};
use hyper::ext::Protocol;

/// They belong to one connection, and HTTP/2 has frames for what they say.
const ONE_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Request,
    /// A WebSocket (RFC 8441): what asks for it in HTTP/1 is still to be added ([`super::websocket`]).
    WebSocket,
}

/// Judges a request's head and writes it as HTTP/1 has it.
pub fn to_http1(head: &mut Parts) -> Result<Asked, Fault> {
    let asked = match (&head.method, head.extensions.get::<Protocol>()) {
        (&Method::CONNECT, Some(protocol)) if protocol.as_str() == "websocket" => Asked::WebSocket,
        // Of anything else a tunnel would lead who knows where.
        (&Method::CONNECT, _) => return Err(Fault::Connect),
        (_, None) => Asked::Request,
        (_, Some(_)) => return Err(Fault::Target),
    };
    if asked == Asked::WebSocket {
        // (It is of this hop, and no method of HTTP/1's.)
        head.extensions.remove::<Protocol>();
        head.method = Method::GET;
        if head.uri.scheme().is_none() {
            return Err(Fault::Scheme);
        }
        if head.headers.contains_key(header::CONTENT_LENGTH) {
            return Err(Fault::InvalidContentLength);
        }
    }
    check_headers(&head.headers)?;
    let path = check_path(&head.method, &head.uri)?;
    let host = host(&head.uri, &head.headers)?;
    head.headers.insert(header::HOST, host);
    join_cookies(&mut head.headers);
    head.uri = Uri::from(path);
    Ok(asked)
}

fn check_headers(headers: &HeaderMap) -> Result<(), Fault> {
    // Cookies come in pieces here, and are one header of HTTP/1.
    let cookies = headers.get_all(header::COOKIE).iter().count();
    if headers.len() - cookies.saturating_sub(1) > MAX_HEADERS {
        return Err(Fault::TooManyHeaders);
    }
    if ONE_HOP.iter().any(|name| headers.contains_key(name)) {
        return Err(Fault::OneHopHeader);
    }
    let mut te = headers.get_all(header::TE).iter();
    if !te.all(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        return Err(Fault::OneHopHeader);
    }
    if headers.contains_key("content_length") || headers.contains_key("transfer_encoding") {
        return Err(Fault::LookalikeFraming);
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        parse_length(length.as_bytes())?;
    }
    match lengths.next() {
        Some(_) => Err(Fault::RepeatedContentLength),
        None => Ok(()),
    }
}

fn check_path(method: &Method, uri: &Uri) -> Result<PathAndQuery, Fault> {
    let path = uri.path_and_query().ok_or(Fault::Target)?;
    let text = path.as_str();
    let fine = text.starts_with('/') || (text == "*" && method == Method::OPTIONS);
    if !fine || text.bytes().any(|b| b <= 0x20 || b == 0x7f || b == b'#') {
        return Err(Fault::Target);
    }
    // An empty path reads as "/" and would be written as nothing.
    Ok(match text {
        "/" => PathAndQuery::from_static("/"),
        _ => path.clone(),
    })
}

fn host(uri: &Uri, headers: &HeaderMap) -> Result<HeaderValue, Fault> {
    let secure = match uri.scheme_str() {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => true,
        Some(scheme) if scheme.eq_ignore_ascii_case("http") => false,
        // (The scheme of a request without an authority is not told.)
        None => false,
        Some(_) => return Err(Fault::Scheme),
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Fault::RepeatedHost);
    }
    if let Some(host) = host {
        check_host(host.as_bytes())?;
    }
    let Some(authority) = uri.authority() else {
        return host.cloned().ok_or(Fault::MissingHost);
    };
    let authority = check_host(authority.as_str().as_bytes())?;
    let agrees = host.is_none_or(|host| {
        host.to_str()
            .is_ok_and(|host| same_host(authority, host, secure))
    });
    if !agrees {
        return Err(Fault::HostDisagrees);
    }
    HeaderValue::from_str(authority).map_err(|_| Fault::InvalidHost)
}

fn join_cookies(headers: &mut HeaderMap) {
    let mut pieces = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (pieces.next(), pieces.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for piece in std::iter::once(second).chain(pieces) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(piece.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, value);
    }
}

/// A Host that is no authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Host cannot be said in HTTP/2")]
pub struct NoAuthority;

/// Writes a request for an instance that speaks HTTP/2: its Host becomes the authority.
pub fn to_http2(uri: Uri, headers: &mut HeaderMap, secure: bool) -> Result<Uri, NoAuthority> {
    let host = headers.get(header::HOST).ok_or(NoAuthority)?;
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| NoAuthority)?;
    let mut parts = uri.into_parts();
    parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    let uri = Uri::from_parts(parts).map_err(|_| NoAuthority)?;
    headers.remove(header::HOST);
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_head_becomes_what_the_front_of_http1_hands_on() {
        let mut head = parts(
            "https://A.example.com:8443/x?q=1",
            &[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")],
        );
        assert_eq!(to_http1(&mut head), Ok(Asked::Request));
        assert_eq!(head.uri, "/x?q=1");
        assert_eq!(head.headers["host"], "A.example.com:8443");
        let cookies: Vec<_> = head.headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
    }

    #[test]
    fn what_would_be_ambiguous_in_http1_is_refused() {
        type Case = (&'static str, &'static [(&'static str, &'static str)], Fault);
        let cases: &[Case] = &[
            ("/", &[], Fault::MissingHost),
            ("/", &[("host", "a"), ("host", "a")], Fault::RepeatedHost),
            ("http://a/", &[("host", "b")], Fault::HostDisagrees),
            ("http://a:1/", &[("host", "a")], Fault::HostDisagrees),
            ("http://u@a/", &[], Fault::InvalidHost),
            ("ftp://a/", &[], Fault::Scheme),
            ("a", &[("host", "a")], Fault::Target),
            ("http://a/", &[("connection", "x")], Fault::OneHopHeader),
            ("http://a/", &[("upgrade", "h2c")], Fault::OneHopHeader),
            ("http://a/", &[("keep-alive", "1")], Fault::OneHopHeader),
            (
                "http://a/",
                &[("transfer-encoding", "chunked")],
                Fault::OneHopHeader,
            ),
            ("http://a/", &[("te", "gzip")], Fault::OneHopHeader),
            (
                "http://a/",
                &[("te", "trailers, gzip")],
                Fault::OneHopHeader,
            ),
            (
                "http://a/",
                &[("content-length", "1"), ("content-length", "1")],
                Fault::RepeatedContentLength,
            ),
            (
                "http://a/",
                &[("content-length", "1, 1")],
                Fault::InvalidContentLength,
            ),
            (
                "http://a/",
                &[("content-length", "+1")],
                Fault::InvalidContentLength,
            ),
            (
                "http://a/",
                &[("transfer_encoding", "chunked")],
                Fault::LookalikeFraming,
            ),
        ];
        for (uri, headers, fault) in cases {
            let mut head = parts(uri, headers);
            assert_eq!(to_http1(&mut head), Err(*fault), "{uri} {headers:?}");
        }
        let mut connect = parts("a:443", &[]);
        connect.method = Method::CONNECT;
        assert_eq!(to_http1(&mut connect), Err(Fault::Connect));
        let many: Vec<(String, &str)> = (0..101).map(|n| (format!("x-{n}"), "1")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        let mut head = parts("http://a/", &many);
        assert_eq!(to_http1(&mut head), Err(Fault::TooManyHeaders));
    }

    #[test]
    fn authority_and_host_may_say_the_same() {
        for (uri, host) in [
            ("http://a/", "A"),
            ("http://a:80/", "a"),
            ("https://a/", "a:443"),
        ] {
            let mut head = parts(uri, &[("host", host)]);
            assert_eq!(to_http1(&mut head), Ok(Asked::Request), "{uri} {host}");
        }
        let mut options = parts("*", &[("host", "a")]);
        options.method = Method::OPTIONS;
        assert_eq!(to_http1(&mut options), Ok(Asked::Request));
    }

    #[test]
    fn a_target_without_a_path_asks_for_the_root() {
        let mut head = parts("http://a", &[]);
        assert_eq!(to_http1(&mut head), Ok(Asked::Request));
        assert_eq!(head.uri.to_string(), "/");
    }

    #[test]
    fn a_websocket_is_asked_for_like_any_path() {
        let connect = |uri: &str, protocol: &'static str, headers: &[(&str, &str)]| {
            let mut head = parts(uri, headers);
            head.method = Method::CONNECT;
            head.extensions.insert(Protocol::from_static(protocol));
            let asked = to_http1(&mut head);
            (asked, head)
        };
        let (asked, head) = connect("https://a/chat?x=1", "websocket", &[("origin", "b")]);
        assert_eq!(asked, Ok(Asked::WebSocket));
        assert_eq!(
            (head.method, head.uri),
            (Method::GET, Uri::from_static("/chat?x=1"))
        );
        assert_eq!(head.headers["host"], "a");
        let refused = |uri: &str, protocol, headers: &[(&str, &str)]| {
            connect(uri, protocol, headers).0.unwrap_err()
        };
        assert_eq!(refused("https://a/", "connect-udp", &[]), Fault::Connect);
        assert_eq!(refused("a:443", "websocket", &[]), Fault::Scheme);
        let upgrade = [("upgrade", "websocket")];
        assert_eq!(
            refused("https://a/", "websocket", &upgrade),
            Fault::OneHopHeader
        );
        let length = [("content-length", "5")];
        assert_eq!(
            refused("https://a/", "websocket", &length),
            Fault::InvalidContentLength
        );
        let mut get = parts("https://a/", &[]);
        get.extensions.insert(Protocol::from_static("websocket"));
        assert_eq!(to_http1(&mut get), Err(Fault::Target));
    }

    #[test]
    fn a_request_for_an_instance_is_written() {
        let mut head = parts("/x?q=1", &[("host", "a.example.com:8080")]);
        let uri = to_http2(head.uri, &mut head.headers, false).unwrap();
        assert_eq!(uri, "http://a.example.com:8080/x?q=1");
        assert!(!head.headers.contains_key("host"));
        assert_eq!(
            to_http2(Uri::from_static("/"), &mut HeaderMap::new(), true),
            Err(NoAuthority)
        );
    }
}
