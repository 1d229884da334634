//! Names of routes: how a registered uri and the Host of a request become keys of the table.
//!
//! Both sides are folded the same way: lower case, no port, no query, no trailing dot, path
//! without a trailing slash. A newcomer's mistake is to fold only the host: paths are compared
//! without regard to case too (contract §3 row 5).

use std::borrow::Cow;

/// A registered name: `host[/path]`, the host possibly `*.rest`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName {
    /// Lower case, without port. A leading `*.` is kept.
    pub host: String,
    /// Empty, or `/a/b` without a trailing slash, lower case.
    pub path: String,
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
}

impl RouteName {
    /// Reads a uri as `router.register` carries it. A scheme is tolerated.
    pub fn parse(uri: &str) -> Result<RouteName, InvalidUri> {
        if uri.len() > 2048 {
            return Err(InvalidUri::TooLong);
        }
        let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
        let rest = rest.split(['?', '#']).next().unwrap_or(rest);
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let host = fold_host(host).into_owned();
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
        Ok(RouteName {
            host,
            path: fold_path(path).into_owned(),
        })
    }
}

impl std::fmt::Display for RouteName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.host, self.path)
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

fn lower(text: &str) -> Cow<'_, str> {
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
        ];
        for (uri, host, path) in cases {
            assert_eq!(
                RouteName::parse(uri),
                Ok(RouteName {
                    host: host.into(),
                    path: path.into()
                }),
                "{uri}"
            );
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
    fn a_prefix_covers_whole_segments_only() {
        assert!(covers("", "/anything"));
        assert!(covers("/a", "/a"));
        assert!(covers("/a", "/a/b"));
        assert!(!covers("/a", "/ab"));
        assert!(!covers("/a/b", "/a"));
    }
}
