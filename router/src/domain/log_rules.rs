//! What the access log says of a request, and in which form (contract §3 row 32).

use super::header_rules::elements;
use http::header::{HeaderMap, HeaderName};
use proto::config::Settings;
use ring::digest::{SHA256, digest};
use std::borrow::Cow;
use std::fmt::Write;

/// What is written of the query of a target or referer, which often holds secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    Keep,
    Drop,
    /// A digest, by which equal ones can be told.
    Hash,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRules {
    pub enabled: bool,
    pub json: bool,
    pub query: Query,
    pub forwarded_for: bool,
    pub source_address: bool,
    /// Headers of requests that are written too.
    pub headers: Vec<HeaderName>,
}

impl LogRules {
    pub fn read(settings: &Settings) -> LogRules {
        LogRules {
            enabled: settings.bool("router/access_log/enabled"),
            json: settings.text("router/access_log/format") == "json",
            query: match settings.text("router/access_log/query").as_str() {
                "drop" => Query::Drop,
                "hash" => Query::Hash,
                _ => Query::Keep,
            },
            forwarded_for: settings.bool("router/access_log/forwarded_for"),
            source_address: settings.bool("router/access_log/source_address"),
            headers: elements(&settings.text("router/access_log/headers"), ',')
                .filter_map(|name| name.parse().ok())
                .collect(),
        }
    }

    /// A target or referer as it is to be written.
    pub fn shown<'a>(&self, url: &'a str) -> Cow<'a, str> {
        let Some((rest, query)) = url.split_once('?') else {
            return url.into();
        };
        match self.query {
            Query::Keep => url.into(),
            Query::Drop => rest.into(),
            Query::Hash => {
                let mut shown = format!("{rest}?hash=");
                for byte in &digest(&SHA256, query.as_bytes()).as_ref()[..8] {
                    // Writing to a String cannot fail.
                    let _ = write!(shown, "{byte:02x}");
                }
                shown.into()
            }
        }
    }

    /// The headers that are written too, named as in the log.
    pub fn extra(&self, headers: &HeaderMap) -> Vec<(String, Option<String>)> {
        self.headers
            .iter()
            .map(|name| {
                let value = headers
                    .get(name)
                    .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
                (name.as_str().replace('-', "_"), value)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn queries_are_kept_dropped_or_hashed() {
        let rules = |query| LogRules {
            query,
            ..LogRules::read(&Settings::default())
        };
        let url = "/a?token=sesame";
        assert_eq!(rules(Query::Keep).shown(url), url);
        assert_eq!(rules(Query::Drop).shown(url), "/a");
        let hashed = rules(Query::Hash).shown(url).into_owned();
        assert!(
            hashed.starts_with("/a?hash=") && hashed.len() == 8 + 16,
            "{hashed}"
        );
        assert_eq!(rules(Query::Hash).shown(url), hashed);
        assert_ne!(rules(Query::Hash).shown("/a?token=other"), hashed);
        assert_eq!(rules(Query::Hash).shown("/a"), "/a");
    }

    #[test]
    fn headers_are_written_by_name() {
        let rules = LogRules {
            headers: vec![
                HeaderName::from_static("x-user"),
                HeaderName::from_static("b3"),
            ],
            ..LogRules::read(&Settings::default())
        };
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-user"),
            HeaderValue::from_static("dora"),
        )]);
        assert_eq!(
            rules.extra(&headers),
            [
                ("x_user".to_string(), Some("dora".to_string())),
                ("b3".to_string(), None)
            ]
        );
    }
}
