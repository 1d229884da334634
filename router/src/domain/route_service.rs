//! Route services (contract §3 row 30): a service of the route's owner sees each request before the app
//! does, and sends it back to the route.
//!
//! ```text
//! client ──▶ router ──X-CF-Forwarded-Url, signature──▶ service ──the same headers──▶ router ──▶ app
//! ```
//!
//! What comes back must prove that it has been there: the router seals the URL, the service and the time with
//! a key that all routers of the cluster have, and lets a request past the service only with such a seal that is
//! fresh and of this route. Without one a request goes to the service, whatever it says of itself. With one that is
//! of another route or service, it goes nowhere: that ends loops between services that have each other.
//!
//! The key can be replaced: what is sealed with any of the known keys opens, the first one seals.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use daemon::seals::NONCE_LEN;
use http::Uri;
use http::header::HeaderName;
use http::uri::PathAndQuery;
use serde::{Deserialize, Serialize};

/// Where the service is to send the request.
pub const X_CF_FORWARDED_URL: HeaderName = HeaderName::from_static("x-cf-forwarded-url");
pub const X_CF_PROXY_SIGNATURE: HeaderName = HeaderName::from_static("x-cf-proxy-signature");
pub const X_CF_PROXY_METADATA: HeaderName = HeaderName::from_static("x-cf-proxy-metadata");

/// Clocks of routers differ a little.
const AHEAD_MS: u64 = 5_000;

/// What is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    pub forwarded_url: String,
    pub route_service_url: String,
    /// Unix milliseconds.
    pub requested_at: u64,
}

/// Needed to open it.
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    nonce: String,
}

/// Why a request is not let past its route service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPast {
    /// It has not been there.
    Unsigned,
    /// The seal is broken, or of another route or service.
    Invalid,
    Expired,
}

/// The keys of the cluster's routers.
#[derive(Debug)]
pub struct Seals(daemon::seals::Seals);

impl Seals {
    /// One secret a line, the one that seals first. `None` if there is none.
    pub fn read(text: &str) -> Option<Seals> {
        daemon::seals::Seals::read(text).map(Seals)
    }

    /// The values of `X-CF-Proxy-Signature` and `X-CF-Proxy-Metadata`. The nonce must never come twice.
    pub fn seal(&self, signature: &Signature, nonce: [u8; NONCE_LEN]) -> Option<(String, String)> {
        let sealed = self
            .0
            .seal(&serde_json::to_vec(signature).ok()?, b"", nonce)?;
        let metadata = Metadata {
            nonce: STANDARD.encode(nonce),
        };
        let metadata = serde_json::to_vec(&metadata).ok()?;
        Some((URL_SAFE.encode(sealed), URL_SAFE.encode(metadata)))
    }

    /// What was sealed, by this router or another.
    pub fn open(&self, signature: &[u8], metadata: &[u8]) -> Option<Signature> {
        let sealed = URL_SAFE.decode(signature).ok()?;
        let metadata = URL_SAFE.decode(metadata).ok()?;
        let metadata: Metadata = serde_json::from_slice(&metadata).ok()?;
        let nonce: [u8; NONCE_LEN] = STANDARD.decode(metadata.nonce).ok()?.try_into().ok()?;
        let opened = self.0.open(&sealed, b"", nonce)?;
        serde_json::from_slice(&opened).ok()
    }
}

impl Signature {
    /// Whether it lets a request past this service, `same_route` saying whether its URL leads to the route that was
    /// asked for.
    pub fn admits(
        &self,
        route_service_url: &str,
        same_route: bool,
        now_ms: u64,
        valid_for_ms: u64,
    ) -> Result<(), NotPast> {
        if self.route_service_url != route_service_url || !same_route {
            return Err(NotPast::Invalid);
        }
        let too_early = self.requested_at > now_ms.saturating_add(AHEAD_MS);
        if too_early || now_ms.saturating_sub(self.requested_at) > valid_for_ms {
            return Err(NotPast::Expired);
        }
        Ok(())
    }

    /// Host, without a port, and path of the URL it was sealed for.
    pub fn host_and_path(&self) -> Option<(String, String)> {
        let uri: Uri = self.forwarded_url.parse().ok()?;
        Some((uri.host()?.to_string(), uri.path().to_string()))
    }
}

/// Where a route service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    pub text: Box<str>,
    pub host: Box<str>,
    pub port: u16,
    /// Its host, with the port if that is not the usual one.
    pub authority: Box<str>,
    pub target: PathAndQuery,
}

impl ServiceUrl {
    /// Nothing but `https://host[:port][/path][?query]`.
    pub fn parse(text: &str) -> Option<ServiceUrl> {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        let host = authority.host();
        if uri.scheme_str() != Some("https") || authority.as_str().contains('@') || host.is_empty()
        {
            return None;
        }
        let port = match authority.port() {
            Some(port) => port.as_str().parse().ok().filter(|port| *port != 0)?,
            None if authority.as_str() == host => 443,
            None => return None,
        };
        let target = match uri.path_and_query() {
            Some(target) => target.clone(),
            None => PathAndQuery::from_static("/"),
        };
        Some(ServiceUrl {
            text: text.into(),
            host: host.to_ascii_lowercase().into(),
            port,
            authority: authority.as_str().into(),
            target,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature() -> Signature {
        Signature {
            forwarded_url: "https://shop.example.com/a?b=c".into(),
            route_service_url: "https://check.example.com".into(),
            requested_at: 1_000_000,
        }
    }

    #[test]
    fn a_seal_opens_with_a_known_key_only() {
        let seals = Seals::read("new\nold\n").unwrap();
        let (sealed, metadata) = seals.seal(&signature(), [7; 12]).unwrap();
        assert!(!sealed.contains("shop"));
        let open = |seals: &Seals| seals.open(sealed.as_bytes(), metadata.as_bytes());
        assert_eq!(open(&seals), Some(signature()));
        assert_eq!(open(&Seals::read("newer\nnew").unwrap()), Some(signature()));
        assert_eq!(open(&Seals::read("old").unwrap()), None);
        assert!(Seals::read(" \n").is_none());
    }

    #[test]
    fn what_was_changed_on_its_way_does_not_open() {
        let seals = Seals::read("key").unwrap();
        let (sealed, metadata) = seals.seal(&signature(), [7; 12]).unwrap();
        let mut bytes = sealed.clone().into_bytes();
        for place in [0, bytes.len() / 2, bytes.len() - 5] {
            let before = bytes[place];
            bytes[place] = if before == b'A' { b'B' } else { b'A' };
            assert_eq!(seals.open(&bytes, metadata.as_bytes()), None, "{place}");
            bytes[place] = before;
        }
        let other = seals.seal(&signature(), [8; 12]).unwrap().1;
        assert_eq!(seals.open(sealed.as_bytes(), other.as_bytes()), None);
        for nonsense in ["", "e30=", "!", "eyJub25jZSI6IiJ9"] {
            assert_eq!(seals.open(sealed.as_bytes(), nonsense.as_bytes()), None);
            assert_eq!(seals.open(nonsense.as_bytes(), metadata.as_bytes()), None);
        }
    }

    #[test]
    fn a_signature_admits_to_its_route_for_its_time() {
        let admits = |service: &str, same, now| signature().admits(service, same, now, 60_000);
        let service = "https://check.example.com";
        assert_eq!(admits(service, true, 1_000_000), Ok(()));
        assert_eq!(admits(service, true, 1_060_000), Ok(()));
        assert_eq!(admits(service, true, 1_060_001), Err(NotPast::Expired));
        assert_eq!(admits(service, true, 995_000), Ok(()));
        assert_eq!(admits(service, true, 994_999), Err(NotPast::Expired));
        assert_eq!(admits(service, false, 1_000_000), Err(NotPast::Invalid));
        let other = "https://other.example.com";
        assert_eq!(admits(other, true, 1_000_000), Err(NotPast::Invalid));
        assert_eq!(
            signature().host_and_path(),
            Some(("shop.example.com".into(), "/a".into()))
        );
    }

    #[test]
    fn a_route_service_is_an_https_url() {
        let read = ServiceUrl::parse("https://Check.example.com:8443/in?x=y").unwrap();
        assert_eq!((&*read.host, read.port), ("check.example.com", 8443));
        assert_eq!(read.target.as_str(), "/in?x=y");
        let usual = ServiceUrl::parse("https://check.example.com").unwrap();
        assert_eq!((usual.port, usual.target.as_str()), (443, "/"));
        for bad in [
            "http://a",
            "https://",
            "a",
            "https://u:p@a",
            "https://a:0",
            "https://a:x",
            "/x",
        ] {
            assert_eq!(ServiceUrl::parse(bad), None, "{bad}");
        }
    }
}
