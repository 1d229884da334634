//! What a registration says about an endpoint, in as little room as it needs.
//!
//! A table holds hundreds of thousands of them. As a text each, the words of one take several times the room of what they
//! say; here they are one text, and what few endpoints have is beside it.

use super::balance::Algorithm;
use super::route_rules::RouteRules;
use super::route_service::ServiceUrl;
use super::table::Millis;
use super::tags::Tags;
use super::uri::RouteName;
use http::header::HeaderName;
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;

/// Where an endpoint listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct At<'a> {
    pub host: &'a str,
    pub port: u16,
}

impl std::fmt::Display for At<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The same, for those who outlive the endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub host: Box<str>,
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = &self.host;
        At {
            host,
            port: self.port,
        }
        .fmt(f)
    }
}

/// What a registration says about an endpoint, apart from its names.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The words, one after the other, and then the tags.
    text: Box<str>,
    /// Where each word ends.
    ends: [u16; WORDS],
    pub port: u16,
    /// It speaks HTTP/2.
    pub http2: bool,
    /// Somebody else's server: a route service, not an instance of an app.
    pub outside: bool,
    terms: Option<Box<Terms>>,
}

const WORDS: usize = 6;

/// Which word it is.
#[derive(Clone, Copy)]
enum Word {
    Host,
    App,
    InstanceId,
    InstanceIndex,
    Zone,
    IsolationSegment,
}

/// What an identity is made of. A word that is empty is none.
#[derive(Debug, Clone, Default)]
pub struct Parts<'a> {
    pub host: &'a str,
    pub port: u16,
    pub app: &'a str,
    pub instance_id: &'a str,
    pub instance_index: &'a str,
    pub zone: &'a str,
    pub isolation_segment: &'a str,
    pub tags: Option<&'a BTreeMap<String, String>>,
    pub http2: bool,
    pub outside: bool,
    pub terms: Terms,
}

/// What most endpoints have none of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Terms {
    pub algorithm: Option<Algorithm>,
    /// What [`Algorithm::Hash`] goes by.
    pub hash: Option<HashBy>,
    /// What its routes let in, and how answers are sent.
    pub rules: Option<RouteRules>,
    /// Own, shorter time to live.
    pub stale_after: Option<Millis>,
    /// It is to be reached over TLS, and proves to be this.
    pub tls: Option<TlsIdentity>,
    /// Requests go to this service first.
    pub route_service: Option<Box<str>>,
}

/// A header whose value chooses the instance.
#[derive(Debug, Clone, PartialEq)]
pub struct HashBy {
    pub header: HeaderName,
    /// How many times the average of requests an instance may have; 0: any.
    pub balance: f64,
}

/// Who an instance proves to be by its certificate.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsIdentity {
    /// The name its certificate has to be valid for.
    pub name: ServerName<'static>,
    /// The same as registered; without it the name is the address's host.
    pub registered: Option<Box<str>>,
}

impl Identity {
    /// `None` if its words are longer together than any are (64 KiB).
    pub fn of(parts: Parts<'_>) -> Option<Identity> {
        let words: [&str; WORDS] = [
            parts.host,
            parts.app,
            parts.instance_id,
            parts.instance_index,
            parts.zone,
            parts.isolation_segment,
        ];
        let mut text = String::with_capacity(256);
        let mut ends = [0; WORDS];
        for (word, end) in words.into_iter().zip(&mut ends) {
            text.push_str(word);
            *end = u16::try_from(text.len()).ok()?;
        }
        if let Some(tags) = parts.tags {
            Tags::write(tags, parts.app, &mut text);
        }
        let terms = (parts.terms != Terms::default()).then(|| Box::new(parts.terms));
        Some(Identity {
            text: text.into(),
            ends,
            port: parts.port,
            http2: parts.http2,
            outside: parts.outside,
            terms,
        })
    }

    fn word(&self, word: Word) -> &str {
        let place = word as usize;
        let begin = match place {
            0 => 0,
            _ => self.ends[place - 1],
        };
        &self.text[usize::from(begin)..usize::from(self.ends[place])]
    }

    fn some(&self, word: Word) -> Option<&str> {
        Some(self.word(word)).filter(|text| !text.is_empty())
    }

    pub fn host(&self) -> &str {
        self.word(Word::Host)
    }

    pub fn at(&self) -> At<'_> {
        At {
            host: self.host(),
            port: self.port,
        }
    }

    pub fn address(&self) -> Address {
        Address {
            host: self.host().into(),
            port: self.port,
        }
    }

    pub fn app(&self) -> Option<&str> {
        self.some(Word::App)
    }

    pub fn instance_id(&self) -> Option<&str> {
        self.some(Word::InstanceId)
    }

    pub fn instance_index(&self) -> Option<&str> {
        self.some(Word::InstanceIndex)
    }

    pub fn zone(&self) -> Option<&str> {
        self.some(Word::Zone)
    }

    pub fn isolation_segment(&self) -> Option<&str> {
        self.some(Word::IsolationSegment)
    }

    pub fn tags(&self) -> Tags<'_> {
        let begin = usize::from(self.ends[WORDS - 1]);
        Tags::read(&self.text[begin..], self.word(Word::App))
    }

    fn terms(&self) -> Option<&Terms> {
        self.terms.as_deref()
    }

    pub fn algorithm(&self) -> Option<Algorithm> {
        self.terms()?.algorithm
    }

    pub fn hash(&self) -> Option<&HashBy> {
        self.terms()?.hash.as_ref()
    }

    pub fn rules(&self) -> Option<&RouteRules> {
        self.terms()?.rules.as_ref()
    }

    pub fn stale_after(&self) -> Option<Millis> {
        self.terms()?.stale_after
    }

    pub fn tls(&self) -> Option<&TlsIdentity> {
        self.terms()?.tls.as_ref()
    }

    pub fn route_service(&self) -> Option<&str> {
        self.terms()?.route_service.as_deref()
    }

    /// The instance, if it is one of an app: it has its address for itself.
    pub fn tenant(&self) -> Option<&str> {
        self.app()?;
        self.instance_id()
    }

    /// What it is spoken to in under a name.
    pub fn protocol(&self, name: &RouteName) -> &'static str {
        match name.port() {
            Some(port) => port.transport.name(),
            None if self.http2 => "http2",
            None => "http1",
        }
    }

    /// The server of a route service. `None` if its host is no name that a certificate could have.
    pub fn of_service(url: &ServiceUrl) -> Option<Identity> {
        Identity::of(Parts {
            host: &url.host,
            port: url.port,
            outside: true,
            terms: Terms {
                tls: Some(TlsIdentity {
                    name: ServerName::try_from(url.host.to_string()).ok()?,
                    registered: None,
                }),
                ..Terms::default()
            },
            ..Parts::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_found_again_and_an_empty_one_is_none() {
        let tags = [("process_id".to_string(), "app-1".to_string())].into();
        let identity = Identity::of(Parts {
            host: "10.0.0.1",
            port: 80,
            app: "app-1",
            instance_index: "3",
            isolation_segment: "gold",
            tags: Some(&tags),
            ..Parts::default()
        })
        .unwrap();
        assert_eq!(identity.at().to_string(), "10.0.0.1:80");
        assert_eq!(identity.address().to_string(), "10.0.0.1:80");
        assert_eq!(identity.app(), Some("app-1"));
        assert_eq!(identity.instance_id(), None);
        assert_eq!(identity.tenant(), None);
        assert_eq!(identity.instance_index(), Some("3"));
        assert_eq!(identity.zone(), None);
        assert_eq!(identity.isolation_segment(), Some("gold"));
        assert_eq!(identity.tags().to_map(), tags);
    }

    #[test]
    fn words_that_share_a_text_are_not_the_same() {
        let of = |app, instance_id| {
            Identity::of(Parts {
                host: "h",
                app,
                instance_id,
                ..Parts::default()
            })
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_eq!(of("ab", "c"), of("ab", "c"));
        assert_eq!(of(&"a".repeat(70_000), ""), None);
    }
}
