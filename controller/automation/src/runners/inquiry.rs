//! The inquirer: a question to people.

use super::conclude::Conclusion;
use crate::documents::schema::{self, Invalid};
use crate::execution::Status;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

/// What is asked unless the action says otherwise: go on or not.
pub(super) fn default_schema() -> Value {
    json!({
        "title": "response_data",
        "type": "object",
        "properties": {
            "continue": {
                "type": "boolean", "required": true,
                "description": "Would you like to continue the workflow?",
            },
        },
    })
}

/// A question.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Question {
    /// The schema of the answer.
    #[serde(default = "default_schema")]
    pub schema: Value,
    /// Roles that may answer; empty: all.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Users who may answer; empty: all.
    #[serde(default)]
    pub users: Vec<String>,
    /// Where to ask.
    #[serde(default)]
    pub route: String,
    /// Minutes to wait.
    #[serde(default = "default_ttl")]
    pub ttl: i64,
}

fn default_ttl() -> i64 {
    1440
}

/// Why a question or an answer is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InquiryError {
    /// The parameters are no question.
    #[error("the parameters of the inquiry are not valid: {0}")]
    Question(String),
    /// The answer violates the schema.
    #[error("Response for inquiry \"{id}\" did not pass schema validation. {problem}")]
    Response {
        /// The inquiry.
        id: String,
        /// What is wrong.
        problem: Invalid,
    },
    /// Somebody else is asked.
    #[error("Requesting user \"{user}\" does not have permission to respond to inquiry \"{id}\".")]
    NotAsked {
        /// The inquiry.
        id: String,
        /// Who tried.
        user: String,
    },
}

impl Question {
    /// Reads the parameters of the runner, or the result of an inquiry that waits.
    pub fn read(parameters: &Map<String, Value>) -> Result<Question, InquiryError> {
        let given: Map<String, Value> = parameters
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let question: Question = serde_json::from_value(Value::Object(given))
            .map_err(|error| InquiryError::Question(error.to_string()))?;
        if question.ttl < 1 {
            return Err(InquiryError::Question(format!(
                "ttl must be at least 1 minute, not {}",
                question.ttl
            )));
        }
        if let Err(Invalid::Schema(problem)) = schema::validate(&question.schema, &Value::Null) {
            return Err(InquiryError::Question(format!("schema: {problem}")));
        }
        Ok(question)
    }

    /// How long it waits, in milliseconds.
    pub fn limit(&self) -> i64 {
        self.ttl.saturating_mul(60_000)
    }

    /// The result while it waits.
    pub fn result(&self) -> Value {
        json!({
            "schema": self.schema,
            "roles": self.roles,
            "users": self.users,
            "route": self.route,
            "ttl": self.ttl,
        })
    }

    /// Whether this user, who has these roles, may answer. Must be one of the users, if users are
    /// named, and have one of the roles, if roles are named.
    pub fn may_answer(&self, id: &str, user: &str, roles: &[String]) -> Result<(), InquiryError> {
        let by_role = self.roles.is_empty() || roles.iter().any(|role| self.roles.contains(role));
        let by_name = self.users.is_empty() || self.users.iter().any(|name| name == user);
        if by_role && by_name {
            Ok(())
        } else {
            Err(InquiryError::NotAsked {
                id: id.to_owned(),
                user: user.to_owned(),
            })
        }
    }

    /// What the execution comes to with this answer.
    pub fn answered(&self, id: &str, response: &Value) -> Result<Conclusion, InquiryError> {
        schema::validate(&self.schema, response).map_err(|problem| InquiryError::Response {
            id: id.to_owned(),
            problem,
        })?;
        let mut result = self.result();
        result["response"] = response.clone();
        Ok(Conclusion {
            status: Status::Succeeded,
            result,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(parameters: Value) -> Result<Question, InquiryError> {
        Question::read(parameters.as_object().expect("an object"))
    }

    #[test]
    fn without_parameters_it_asks_whether_to_go_on() {
        let question = question(json!({"route": null})).expect("a question");
        assert_eq!((question.ttl, question.limit()), (1440, 86_400_000));
        let conclusion = question
            .answered("i1", &json!({"continue": true}))
            .expect("an answer");
        assert_eq!(conclusion.status, Status::Succeeded);
        assert_eq!(conclusion.result["response"], json!({"continue": true}));
        assert_eq!(conclusion.result["route"], "");
        let again = Question::read(conclusion.result.as_object().expect("an object"));
        assert_eq!(again, Ok(question));
    }

    #[test]
    fn an_answer_obeys_the_schema() {
        let question = question(json!({})).expect("a question");
        let error = question
            .answered("i1", &json!({"continue": "yes"}))
            .expect_err("not a boolean")
            .to_string();
        assert!(
            error.starts_with(
                "Response for inquiry \"i1\" did not pass schema validation. continue: "
            ),
            "{error}"
        );
        assert!(question.answered("i1", &json!({})).is_err());
    }

    #[test]
    fn only_those_asked_may_answer() {
        let question =
            question(json!({"users": ["ada"], "roles": ["admin", "ops"]})).expect("a question");
        let roles = ["ops".to_owned()];
        assert_eq!(question.may_answer("i1", "ada", &roles), Ok(()));
        assert!(question.may_answer("i1", "bob", &roles).is_err());
        assert!(question.may_answer("i1", "ada", &[]).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for parameters in [
            json!({"ttl": 0}),
            json!({"ttl": "long"}),
            json!({"schema": {"type": "colour"}}),
        ] {
            assert!(matches!(
                question(parameters),
                Err(InquiryError::Question(_))
            ));
        }
    }
}
