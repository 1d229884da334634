//! One sensor on this agent: which order counts, what it watches, when it is started again.
//!
//! A sensor has no end of its own: whatever it dies of, it is started again, the later the more
//! often it dies. Its orders name the triggers that it watches from its start, and its token; changes
//! that come while it runs are told to it, and kept for its next start.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Wait before the first restart, longest one, and how long a life makes them forgotten.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// What to do with an order, given the generation that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing of it is here.
    Begin,
    /// It replaces what is here.
    Replace,
    /// It is here already.
    Same,
    /// A newer one is here, or was stopped.
    Outdated,
}

/// `here`: the generation that runs; `stopped`: the newest that was told to stop.
pub fn judge(given: i64, here: Option<i64>, stopped: Option<i64>) -> Verdict {
    if stopped.is_some_and(|stopped| given <= stopped) {
        return Verdict::Outdated;
    }
    match here {
        None => Verdict::Begin,
        Some(here) if given > here => Verdict::Replace,
        Some(here) if given == here => Verdict::Same,
        Some(_) => Verdict::Outdated,
    }
}

/// The waits between restarts.
#[derive(Debug, Clone, Copy, Default)]
pub struct BackOff {
    last: Option<Duration>,
}

impl BackOff {
    /// How long to wait after a life of this length.
    pub fn after(&mut self, lived: Duration) -> Duration {
        let wait = match self.last {
            Some(last) if lived < GOOD_LIFE => (last * 2).min(LONGEST),
            Some(_) | None => FIRST,
        };
        self.last = Some(wait);
        wait
    }
}

/// What happened to a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Create,
    Update,
    Delete,
}

impl Change {
    pub fn parse(text: &str) -> Option<Change> {
        match text {
            "create" => Some(Change::Create),
            "update" => Some(Change::Update),
            "delete" => Some(Change::Delete),
            _ => None,
        }
    }

    /// What the sensor's wrapper calls it.
    fn event(self) -> &'static str {
        match self {
            Change::Create => "add_trigger",
            Change::Update => "update_trigger",
            Change::Delete => "remove_trigger",
        }
    }
}

/// The line that tells a running sensor.
pub fn line(change: Change, trigger: &Value) -> Vec<u8> {
    one_line(&json!({ "event": change.event(), "trigger": trigger }))
}

/// The line that gives a running sensor its new token.
pub fn token_line(token: &str) -> Vec<u8> {
    one_line(&json!({ "event": "token", "token": token }))
}

fn one_line(event: &Value) -> Vec<u8> {
    let mut line = event.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// The orders of a sensor, an object.
pub fn orders(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(orders)) => Ok(orders),
        Ok(_) => Err("the orders are no object".to_string()),
        Err(error) => Err(format!("the orders are not JSON: {error}")),
    }
}

/// Keeps a change for the next start.
pub fn keep(orders: &mut Map<String, Value>, change: Change, trigger: &Value) {
    let triggers = orders.entry("triggers").or_insert_with(|| json!([]));
    if !triggers.is_array() {
        *triggers = json!([]);
    }
    let Some(list) = triggers.as_array_mut() else {
        return;
    };
    let is_it = |other: &Value| identity(other) == identity(trigger);
    match change {
        Change::Delete => list.retain(|other| !is_it(other)),
        Change::Create | Change::Update => match list.iter_mut().find(|other| is_it(other)) {
            Some(known) => *known = trigger.clone(),
            None => list.push(trigger.clone()),
        },
    }
}

/// Keeps a new token for the next start.
pub fn keep_token(orders: &mut Map<String, Value>, token: &str) {
    orders.insert("token".to_string(), json!(token));
}

/// By what a trigger is known: its id, else its ref.
fn identity(trigger: &Value) -> Option<&str> {
    trigger["id"].as_str().or_else(|| trigger["ref"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_generation_counts() {
        assert_eq!(judge(5, None, None), Verdict::Begin);
        assert_eq!(judge(5, Some(4), None), Verdict::Replace);
        assert_eq!(judge(5, Some(5), None), Verdict::Same);
        assert_eq!(judge(5, Some(6), None), Verdict::Outdated);
        assert_eq!(judge(5, None, Some(5)), Verdict::Outdated);
        assert_eq!(judge(6, None, Some(5)), Verdict::Begin);
    }

    #[test]
    fn the_waits_double_and_are_forgotten_after_a_good_life() {
        let mut waits = BackOff::default();
        let short = Duration::from_secs(1);
        let seconds: Vec<u64> = (0..9).map(|_| waits.after(short).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(waits.after(GOOD_LIFE), FIRST);
        assert_eq!(waits.after(short), FIRST * 2);
    }

    #[test]
    fn changes_of_triggers_are_kept_for_the_next_start() {
        let mut kept = orders(br#"{"pack": "p", "triggers": [{"id": "a"}]}"#).expect("an object");
        keep(&mut kept, Change::Create, &json!({"id": "b", "x": 1}));
        keep(&mut kept, Change::Update, &json!({"id": "b", "x": 2}));
        keep(&mut kept, Change::Update, &json!({"ref": "p.c"}));
        keep(&mut kept, Change::Delete, &json!({"id": "a"}));
        keep(&mut kept, Change::Delete, &json!({"id": "never"}));
        assert_eq!(
            kept["triggers"],
            json!([{"id": "b", "x": 2}, {"ref": "p.c"}])
        );
        let mut none = orders(br#"{"pack": "p", "triggers": null}"#).expect("an object");
        keep(&mut none, Change::Create, &json!({"id": "b"}));
        assert_eq!(none["triggers"], json!([{"id": "b"}]));
        assert!(orders(b"[]").is_err() && orders(b"{").is_err());
    }

    #[test]
    fn a_change_is_one_line_and_so_is_a_token() {
        let told = line(Change::Delete, &json!({"id": "a\nb"}));
        let text = String::from_utf8(told).expect("text");
        assert_eq!(text.matches('\n').count(), 1);
        let event: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(event["event"], "remove_trigger");
        assert_eq!(Change::parse("create"), Some(Change::Create));
        assert_eq!(Change::parse("x"), None);
        assert_eq!(
            token_line("t-2"),
            b"{\"event\":\"token\",\"token\":\"t-2\"}\n"
        );
        let mut kept = orders(br#"{"token": "t-1", "pack": "p"}"#).expect("an object");
        keep_token(&mut kept, "t-2");
        assert_eq!(Value::Object(kept), json!({"token": "t-2", "pack": "p"}));
    }
}
