//! Services that users provide themselves: what may be said of one, and how an app is told of it.
//!
//! What a newcomer gets wrong: Linux takes at most 128 KiB in one variable, and all that an instance starts
//! with travels in one message. What is bound is therefore bounded as a whole, not only service by service,
//! and also where a service that is bound already gets other credentials.

use serde_json::{Map, Value, json};

/// Of a binding.
const LONGEST_NAME: usize = 255;
/// Of one service, written as JSON.
const LARGEST_CREDENTIALS: usize = 32 << 10;
/// Of all that an app is told of its services.
const LARGEST_TOGETHER: usize = 64 << 10;
/// Of all tags of a service together, as in Cloud Foundry.
const LONGEST_TAGS: usize = 2048;

/// What an app may call a service. The error, here as below, is a sentence for the user.
pub fn check_binding_name(name: &str) -> Result<(), String> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fits) {
        return Err(format!(
            "Name must have 1 to {LONGEST_NAME} letters, digits, '_' or '-'"
        ));
    }
    Ok(())
}

pub fn check_credentials(credentials: &Map<String, Value>) -> Result<(), String> {
    let size = json!(credentials).to_string().len();
    if size > LARGEST_CREDENTIALS {
        return Err(format!(
            "Credentials have {size} bytes, at most {LARGEST_CREDENTIALS} fit"
        ));
    }
    let holds_nul = credentials
        .iter()
        .any(|(name, value)| name.contains('\0') || has_nul(value));
    if holds_nul {
        return Err("Credentials must not contain a NUL".to_string());
    }
    Ok(())
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(list) => list.iter().any(has_nul),
        Value::Object(map) => map
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

pub fn check_tags(tags: &[String]) -> Result<(), String> {
    let length: usize = tags.iter().map(|tag| tag.chars().count()).sum();
    if length > LONGEST_TAGS {
        return Err(format!(
            "Tags must be at most {LONGEST_TAGS} characters together, not {length}"
        ));
    }
    if tags
        .iter()
        .any(|tag| tag.is_empty() || tag.chars().any(char::is_control))
    {
        return Err("Tags must be texts without control characters".to_string());
    }
    Ok(())
}

/// A binding, with all that is said of it.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    pub binding_guid: &'a str,
    pub binding_name: Option<&'a str>,
    pub instance_guid: &'a str,
    pub instance_name: &'a str,
    pub tags: &'a [String],
    pub credentials: &'a Map<String, Value>,
}

impl Bound<'_> {
    /// As it travels to agents and stands in `VCAP_SERVICES`.
    pub fn document(&self) -> Value {
        json!({
            "label": proto::services::USER_PROVIDED,
            "name": self.binding_name.unwrap_or(self.instance_name),
            "tags": self.tags,
            "instance_guid": self.instance_guid,
            "instance_name": self.instance_name,
            "binding_guid": self.binding_guid,
            "binding_name": self.binding_name,
            "credentials": self.credentials,
            "syslog_drain_url": null,
            "volume_mounts": [],
        })
    }
}

/// Whether all that is bound to an app can be told to it.
pub fn check_room(bindings: &[Value]) -> Result<(), String> {
    let size = proto::services::vcap_services(bindings).to_string().len();
    if size > LARGEST_TOGETHER {
        return Err(format!(
            "The services bound to the app come to {size} bytes, at most {LARGEST_TOGETHER} fit"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn names_of_bindings_are_words() {
        for name in ["db", "my-db_2", "9"] {
            assert_eq!(check_binding_name(name), Ok(()), "{name}");
        }
        for name in ["", "my db", "a/b", "..", &"n".repeat(256)] {
            assert!(check_binding_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn credentials_fit_into_an_environment() {
        let check = |value| check_credentials(&credentials(value));
        assert_eq!(
            check(json!({})).and(check(json!({"a": [1, {"b": null}]}))),
            Ok(())
        );
        assert!(check(json!({"a": [{"b": "x\0y"}]})).is_err());
        assert!(check(json!({"a\0": 1})).is_err());
        assert_eq!(
            check(json!({"a": "\\u0000"})),
            Ok(()),
            "no NUL, but its name"
        );
        assert!(check(json!({"a": "x".repeat(LARGEST_CREDENTIALS)})).is_err());
    }

    #[test]
    fn tags_are_bounded_together() {
        let tag = "t".repeat(1024);
        assert_eq!(check_tags(&[tag.clone(), tag.clone()]), Ok(()));
        assert!(check_tags(&[tag.clone(), tag, "t".into()]).is_err());
        assert!(check_tags(&[String::new()]).is_err());
    }

    #[test]
    fn what_is_bound_fits_together() {
        let large = credentials(json!({"a": "x".repeat(30 << 10)}));
        let bound = Bound {
            binding_guid: "b",
            binding_name: None,
            instance_guid: "i",
            instance_name: "db",
            tags: &[],
            credentials: &large,
        };
        let document = bound.document();
        assert_eq!(document["name"], "db");
        assert_eq!(check_room(&[document.clone(), document.clone()]), Ok(()));
        let fault = check_room(&[document.clone(), document.clone(), document]).unwrap_err();
        assert!(fault.contains("at most 65536"), "{fault}");
        let named = Bound {
            binding_name: Some("main"),
            ..bound
        };
        assert_eq!(named.document()["name"], "main");
        assert_eq!(named.document()["instance_name"], "db");
    }
}
