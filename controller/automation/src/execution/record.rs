//! The record of an execution, as far as its life depends on it.

use super::event::Effect;
use super::status::Status;
use crate::documents::timestamp;
use crate::runners::Runner;
use serde::{Deserialize, Serialize};

/// An execution. All times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// What runs it.
    pub runner: Runner,
    /// Whether it is part of a workflow.
    pub has_parent: bool,
    /// Its state.
    pub status: Status,
    /// Since when it is in that state.
    pub since: i64,
    /// When it was accepted.
    pub accepted_at: i64,
    /// Since when it waits for a start that is due: its acceptance, or the end of its delay.
    pub waiting_since: i64,
    /// When its work began.
    pub started_at: Option<i64>,
    /// When it ended.
    pub ended_at: Option<i64>,
    /// What holds it, while delayed.
    pub hold: Option<Hold>,
    /// How often it was placed; tells placements apart.
    pub attempt: u32,
    /// Where it is or was placed; none while it waits to be placed (again).
    pub placement: Option<Placement>,
    /// How long its work may take, if it says so.
    pub run_limit: Option<i64>,
    /// How long it waits for an answer, if it is an inquiry.
    pub answer_limit: Option<i64>,
    /// When something was last done for it; what nobody does is done again after a while.
    pub prompted_at: i64,
    /// Whether all was done that is to be done after its end.
    pub concluded: bool,
    /// Its states so far.
    pub log: Vec<LogEntry>,
}

/// What holds a delayed execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Its own delay, until then.
    Until(i64),
    /// A policy.
    Policy(String),
}

/// Where an execution was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The agent.
    pub agent: String,
    /// The how manieth placement this is.
    pub attempt: u32,
}

/// A state and when it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// When.
    pub at: i64,
    /// What.
    pub status: Status,
}

impl LogEntry {
    /// As the API shows it.
    pub fn document(&self) -> serde_json::Value {
        serde_json::json!({"timestamp": timestamp(self.at), "status": self.status})
    }
}

/// A new execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What runs it.
    pub runner: Runner,
    /// Whether it is part of a workflow.
    pub has_parent: bool,
    /// How long it is to be held, milliseconds.
    pub delay: Option<i64>,
    /// How long its work may take, milliseconds.
    pub run_limit: Option<i64>,
    /// How long it waits for an answer, milliseconds.
    pub answer_limit: Option<i64>,
}

impl Execution {
    /// Whether it waits for a policy to let it in, rather than for its own time.
    pub fn is_held_by_policy(&self) -> bool {
        self.status == Status::Delayed && matches!(self.hold, Some(Hold::Policy(_)))
    }

    /// Accepts an execution, and says what is to be done first.
    pub fn accept(accepted: Accepted, now: i64) -> (Execution, Vec<Effect>) {
        let mut execution = Execution {
            runner: accepted.runner,
            has_parent: accepted.has_parent,
            status: Status::Requested,
            since: now,
            accepted_at: now,
            waiting_since: now,
            started_at: None,
            ended_at: None,
            hold: None,
            attempt: 0,
            placement: None,
            run_limit: accepted.run_limit,
            answer_limit: accepted.answer_limit,
            prompted_at: now,
            concluded: false,
            log: Vec::new(),
        };
        execution.enter(Status::Requested, now);
        match accepted.delay {
            Some(delay) if delay > 0 => {
                execution.hold = Some(Hold::Until(now.saturating_add(delay)));
                execution.enter(Status::Delayed, now);
                (execution, Vec::new())
            }
            _ => (execution, vec![Effect::Admit]),
        }
    }

    /// Moves to a state and notes it. Only [`Execution::step`] and [`Execution::accept`] may.
    pub(super) fn enter(&mut self, status: Status, now: i64) {
        self.status = status;
        self.since = now;
        self.prompted_at = now;
        self.log.push(LogEntry { at: now, status });
        if status.is_completed() {
            self.ended_at = Some(now);
            self.hold = None;
        }
    }

    /// How long it took from acceptance to end, in seconds; None while it lives.
    pub fn elapsed_seconds(&self) -> Option<f64> {
        self.ended_at
            .map(|ended_at| (ended_at - self.accepted_at) as f64 / 1000.0)
    }
}
