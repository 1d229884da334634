//! The announcement runner: a message on the event stream.

use super::conclude::Conclusion;
use crate::execution::Status;
use serde_json::{Map, Value};
use thiserror::Error;

/// A message to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// Who is meant.
    pub route: String,
    /// What.
    pub payload: Map<String, Value>,
}

/// Why nothing is announced.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnnouncementError {
    /// The runner is experimental, and the caller has to know that.
    #[error("Experimental flag is missing for action {0}")]
    Experimental(String),
    /// A route is 1 to 255 characters.
    #[error("the route of an announcement must have 1 to 255 characters, not {0}")]
    Route(usize),
}

impl Announcement {
    /// What an action announces: its own parameters, on the route of the runner's.
    pub fn new(
        action: &str,
        runner_parameters: &Map<String, Value>,
        parameters: &Map<String, Value>,
    ) -> Result<Announcement, AnnouncementError> {
        if runner_parameters.get("experimental") != Some(&Value::Bool(true)) {
            return Err(AnnouncementError::Experimental(action.to_owned()));
        }
        let route = runner_parameters
            .get("route")
            .and_then(Value::as_str)
            .unwrap_or("general");
        let length = route.chars().count();
        if !(1..=255).contains(&length) {
            return Err(AnnouncementError::Route(length));
        }
        Ok(Announcement {
            route: route.to_owned(),
            payload: parameters.clone(),
        })
    }

    /// The event's name on the stream.
    pub fn event(&self) -> String {
        format!("st2.announcement__{}", self.route)
    }

    /// What the execution comes to.
    pub fn conclusion(&self) -> Conclusion {
        let mut result = Map::new();
        result.insert("output".to_owned(), Value::Object(self.payload.clone()));
        // A parameter called `output` wins, as upstream.
        result.extend(self.payload.clone());
        Conclusion {
            status: Status::Succeeded,
            result: Value::Object(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn a_message_is_the_parameters_on_a_route() {
        let announcement = Announcement::new(
            "core.announcement",
            &object(json!({"experimental": true, "route": "chatops"})),
            &object(json!({"message": "hi"})),
        )
        .expect("an announcement");
        assert_eq!(announcement.event(), "st2.announcement__chatops");
        let conclusion = announcement.conclusion();
        assert_eq!(conclusion.status, Status::Succeeded);
        assert_eq!(
            conclusion.result,
            json!({"output": {"message": "hi"}, "message": "hi"})
        );
    }

    #[test]
    fn the_flag_and_a_route_are_needed() {
        let attempt =
            |runner: Value| Announcement::new("core.announcement", &object(runner), &Map::new());
        assert_eq!(
            attempt(json!({})).map_err(|error| error.to_string()),
            Err("Experimental flag is missing for action core.announcement".to_owned())
        );
        assert_eq!(
            attempt(json!({"experimental": true, "route": ""})),
            Err(AnnouncementError::Route(0))
        );
        let default = attempt(json!({"experimental": true})).expect("an announcement");
        assert_eq!(default.route, "general");
    }
}
