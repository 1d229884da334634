//! The words of an instance's life: states, what happens, what to do.

use crate::domain::crash::{CrashCause, Ending, Exit};
use crate::domain::probe::Check;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Accepted; sandbox and droplet are being made ready.
    Born,
    /// Its process was ordered; it is checked until healthy.
    Starting {
        since: Duration,
        ordered: bool,
        check: Pending,
        last_failure: Option<String>,
    },
    /// Healthy, with its routes.
    Running {
        check: Pending,
        failures: u32,
    },
    Stopping {
        purpose: Purpose,
        step: Step,
    },
    /// Over, nothing of it is left.
    Stopped,
    /// Over, its sandbox is kept for a while.
    Crashed {
        /// When this agent saw it …
        seen: Duration,
        /// … and how long ago it was then: a former agent may have seen it happen.
        age: Duration,
        ending: Ending,
    },
}

/// The next health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// Due then.
    At(Duration),
    /// Under way.
    UnderWay,
    /// None: a process check is answered by the process's exit.
    Never,
}

/// What a stopping instance will have been.
#[derive(Debug, Clone, PartialEq)]
pub enum Purpose {
    Stop(StopCause),
    Crash {
        cause: CrashCause,
        phase: &'static str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    Requested,
    AgentShutdown,
    /// The agent was to be empty by now.
    AgentEvacuation,
}

/// How far a stop is, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is no sandbox yet; waiting for the cancelled preparation to end.
    Cancelling,
    /// Routes are gone; requests under way may end.
    Draining { since: Duration },
    /// TERM was sent.
    Terminating { since: Duration },
    /// KILL was sent.
    Killed { since: Duration },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The sandbox stands and the droplet is mounted.
    SandboxReady,
    /// One of both failed, or the orders were not taken.
    PreparationFailed(String),
    /// The process was started.
    Ordered,
    Checked(Result<(), String>),
    Exited {
        exit: Exit,
        out_of_memory: bool,
    },
    StopRequested(StopCause),
    /// The kept sandbox is to go: a newer crash of the same app, or disk is needed.
    Evicted,
    /// The clock reached [`Instance::next_wake`].
    TimePassed,
}

/// How fast a stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between taking the routes away and TERM, for instances that had routes.
    pub drain: Duration,
    /// Between TERM and KILL.
    pub grace: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Stop waiting for the droplet and the sandbox.
    CancelPreparation,
    /// Tell the sandbox what to run.
    GiveOrders,
    /// Check its health once; the answer is [`Event::Checked`].
    CheckHealth,
    /// Tell the routers, now and in every period.
    Register,
    Unregister,
    Terminate,
    Kill,
    /// Write the state down where a restarted agent finds it.
    Remember,
    /// Tell this state in a beat of its own.
    Beat,
    /// `droplet.exited`, until acknowledged.
    Report(Ending),
    /// A line of the agent in the app's log.
    Say(String),
    /// Remove the sandbox with all that is in it.
    Destroy,
    /// Forget the instance: the last effect of every life.
    Forget,
}

/// Nothing was done, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ignored(pub &'static str);

/// What an instance asked for, and what the cluster grants it.
///
/// The cluster's part changes while it lives. States therefore hold when something began, never
/// when it is to end: whoever changes the terms has planned every wait anew.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    pub check: Check,
    pub start_timeout: Duration,
    pub pace: Pace,
    /// How long a crashed sandbox is kept.
    pub crash_retention: Duration,
    pub memory_mb: u64,
    pub index: u32,
}
