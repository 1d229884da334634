//! What one policy says, read from its parameters.

use super::catalogue::PolicyType;
use crate::documents::schema::{self, Invalid};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

/// A policy of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// `pack.name`
    pub reference: String,
    /// The action it belongs to.
    pub resource: String,
    /// A disabled policy says nothing.
    pub enabled: bool,
    /// What it says.
    pub kind: Kind,
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// So many at a time.
    Concurrency {
        /// How many.
        threshold: usize,
        /// What happens to one too many.
        at_threshold: AtThreshold,
    },
    /// So many at a time with the same values of these parameters.
    ConcurrencyByAttribute {
        /// How many.
        threshold: usize,
        /// What happens to one too many.
        at_threshold: AtThreshold,
        /// The parameters.
        attributes: Vec<String>,
    },
    /// Run again.
    Retry {
        /// After which ends.
        on: RetryOn,
        /// How often at most.
        most: u32,
        /// Milliseconds to wait before.
        delay: i64,
    },
}

/// What happens to an execution that is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AtThreshold {
    /// It waits.
    Delay,
    /// It is canceled.
    Cancel,
}

/// Which ends are retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetryOn {
    /// Failed, or abandoned because its agent was lost.
    Failure,
    /// Timed out.
    Timeout,
}

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// No such type.
    #[error("Referenced policy_type \"{0}\" doesnt exist")]
    Type(String),
    /// The parameters do not fit the type.
    #[error("the parameters of a policy of type {kind} are not valid: {problem}")]
    Parameters {
        /// The type.
        kind: String,
        /// What is wrong.
        problem: Invalid,
    },
}

#[derive(Deserialize)]
struct Limits {
    threshold: usize,
    action: AtThreshold,
    #[serde(default)]
    attributes: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Again {
    retry_on: RetryOn,
    max_retry_count: u32,
    #[serde(default)]
    delay: Option<f64>,
}

impl Kind {
    /// Reads parameters as a policy file has them; defaults are filled in.
    pub fn parse(policy_type: &str, parameters: &Map<String, Value>) -> Result<Kind, PolicyError> {
        let kind = PolicyType::from_reference(policy_type)
            .ok_or_else(|| PolicyError::Type(policy_type.to_owned()))?;
        let refused = |problem| PolicyError::Parameters {
            kind: policy_type.to_owned(),
            problem,
        };
        let properties = kind.parameters();
        let mut given = parameters.clone();
        for (name, property) in properties.as_object().into_iter().flatten() {
            let missing = given.get(name).is_none_or(Value::is_null);
            if let (true, Some(default)) = (missing, property.get("default")) {
                given.insert(name.clone(), default.clone());
            }
        }
        let given = Value::Object(given);
        let schema = json!({
            "type": "object", "properties": properties, "additionalProperties": false,
        });
        schema::validate(&schema, &given).map_err(refused)?;
        let unreadable = |error: serde_json::Error| refused(Invalid::Schema(error.to_string()));
        match kind {
            PolicyType::Concurrency => {
                let limits: Limits = serde_json::from_value(given).map_err(unreadable)?;
                Ok(Kind::Concurrency {
                    threshold: limits.threshold,
                    at_threshold: limits.action,
                })
            }
            PolicyType::ConcurrencyByAttribute => {
                let limits: Limits = serde_json::from_value(given).map_err(unreadable)?;
                Ok(Kind::ConcurrencyByAttribute {
                    threshold: limits.threshold,
                    at_threshold: limits.action,
                    attributes: limits.attributes.unwrap_or_default(),
                })
            }
            PolicyType::Retry => {
                let again: Again = serde_json::from_value(given).map_err(unreadable)?;
                Ok(Kind::Retry {
                    on: again.retry_on,
                    most: again.max_retry_count,
                    // The schema holds it between 0 and 120 seconds.
                    delay: (again.delay.unwrap_or_default() * 1000.0).round() as i64,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parse(policy_type: &str, parameters: Value) -> Result<Kind, String> {
        let parameters = parameters.as_object().expect("an object");
        Kind::parse(policy_type, parameters).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_filled_in() {
        assert_eq!(
            parse("action.concurrency", json!({"threshold": 3})),
            Ok(Kind::Concurrency {
                threshold: 3,
                at_threshold: AtThreshold::Delay
            })
        );
        assert_eq!(
            parse(
                "action.retry",
                json!({"retry_on": "timeout", "delay": 1.5, "max_retry_count": null})
            ),
            Ok(Kind::Retry {
                on: RetryOn::Timeout,
                most: 2,
                delay: 1500
            })
        );
    }

    #[test]
    fn attributes_are_read() {
        assert_eq!(
            parse(
                "action.concurrency.attr",
                json!({"threshold": 1, "action": "cancel", "attributes": ["hosts"]})
            ),
            Ok(Kind::ConcurrencyByAttribute {
                threshold: 1,
                at_threshold: AtThreshold::Cancel,
                attributes: vec!["hosts".to_owned()],
            })
        );
    }

    #[test]
    fn parameters_out_of_bounds_are_refused() {
        for (policy_type, parameters, place) in [
            ("action.concurrency", json!({"threshold": 0}), "threshold"),
            ("action.concurrency", json!({"threshold": "3"}), "threshold"),
            (
                "action.concurrency",
                json!({"threshold": 1, "action": "wait"}),
                "action",
            ),
            (
                "action.retry",
                json!({"retry_on": "failure", "max_retry_count": 6}),
                "max_retry_count",
            ),
            (
                "action.retry",
                json!({"retry_on": "failure", "delay": 121}),
                "delay",
            ),
        ] {
            let error = parse(policy_type, parameters).expect_err("out of bounds");
            assert!(error.contains(&format!("not valid: {place}: ")), "{error}");
        }
        let error = parse("action.retry", json!({})).expect_err("no condition");
        assert!(
            error.contains("\"retry_on\" is a required property"),
            "{error}"
        );
        let error = parse(
            "action.concurrency",
            json!({"threshold": 1, "attributes": []}),
        )
        .expect_err("a parameter of another type");
        assert!(error.contains("attributes"), "{error}");
        assert_eq!(
            parse("action.colour", json!({})),
            Err("Referenced policy_type \"action.colour\" doesnt exist".to_owned())
        );
    }
}
