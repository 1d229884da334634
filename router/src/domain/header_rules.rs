//! What an operator may have the router say to apps and clients in headers beyond the usual
//! ([`super::forwarding`]): contract §3 rows 18 to 21 and 23. All of it is off unless it is set, and costs a look
//! at one flag then.

use super::forwarding::X_FORWARDED_PROTO;
use super::trace_context::{self, Ids};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use proto::config::Settings;

pub const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const X_VCAP_TRACE: HeaderName = HeaderName::from_static("x-vcap-trace");
const X_VCAP_ROUTER: HeaderName = HeaderName::from_static("x-vcap-router");
const X_VCAP_BACKEND: HeaderName = HeaderName::from_static("x-vcap-backend");
const X_CF_ROUTE_ENDPOINT: HeaderName = HeaderName::from_static("x-cf-routeendpoint");

/// What is said in `X-Forwarded-Proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedProto {
    /// What the client says, or else how it came.
    Keep,
    /// `https`, whatever it says.
    Https,
    /// How it came, whatever it says.
    Own,
}

/// What is said in `X-Forwarded-Client-Cert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedCertificate {
    /// What the client says.
    Always,
    /// What it says, if it showed a certificate itself (as a load balancer does).
    IfShown,
    /// The certificate it showed, and nothing else.
    Own,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HeaderRules {
    /// One of them is about requests.
    pub touch_requests: bool,
    pub forwarded_proto: ForwardedProto,
    pub forwarded_certificate: ForwardedCertificate,
    pub b3: bool,
    pub w3c: bool,
    pub w3c_tenant: Box<str>,
    /// Who sends this in `X-Vcap-Trace` is told who answered.
    pub trace_key: Option<Box<str>>,
    /// Added to answers of apps that have no such header.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Removed from answers of apps.
    pub remove: Vec<HeaderName>,
}

/// What the router knows of a request's client.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// In base64, without the lines around it.
    pub certificate: Option<&'a HeaderValue>,
    /// The request was here before and comes from its route service: what was said then stays.
    pub came_back: bool,
}

impl HeaderRules {
    pub fn read(settings: &Settings) -> HeaderRules {
        let forwarded_proto = match settings.text("router/headers/forwarded_proto").as_str() {
            "https" => ForwardedProto::Https,
            "sanitize" => ForwardedProto::Own,
            _ => ForwardedProto::Keep,
        };
        let mode = settings.text("router/headers/forwarded_client_cert");
        let forwarded_certificate = match mode.as_str() {
            "forward" => ForwardedCertificate::IfShown,
            "sanitize_set" => ForwardedCertificate::Own,
            _ => ForwardedCertificate::Always,
        };
        let (b3, w3c) = (
            settings.bool("router/tracing/b3"),
            settings.bool("router/tracing/w3c"),
        );
        let key = settings.text("router/tracing/key");
        let (added, removed) = (
            settings.text("router/headers/add_to_responses"),
            settings.text("router/headers/remove_from_responses"),
        );
        // The configuration holds nothing but headers here.
        let add = elements(&added, '|').filter_map(header).collect();
        let remove = elements(&removed, ',')
            .filter_map(|name| name.parse().ok())
            .collect();
        HeaderRules {
            touch_requests: b3
                || w3c
                || forwarded_proto != ForwardedProto::Keep
                || forwarded_certificate != ForwardedCertificate::Always,
            forwarded_proto,
            forwarded_certificate,
            b3,
            w3c,
            w3c_tenant: settings.text("router/tracing/w3c_tenant").into(),
            trace_key: (!key.is_empty()).then(|| key.into()),
            add,
            remove,
        }
    }

    /// Before the usual headers are completed.
    pub fn on_request(&self, headers: &mut HeaderMap, known: Known<'_>, ids: impl FnOnce() -> Ids) {
        if !known.came_back {
            match self.forwarded_proto {
                ForwardedProto::Keep => {}
                ForwardedProto::Https => {
                    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
                }
                // It is put there where it is missing.
                ForwardedProto::Own => {
                    headers.remove(X_FORWARDED_PROTO);
                }
            }
            match (self.forwarded_certificate, known.certificate) {
                (ForwardedCertificate::Always, _) | (ForwardedCertificate::IfShown, Some(_)) => {}
                (ForwardedCertificate::IfShown | ForwardedCertificate::Own, None) => {
                    headers.remove(X_FORWARDED_CLIENT_CERT);
                }
                (ForwardedCertificate::Own, Some(certificate)) => {
                    headers.insert(X_FORWARDED_CLIENT_CERT, certificate.clone());
                }
            }
        }
        if self.b3 || self.w3c {
            let ids = ids();
            if self.b3 {
                trace_context::add_b3(headers, ids);
            }
            if self.w3c {
                trace_context::add_w3c(headers, ids, &self.w3c_tenant);
            }
        }
    }

    /// Whether the client may know who answered.
    pub fn may_know(&self, headers: &HeaderMap) -> bool {
        self.trace_key.as_deref().is_some_and(|key| {
            headers
                .get(X_VCAP_TRACE)
                .is_some_and(|value| value.as_bytes() == key.as_bytes())
        })
    }

    pub fn touch_responses(&self) -> bool {
        !self.add.is_empty() || !self.remove.is_empty()
    }

    pub fn on_response(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.add {
            if !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
    }
}

/// Says who answered.
pub fn tell(headers: &mut HeaderMap, router: &str, endpoint: &str) {
    for (name, text) in [
        (X_VCAP_ROUTER, router),
        (X_VCAP_BACKEND, endpoint),
        (X_CF_ROUTE_ENDPOINT, endpoint),
    ] {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
}

/// The elements of a list as settings hold it.
pub fn elements(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator)
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

/// `Name: value`
fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: Ids = Ids { trace: 1, span: 2 };

    fn rules(values: &[(&str, &str)]) -> HeaderRules {
        let texts: Vec<(&str, String)> = values
            .iter()
            .map(|(path, text)| {
                let key = proto::config::Key::find(path).expect("a key");
                let value = key.parse(text).expect("a value");
                (*path, value.to_json().to_string())
            })
            .collect();
        let stored = texts.iter().map(|(path, text)| (*path, text.as_str()));
        HeaderRules::read(&Settings::from_stored(stored).0)
    }

    fn said(rules: &HeaderRules, shown: bool, came_back: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("forged"));
        headers.insert(X_FORWARDED_CLIENT_CERT, HeaderValue::from_static("forged"));
        let certificate = HeaderValue::from_static("shown");
        let known = Known {
            certificate: shown.then_some(&certificate),
            came_back,
        };
        rules.on_request(&mut headers, known, || IDS);
        headers
    }

    #[test]
    fn nothing_is_touched_by_default() {
        let rules = HeaderRules::read(&Settings::default());
        assert!(!rules.touch_requests && rules.add.is_empty() && rules.remove.is_empty());
        assert!(!rules.may_know(&HeaderMap::new()));
    }

    #[test]
    fn a_clients_certificate_is_said_by_mode() {
        let of = |mode: &str, shown| {
            let rules = rules(&[("router/headers/forwarded_client_cert", mode)]);
            let headers = said(&rules, shown, false);
            let value = headers.get(X_FORWARDED_CLIENT_CERT);
            value.map(|value| value.to_str().unwrap().to_string())
        };
        assert_eq!(of("always_forward", false).as_deref(), Some("forged"));
        assert_eq!(of("forward", false), None);
        assert_eq!(of("forward", true).as_deref(), Some("forged"));
        assert_eq!(of("sanitize_set", false), None);
        assert_eq!(of("sanitize_set", true).as_deref(), Some("shown"));
    }

    #[test]
    fn the_protocol_is_forced_or_cleaned() {
        let of = |mode: &str| {
            let rules = rules(&[("router/headers/forwarded_proto", mode)]);
            let headers = said(&rules, false, false);
            let value = headers.get(X_FORWARDED_PROTO);
            value.map(|value| value.to_str().unwrap().to_string())
        };
        assert_eq!(of("keep").as_deref(), Some("forged"));
        assert_eq!(of("https").as_deref(), Some("https"));
        assert_eq!(of("sanitize"), None);
    }

    #[test]
    fn what_was_said_before_the_route_service_stays() {
        let rules = rules(&[
            ("router/headers/forwarded_proto", "sanitize"),
            ("router/headers/forwarded_client_cert", "sanitize_set"),
        ]);
        let headers = said(&rules, false, true);
        assert_eq!(headers[X_FORWARDED_PROTO], "forged");
        assert_eq!(headers[X_FORWARDED_CLIENT_CERT], "forged");
    }

    #[test]
    fn answers_get_and_lose_headers() {
        let rules = rules(&[
            (
                "router/headers/add_to_responses",
                "Strict-Transport-Security: max-age=1, preload | X-Own: router",
            ),
            (
                "router/headers/remove_from_responses",
                "Server, X-Powered-By",
            ),
        ]);
        let mut headers = HeaderMap::new();
        headers.insert("x-own", HeaderValue::from_static("app"));
        headers.insert("server", HeaderValue::from_static("tomcat"));
        rules.on_response(&mut headers);
        assert_eq!(headers["strict-transport-security"], "max-age=1, preload");
        assert_eq!(headers["x-own"], "app");
        assert!(!headers.contains_key("server"));
    }

    #[test]
    fn what_the_configuration_takes_is_a_header() {
        let key = |path| proto::config::Key::find(path).expect("a key");
        let line = key("router/headers/add_to_responses");
        let name = key("router/headers/remove_from_responses");
        let mut taken = (0, 0);
        for character in (0u8..=255).map(char::from).filter(|c| !"|,".contains(*c)) {
            let text = format!("X: a{character}b");
            if line.parse(&text).is_ok() {
                taken.0 += 1;
                assert!(header(&text).is_some(), "{text:?}");
            }
            let text = format!("X{character}Y");
            if name.parse(&text).is_ok() {
                taken.1 += 1;
                assert!(text.parse::<HeaderName>().is_ok(), "{text:?}");
            }
        }
        assert_eq!(taken, (94, 76));
        assert!(header("X:").is_some() && line.parse("X:").is_ok());
    }

    #[test]
    fn who_knows_the_key_may_know_who_answered() {
        let rules = rules(&[("router/tracing/key", "sesame")]);
        let asks = |key: &'static str| {
            HeaderMap::from_iter([(X_VCAP_TRACE, HeaderValue::from_static(key))])
        };
        assert!(rules.may_know(&asks("sesame")));
        assert!(!rules.may_know(&asks("other")) && !rules.may_know(&HeaderMap::new()));
        let mut headers = HeaderMap::new();
        tell(&mut headers, "10.0.0.1", "10.0.0.2:80");
        assert_eq!(headers["x-vcap-router"], "10.0.0.1");
        assert_eq!(headers["x-vcap-backend"], "10.0.0.2:80");
        assert_eq!(headers["x-cf-routeendpoint"], "10.0.0.2:80");
    }
}
