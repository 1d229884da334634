//! On which terms a route leads to an app: what its instances are spoken to in, who
//! sees its requests first, and how an instance is chosen.

use proto::bus::router::RouteOptions;
use serde_json::{Map, Value};

/// What instances are spoken to in, unless their destination says otherwise.
pub const HTTP1: &str = "http1";
pub const HTTP2: &str = "http2";

/// Refuses what instances cannot be spoken to in.
pub fn check_protocol(protocol: &str) -> Result<(), String> {
    match protocol {
        HTTP1 | HTTP2 => Ok(()),
        other => Err(format!(
            "the protocol {other:?} is not supported; supported: {HTTP1}, {HTTP2}"
        )),
    }
}

/// What the options of a route are, for people who wrote others.
const OPTIONS: &str =
    "loadbalancing (round-robin, least-connection, random-of-two, hash), hash_header, hash_balance";

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
        let fine = match (name.as_str(), value) {
            ("loadbalancing", Value::String(name)) => {
                matches!(
                    name.as_str(),
                    "round-robin" | "least-connection" | "random-of-two" | "hash"
                )
            }
            ("hash_header", Value::String(name)) => {
                http::HeaderName::try_from(name.as_str()).is_ok()
            }
            ("hash_balance", value) => balance(value).is_some(),
            _ => false,
        };
        if !fine {
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

fn is_hash(options: &Map<String, Value>) -> bool {
    options
        .get("loadbalancing")
        .is_some_and(|name| name == "hash")
}

/// Over one, or 0 for any. Some clients send it as text.
fn balance(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (number == 0.0 || (1.1..=10.0).contains(&number)).then_some(number)
}

/// The options as routers are told them.
pub fn told_options(options: &Map<String, Value>) -> Option<RouteOptions> {
    let text = |name: &str| options.get(name)?.as_str().map(str::to_string);
    Some(RouteOptions {
        loadbalancing: Some(text("loadbalancing")?),
        hash_header: text("hash_header"),
        hash_balance: options.get("hash_balance").and_then(balance),
    })
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
    use serde_json::json;

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
        for other in ["tcp", "HTTP2", "", "h2c"] {
            let fault = check_protocol(other).unwrap_err();
            assert!(fault.contains("http1, http2"), "{fault}");
        }
    }
}
