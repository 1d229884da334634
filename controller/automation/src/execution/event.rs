//! What can happen to an execution, and what is to be done then.

use super::record::{Hold, Placement};
use super::status::Status;
use serde_json::Value;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It may not start yet.
    Held(Hold),
    /// What held it is gone.
    Released,
    /// All policies let it through.
    Scheduled,
    /// An agent was chosen for it.
    PlacedOn(String),
    /// Its work is about to begin: at a placement, or here if no agent is needed. Answered with `Ok`,
    /// the work may begin.
    Started(Option<Placement>),
    /// It cannot begin: a parameter cannot be rendered, its files are missing, its runner is refused.
    StartFailed {
        /// Where, if the agent says so.
        at: Option<Placement>,
        /// The result that says why.
        result: Value,
    },
    /// It was asked what only a person can answer.
    Asked {
        /// The question, as result.
        result: Value,
    },
    /// The answer came.
    Answered {
        /// Question and answer, as result.
        result: Value,
    },
    /// The agent did not take it, or never got it: nothing of it began there, and nothing will.
    NotTaken(Placement),
    /// Its work ended.
    Finished {
        /// Where, if on an agent.
        at: Option<Placement>,
        /// How: a final state.
        status: Status,
        /// The result.
        result: Value,
    },
    /// Somebody wants its end.
    CancelAsked {
        /// Who.
        by: String,
    },
    /// Its work was ended on request.
    Canceled(Option<Placement>),
    /// Somebody wants a workflow to rest.
    PauseAsked {
        /// Who.
        by: String,
    },
    /// Nothing of the workflow runs any more.
    Paused,
    /// Somebody wants a workflow to go on.
    ResumeAsked {
        /// Who.
        by: String,
    },
    /// The workflow goes on.
    Resumed,
    /// Its agent is not heard of any more.
    AgentLost(String),
    /// Its agent is there, and does not know it (any more).
    AgentForgot(Placement),
    /// The agent reports work of a placement that is not its present one.
    FoundAt(Placement),
    /// All was done that is to be done after its end.
    Concluded,
    /// A deadline has passed; it is looked up which.
    TimedOut,
    /// A controller took over and wants to know what is to be done.
    ControllerRestarted,
}

impl Event {
    /// What happened, for texts.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Held(_) => "held",
            Event::Released => "released",
            Event::Scheduled => "scheduled",
            Event::PlacedOn(_) => "placed",
            Event::Started(_) => "started",
            Event::StartFailed { .. } => "start failed",
            Event::Asked { .. } => "asked",
            Event::Answered { .. } => "answered",
            Event::NotTaken(_) => "not taken",
            Event::Finished { .. } => "finished",
            Event::CancelAsked { .. } => "cancel asked",
            Event::Canceled(_) => "canceled",
            Event::PauseAsked { .. } => "pause asked",
            Event::Paused => "paused",
            Event::ResumeAsked { .. } => "resume asked",
            Event::Resumed => "resumed",
            Event::AgentLost(_) => "agent lost",
            Event::AgentForgot(_) => "agent forgot",
            Event::FoundAt(_) => "found",
            Event::Concluded => "concluded",
            Event::TimedOut => "timed out",
            Event::ControllerRestarted => "controller restarted",
        }
    }
}

/// Something to be done. All may be done twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask the policies of its action.
    Admit,
    /// Choose an agent.
    Place,
    /// Give the agent its orders.
    Dispatch(Placement),
    /// Do the work here: the runner needs no agent.
    RunHere,
    /// Let the workflow's conductor read its state and go on.
    Conduct,
    /// Tell an agent to end the work (TERM, then KILL), and to forget it.
    Stop(Placement),
    /// Tell all children.
    Children(ToChildren),
    /// Tell the parent workflow that this part of it moved.
    TellParent,
    /// It ended: tell the rules, ask the retry policy, admit others of its action.
    Conclude,
}

/// What children are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToChildren {
    /// End.
    Cancel,
    /// Rest.
    Pause,
    /// Go on.
    Resume,
}
