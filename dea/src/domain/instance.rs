//! The life of one instance, decided in one table.
//!
//! ```text
//!            accepted            sandbox ready         healthy
//!   (start) ─────────► Born ─────────────────► Starting ──────► Running
//!                       │ failed                 │ exited, too     │ exited, unhealthy
//!                       ▼                        ▼ late            ▼
//!                    Crashed ◄─────────────── Stopping ◄───────────┘
//!                       │ expired, evicted,      │ stop requested (from any state before)
//!                       ▼ stopped                ▼
//!                    Stopped  ◄──────────────────┘
//! ```
//!
//! [`Instance::handle`] takes what happened and says what to do; adapters do it and know nothing
//! else. The order of effects matters and is part of the answer: a route is taken away *before* a
//! process is signalled and before anybody is told, so that no request is sent to what is known to
//! be dead; a fact is written down before it is announced.
//!
//! Traps. An exit can arrive while a stop waits (the app left by itself: stopped all the same).
//! A stop can arrive before there is a sandbox: preparation is cancelled and its result, which may
//! come nevertheless, destroyed. A check that was under way when the state changed answers late.
//! A killed process can stay for ever in the kernel: after a while it counts as gone. The terms may
//! change at any time: a state holds when it began, and every end is computed from the terms.

use super::Now;
use super::crash::{CrashCause, Ending, Exit};
use super::probe::{CheckKind, FAILURES};
use proto::bus::health::{ExitReason, InstanceState};
use std::time::Duration;

mod words;
pub use words::{Effect, Event, Ignored, Pace, Pending, Purpose, State, Step, StopCause, Terms};

/// How long a killed process may take to go.
const GIVE_UP: Duration = Duration::from_secs(10);
/// The longest grace when the whole agent ends, whatever is set: the node waits only so long
/// before it kills, and whatever runs then would be left running.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(25);

#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    pub terms: Terms,
    state: State,
    /// Unix seconds of the last change of state.
    since: f64,
}

pub type Effects = Vec<Effect>;

impl Instance {
    /// A new instance and its first effects; the caller begins to prepare.
    pub fn born(terms: Terms, now: Now) -> (Instance, Effects) {
        let effects = vec![
            Effect::Beat,
            Effect::Say(format!("Creating container for instance {}", terms.index)),
        ];
        (
            Instance {
                terms,
                state: State::Born,
                since: now.unix,
            },
            effects,
        )
    }

    /// An instance found running by a restarted agent. Its check starts at once.
    pub fn adopted_running(terms: Terms, since: f64, now: Now) -> (Instance, Effects) {
        let check = first_check(&terms, now);
        (
            Instance {
                terms,
                state: State::Running { check, failures: 0 },
                since,
            },
            vec![Effect::Register],
        )
    }

    /// An instance found starting: it gets its whole time to become healthy again.
    pub fn adopted_starting(terms: Terms, since: f64, now: Now) -> (Instance, Effects) {
        let unborn = Instance {
            terms,
            state: State::Born,
            since,
        };
        if unborn.terms.check.kind == CheckKind::Process {
            let (state, effects) = unborn.running(now);
            return (Instance { state, ..unborn }, effects);
        }
        let state = State::Starting {
            since: now.uptime,
            ordered: true,
            check: Pending::At(now.uptime),
            last_failure: None,
        };
        (Instance { state, ..unborn }, vec![])
    }

    /// The sandbox of a crash found by a restarted agent; `ending` holds when it crashed.
    pub fn adopted_crashed(terms: Terms, ending: Ending, now: Now) -> Instance {
        let age = Duration::try_from_secs_f64(now.unix - ending.at).unwrap_or_default();
        let since = ending.at;
        Instance {
            terms,
            state: State::Crashed {
                seen: now.uptime,
                age,
                ending,
            },
            since,
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Unix seconds of the last change of state.
    pub fn since(&self) -> f64 {
        self.since
    }

    /// As beats tell it; a stopping or stopped instance is in no beat.
    pub fn beat_state(&self) -> Option<InstanceState> {
        match &self.state {
            State::Born | State::Starting { .. } => Some(InstanceState::Starting),
            State::Running { .. } => Some(InstanceState::Running),
            State::Stopping {
                purpose:
                    Purpose::Crash {
                        phase: "starting", ..
                    },
                ..
            } => Some(InstanceState::Starting),
            State::Stopping {
                purpose: Purpose::Crash { .. },
                ..
            } => Some(InstanceState::Running),
            State::Stopping {
                purpose: Purpose::Stop(_),
                ..
            }
            | State::Stopped => None,
            State::Crashed { .. } => Some(InstanceState::Crashed),
        }
    }

    /// As `dea.stop` filters and `dea.find.droplet` name it.
    pub fn name(&self) -> &'static str {
        name_of(&self.state)
    }

    pub fn ending(&self) -> Option<&Ending> {
        match &self.state {
            State::Crashed { ending, .. } => Some(ending),
            State::Born
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Stopped => None,
        }
    }

    /// When the clock has something to say ([`Event::TimePassed`]).
    pub fn next_wake(&self) -> Option<Duration> {
        let check_at = |check: &Pending| match check {
            Pending::At(at) => Some(*at),
            Pending::UnderWay | Pending::Never => None,
        };
        match &self.state {
            State::Born | State::Stopped => None,
            State::Starting {
                since,
                check,
                ordered,
                ..
            } => {
                let deadline = self.start_deadline(*since);
                let due = if *ordered { check_at(check) } else { None };
                Some(due.map_or(deadline, |due| due.min(deadline)))
            }
            State::Running { check, .. } => check_at(check),
            State::Stopping { purpose, step } => self.step_ends(purpose, *step),
            State::Crashed { seen, age, .. } => Some(self.kept_until(*seen, *age)),
        }
    }

    fn start_deadline(&self, since: Duration) -> Duration {
        since.saturating_add(self.terms.start_timeout)
    }

    fn kept_until(&self, seen: Duration, age: Duration) -> Duration {
        seen.saturating_add(self.terms.crash_retention.saturating_sub(age))
    }

    /// When a step of a stop is over at the latest; `None`: the clock does not end it.
    fn step_ends(&self, purpose: &Purpose, step: Step) -> Option<Duration> {
        let pace = self.terms.pace;
        let grace = match purpose {
            Purpose::Stop(StopCause::AgentShutdown) => pace.grace.min(SHUTDOWN_GRACE),
            Purpose::Stop(StopCause::Requested | StopCause::AgentEvacuation)
            | Purpose::Crash { .. } => pace.grace,
        };
        match step {
            Step::Cancelling => None,
            Step::Draining { since } => Some(since.saturating_add(pace.drain)),
            Step::Terminating { since } => Some(since.saturating_add(grace)),
            Step::Killed { since } => Some(since.saturating_add(GIVE_UP)),
        }
    }

    /// What to do about an event. The one place where an instance's fate is decided.
    pub fn handle(&mut self, event: Event, now: Now) -> Result<Effects, Ignored> {
        let state = std::mem::replace(&mut self.state, State::Stopped);
        let before = name_of(&state);
        match self.decide(state, event, now) {
            Ok((state, effects)) => {
                self.state = state;
                if before != self.name() {
                    self.since = now.unix;
                }
                Ok(effects)
            }
            Err((state, ignored)) => {
                self.state = state;
                Err(ignored)
            }
        }
    }

    #[expect(
        clippy::result_large_err,
        reason = "the state only passes through, as large as it is"
    )]
    fn decide(
        &self,
        state: State,
        event: Event,
        now: Now,
    ) -> Result<(State, Effects), (State, Ignored)> {
        let ignored = |state: State, why: &'static str| Err((state, Ignored(why)));
        match (state, event) {
            // Born: nothing of it runs yet.
            (State::Born, Event::SandboxReady) => Ok((
                State::Starting {
                    since: now.uptime,
                    ordered: false,
                    check: Pending::Never,
                    last_failure: None,
                },
                vec![
                    Effect::Remember,
                    Effect::Say(format!("Starting app instance {}", self.terms.index)),
                    Effect::GiveOrders,
                ],
            )),
            (State::Born, Event::PreparationFailed(why)) => Ok(self.crashed(
                CrashCause::NotStarted(why),
                Exit::Unknown,
                "starting",
                Routed::No,
                now,
            )),
            (State::Born, Event::StopRequested(cause)) => Ok((
                State::Stopping {
                    purpose: Purpose::Stop(cause),
                    step: Step::Cancelling,
                },
                vec![Effect::CancelPreparation],
            )),
            (State::Born, Event::Exited { exit, .. }) => Ok(self.crashed(
                CrashCause::NotStarted("the sandbox ended before the app was started".into()),
                exit,
                "starting",
                Routed::No,
                now,
            )),
            (state @ State::Born, Event::Ordered) => ignored(state, "no orders were given yet"),
            (state @ State::Born, Event::Checked(_)) => ignored(state, "no check was asked for"),
            (state @ State::Born, Event::Evicted) => {
                ignored(state, "only crashed ones are evicted")
            }
            (state @ State::Born, Event::TimePassed) => {
                ignored(state, "preparing has deadlines of its own")
            }

            // Starting: its process is there, its health is not.
            (
                State::Starting {
                    since,
                    last_failure,
                    ..
                },
                Event::Ordered,
            ) => match self.terms.check.kind {
                CheckKind::Process => Ok(self.running(now)),
                CheckKind::Port | CheckKind::Http { .. } => Ok((
                    State::Starting {
                        since,
                        ordered: true,
                        check: Pending::At(
                            now.uptime + self.terms.check.starting_delay(Duration::ZERO),
                        ),
                        last_failure,
                    },
                    vec![],
                )),
            },
            (State::Starting { .. }, Event::PreparationFailed(why)) => {
                let (state, mut effects) = self.crashed(
                    CrashCause::NotStarted(why),
                    Exit::Unknown,
                    "starting",
                    Routed::No,
                    now,
                );
                // Orders that were not confirmed in time may have been taken all the same.
                effects.insert(0, Effect::Kill);
                Ok((state, effects))
            }
            (State::Starting { .. }, Event::Checked(Ok(()))) => Ok(self.running(now)),
            (State::Starting { since, ordered, .. }, Event::Checked(Err(why))) => {
                let delay = self
                    .terms
                    .check
                    .starting_delay(now.uptime.saturating_sub(since));
                Ok((
                    State::Starting {
                        since,
                        ordered,
                        check: Pending::At(now.uptime + delay),
                        last_failure: Some(why),
                    },
                    vec![],
                ))
            }
            (
                State::Starting { .. },
                Event::Exited {
                    exit,
                    out_of_memory,
                },
            ) => {
                let memory_mb = self.terms.memory_mb;
                let cause = CrashCause::Ended {
                    exit,
                    out_of_memory,
                    memory_mb,
                };
                Ok(self.crashed(cause, exit, "starting", Routed::No, now))
            }
            (State::Starting { .. }, Event::StopRequested(cause)) => Ok((
                State::Stopping {
                    purpose: Purpose::Stop(cause),
                    step: Step::Terminating { since: now.uptime },
                },
                vec![
                    Effect::Remember,
                    Effect::Say(stopping_line(self.terms.index)),
                    Effect::Terminate,
                ],
            )),
            (
                State::Starting {
                    since,
                    ordered,
                    check,
                    last_failure,
                },
                Event::TimePassed,
            ) => {
                if now.uptime >= self.start_deadline(since) {
                    let cause = CrashCause::StartTimeout {
                        within: self.terms.start_timeout,
                        check: self.terms.check.name(),
                        last: last_failure,
                    };
                    return Ok(self.killing(cause, "starting", Routed::No, now));
                }
                match check {
                    Pending::At(at) if now.uptime >= at && ordered => Ok((
                        State::Starting {
                            since,
                            ordered,
                            check: Pending::UnderWay,
                            last_failure,
                        },
                        vec![Effect::CheckHealth],
                    )),
                    Pending::At(_) | Pending::UnderWay | Pending::Never => ignored(
                        State::Starting {
                            since,
                            ordered,
                            check,
                            last_failure,
                        },
                        "nothing is due yet",
                    ),
                }
            }
            (state @ State::Starting { .. }, Event::SandboxReady) => {
                ignored(state, "its sandbox was ready before")
            }
            (state @ State::Starting { .. }, Event::Evicted) => {
                ignored(state, "only crashed ones are evicted")
            }

            // Running.
            (
                State::Running { .. },
                Event::Exited {
                    exit,
                    out_of_memory,
                },
            ) => {
                let memory_mb = self.terms.memory_mb;
                let cause = CrashCause::Ended {
                    exit,
                    out_of_memory,
                    memory_mb,
                };
                Ok(self.crashed(cause, exit, "running", Routed::Yes, now))
            }
            (State::Running { .. }, Event::Checked(Ok(()))) => {
                let check = Pending::At(now.uptime + self.terms.check.running_delay(0));
                Ok((State::Running { check, failures: 0 }, vec![]))
            }
            (State::Running { failures, .. }, Event::Checked(Err(why))) => {
                let failures = failures + 1;
                if failures >= FAILURES {
                    let cause = CrashCause::Unhealthy {
                        failures,
                        last: why,
                    };
                    return Ok(self.killing(cause, "running", Routed::Yes, now));
                }
                let check = Pending::At(now.uptime + self.terms.check.running_delay(failures));
                Ok((State::Running { check, failures }, vec![]))
            }
            (State::Running { .. }, Event::StopRequested(cause)) => Ok((
                State::Stopping {
                    purpose: Purpose::Stop(cause),
                    step: Step::Draining { since: now.uptime },
                },
                vec![
                    Effect::Unregister,
                    Effect::Remember,
                    Effect::Say(stopping_line(self.terms.index)),
                ],
            )),
            (State::Running { check, failures }, Event::TimePassed) => match check {
                Pending::At(at) if now.uptime >= at => Ok((
                    State::Running {
                        check: Pending::UnderWay,
                        failures,
                    },
                    vec![Effect::CheckHealth],
                )),
                Pending::At(_) | Pending::UnderWay | Pending::Never => {
                    ignored(State::Running { check, failures }, "nothing is due yet")
                }
            },
            (state @ State::Running { .. }, Event::Ordered) => ignored(state, "it runs already"),
            (state @ State::Running { .. }, Event::SandboxReady) => {
                ignored(state, "its sandbox was ready before")
            }
            (state @ State::Running { .. }, Event::PreparationFailed(_)) => {
                ignored(state, "it runs already")
            }
            (state @ State::Running { .. }, Event::Evicted) => {
                ignored(state, "only crashed ones are evicted")
            }

            // Stopping.
            (State::Stopping { purpose, step }, Event::SandboxReady) => match step {
                Step::Cancelling => Ok(self.ended(purpose, Exit::Unknown, now)),
                Step::Draining { .. } | Step::Terminating { .. } | Step::Killed { .. } => ignored(
                    State::Stopping { purpose, step },
                    "its sandbox was ready before",
                ),
            },
            // Nothing of it runs: there is no process to wait for.
            (State::Stopping { purpose, .. }, Event::PreparationFailed(_)) => {
                Ok(self.ended(purpose, Exit::Unknown, now))
            }
            (State::Stopping { purpose, .. }, Event::Exited { exit, .. }) => {
                Ok(self.ended(purpose, exit, now))
            }
            (State::Stopping { purpose, step }, Event::TimePassed) => {
                let over = self
                    .step_ends(&purpose, step)
                    .is_some_and(|end| now.uptime >= end);
                match step {
                    Step::Draining { .. } if over => Ok((
                        State::Stopping {
                            purpose,
                            step: Step::Terminating { since: now.uptime },
                        },
                        vec![Effect::Terminate],
                    )),
                    Step::Terminating { .. } if over => Ok((
                        State::Stopping {
                            purpose,
                            step: Step::Killed { since: now.uptime },
                        },
                        vec![
                            Effect::Say(format!(
                                "Instance {} did not stop in time and is killed",
                                self.terms.index
                            )),
                            Effect::Kill,
                        ],
                    )),
                    Step::Killed { .. } if over => Ok(self.ended(purpose, Exit::Unknown, now)),
                    Step::Cancelling
                    | Step::Draining { .. }
                    | Step::Terminating { .. }
                    | Step::Killed { .. } => {
                        ignored(State::Stopping { purpose, step }, "nothing is due yet")
                    }
                }
            }
            (
                State::Stopping {
                    purpose: Purpose::Crash { .. },
                    step,
                },
                Event::StopRequested(cause),
            ) => {
                // It is dying already; whoever asked does not want it back.
                Ok((
                    State::Stopping {
                        purpose: Purpose::Stop(cause),
                        step,
                    },
                    vec![],
                ))
            }
            (state @ State::Stopping { .. }, Event::StopRequested(_)) => {
                ignored(state, "it is stopping already")
            }
            (state @ State::Stopping { .. }, Event::Ordered) => ignored(state, "it is stopping"),
            (state @ State::Stopping { .. }, Event::Checked(_)) => ignored(state, "it is stopping"),
            (state @ State::Stopping { .. }, Event::Evicted) => {
                ignored(state, "only crashed ones are evicted")
            }

            // Crashed: a sandbox to look at.
            (State::Crashed { .. }, Event::StopRequested(_) | Event::Evicted) => {
                Ok((State::Stopped, vec![Effect::Destroy, Effect::Forget]))
            }
            (State::Crashed { seen, age, ending }, Event::TimePassed) => {
                if now.uptime >= self.kept_until(seen, age) {
                    Ok((State::Stopped, vec![Effect::Destroy, Effect::Forget]))
                } else {
                    ignored(State::Crashed { seen, age, ending }, "it is kept longer")
                }
            }
            (
                state @ State::Crashed { .. },
                Event::SandboxReady
                | Event::PreparationFailed(_)
                | Event::Ordered
                | Event::Checked(_)
                | Event::Exited { .. },
            ) => ignored(state, "it crashed before"),

            // Stopped: the end.
            (
                State::Stopped,
                Event::SandboxReady
                | Event::PreparationFailed(_)
                | Event::Ordered
                | Event::Checked(_)
                | Event::Exited { .. }
                | Event::StopRequested(_)
                | Event::Evicted
                | Event::TimePassed,
            ) => ignored(State::Stopped, "it is over"),
        }
    }

    fn running(&self, now: Now) -> (State, Effects) {
        let check = match self.terms.check.kind {
            CheckKind::Process => Pending::Never,
            CheckKind::Port | CheckKind::Http { .. } => {
                Pending::At(now.uptime + self.terms.check.running_delay(0))
            }
        };
        (
            State::Running { check, failures: 0 },
            vec![
                Effect::Register,
                Effect::Beat,
                Effect::Remember,
                Effect::Say(format!(
                    "Container for instance {} became healthy",
                    self.terms.index
                )),
            ],
        )
    }

    /// Not healthy: its process has to go first.
    fn killing(
        &self,
        cause: CrashCause,
        phase: &'static str,
        routed: Routed,
        now: Now,
    ) -> (State, Effects) {
        let mut effects = routed.effects();
        effects.push(Effect::Kill);
        let step = Step::Killed { since: now.uptime };
        (
            State::Stopping {
                purpose: Purpose::Crash { cause, phase },
                step,
            },
            effects,
        )
    }

    fn ended(&self, purpose: Purpose, exit: Exit, now: Now) -> (State, Effects) {
        match purpose {
            Purpose::Crash { cause, phase } => self.crashed(cause, exit, phase, Routed::No, now),
            Purpose::Stop(cause) => {
                let ending = Ending {
                    reason: match cause {
                        StopCause::Requested => ExitReason::Stopped,
                        StopCause::AgentShutdown => ExitReason::DeaShutdown,
                        StopCause::AgentEvacuation => ExitReason::DeaEvacuation,
                    },
                    description: match cause {
                        StopCause::Requested => "stopped".to_string(),
                        StopCause::AgentShutdown => "the agent was shut down".to_string(),
                        StopCause::AgentEvacuation => "the agent was emptied".to_string(),
                    },
                    exit_status: exit.status(),
                    signal: exit.signal(),
                    out_of_memory: false,
                    phase: None,
                    at: now.unix,
                };
                let line = format!("Stopped instance {}", self.terms.index);
                (
                    State::Stopped,
                    vec![
                        Effect::Report(ending),
                        Effect::Say(line),
                        Effect::Destroy,
                        Effect::Forget,
                    ],
                )
            }
        }
    }

    fn crashed(
        &self,
        cause: CrashCause,
        exit: Exit,
        phase: &str,
        routed: Routed,
        now: Now,
    ) -> (State, Effects) {
        let ending = cause.ending(exit, phase, now.unix);
        let mut effects = routed.effects();
        effects.extend([
            Effect::Report(ending.clone()),
            Effect::Beat,
            Effect::Say(format!(
                "Instance {} crashed: {}",
                self.terms.index, ending.description
            )),
        ]);
        if self.terms.crash_retention.is_zero() {
            effects.extend([Effect::Destroy, Effect::Forget]);
            // The beat above still tells the crash: effects are carried out on the state shown by
            // `handle`, so the crashed state is kept and `Forget` ends it.
        } else {
            effects.push(Effect::Remember);
        }
        (
            State::Crashed {
                seen: now.uptime,
                age: Duration::ZERO,
                ending,
            },
            effects,
        )
    }
}

/// Whether routers know the instance.
#[derive(Clone, Copy)]
enum Routed {
    Yes,
    No,
}

impl Routed {
    fn effects(self) -> Effects {
        match self {
            Routed::Yes => vec![Effect::Unregister],
            Routed::No => vec![],
        }
    }
}

fn first_check(terms: &Terms, now: Now) -> Pending {
    match terms.check.kind {
        CheckKind::Process => Pending::Never,
        CheckKind::Port | CheckKind::Http { .. } => Pending::At(now.uptime),
    }
}

fn stopping_line(index: u32) -> String {
    format!("Stopping instance {index}")
}

fn name_of(state: &State) -> &'static str {
    match state {
        State::Born => "BORN",
        State::Starting { .. } => "STARTING",
        State::Running { .. } => "RUNNING",
        State::Stopping { .. } => "STOPPING",
        State::Stopped => "STOPPED",
        State::Crashed { .. } => "CRASHED",
    }
}

#[cfg(test)]
mod tests;
