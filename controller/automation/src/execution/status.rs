//! The states of an execution, with the names that clients know.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The state of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Accepted.
    Requested,
    /// Held by a policy or by its own delay.
    Delayed,
    /// Released; being placed, or placed and not started.
    Scheduled,
    /// Started.
    Running,
    /// An inquiry waits for its answer.
    Pending,
    /// A workflow starts nothing new and waits for what runs.
    Pausing,
    /// A workflow rests.
    Paused,
    /// A workflow goes on.
    Resuming,
    /// Being ended on request.
    Canceling,
    /// Ended well. Final.
    Succeeded,
    /// Ended badly. Final.
    Failed,
    /// Ended by a limit of time. Final.
    Timeout,
    /// Started, and nobody knows what became of it. Final.
    Abandoned,
    /// Ended on request. Final.
    Canceled,
}

/// A text that is no status.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{0}\" is not a status of an execution")]
pub struct UnknownStatus(pub String);

impl Status {
    /// All of them, in the order of a life.
    pub const ALL: [Status; 14] = [
        Status::Requested,
        Status::Delayed,
        Status::Scheduled,
        Status::Running,
        Status::Pending,
        Status::Pausing,
        Status::Paused,
        Status::Resuming,
        Status::Canceling,
        Status::Succeeded,
        Status::Failed,
        Status::Timeout,
        Status::Abandoned,
        Status::Canceled,
    ];

    /// As clients write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Requested => "requested",
            Status::Delayed => "delayed",
            Status::Scheduled => "scheduled",
            Status::Running => "running",
            Status::Pending => "pending",
            Status::Pausing => "pausing",
            Status::Paused => "paused",
            Status::Resuming => "resuming",
            Status::Canceling => "canceling",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Timeout => "timeout",
            Status::Abandoned => "abandoned",
            Status::Canceled => "canceled",
        }
    }

    /// Ended; nothing leaves such a state.
    pub fn is_completed(self) -> bool {
        match self {
            Status::Succeeded
            | Status::Failed
            | Status::Timeout
            | Status::Abandoned
            | Status::Canceled => true,
            Status::Requested
            | Status::Delayed
            | Status::Scheduled
            | Status::Running
            | Status::Pending
            | Status::Pausing
            | Status::Paused
            | Status::Resuming
            | Status::Canceling => false,
        }
    }

    /// Ended without a result to rely on.
    pub fn is_failed(self) -> bool {
        matches!(self, Status::Failed | Status::Timeout | Status::Abandoned)
    }

    /// A user may ask for its end. StackStorm leaves out `pending`, so that an inquiry whose workflow
    /// is gone can never be got rid of; here it may be canceled like everything else that waits.
    pub fn is_cancelable(self) -> bool {
        !self.is_completed() && self != Status::Canceling
    }

    /// Takes up a slot of a concurrency policy. Upstream counts `scheduled` and `running` only; a
    /// workflow that pauses or is being canceled still runs something.
    pub fn holds_a_slot(self) -> bool {
        match self {
            Status::Scheduled
            | Status::Running
            | Status::Pausing
            | Status::Resuming
            | Status::Canceling => true,
            Status::Requested
            | Status::Delayed
            | Status::Pending
            | Status::Paused
            | Status::Succeeded
            | Status::Failed
            | Status::Timeout
            | Status::Abandoned
            | Status::Canceled => false,
        }
    }

    /// Waits for its admission.
    pub fn is_waiting(self) -> bool {
        matches!(self, Status::Requested | Status::Delayed)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Status, UnknownStatus> {
        Status::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownStatus(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_reads_back() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(
                serde_json::to_value(status).expect("JSON"),
                serde_json::json!(status.as_str())
            );
        }
        assert_eq!(
            "done".parse::<Status>(),
            Err(UnknownStatus("done".to_owned()))
        );
    }

    #[test]
    fn the_sets_are_those_of_the_contract() {
        let named = |set: fn(Status) -> bool| {
            Status::ALL
                .into_iter()
                .filter(|status| set(*status))
                .map(Status::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            named(Status::is_completed),
            "succeeded failed timeout abandoned canceled"
        );
        assert_eq!(named(Status::is_failed), "failed timeout abandoned");
        assert_eq!(
            named(Status::is_cancelable),
            "requested delayed scheduled running pending pausing paused resuming"
        );
    }
}
