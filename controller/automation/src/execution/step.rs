//! The table: what each event means in each state.

use super::deadline::{Overdue, Settings};
use super::event::{Effect, Event, ToChildren};
use super::illegal::Illegal;
use super::record::{Execution, Hold, Placement};
use super::status::Status;
use crate::runners::{Work, without_outcome};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What became of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The execution changed, or something is to be done.
    Moved(Moved),
    /// Nothing changed: the event came twice, or too late.
    Ignored {
        /// Why it is of no consequence.
        because: &'static str,
    },
}

/// What follows from an event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moved {
    /// What is to be done now.
    pub effects: Vec<Effect>,
    /// The execution's result, if it changes.
    pub result: Option<Value>,
    /// Additions to the execution's context: who asked for what.
    pub context: BTreeMap<&'static str, String>,
}

fn ignored(because: &'static str) -> Result<Answer, Illegal> {
    Ok(Answer::Ignored { because })
}

fn moved(effects: Vec<Effect>) -> Result<Answer, Illegal> {
    Ok(Answer::Moved(Moved {
        effects,
        ..Moved::default()
    }))
}

const ENDED: &str = "it has ended";
const CANCELING: &str = "it is being canceled";
const EARLIER: &str = "it is about an earlier placement";

impl Execution {
    /// What an event means. Only this changes an execution.
    pub fn step(&mut self, event: Event, now: i64, settings: &Settings) -> Result<Answer, Illegal> {
        use Status::*;
        let name = event.name();
        let status = self.status;
        let out_of_order = Err(Illegal::OutOfOrder {
            status,
            event: name,
        });
        match (status, event) {
            (Requested, Event::Held(hold)) => {
                self.hold = Some(hold);
                self.enter(Delayed, now);
                moved(Vec::new())
            }
            (Delayed, Event::Held(hold)) => self.held_again(hold, now),
            (Scheduled | Running | Pending | Pausing | Paused | Resuming, Event::Held(_)) => {
                out_of_order
            }

            (Delayed, Event::Released) => self.release(now),
            (Requested, Event::Released) => ignored("nothing holds it"),
            (Scheduled | Running | Pending | Pausing | Paused | Resuming, Event::Released) => {
                ignored("it was released before")
            }

            (Requested | Delayed, Event::Scheduled) => self.schedule(now),
            (Scheduled | Running | Pending | Pausing | Paused | Resuming, Event::Scheduled) => {
                ignored("it was scheduled before")
            }

            (Scheduled, Event::PlacedOn(agent)) => self.place(agent, now),
            (
                Requested | Delayed | Running | Pending | Pausing | Paused | Resuming,
                Event::PlacedOn(_),
            ) => out_of_order,

            (Scheduled, Event::Started(at)) => {
                self.present_or_superseded(at.as_ref(), name)?;
                self.started_at = Some(now);
                self.enter(Running, now);
                moved(self.tell_parent())
            }
            (Running | Pending | Pausing | Paused | Resuming, Event::Started(at)) => {
                self.present_or_superseded(at.as_ref(), name)?;
                ignored("it was started before")
            }
            (Requested | Delayed, Event::Started(Some(at))) => Err(Illegal::Superseded {
                attempt: at.attempt,
            }),
            (Requested | Delayed, Event::Started(None)) | (Canceling, Event::Started(_)) => {
                out_of_order
            }
            (Succeeded | Failed | Timeout | Abandoned | Canceled, Event::Started(_)) => {
                Err(Illegal::Completed(status))
            }

            (Requested | Delayed | Scheduled, Event::StartFailed { at, result }) => match at {
                Some(at) if self.placement.as_ref() != Some(&at) => ignored(EARLIER),
                Some(_) | None => Ok(self.end_it(Failed, Some(result), now)),
            },
            (Running | Pending | Pausing | Paused | Resuming, Event::StartFailed { .. }) => {
                out_of_order
            }

            // The one way back from a start: it is certain that there was none.
            (Scheduled | Running, Event::NotTaken(at)) => {
                if self.placement.as_ref() == Some(&at) {
                    self.started_at = None;
                    Ok(self.place_anew(now, settings))
                } else {
                    ignored(EARLIER)
                }
            }
            (Canceling, Event::NotTaken(at)) if self.placement.as_ref() == Some(&at) => {
                Ok(self.end(Canceled, None, now))
            }
            (
                Requested | Delayed | Pending | Pausing | Paused | Resuming | Canceling,
                Event::NotTaken(_),
            ) => ignored(EARLIER),
            (Succeeded | Failed | Timeout | Abandoned | Canceled, Event::NotTaken(_)) => {
                ignored(ENDED)
            }

            (Running, Event::Asked { result }) if self.runner.work() == Work::Inquiry => {
                self.enter(Pending, now);
                Ok(Answer::Moved(Moved {
                    effects: self.tell_parent(),
                    result: Some(result),
                    ..Moved::default()
                }))
            }
            (Pending, Event::Asked { .. }) => ignored("the question stands"),
            (
                Requested | Delayed | Scheduled | Running | Pausing | Paused | Resuming,
                Event::Asked { .. },
            ) => out_of_order,

            (Pending, Event::Answered { result }) => Ok(self.end(Succeeded, Some(result), now)),
            (
                Requested | Delayed | Scheduled | Running | Pausing | Paused | Resuming | Canceling
                | Succeeded | Failed | Timeout | Abandoned | Canceled,
                Event::Answered { .. },
            ) => Err(Illegal::NotPending(status)),

            (_, Event::Finished { status: end, .. }) if !end.is_completed() => {
                Err(Illegal::NotFinal(end))
            }
            (
                Running | Pausing | Paused | Resuming,
                Event::Finished {
                    at,
                    status: end,
                    result,
                },
            ) => {
                if self.is_present(at.as_ref(), name)? {
                    Ok(self.end(end, Some(result), now))
                } else {
                    ignored(EARLIER)
                }
            }
            (Canceling, Event::Finished { at, .. } | Event::Canceled(at)) => {
                if self.is_present(at.as_ref(), name)? {
                    Ok(self.end(Canceled, None, now))
                } else {
                    ignored(EARLIER)
                }
            }
            (Requested | Delayed | Scheduled, Event::Finished { at: Some(at), .. })
                if self.placement.as_ref() != Some(&at) =>
            {
                ignored(EARLIER)
            }
            (Requested | Delayed | Scheduled | Pending, Event::Finished { .. }) => out_of_order,

            (
                Requested | Delayed | Scheduled | Running | Pending | Pausing | Paused | Resuming,
                Event::CancelAsked { by },
            ) => Ok(self.cancel(by, now)),
            (Canceling, Event::CancelAsked { .. }) => ignored(CANCELING),
            (Canceled, Event::CancelAsked { .. }) => ignored("it was canceled before"),
            (Succeeded | Failed | Timeout | Abandoned, Event::CancelAsked { .. }) => {
                Err(Illegal::NotCancelable(status))
            }
            (
                Requested | Delayed | Scheduled | Running | Pending | Pausing | Paused | Resuming,
                Event::Canceled(_),
            ) => out_of_order,

            (
                Succeeded | Failed | Timeout | Abandoned | Canceled,
                Event::PauseAsked { .. } | Event::ResumeAsked { .. },
            ) => Err(Illegal::Completed(status)),
            (_, Event::PauseAsked { .. } | Event::ResumeAsked { .. })
                if self.runner.work() != Work::Workflow =>
            {
                Err(Illegal::NoWorkflow(self.runner.name()))
            }
            (Running, Event::PauseAsked { by }) => {
                self.enter(Pausing, now);
                Ok(self.asked_for("paused_by", by))
            }
            (Pausing | Paused, Event::PauseAsked { .. }) => ignored("it pauses already"),
            (
                Requested | Delayed | Scheduled | Pending | Resuming | Canceling,
                Event::PauseAsked { .. },
            ) => Err(Illegal::NotRunning(status)),
            (Paused, Event::ResumeAsked { by }) => {
                self.enter(Resuming, now);
                Ok(self.asked_for("resumed_by", by))
            }
            (Running | Resuming, Event::ResumeAsked { .. }) => ignored("it goes on already"),
            (
                Requested | Delayed | Scheduled | Pending | Pausing | Canceling,
                Event::ResumeAsked { .. },
            ) => Err(Illegal::NotPaused(status)),

            (Pausing, Event::Paused) => {
                self.enter(Paused, now);
                moved(self.tell_parent())
            }
            // Nothing of it runs any more, all that is left waits for a person.
            (Running, Event::Paused) if self.runner.work() == Work::Workflow => {
                self.enter(Pausing, now);
                self.enter(Paused, now);
                moved(self.tell_parent())
            }
            (Paused, Event::Paused) => ignored("it rests already"),
            (Resuming, Event::Paused) => ignored("it goes on already"),
            (Requested | Delayed | Scheduled | Running | Pending, Event::Paused) => out_of_order,

            (Resuming, Event::Resumed) => {
                self.enter(Running, now);
                moved(self.tell_parent())
            }
            (Running, Event::Resumed) => ignored("it goes on already"),
            (Requested | Delayed | Scheduled | Pending | Pausing | Paused, Event::Resumed) => {
                out_of_order
            }

            (
                Requested | Delayed | Scheduled | Running | Pending | Pausing | Paused | Resuming
                | Canceling,
                Event::AgentLost(agent),
            ) => match &self.placement {
                Some(placement) if placement.agent == agent => {
                    self.unreachable("the agent it ran on was lost", now, settings)
                }
                Some(_) | None => ignored("it is not on that agent"),
            },
            (Scheduled, Event::AgentForgot(at)) if self.placement.as_ref() == Some(&at) => {
                self.prompted_at = now;
                moved(vec![Effect::Dispatch(at)])
            }
            (
                Requested | Delayed | Scheduled | Running | Pending | Pausing | Paused | Resuming
                | Canceling,
                Event::AgentForgot(at),
            ) => {
                if self.placement.as_ref() == Some(&at) {
                    self.unreachable(
                        "the agent it ran on does not know it any more",
                        now,
                        settings,
                    )
                } else {
                    ignored(EARLIER)
                }
            }
            (Scheduled | Running | Pending | Pausing | Paused | Resuming, Event::FoundAt(at))
                if self.placement.as_ref() == Some(&at) =>
            {
                ignored("it is where it should be")
            }
            (_, Event::FoundAt(at)) => moved(vec![Effect::Stop(at)]),

            (Succeeded | Failed | Timeout | Abandoned | Canceled, Event::Concluded) => {
                if self.concluded {
                    return ignored("it was concluded before");
                }
                self.concluded = true;
                moved(Vec::new())
            }
            (
                Requested | Delayed | Scheduled | Running | Pending | Pausing | Paused | Resuming
                | Canceling,
                Event::Concluded,
            ) => out_of_order,

            (_, Event::TimedOut) => match self.overdue(now, settings) {
                Some(overdue) => self.timed_out(overdue, now, settings),
                None => ignored("no deadline has passed"),
            },
            (_, Event::ControllerRestarted) => {
                self.prompted_at = now;
                moved(self.due())
            }

            (
                Canceling,
                Event::Held(_)
                | Event::Released
                | Event::Scheduled
                | Event::PlacedOn(_)
                | Event::StartFailed { .. }
                | Event::Asked { .. }
                | Event::Paused
                | Event::Resumed,
            ) => ignored(CANCELING),
            (
                Succeeded | Failed | Timeout | Abandoned | Canceled,
                Event::Held(_)
                | Event::Released
                | Event::Scheduled
                | Event::PlacedOn(_)
                | Event::StartFailed { .. }
                | Event::Asked { .. }
                | Event::Finished { .. }
                | Event::Canceled(_)
                | Event::Paused
                | Event::Resumed
                | Event::AgentLost(_)
                | Event::AgentForgot(_),
            ) => ignored(ENDED),
        }
    }

    fn held_again(&mut self, hold: Hold, now: i64) -> Result<Answer, Illegal> {
        match (&self.hold, &hold) {
            (Some(Hold::Until(at)), Hold::Policy(_)) if now < *at => {
                ignored("its own delay holds it")
            }
            (Some(before), hold) if before == hold => ignored("it is held already"),
            (Some(_) | None, Hold::Policy(_) | Hold::Until(_)) => {
                self.hold = Some(hold);
                self.prompted_at = now;
                moved(Vec::new())
            }
        }
    }

    fn release(&mut self, now: i64) -> Result<Answer, Illegal> {
        if let Some(Hold::Until(at)) = self.hold {
            if now < at {
                return Err(Illegal::Early);
            }
            self.waiting_since = at;
        }
        self.hold = None;
        self.prompted_at = now;
        moved(vec![Effect::Admit])
    }

    fn schedule(&mut self, now: i64) -> Result<Answer, Illegal> {
        if let Some(Hold::Until(at)) = self.hold {
            if now < at {
                return Err(Illegal::Early);
            }
            self.waiting_since = at;
        }
        self.hold = None;
        self.enter(Status::Scheduled, now);
        moved(self.due())
    }

    fn place(&mut self, agent: String, now: i64) -> Result<Answer, Illegal> {
        let out_of_order = Err(Illegal::OutOfOrder {
            status: self.status,
            event: "placed",
        });
        if self.runner.work() != Work::Agent {
            return out_of_order;
        }
        match &self.placement {
            Some(placement) if placement.agent == agent => ignored("it was placed there before"),
            Some(_) => out_of_order,
            None => {
                self.attempt += 1;
                let placement = Placement {
                    agent,
                    attempt: self.attempt,
                };
                self.placement = Some(placement.clone());
                self.prompted_at = now;
                moved(vec![Effect::Dispatch(placement)])
            }
        }
    }

    /// Whether an event about work is about the present placement; work without an agent has none.
    fn is_present(&self, at: Option<&Placement>, event: &'static str) -> Result<bool, Illegal> {
        match (self.runner.work(), at) {
            (Work::Agent, Some(at)) => Ok(self.placement.as_ref() == Some(at)),
            (Work::Here | Work::Workflow | Work::Inquiry | Work::Refused, None) => Ok(true),
            (Work::Agent, None)
            | (Work::Here | Work::Workflow | Work::Inquiry | Work::Refused, Some(_)) => {
                Err(Illegal::Placement(event))
            }
        }
    }

    fn present_or_superseded(
        &self,
        at: Option<&Placement>,
        event: &'static str,
    ) -> Result<(), Illegal> {
        if self.is_present(at, event)? {
            Ok(())
        } else {
            Err(Illegal::Superseded {
                attempt: at.map_or(0, |at| at.attempt),
            })
        }
    }

    fn cancel(&mut self, by: String, now: i64) -> Answer {
        let result = json!({"message": "Action canceled by user.", "user": by});
        let work_goes_on = match self.status {
            Status::Running => matches!(self.runner.work(), Work::Agent | Work::Workflow),
            Status::Pausing | Status::Paused | Status::Resuming => true,
            Status::Requested
            | Status::Delayed
            | Status::Scheduled
            | Status::Pending
            | Status::Canceling
            | Status::Succeeded
            | Status::Failed
            | Status::Timeout
            | Status::Abandoned
            | Status::Canceled => false,
        };
        let mut moved = if work_goes_on {
            self.enter(Status::Canceling, now);
            Moved {
                effects: self.due(),
                ..Moved::default()
            }
        } else {
            let mut effects = self.stop();
            // The steps a workflow sees are the same, whether the part of it had begun or not.
            if self.has_parent {
                self.enter(Status::Canceling, now);
            }
            effects.extend(self.enter_final(Status::Canceled, now));
            Moved {
                effects,
                ..Moved::default()
            }
        };
        moved.result = Some(result);
        moved.context.insert("cancelled_by", by);
        Answer::Moved(moved)
    }

    fn asked_for(&self, key: &'static str, by: String) -> Answer {
        Answer::Moved(Moved {
            effects: self.due(),
            result: None,
            context: BTreeMap::from([(key, by)]),
        })
    }

    /// Nothing will be heard of the work any more.
    fn unreachable(
        &mut self,
        why: &'static str,
        now: i64,
        settings: &Settings,
    ) -> Result<Answer, Illegal> {
        match self.status {
            Status::Scheduled => Ok(self.place_anew(now, settings)),
            Status::Canceling => Ok(self.end_it(Status::Canceled, None, now)),
            Status::Running => {
                let error = format!("What became of the action is not known: {why}.");
                let result = without_outcome(self.runner, &error);
                Ok(self.end_it(Status::Abandoned, Some(result), now))
            }
            Status::Requested
            | Status::Delayed
            | Status::Pending
            | Status::Pausing
            | Status::Paused
            | Status::Resuming
            | Status::Succeeded
            | Status::Failed
            | Status::Timeout
            | Status::Abandoned
            | Status::Canceled => ignored("nothing of it is on an agent"),
        }
    }

    /// The work has not begun at its placement and shall begin elsewhere.
    fn place_anew(&mut self, now: i64, settings: &Settings) -> Answer {
        let mut effects = self.stop();
        if self.attempt >= settings.most_placements {
            let error = format!(
                "The action was given to an agent {} times and never started.",
                self.attempt
            );
            return self.end_it(
                Status::Failed,
                Some(without_outcome(self.runner, &error)),
                now,
            );
        }
        self.placement = None;
        self.enter(Status::Requested, now);
        // The first time at once: mostly another agent is found. Then whoever refused has time to change.
        match settings.pause_before_placement(self.attempt) {
            0 => effects.push(Effect::Admit),
            pause => {
                self.hold = Some(Hold::Until(now.saturating_add(pause)));
                self.enter(Status::Delayed, now);
            }
        }
        Answer::Moved(Moved {
            effects,
            ..Moved::default()
        })
    }

    fn timed_out(
        &mut self,
        overdue: Overdue,
        now: i64,
        settings: &Settings,
    ) -> Result<Answer, Illegal> {
        match overdue {
            Overdue::Delay => self.release(now),
            Overdue::Prompt => {
                self.prompted_at = now;
                moved(self.due())
            }
            Overdue::Start => Ok(self.place_anew(now, settings)),
            Overdue::Wait => {
                let seconds = settings.longest_wait / 1000;
                let error = format!("The action was not started within {seconds} seconds.");
                let result = without_outcome(self.runner, &error);
                Ok(self.end_it(Status::Failed, Some(result), now))
            }
            // The question stays the result.
            Overdue::Answer => Ok(self.end(Status::Timeout, None, now)),
            Overdue::Run => {
                let limit = match self.runner.work() {
                    Work::Workflow => settings.longest_workflow,
                    Work::Agent | Work::Here | Work::Inquiry | Work::Refused => {
                        self.run_limit.unwrap_or(settings.longest_run)
                    }
                };
                let error = format!("Action failed to complete in {} seconds", limit / 1000);
                let result = without_outcome(self.runner, &error);
                Ok(self.end_it(Status::Timeout, Some(result), now))
            }
            Overdue::Cancel => Ok(self.end_it(Status::Canceled, None, now)),
        }
    }

    /// Ends. Whoever reported the end knows of it; what still runs of a workflow that failed early is
    /// let finish.
    fn end(&mut self, status: Status, result: Option<Value>, now: i64) -> Answer {
        Answer::Moved(Moved {
            effects: self.enter_final(status, now),
            result,
            ..Moved::default()
        })
    }

    /// Ends without a report, and makes sure that nothing of the work goes on.
    fn end_it(&mut self, status: Status, result: Option<Value>, now: i64) -> Answer {
        let mut effects = self.stop();
        effects.extend(self.enter_final(status, now));
        Answer::Moved(Moved {
            effects,
            result,
            ..Moved::default()
        })
    }

    fn enter_final(&mut self, status: Status, now: i64) -> Vec<Effect> {
        self.enter(status, now);
        self.due()
    }

    /// Ends whatever may still run of the work.
    fn stop(&self) -> Vec<Effect> {
        let begun = self.started_at.is_some();
        match (&self.placement, self.runner.work()) {
            (Some(placement), _) => vec![Effect::Stop(placement.clone())],
            (None, Work::Workflow) if begun => vec![Effect::Children(ToChildren::Cancel)],
            (None, Work::Agent | Work::Here | Work::Workflow | Work::Inquiry | Work::Refused) => {
                Vec::new()
            }
        }
    }

    fn tell_parent(&self) -> Vec<Effect> {
        if self.has_parent {
            vec![Effect::TellParent]
        } else {
            Vec::new()
        }
    }

    /// What the present state calls for, whether it was done before or not.
    fn due(&self) -> Vec<Effect> {
        match self.status {
            Status::Requested => vec![Effect::Admit],
            Status::Delayed => match self.hold {
                Some(Hold::Until(_)) => Vec::new(),
                Some(Hold::Policy(_)) | None => vec![Effect::Admit],
            },
            Status::Scheduled => match (self.runner.work(), &self.placement) {
                (Work::Agent, None) => vec![Effect::Place],
                (Work::Agent, Some(placement)) => vec![Effect::Dispatch(placement.clone())],
                (Work::Workflow, _) => vec![Effect::Conduct],
                (Work::Here | Work::Inquiry | Work::Refused, _) => vec![Effect::RunHere],
            },
            Status::Running => match self.runner.work() {
                Work::Agent => Vec::new(),
                Work::Workflow => vec![Effect::Conduct],
                Work::Here | Work::Inquiry | Work::Refused => vec![Effect::RunHere],
            },
            Status::Pending => self.tell_parent(),
            Status::Pausing => vec![Effect::Children(ToChildren::Pause), Effect::Conduct],
            Status::Paused => self.tell_parent(),
            Status::Resuming => vec![Effect::Children(ToChildren::Resume), Effect::Conduct],
            Status::Canceling => {
                let mut effects = self.stop();
                if self.runner.work() == Work::Workflow {
                    effects.push(Effect::Conduct);
                }
                effects
            }
            Status::Succeeded
            | Status::Failed
            | Status::Timeout
            | Status::Abandoned
            | Status::Canceled => {
                if self.concluded {
                    return Vec::new();
                }
                let mut effects = self.tell_parent();
                effects.push(Effect::Conclude);
                effects
            }
        }
    }
}
