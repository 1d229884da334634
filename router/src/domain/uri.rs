//! Names of routes: how a registered uri and the Host of a request become keys of the table.
//!
//! Both sides are folded the same way: lower case, no port, no query, no trailing dot, path
//! without a trailing slash. A newcomer's mistake is to fold only the host: paths are compared
//! without regard to case too (contract §3 row 5).
//!
//! A route that has a port to itself ([`proto::ports`]) is a name like the others, so that all that is done with names
//! (TTL, pruning, graves, the file) is done with it. Its scheme and port stay in the key: a request's
//! host has none of either, so no request finds it.

use proto::ports::{self, Port, Transport};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

/// A registered name: `host[/path]`, the host possibly `*.rest`. One text, which all share that hold the name: a table
/// holds it several times.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteName(Arc<str>);

/// By host, then by path, segment by segment: what ends a host or a segment comes before all else. (Where the parts are
/// need not be looked for, which is what a report of all routes would spend its time with.)
impl Ord for RouteName {
    fn cmp(&self, other: &RouteName) -> Ordering {
        self.ranks().cmp(other.ranks())
    }
}

impl PartialOrd for RouteName {
    fn partial_cmp(&self, other: &RouteName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Why a registered uri names no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUri {
    #[error("the uri has no host")]
    NoHost,
    #[error("the uri is longer than 2048 bytes")]
    TooLong,
    #[error("the uri holds a character that no host or path has")]
    Character,
    #[error("a wildcard may only be the first label")]
    Wildcard,
    #[error("a route of TCP or UDP is a host and a port")]
    Port,
}

impl RouteName {
    /// Reads a uri as `router.register` carries it. A scheme is tolerated.
    pub fn parse(uri: &str) -> Result<RouteName, InvalidUri> {
        if uri.len() > 2048 {
            return Err(InvalidUri::TooLong);
        }
        if let Some((scheme, _)) = uri.split_once("://")
            && Transport::parse(scheme).is_some()
        {
            let (port, host) = ports::parse_uri(uri).ok_or(InvalidUri::Port)?;
            return RouteName::of_port(port, host);
        }
        let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
        let rest = rest.split(['?', '#']).next().unwrap_or(rest);
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let host = fold_host(host);
        if host.is_empty() {
            return Err(InvalidUri::NoHost);
        }
        let labels = host.strip_prefix("*.").unwrap_or(&host);
        if labels.contains('*') {
            return Err(InvalidUri::Wildcard);
        }
        let visible = |text: &str| text.bytes().all(|b| b > 0x20 && b != 0x7f);
        if !visible(&host) || !visible(path) {
            return Err(InvalidUri::Character);
        }
        let path = fold_path(path);
        let is_folded = (&host, &path);
        // Mostly it comes as it is kept.
        Ok(RouteName(match is_folded {
            (Cow::Borrowed(_), Cow::Borrowed(_)) if host.len() + path.len() == rest.len() => {
                rest.into()
            }
            _ => format!("{host}{path}").into(),
        }))
    }

    /// A host without a path.
    pub fn of_host(host: &str) -> RouteName {
        RouteName(host.into())
    }

    /// Of each of its bytes. (No name holds a byte of 0.)
    fn ranks(&self) -> impl Iterator<Item = u8> {
        let bytes = self.0.bytes();
        bytes.map(|byte| if byte == b'/' { 0 } else { byte })
    }

    pub(super) fn parts(&self) -> (&str, &str) {
        // No host ends with a colon: that is the one of `tcp://host:port`, which is a host as a whole.
        match self.0.find('/') {
            Some(at) if !self.0[..at].ends_with(':') => self.0.split_at(at),
            Some(_) | None => (&self.0, ""),
        }
    }

    /// Its path, if this is its host: what most names of a table are asked for.
    pub fn path_at(&self, host: &str) -> Option<&str> {
        let path = self.0.strip_prefix(host)?;
        let is_whole = path.is_empty() || (path.starts_with('/') && !host.ends_with(':'));
        is_whole.then_some(path)
    }

    /// Lower case, without port. A leading `*.` is kept. Of a route with a port: `tcp://host:port`.
    pub fn host(&self) -> &str {
        self.parts().0
    }

    /// Empty, or `/a/b` without a trailing slash, lower case.
    pub fn path(&self) -> &str {
        self.parts().1
    }

    fn of_port(port: Port, host: &str) -> Result<RouteName, InvalidUri> {
        if host.contains('*') {
            return Err(InvalidUri::Wildcard);
        }
        if !host.bytes().all(|b| b > 0x20 && b != 0x7f) {
            return Err(InvalidUri::Character);
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        Ok(RouteName(
            ports::uri(port.transport, &host, port.number).into(),
        ))
    }

    /// The port that it has to itself, if it has.
    pub fn port(&self) -> Option<Port> {
        Some(ports::parse_uri(&self.0)?.0)
    }

    /// The host alone.
    pub fn bare_host(&self) -> &str {
        let host = self.host();
        ports::parse_uri(host).map_or(host, |(_, bare)| bare)
    }
}

impl std::fmt::Display for RouteName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host of a `Host` header or of an authority, as the table knows it: no port, lower case,
/// no final dot. Borrows when there is nothing to change.
pub fn fold_host(host: &str) -> Cow<'_, str> {
    let bare = without_port(host);
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    lower(bare)
}

/// `[::1]:80` → `[::1]`, `host:80` → `host`.
pub fn without_port(host: &str) -> &str {
    if let Some(end) = host.strip_prefix('[').and_then(|rest| rest.find(']')) {
        return &host[..end + 2];
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

/// The path of a request as the table knows it.
pub fn fold_path(path: &str) -> Cow<'_, str> {
    lower(path.trim_end_matches('/'))
}

pub(super) fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// Whether `prefix` (folded) covers `path` (folded) by whole segments.
pub fn covers(prefix: &str, path: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_uris_are_folded() {
        let cases = [
            ("Foo.Example.COM", "foo.example.com", ""),
            ("foo.example.com:8080", "foo.example.com", ""),
            ("foo.example.com/", "foo.example.com", ""),
            ("foo.example.com/Api/V1/", "foo.example.com", "/api/v1"),
            ("foo.example.com:80/a?b=c", "foo.example.com", "/a"),
            ("*.example.com", "*.example.com", ""),
            ("http://foo.example.com/a", "foo.example.com", "/a"),
            ("foo.example.com.", "foo.example.com", ""),
            ("[::1]:8080/x", "[::1]", "/x"),
            ("http://a.example.com:/x://y", "a.example.com", "/x://y"),
        ];
        for (uri, host, path) in cases {
            let name = RouteName::parse(uri).unwrap();
            assert_eq!((name.host(), name.path()), (host, path), "{uri}");
            assert_eq!(name.path_at(host), Some(path));
            for other in [&host[1..], &host[..host.len() - 1], &format!("{host}.")] {
                assert_eq!(name.path_at(other), None);
            }
            assert_eq!(name.to_string(), format!("{host}{path}"));
        }
    }

    #[test]
    fn uris_that_name_no_route_are_refused() {
        let cases = [
            ("", InvalidUri::NoHost),
            ("/path", InvalidUri::NoHost),
            (":80", InvalidUri::NoHost),
            ("*.", InvalidUri::Wildcard),
            ("a.*.example.com", InvalidUri::Wildcard),
            ("*.*.example.com", InvalidUri::Wildcard),
            ("a b.example.com", InvalidUri::Character),
            ("a.example.com/\u{7f}", InvalidUri::Character),
        ];
        for (uri, why) in cases {
            assert_eq!(RouteName::parse(uri), Err(why), "{uri:?}");
        }
        assert_eq!(
            RouteName::parse(&"a".repeat(3000)),
            Err(InvalidUri::TooLong)
        );
    }

    #[test]
    fn a_name_with_a_port_is_no_requests_name() {
        let name = RouteName::parse("tcp://Tcp.Example.COM:10101").unwrap();
        let port = Port {
            transport: Transport::Tcp,
            number: 10101,
        };
        assert_eq!(name.port(), Some(port));
        assert_eq!(name.bare_host(), "tcp.example.com");
        assert_eq!(name.path_at(name.host()), Some(""));
        assert_eq!(name.path_at("tcp:"), None);
        assert_eq!(name.to_string(), "tcp://tcp.example.com:10101");
        assert_eq!(RouteName::parse(&name.to_string()), Ok(name.clone()));
        assert_ne!(fold_host(name.host()), name.host());
        let http = RouteName::parse("http://a.example.com:10101").unwrap();
        assert_eq!((http.port(), http.bare_host()), (None, "a.example.com"));
        for (uri, why) in [
            ("tcp://a.example.com", InvalidUri::Port),
            ("udp://:5", InvalidUri::Port),
            ("tcp://a.example.com:1/path", InvalidUri::Port),
            ("tcp://*.example.com:5", InvalidUri::Wildcard),
            ("udp://a b:5", InvalidUri::Character),
        ] {
            assert_eq!(RouteName::parse(uri), Err(why), "{uri}");
        }
    }

    #[test]
    fn names_are_ordered_by_host_then_path() {
        let name = |uri| RouteName::parse(uri).unwrap();
        let mut names = ["a.com.b", "a.com/x", "a.com", "a.co"].map(name);
        names.sort();
        let sorted = names.map(|name| name.to_string());
        assert_eq!(sorted, ["a.co", "a.com", "a.com/x", "a.com.b"]);
    }

    #[test]
    fn a_prefix_covers_whole_segments_only() {
        assert!(covers("", "/anything"));
        assert!(covers("/a", "/a"));
        assert!(covers("/a", "/a/b"));
        assert!(!covers("/a", "/ab"));
        assert!(!covers("/a/b", "/a"));
    }
}
