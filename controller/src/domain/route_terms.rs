//! On which terms a route leads to an app: what its instances are spoken to in, who
//! sees its requests first, and how an instance is chosen.

use proto::bus::router::{RouteLimits, RouteOptions};
use proto::config::Settings;
use proto::config::value::{parse_duration, parse_size};
use proto::ports::Transport;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What instances are spoken to in, unless their destination says otherwise.
pub const HTTP1: &str = "http1";
pub const HTTP2: &str = "http2";

/// The protocol of routes with hosts and paths. Others are named as their transport is.
pub const HTTP: &str = "http";

/// Refuses what instances cannot be spoken to in, whatever the route.
pub fn check_protocol(protocol: &str) -> Result<(), String> {
    match protocol {
        HTTP1 | HTTP2 => Ok(()),
        name if Transport::parse(name).is_some() => Ok(()),
        other => Err(format!(
            "the protocol {other:?} is not supported; supported: {HTTP1}, {HTTP2}, tcp, udp"
        )),
    }
}

/// Refuses what the instances of a route of this protocol cannot be spoken to in, in Cloud Foundry's words.
pub fn check_protocol_of(route: &str, protocol: &str) -> Result<(), String> {
    let valid: &[&str] = match Transport::parse(route) {
        None => &[HTTP1, HTTP2],
        Some(transport) => &[transport.name()],
    };
    match valid.contains(&protocol) {
        true => Ok(()),
        false => Err(format!(
            "Cannot use '{protocol}' protocol for {route} routes; valid options are: [{}].",
            valid.join(", ")
        )),
    }
}

/// The ports that operators give to routes: `10000-10099,10500`.
pub fn reservable_ports(settings: &Settings, transport: Transport) -> String {
    settings.text(match transport {
        Transport::Tcp => "router/tcp/ports",
        Transport::Udp => "router/udp/ports",
    })
}

/// What instances of a route are spoken to in where nobody says.
pub fn usual_protocol(route: &str) -> &'static str {
    Transport::parse(route).map_or(HTTP1, Transport::name)
}

/// Refuses options that mean nothing without requests.
pub fn check_options_of(route: &str, options: &Map<String, Value>) -> Result<(), String> {
    if Transport::parse(route).is_none() {
        return Ok(());
    }
    let other = |(name, value): &(&String, &Value)| *name != "loadbalancing" || *value == "hash";
    match options.iter().find(other) {
        None => Ok(()),
        Some((name, value)) => Err(format!(
            "Route options: '{name}' cannot be {value} for {route} routes; they take loadbalancing (round-robin, least-connection, random-of-two)"
        )),
    }
}

/// What the options of a route are, for people who wrote others.
const OPTIONS: &str = "loadbalancing (round-robin, least-connection, random-of-two, hash), hash_header, hash_balance, \
rate_limit (requests: 100/s, 600/m, 5000/h), body_limit (10M), time_limit (30s), concurrency_limit (50), compression (gzip)";

/// The most requests that a rate can name, and that can be there at a time.
const MOST_REQUESTS: u32 = 1_000_000;
/// The longest time that a route can be given.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Lays changed options over those of a route: null takes one away. Refuses what routers would not do.
pub fn lay_options(
    options: &mut Map<String, Value>,
    changes: &Map<String, Value>,
) -> Result<(), String> {
    for (name, value) in changes {
        match value.is_null() {
            true => options.remove(name),
            false => options.insert(name.clone(), value.clone()),
        };
    }
    // Without its algorithm a header chooses nothing.
    if changes.contains_key("loadbalancing") && !is_hash(options) {
        for name in ["hash_header", "hash_balance"] {
            if !changes.contains_key(name) {
                options.remove(name);
            }
        }
    }
    for (name, value) in options.iter() {
        if !is_option(name, value) {
            return Err(format!(
                "Route options: '{name}' cannot be {value}; options are {OPTIONS}"
            ));
        }
    }
    match (
        is_hash(options),
        options.contains_key("hash_header"),
        options.contains_key("hash_balance"),
    ) {
        (true, false, _) => {
            Err("Route options: loadbalancing 'hash' needs a hash_header".to_string())
        }
        (false, true, _) | (false, _, true) => Err(
            "Route options: hash_header and hash_balance are for loadbalancing 'hash'".to_string(),
        ),
        (true, true, _) | (false, false, false) => Ok(()),
    }
}

fn is_option(name: &str, value: &Value) -> bool {
    match name {
        "loadbalancing" => matches!(
            value.as_str(),
            Some("round-robin" | "least-connection" | "random-of-two" | "hash")
        ),
        "hash_header" => value
            .as_str()
            .is_some_and(|name| http::HeaderName::try_from(name).is_ok()),
        "hash_balance" => balance(value).is_some(),
        "rate_limit" => rate(value).is_some(),
        "body_limit" => size(value).is_some(),
        "time_limit" => time(value).is_some(),
        "concurrency_limit" => count(value).is_some(),
        "compression" => value == "gzip",
        _ => false,
    }
}

fn is_hash(options: &Map<String, Value>) -> bool {
    options
        .get("loadbalancing")
        .is_some_and(|name| name == "hash")
}

/// A value as it would be typed: clients of Cloud Foundry send every option as text.
fn typed(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.trim().to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Over one, or 0 for any.
fn balance(value: &Value) -> Option<f64> {
    let number: f64 = typed(value)?.parse().ok()?;
    (number == 0.0 || (1.1..=10.0).contains(&number)).then_some(number)
}

fn count(value: &Value) -> Option<u32> {
    let number: u32 = typed(value)?.parse().ok()?;
    (1..=MOST_REQUESTS).contains(&number).then_some(number)
}

/// `100`, `100/s`, `600/m`, `5000/h`: requests, and milliseconds of the period.
fn rate(value: &Value) -> Option<(u32, u64)> {
    let text = typed(value)?;
    let (requests, period) = text.split_once('/').unwrap_or((&text, "s"));
    let period = match period {
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some((count(&json!(requests))?, period))
}

/// Bytes; `0` lets no body in.
fn size(value: &Value) -> Option<u64> {
    let text = typed(value)?;
    text.parse().ok().or_else(|| parse_size(&text))
}

/// A number is one of seconds.
fn time(value: &Value) -> Option<Duration> {
    let text = typed(value)?;
    let seconds = text.parse::<f64>().ok();
    let time = match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        None => parse_duration(&text)?,
    };
    (Duration::from_millis(1)..=LONGEST)
        .contains(&time)
        .then_some(time)
}

/// The options as routers are told them.
pub fn told_options(options: &Map<String, Value>) -> Option<RouteOptions> {
    let text = |name: &str| options.get(name)?.as_str().map(str::to_string);
    let (rate, period) = options.get("rate_limit").and_then(rate).unzip();
    let limits = RouteLimits {
        rate,
        rate_period_ms: period,
        body_bytes: options.get("body_limit").and_then(size),
        time_ms: options
            .get("time_limit")
            .and_then(time)
            .and_then(|time| u64::try_from(time.as_millis()).ok()),
        concurrency: options.get("concurrency_limit").and_then(count),
    };
    let told = RouteOptions {
        loadbalancing: text("loadbalancing"),
        hash_header: text("hash_header"),
        hash_balance: options.get("hash_balance").and_then(balance),
        yard_limits: (limits != RouteLimits::default()).then_some(limits),
        yard_compression: text("compression"),
    };
    (told != RouteOptions::default()).then_some(told)
}

/// Refuses what is no address of a route service: routers ask it over TLS only.
pub fn check_route_service_url(url: &str) -> Result<(), String> {
    let authority = url
        .strip_prefix("https://")
        .and_then(|rest| rest.split(['/', '?', '#']).next());
    let host = authority.filter(|authority| !authority.contains('@'));
    let fine = host.is_some_and(|host| {
        let name = host.split(':').next().unwrap_or_default();
        !name.is_empty()
    });
    let reads = url.parse::<http::Uri>().is_ok() && url.len() <= 2048 && !url.contains('#');
    match fine && reads {
        true => Ok(()),
        false => Err("Route service url must be https://, a host, and perhaps a path.".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(before: Value, changes: Value) -> Result<Value, String> {
        let (Value::Object(mut options), Value::Object(changes)) = (before, changes) else {
            panic!("objects");
        };
        lay_options(&mut options, &changes)?;
        Ok(Value::Object(options))
    }

    #[test]
    fn options_are_laid_over_each_other_and_make_sense_together() {
        let hash = json!({"loadbalancing": "hash", "hash_header": "X-User", "hash_balance": "1.5"});
        assert_eq!(laid(json!({}), hash.clone()), Ok(hash.clone()));
        assert_eq!(
            laid(hash.clone(), json!({"loadbalancing": "round-robin"})),
            Ok(json!({"loadbalancing": "round-robin"}))
        );
        assert_eq!(
            laid(hash.clone(), json!({"loadbalancing": null})),
            Ok(json!({}))
        );
        assert_eq!(
            laid(hash, json!({"hash_balance": null})).unwrap()["hash_header"],
            "X-User"
        );
        for bad in [
            json!({"loadbalancing": "hash"}),
            json!({"loadbalancing": "fastest"}),
            json!({"hash_header": "X-User"}),
            json!({"loadbalancing": "hash", "hash_header": "X User"}),
            json!({"loadbalancing": "hash", "hash_header": "X", "hash_balance": 0.5}),
            json!({"weight": 1}),
            json!({"rate_limit": "100/d"}),
            json!({"rate_limit": 0}),
            json!({"rate_limit": "2000000"}),
            json!({"body_limit": "ten"}),
            json!({"body_limit": -1}),
            json!({"time_limit": "2 days"}),
            json!({"time_limit": "NaN"}),
            json!({"time_limit": 0}),
            json!({"concurrency_limit": 0.5}),
            json!({"compression": "br"}),
            json!({"compression": true}),
            json!({"limits": {"rate": 5}}),
        ] {
            assert!(laid(json!({}), bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn routers_are_told_options_that_change_something() {
        let told = |options: Value| told_options(options.as_object().unwrap());
        assert_eq!(told(json!({})), None);
        let hash = told(json!({"loadbalancing": "hash", "hash_header": "X", "hash_balance": "2"}));
        assert_eq!(hash.unwrap().hash_balance, Some(2.0));
        // Of a program, and of a command line that knows text only.
        for limits in [
            json!({"rate_limit": "600/m", "body_limit": 10485760, "time_limit": 2.5, "concurrency_limit": 50}),
            json!({"rate_limit": "600/m", "body_limit": "10M", "time_limit": "2500ms", "concurrency_limit": "50"}),
        ] {
            assert_eq!(laid(json!({}), limits.clone()), Ok(limits.clone()));
            let expected = RouteLimits {
                rate: Some(600),
                rate_period_ms: Some(60_000),
                body_bytes: Some(10 << 20),
                time_ms: Some(2500),
                concurrency: Some(50),
            };
            let told = told(limits).unwrap();
            assert_eq!(told.yard_limits, Some(expected));
            assert_eq!(told.yard_compression, None);
        }
        let packed = told(json!({"compression": "gzip"})).unwrap();
        assert_eq!(packed.yard_compression.as_deref(), Some("gzip"));
        assert_eq!(packed.yard_limits, None);
    }

    #[test]
    fn a_route_with_a_port_takes_no_options_of_requests() {
        let check = |route: &str, options: Value| {
            let options = options.as_object().cloned().unwrap_or_default();
            check_options_of(route, &options)
        };
        assert_eq!(check("tcp", json!({})), Ok(()));
        assert_eq!(
            check("udp", json!({"loadbalancing": "round-robin"})),
            Ok(())
        );
        assert_eq!(check("http", json!({"rate_limit": "1/s"})), Ok(()));
        for bad in [
            json!({"rate_limit": "1/s"}),
            json!({"loadbalancing": "hash", "hash_header": "X"}),
        ] {
            let fault = check("tcp", bad).unwrap_err();
            assert!(fault.contains("for tcp routes"), "{fault}");
        }
    }

    #[test]
    fn a_route_service_is_asked_over_tls() {
        for good in ["https://a.b", "https://a.b:8443/c?d=e"] {
            assert_eq!(check_route_service_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "http://a.b",
            "https://",
            "https://u:p@a",
            "https://a b",
            "https://:80",
        ] {
            assert!(check_route_service_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_protocol_is_one_that_routers_speak() {
        assert_eq!(check_protocol("http1"), Ok(()));
        assert_eq!(check_protocol("http2"), Ok(()));
        assert_eq!(check_protocol("tcp"), Ok(()));
        assert_eq!(check_protocol_of("http", "http2"), Ok(()));
        assert_eq!(check_protocol_of("udp", "udp"), Ok(()));
        assert_eq!(
            check_protocol_of("tcp", "http1").unwrap_err(),
            "Cannot use 'http1' protocol for tcp routes; valid options are: [tcp]."
        );
        assert_eq!(
            check_protocol_of("http", "tcp").unwrap_err(),
            "Cannot use 'tcp' protocol for http routes; valid options are: [http1, http2]."
        );
        assert_eq!(["http", "tcp"].map(usual_protocol), ["http1", "tcp"]);
        for other in ["TCP", "HTTP2", "", "h2c"] {
            let fault = check_protocol(other).unwrap_err();
            assert!(fault.contains("http1, http2"), "{fault}");
        }
    }
}
