//! The types of policies, as the API lists them under `/policytypes`.

use crate::documents::derived_id;
use serde_json::{Value, json};

/// A type of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyType {
    /// `action.concurrency`
    Concurrency,
    /// `action.concurrency.attr`
    ConcurrencyByAttribute,
    /// `action.retry`
    Retry,
}

/// All types.
pub fn types() -> [PolicyType; 3] {
    [
        PolicyType::Concurrency,
        PolicyType::ConcurrencyByAttribute,
        PolicyType::Retry,
    ]
}

impl PolicyType {
    /// The type of this reference (`action.retry`).
    pub fn from_reference(reference: &str) -> Option<PolicyType> {
        types()
            .into_iter()
            .find(|kind| kind.reference() == reference)
    }

    /// `action.retry`
    pub fn reference(self) -> String {
        format!("action.{}", self.name())
    }

    fn name(self) -> &'static str {
        match self {
            PolicyType::Concurrency => "concurrency",
            PolicyType::ConcurrencyByAttribute => "concurrency.attr",
            PolicyType::Retry => "retry",
        }
    }

    fn module(self) -> &'static str {
        match self {
            PolicyType::Concurrency => "st2actions.policies.concurrency",
            PolicyType::ConcurrencyByAttribute => "st2actions.policies.concurrency_by_attr",
            PolicyType::Retry => "st2actions.policies.retry",
        }
    }

    fn description(self) -> &'static str {
        match self {
            PolicyType::Concurrency => "At most so many executions of the action at a time.",
            PolicyType::ConcurrencyByAttribute => {
                "At most so many executions of the action at a time that have the same values of some parameters."
            }
            PolicyType::Retry => "Runs the action again when it failed or timed out.",
        }
    }

    /// The parameters of policies of this type, in the schema dialect of [`crate::documents::schema`].
    pub fn parameters(self) -> Value {
        let threshold = json!({
            "type": "integer", "required": true, "minimum": 1,
            "description": "How many executions may be scheduled or running at a time.",
        });
        let action = json!({
            "type": "string", "default": "delay", "enum": ["delay", "cancel"],
            "description": "What becomes of an execution that would be one too many.",
        });
        match self {
            PolicyType::Concurrency => json!({"threshold": threshold, "action": action}),
            PolicyType::ConcurrencyByAttribute => json!({
                "threshold": threshold,
                "action": action,
                "attributes": {
                    "type": "array", "uniqueItems": true,
                    "items": {"type": "string", "minLength": 1},
                    "description": "The parameters whose values tell the executions apart.",
                },
            }),
            PolicyType::Retry => json!({
                "retry_on": {
                    "type": "string", "required": true, "enum": ["failure", "timeout"],
                    "description": "Which ends are retried.",
                },
                "max_retry_count": {
                    "type": "integer", "required": true, "default": 2, "minimum": 1, "maximum": 5,
                    "description": "How often the action is run again before its failure stands.",
                },
                "delay": {
                    "type": "number", "required": false, "minimum": 0, "maximum": 120,
                    "description": "Seconds between an end and the next run.",
                },
            }),
        }
    }

    /// The document of the API.
    pub fn document(self) -> Value {
        let uid = format!("policy_type:action:{}", self.name());
        json!({
            "id": derived_id(&uid),
            "uid": uid,
            "ref": self.reference(),
            "resource_type": "action",
            "name": self.name(),
            "description": self.description(),
            "enabled": true,
            "module": self.module(),
            "parameters": self.parameters(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_reference() {
        for kind in types() {
            assert_eq!(PolicyType::from_reference(&kind.reference()), Some(kind));
            let document = kind.document();
            assert_eq!(document["ref"], kind.reference());
            assert_eq!(document["id"].as_str().map(str::len), Some(24));
        }
        assert_eq!(PolicyType::from_reference("action.colour"), None);
    }
}
