//! Why an event makes no sense for an execution. The text is for whoever sent it.

use super::status::Status;
use thiserror::Error;

/// An event that is refused; the execution is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Illegal {
    /// Nothing leaves a final state.
    #[error("Execution is already in completed state.")]
    Completed(Status),
    /// It cannot be canceled in this state (any more).
    #[error("Action cannot be canceled. State = {0}.")]
    NotCancelable(Status),
    /// Only workflows rest.
    #[error(
        "Unable to pause or resume the execution because it is not supported by the \"{0}\" runner."
    )]
    NoWorkflow(&'static str),
    /// Only what runs can be paused.
    #[error("Unable to pause the execution because it is not in a running state, but \"{0}\".")]
    NotRunning(Status),
    /// Only what rests can be resumed.
    #[error(
        "Unable to resume the execution because it is in \"{0}\" state and not in \"paused\" state."
    )]
    NotPaused(Status),
    /// The question was answered, or nobody waits for the answer any more.
    #[error("The inquiry cannot be answered: its state is \"{0}\".")]
    NotPending(Status),
    /// The work was placed anew; this placement may not begin.
    #[error(
        "the work was given to somebody else: placement {attempt} is no longer the present one"
    )]
    Superseded {
        /// The placement that asks.
        attempt: u32,
    },
    /// The work is at an agent, but the event does not say at which placement; or the other way round.
    #[error("the event \"{0}\" must name the placement if the work is on an agent, and only then")]
    Placement(&'static str),
    /// It waits for its own time.
    #[error("the execution is held until its delay is over")]
    Early,
    /// The end is no end.
    #[error("the work cannot end in the state \"{0}\"")]
    NotFinal(Status),
    /// The event does not fit the state.
    #[error("the event \"{event}\" does not fit an execution that is {status}")]
    OutOfOrder {
        /// The state.
        status: Status,
        /// The event.
        event: &'static str,
    },
}
