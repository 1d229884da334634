//! URLs: the API's, those of its resources, those of apps. Pure.

use proto::api::Route;
use std::net::IpAddr;

/// What a user types as API address, made whole: scheme added, slashes at the end taken away.
pub fn normalize_api(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    if text.is_empty() || text.ends_with(':') {
        return Err(format!(
            "{text:?} is no address of an API: it looks like http://api.yard.internal:8080"
        ));
    }
    let whole = if text.contains("://") {
        text.to_string()
    } else {
        format!("http://{text}")
    };
    let url = reqwest::Url::parse(&whole)
        .map_err(|error| format!("{text:?} is no address of an API: {error}"))?;
    if url.scheme() == "https" {
        return Err(format!("{text:?}: only http is spoken by this client"));
    }
    if url.scheme() != "http" || url.host_str().is_none_or(str::is_empty) {
        return Err(format!(
            "{text:?} is no address of an API: it looks like http://api.yard.internal:8080"
        ));
    }
    Ok(whole)
}

/// `yard.internal` of `http://api.yard.internal:8080`.
pub fn domain_of_api(api: &str) -> Option<String> {
    let url = reqwest::Url::parse(api).ok()?;
    let host = url.host_str()?;
    host.strip_prefix("api.")
        .filter(|domain| !domain.is_empty())
        .map(str::to_string)
}

/// The address of the cluster's host `name`, beside its API: `http://st2.yard.internal:8080`.
pub fn beside_api(api: &str, name: &str) -> Option<String> {
    domain_of_api(api)?;
    let (scheme, rest) = api.split_once("://")?;
    let rest = rest.strip_prefix("api.")?;
    Some(format!("{scheme}://{name}.{rest}"))
}

/// A name as one part of a path.
pub fn segment(name: &str) -> String {
    encode(name)
}

/// Appends a query. A comma inside a value is data, not a separator of a list: the contract wants
/// it encoded twice.
pub fn with_query(url: &str, query: &[(&str, &str)]) -> String {
    if query.is_empty() {
        return url.to_string();
    }
    let mut text = url.to_string();
    for (index, (name, value)) in query.iter().enumerate() {
        text.push(if index == 0 && !url.contains('?') {
            '?'
        } else {
            '&'
        });
        text.push_str(&encode(name));
        text.push('=');
        text.push_str(&encode(value));
    }
    text
}

/// A name inside a filter that takes a list.
pub fn item(name: &str) -> String {
    name.replace(',', "%2C")
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~[],".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The path and query of `href` at the address `api`.
pub fn rebase(href: &str, api: &str) -> String {
    match reqwest::Url::parse(href) {
        Ok(url) => {
            let query = url
                .query()
                .map(|query| format!("?{query}"))
                .unwrap_or_default();
            format!("{api}{}{query}", url.path())
        }
        Err(_) => format!("{api}/{}", href.trim_start_matches('/')),
    }
}

/// Where an app answers, and how to ask it from this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppUrl {
    pub url: String,
    host: String,
    port: u16,
    explicit_port: bool,
    /// It answers requests of HTTP.
    requests: bool,
}

impl AppUrl {
    /// Of a route with a port that port, which the router has too.
    pub fn of(api: &str, route: &Route) -> AppUrl {
        match route.port {
            None => AppUrl::new(api, &route.url),
            Some(port) => AppUrl {
                url: format!("{}://{}", route.protocol, route.url),
                host: route.url.split(':').next().unwrap_or_default().to_string(),
                port,
                explicit_port: true,
                requests: false,
            },
        }
    }

    /// `route` is `host.domain/path` as the API writes it; scheme and port are those of the API,
    /// because one router serves both.
    fn new(api: &str, route: &str) -> AppUrl {
        let parsed = reqwest::Url::parse(api).ok();
        let scheme = parsed
            .as_ref()
            .map_or("http", |url| url.scheme())
            .to_string();
        let default = if scheme == "https" { 443 } else { 80 };
        let port = parsed
            .as_ref()
            .and_then(|url| url.port())
            .unwrap_or(default);
        let (host, path) = match route.split_once('/') {
            Some((host, path)) => (host, format!("/{path}")),
            None => (route, "/".to_string()),
        };
        let explicit_port = port != default;
        let authority = if explicit_port {
            format!("{host}:{port}")
        } else {
            host.to_string()
        };
        AppUrl {
            url: format!("{scheme}://{authority}{path}"),
            host: host.to_string(),
            port,
            explicit_port,
            requests: true,
        }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// A line for the shell that reaches the app, also where its name cannot be looked up. None: only its own
    /// clients can say anything to it.
    pub fn curl(&self, name_resolves: bool, address: Option<IpAddr>) -> Option<String> {
        self.requests.then(|| self.command(name_resolves, address))
    }

    fn command(&self, name_resolves: bool, address: Option<IpAddr>) -> String {
        match address {
            Some(address) if !name_resolves => {
                let address = match address {
                    IpAddr::V4(address) => address.to_string(),
                    IpAddr::V6(address) => format!("[{address}]"),
                };
                format!(
                    "curl --resolve {}:{}:{address} {}",
                    self.host, self.port, self.url
                )
            }
            _ => format!("curl {}", self.url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_address_is_completed() {
        assert_eq!(
            normalize_api("api.yard.internal:8080/"),
            Ok("http://api.yard.internal:8080".into())
        );
        assert_eq!(normalize_api("http://api.x"), Ok("http://api.x".into()));
        assert!(normalize_api("ftp://api.x").is_err());
        assert!(normalize_api("http://").is_err());
        assert_eq!(
            domain_of_api("http://api.yard.internal:8080").as_deref(),
            Some("yard.internal")
        );
        assert_eq!(domain_of_api("http://127.0.0.1:8080"), None);
    }

    #[test]
    fn other_hosts_stand_beside_the_api() {
        assert_eq!(
            beside_api("http://api.yard.internal:8080", "st2").as_deref(),
            Some("http://st2.yard.internal:8080")
        );
        assert_eq!(beside_api("http://127.0.0.1:8080", "st2"), None);
        assert_eq!(segment("a/b c.d"), "a%2Fb%20c.d");
    }

    #[test]
    fn queries_keep_commas_of_names_apart() {
        assert_eq!(
            with_query("http://a/v3/apps", &[("names", &item("a,b c"))]),
            "http://a/v3/apps?names=a%252Cb%20c"
        );
        assert_eq!(
            with_query("http://a/v3/apps?x=1", &[("guids", "1,2")]),
            "http://a/v3/apps?x=1&guids=1,2"
        );
    }

    #[test]
    fn links_are_followed_at_the_address_we_know() {
        assert_eq!(
            rebase("http://api.y:80/v3/jobs/1?a=b", "http://api.y:8080"),
            "http://api.y:8080/v3/jobs/1?a=b"
        );
    }

    #[test]
    fn an_app_answers_at_the_routers_port() {
        let url = AppUrl::new("http://api.yard.internal:8080", "shop.yard.internal/v1");
        assert_eq!(url.url, "http://shop.yard.internal:8080/v1");
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(
            url.command(true, address),
            "curl http://shop.yard.internal:8080/v1"
        );
        assert_eq!(
            url.command(false, address),
            "curl --resolve shop.yard.internal:8080:127.0.0.1 http://shop.yard.internal:8080/v1"
        );
        let url = AppUrl::new("http://api.yard.internal", "shop.yard.internal");
        assert_eq!(url.url, "http://shop.yard.internal/");
        assert_eq!(
            url.command(false, address),
            "curl --resolve shop.yard.internal:80:127.0.0.1 http://shop.yard.internal/"
        );
        let route = serde_json::json!({
            "guid": "r", "protocol": "tcp", "host": "", "path": "", "port": 10101, "url": "tcp.yard.internal:10101",
        });
        let route: Route = serde_json::from_value(route).expect("a route");
        let url = AppUrl::of("http://api.yard.internal:8080", &route);
        assert_eq!(url.url, "tcp://tcp.yard.internal:10101");
        assert_eq!(
            (url.host(), url.curl(true, address)),
            ("tcp.yard.internal", None)
        );
    }
}
