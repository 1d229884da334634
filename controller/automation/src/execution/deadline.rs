//! How long an execution may stay in a state, and what happens then.

use super::record::{Execution, Hold};
use super::status::Status;
use crate::runners::Work;

/// The limits that hold when an execution brings none of its own. Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// After this, what should have been done is done again: an admission, a placement, an order to
    /// children, a look of the conductor.
    pub prompt_again: i64,
    /// How long an execution waits to be admitted and placed before it fails.
    pub longest_wait: i64,
    /// How long an agent may take from being chosen to the start of the work.
    pub start: i64,
    /// How often the work is placed before it fails.
    pub most_placements: u32,
    /// Between the second placement that came to nothing and the third; doubled each time up to
    /// [`longest_pause`](Settings::longest_pause).
    pub first_pause: i64,
    pub longest_pause: i64,
    /// How long work on an agent may take if it does not say so itself.
    pub longest_run: i64,
    /// How much longer than its limit work may seem to run: the agent enforces the limit, this is for
    /// the case that its report does not come.
    pub report: i64,
    /// How long a workflow may take, pauses included.
    pub longest_workflow: i64,
    /// How long an inquiry waits if it does not say so itself.
    pub longest_question: i64,
    /// How long the end may take that somebody asked for.
    pub cancel: i64,
}

impl Default for Settings {
    fn default() -> Settings {
        const SECOND: i64 = 1000;
        const HOUR: i64 = 3600 * SECOND;
        Settings {
            prompt_again: 30 * SECOND,
            longest_wait: 24 * HOUR,
            start: 60 * SECOND,
            most_placements: 100,
            first_pause: 250,
            longest_pause: 15 * SECOND,
            longest_run: 24 * HOUR,
            report: 30 * SECOND,
            longest_workflow: 30 * 24 * HOUR,
            longest_question: 24 * HOUR,
            cancel: 120 * SECOND,
        }
    }
}

impl Settings {
    /// How long to wait when this many placements came to nothing. An agent that refuses answers within
    /// a millisecond: without a pause an execution would use up its placements before anything changes.
    pub(super) fn pause_before_placement(&self, placements: u32) -> i64 {
        let Some(doublings) = placements.checked_sub(2) else {
            return 0;
        };
        let pause = self.first_pause.saturating_mul(1 << doublings.min(20));
        pause.min(self.longest_pause)
    }
}

/// A time at which something has to happen if nothing else does before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When, Unix milliseconds. [`Event::TimedOut`](super::Event::TimedOut) is due then.
    pub at: i64,
    /// What is overdue then.
    pub overdue: Overdue,
}

/// What is overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overdue {
    /// The end of a delay: nothing is wrong.
    Delay,
    /// Something has to be done again.
    Prompt,
    /// The start at the chosen agent.
    Start,
    /// Admission and placement altogether.
    Wait,
    /// The answer of a person.
    Answer,
    /// The end of the work.
    Run,
    /// The end that somebody asked for.
    Cancel,
}

impl Execution {
    /// The next deadline. None only if the execution has ended and all was done about it.
    pub fn deadline(&self, settings: &Settings) -> Option<Deadline> {
        let after = |from: i64, limit: i64, overdue| Deadline {
            at: from.saturating_add(limit),
            overdue,
        };
        let again = after(self.prompted_at, settings.prompt_again, Overdue::Prompt);
        let wait = after(self.waits_since(), settings.longest_wait, Overdue::Wait);
        let started_at = self.started_at.unwrap_or(self.since);
        let whole = after(started_at, settings.longest_workflow, Overdue::Run);
        match self.status {
            Status::Requested => Some(earlier(again, wait)),
            Status::Delayed => match self.hold {
                Some(Hold::Until(at)) => Some(Deadline {
                    at,
                    overdue: Overdue::Delay,
                }),
                Some(Hold::Policy(_)) | None => Some(earlier(again, wait)),
            },
            Status::Scheduled if self.placement.is_some() => Some(earlier(
                after(self.prompted_at, settings.start, Overdue::Start),
                wait,
            )),
            Status::Scheduled => Some(earlier(again, wait)),
            Status::Running => match self.runner.work() {
                Work::Workflow => Some(earlier(again, whole)),
                Work::Agent | Work::Here | Work::Inquiry | Work::Refused => {
                    let limit = self.run_limit.unwrap_or(settings.longest_run);
                    Some(after(
                        started_at,
                        limit.saturating_add(settings.report),
                        Overdue::Run,
                    ))
                }
            },
            Status::Pausing | Status::Resuming => Some(earlier(again, whole)),
            Status::Paused => Some(whole),
            Status::Pending => Some(after(
                self.since,
                self.answer_limit.unwrap_or(settings.longest_question),
                Overdue::Answer,
            )),
            Status::Canceling => Some(earlier(
                again,
                after(self.since, settings.cancel, Overdue::Cancel),
            )),
            Status::Succeeded
            | Status::Failed
            | Status::Timeout
            | Status::Abandoned
            | Status::Canceled => (!self.concluded).then_some(again),
        }
    }

    /// Since when it waits for others rather than for its own time.
    fn waits_since(&self) -> i64 {
        match self.hold {
            Some(Hold::Until(at)) => at,
            Some(Hold::Policy(_)) | None => self.waiting_since,
        }
    }

    /// The deadline that has passed, if one has.
    pub(super) fn overdue(&self, now: i64, settings: &Settings) -> Option<Overdue> {
        self.deadline(settings)
            .filter(|deadline| deadline.at <= now)
            .map(|deadline| deadline.overdue)
    }
}

/// The earlier of two; of two at the same time the graver, which comes later in [`Overdue`].
fn earlier(one: Deadline, other: Deadline) -> Deadline {
    let graver = other.at == one.at && other.overdue > one.overdue;
    if other.at < one.at || graver {
        other
    } else {
        one
    }
}
