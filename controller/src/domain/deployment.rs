//! A rolling deployment: the instances of an app are replaced in steps, and no request fails.
//!
//! While it lasts the app has several processes of type web: the *new* one, which carries the
//! deployment, and the *others* (the one that ran before, and those of deployments that a newer one
//! superseded). [`step`] looks at all of them and says what the rows should become next; starting
//! and stopping follows from the rows (`dispatch`).
//!
//! ```text
//!   new:    0 ──► m ──(all run, settled)──► 2m ──► … ──► wanted ──► finished, others removed
//!   others: wanted ─────────────────────► wanted-m ─► … ─► 0
//!   crash limit, time-out, user ──► canceling: previous back to wanted ──(runs, or nothing newer does)──► new removed
//! ```
//!
//! A *canary* is the same with stops: where a stop is reached, it pauses until somebody continues
//! it, with at least one old instance kept beside the new ones.
//!
//! Invariant: new instances that run (for at least [`SETTLE`], so that every router has
//! their routes) plus old wanted instances never number fewer than were wanted, unless the old ones did
//! not run in the first place. The old ones are scaled in only by what has replaced them.

use proto::ids::ProcessGuid;
use std::time::Duration;

/// A deployment as its rows have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rolling {
    pub phase: Phase,
    pub wanted: u32,
    pub max_in_flight: u32,
    /// How many new instances are to be looked at before it goes on; None: it goes through.
    pub stop_at: Option<u32>,
    /// Rows' number of the new process.
    pub new_instances: u32,
    /// The other web processes, the oldest first.
    pub others: Vec<Other>,
    /// The one to go back to.
    pub previous: Option<ProcessGuid>,
    /// When the running step began.
    pub step_since: Duration,
    /// The app is started.
    pub app_started: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Deploying,
    Paused,
    Canceling,
}

/// After how many new instances a canary pauses: at each weight, in percent of those wanted, or after
/// the first instance if no weights are given.
pub fn stops(weights: &[u32], wanted: u32) -> Vec<u32> {
    if weights.is_empty() {
        return vec![1];
    }
    let part = |weight: u32| (u64::from(wanted) * u64::from(weight) + 50) / 100;
    weights
        .iter()
        .map(|weight| u32::try_from(part(*weight)).unwrap_or(wanted).max(1))
        .collect()
}

/// Another web process of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    pub process: ProcessGuid,
    /// Rows' number.
    pub instances: u32,
    /// Indices of these that run and have settled.
    pub running: u32,
    /// Instances that start or run, settled or not.
    pub live: u32,
}

/// What is seen of the new process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Indices that run and have settled.
    pub running: u32,
    pub crashes: u32,
    /// The last crash, for people.
    pub last_crash: Option<String>,
    /// Why an instance is not placed, for people.
    pub waiting: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub start_timeout: Duration,
    pub max_crashes: u32,
}

/// How long an instance must have run before it counts: its routes are then known everywhere.
pub const SETTLE: Duration = Duration::from_secs(1);

/// What the rows should become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Wait {
        because: String,
    },
    /// New numbers; a new step begins.
    Scale {
        new: u32,
        others: Vec<(ProcessGuid, u32)>,
        because: String,
    },
    /// Waits from now on until somebody continues it.
    Pause {
        because: String,
    },
    /// The new process is the app's web process, the others are removed.
    Finish {
        because: String,
    },
    /// Taking back begins: the previous process gets the wanted number again.
    TakeBack {
        error: String,
    },
    /// Taken back: the new process (and those in between) are removed.
    Removed {
        because: String,
    },
}

/// Says what to do next. Depends on nothing but its arguments. Ask only when every agent has told
/// what it runs: what is not seen counts as not there.
pub fn step(rolling: &Rolling, seen: &Seen, policy: &Policy, now: Duration) -> Step {
    match rolling.phase {
        Phase::Deploying => deploying(rolling, seen, policy, now),
        Phase::Paused => paused(rolling, seen, policy),
        Phase::Canceling => canceling(rolling, seen, policy, now),
    }
}

/// What ends a deployment in whichever step it is.
fn ended(rolling: &Rolling, seen: &Seen, policy: &Policy) -> Option<Step> {
    if !rolling.app_started {
        return Some(Step::Finish {
            because: "the app is stopped: nothing runs that could be replaced in steps".into(),
        });
    }
    if rolling.wanted == 0 {
        return Some(Step::Finish {
            because: "no instances are wanted".into(),
        });
    }
    if seen.crashes >= policy.max_crashes {
        let crash = seen.last_crash.as_deref().unwrap_or("no reason is known");
        return Some(Step::TakeBack {
            error: format!("the new version crashed {} times; {crash}", seen.crashes),
        });
    }
    None
}

fn paused(rolling: &Rolling, seen: &Seen, policy: &Policy) -> Step {
    ended(rolling, seen, policy).unwrap_or_else(|| Step::Wait {
        because: format!(
            "it pauses with {} of {} new instances: continue it, or cancel it",
            rolling.new_instances, rolling.wanted
        ),
    })
}

fn deploying(rolling: &Rolling, seen: &Seen, policy: &Policy, now: Duration) -> Step {
    if let Some(step) = ended(rolling, seen, policy) {
        return step;
    }
    let all_run = rolling.new_instances > 0 && seen.running >= rolling.new_instances;
    if !all_run && rolling.new_instances > 0 {
        if now.saturating_sub(rolling.step_since) > policy.start_timeout {
            return Step::TakeBack {
                error: timed_out(rolling, seen, policy),
            };
        }
        let waiting = seen.waiting.as_deref().or(seen.last_crash.as_deref());
        return Step::Wait {
            because: match waiting {
                Some(reason) => format!(
                    "{} of {} new instances run; {reason}",
                    seen.running, rolling.new_instances
                ),
                None => format!(
                    "{} of {} new instances run",
                    seen.running, rolling.new_instances
                ),
            },
        };
    }
    if let Some(stop) = rolling.stop_at.map(|stop| stop.min(rolling.wanted))
        && stop <= rolling.new_instances
    {
        let keep = rolling.wanted.saturating_sub(rolling.new_instances).max(1);
        let others = scaled_in(&rolling.others, keep);
        let because = format!(
            "{} new instances run, to be looked at",
            rolling.new_instances
        );
        return if others.is_empty() {
            Step::Pause { because }
        } else {
            Step::Scale {
                new: rolling.new_instances,
                others,
                because,
            }
        };
    }
    if rolling.new_instances >= rolling.wanted {
        return Step::Finish {
            because: format!("all {} new instances run", rolling.new_instances),
        };
    }
    let nothing_to_keep = rolling.others.iter().all(|other| other.live == 0);
    let (stride, keep) = if nothing_to_keep {
        // Nor shall they begin to run now: taking back would give them their number again.
        (rolling.wanted, 0)
    } else {
        (
            rolling.max_in_flight.max(1),
            rolling.wanted.saturating_sub(rolling.new_instances),
        )
    };
    Step::Scale {
        new: rolling
            .new_instances
            .saturating_add(stride)
            .min(match rolling.stop_at {
                Some(stop) if !nothing_to_keep => stop.min(rolling.wanted),
                _ => rolling.wanted,
            }),
        others: scaled_in(&rolling.others, keep),
        because: if nothing_to_keep {
            "no old instance runs".to_string()
        } else {
            format!("{} new instances run", rolling.new_instances)
        },
    }
}

/// Takes from the oldest first until at most `keep` are left.
fn scaled_in(others: &[Other], keep: u32) -> Vec<(ProcessGuid, u32)> {
    let total: u32 = others
        .iter()
        .fold(0, |sum, other| sum.saturating_add(other.instances));
    let mut surplus = total.saturating_sub(keep);
    let mut changed = Vec::new();
    for other in others {
        let take = surplus.min(other.instances);
        if take > 0 {
            surplus -= take;
            changed.push((other.process.clone(), other.instances - take));
        }
    }
    changed
}

fn timed_out(rolling: &Rolling, seen: &Seen, policy: &Policy) -> String {
    let reason = seen.waiting.as_deref().or(seen.last_crash.as_deref());
    let numbers = format!(
        "{} of {} new instances run after {} s",
        seen.running,
        rolling.new_instances,
        policy.start_timeout.as_secs()
    );
    match reason {
        Some(reason) => format!("{numbers}; {reason}"),
        None => numbers,
    }
}

fn canceling(rolling: &Rolling, seen: &Seen, policy: &Policy, now: Duration) -> Step {
    let previous = rolling
        .previous
        .as_ref()
        .and_then(|guid| rolling.others.iter().find(|other| other.process == *guid))
        .or_else(|| rolling.others.last());
    let Some(previous) = previous else {
        return Step::Removed {
            because: "there is no previous version to go back to".into(),
        };
    };
    let newer_serves = seen.running > 0
        || rolling
            .others
            .iter()
            .any(|other| other.process != previous.process && other.live > 0);
    if !newer_serves {
        // Nothing would be kept up by waiting: it may be that the previous version never runs.
        return Step::Removed {
            because: "no instance of a newer version runs".into(),
        };
    }
    if previous.instances < rolling.wanted {
        return Step::Scale {
            new: rolling.new_instances,
            others: vec![(previous.process.clone(), rolling.wanted)],
            because: "the previous version gets its instances back".into(),
        };
    }
    if !rolling.app_started || previous.running >= rolling.wanted {
        return Step::Removed {
            because: format!("{} instances of the previous version run", previous.running),
        };
    }
    if now.saturating_sub(rolling.step_since) > policy.start_timeout {
        return Step::Removed {
            because: "the previous version did not come back in time".into(),
        };
    }
    Step::Wait {
        because: format!(
            "{} of {} instances of the previous version run",
            previous.running, rolling.wanted
        ),
    }
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests {
    use super::super::observed::tests::{process, seconds};
    use super::*;

    const POLICY: Policy = Policy {
        start_timeout: Duration::from_secs(60),
        max_crashes: 3,
    };

    fn rolling(new: u32, old: u32, running: u32) -> Rolling {
        Rolling {
            phase: Phase::Deploying,
            wanted: 3,
            max_in_flight: 1,
            stop_at: None,
            new_instances: new,
            others: vec![Other {
                process: process("old"),
                instances: old,
                running,
                live: running,
            }],
            previous: Some(process("old")),
            step_since: seconds(0),
            app_started: true,
        }
    }

    fn running(running: u32) -> Seen {
        Seen {
            running,
            ..Seen::default()
        }
    }

    fn scale(new: u32, others: &[(&str, u32)]) -> (u32, Vec<(ProcessGuid, u32)>) {
        (
            new,
            others
                .iter()
                .map(|(name, count)| (process(name), *count))
                .collect(),
        )
    }

    fn numbers(step: Step) -> (u32, Vec<(ProcessGuid, u32)>) {
        match step {
            Step::Scale { new, others, .. } => (new, others),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn old_instances_go_only_as_new_ones_run() {
        assert_eq!(
            numbers(step(&rolling(0, 3, 3), &running(0), &POLICY, seconds(0))),
            scale(1, &[])
        );
        assert_eq!(
            step(&rolling(1, 3, 3), &running(0), &POLICY, seconds(1)),
            Step::Wait {
                because: "0 of 1 new instances run".into()
            }
        );
        assert_eq!(
            numbers(step(&rolling(1, 3, 3), &running(1), &POLICY, seconds(1))),
            scale(2, &[("old", 2)])
        );
        assert_eq!(
            numbers(step(&rolling(2, 2, 2), &running(2), &POLICY, seconds(1))),
            scale(3, &[("old", 1)])
        );
        assert_eq!(
            step(&rolling(3, 1, 1), &running(3), &POLICY, seconds(1)),
            Step::Finish {
                because: "all 3 new instances run".into()
            }
        );
    }

    #[test]
    fn a_canary_stops_beside_what_runs_until_it_is_continued() {
        let canary = |new, old, stop_at| Rolling {
            stop_at,
            ..rolling(new, old, old)
        };
        assert_eq!(
            numbers(step(
                &canary(0, 3, Some(1)),
                &running(0),
                &POLICY,
                seconds(0)
            )),
            scale(1, &[])
        );
        // What has been replaced goes before it pauses.
        assert_eq!(
            numbers(step(
                &canary(1, 3, Some(1)),
                &running(1),
                &POLICY,
                seconds(1)
            )),
            scale(1, &[("old", 2)])
        );
        assert!(matches!(
            step(&canary(1, 2, Some(1)), &running(1), &POLICY, seconds(2)),
            Step::Pause { .. }
        ));
        let paused = Rolling {
            phase: Phase::Paused,
            ..canary(1, 2, Some(1))
        };
        assert_eq!(
            step(&paused, &running(1), &POLICY, seconds(9_999)),
            Step::Wait {
                because: "it pauses with 1 of 3 new instances: continue it, or cancel it".into()
            }
        );
        // Continued to its second stop, which is as many as are wanted: one old one stays to compare.
        assert_eq!(
            numbers(step(
                &canary(1, 2, Some(3)),
                &running(1),
                &POLICY,
                seconds(3)
            )),
            scale(2, &[])
        );
        assert_eq!(
            numbers(step(
                &canary(3, 2, Some(3)),
                &running(3),
                &POLICY,
                seconds(4)
            )),
            scale(3, &[("old", 1)])
        );
        assert!(matches!(
            step(&canary(3, 1, Some(3)), &running(3), &POLICY, seconds(5)),
            Step::Pause { .. }
        ));
        // After the last stop it is a rolling one.
        assert!(matches!(
            step(&canary(3, 1, None), &running(3), &POLICY, seconds(6)),
            Step::Finish { .. }
        ));
    }

    #[test]
    fn a_paused_canary_that_crashes_is_taken_back() {
        let paused = Rolling {
            phase: Phase::Paused,
            stop_at: Some(1),
            ..rolling(1, 2, 2)
        };
        let crashed = Seen {
            crashes: 3,
            ..Seen::default()
        };
        assert!(matches!(
            step(&paused, &crashed, &POLICY, seconds(1)),
            Step::TakeBack { .. }
        ));
        let stopped = Rolling {
            app_started: false,
            ..paused
        };
        assert!(matches!(
            step(&stopped, &running(0), &POLICY, seconds(1)),
            Step::Finish { .. }
        ));
    }

    #[test]
    fn weights_are_parts_of_what_is_wanted() {
        assert_eq!(stops(&[], 8), [1]);
        assert_eq!(stops(&[1, 25, 50, 100], 8), [1, 2, 4, 8]);
        assert_eq!(stops(&[10, 40, 60], 4), [1, 2, 2]);
    }

    #[test]
    fn without_running_old_instances_all_start_at_once() {
        assert_eq!(
            numbers(step(&rolling(0, 3, 0), &running(0), &POLICY, seconds(0))),
            scale(3, &[("old", 0)])
        );
        let canary = Rolling {
            stop_at: Some(1),
            ..rolling(0, 3, 0)
        };
        assert_eq!(
            numbers(step(&canary, &running(0), &POLICY, seconds(0))),
            scale(3, &[("old", 0)])
        );
        let stopped = Rolling {
            app_started: false,
            ..rolling(0, 3, 0)
        };
        assert!(matches!(
            step(&stopped, &running(0), &POLICY, seconds(0)),
            Step::Finish { .. }
        ));
    }

    #[test]
    fn crashes_and_time_take_it_back_with_the_reason() {
        let crashed = Seen {
            crashes: 3,
            last_crash: Some("instance 0: exited with status 1".into()),
            ..Seen::default()
        };
        assert_eq!(
            step(&rolling(1, 3, 3), &crashed, &POLICY, seconds(1)),
            Step::TakeBack {
                error: "the new version crashed 3 times; instance 0: exited with status 1".into()
            }
        );
        let waiting = Seen {
            waiting: Some("needs 4096 MB memory".into()),
            ..Seen::default()
        };
        assert_eq!(
            step(&rolling(1, 3, 3), &waiting, &POLICY, seconds(61)),
            Step::TakeBack {
                error: "0 of 1 new instances run after 60 s; needs 4096 MB memory".into()
            }
        );
    }

    #[test]
    fn taking_back_restores_the_previous_first() {
        let back = |old, running| Rolling {
            phase: Phase::Canceling,
            ..rolling(2, old, running)
        };
        assert_eq!(
            numbers(step(&back(2, 2), &running(1), &POLICY, seconds(1))),
            scale(2, &[("old", 3)])
        );
        assert!(matches!(
            step(&back(3, 2), &running(1), &POLICY, seconds(1)),
            Step::Wait { .. }
        ));
        assert!(matches!(
            step(&back(3, 3), &running(1), &POLICY, seconds(1)),
            Step::Removed { .. }
        ));
        assert!(matches!(
            step(&back(3, 0), &running(1), &POLICY, seconds(61)),
            Step::Removed { .. }
        ));
        let alone = Rolling {
            others: vec![],
            ..back(0, 0)
        };
        assert!(matches!(
            step(&alone, &running(0), &POLICY, seconds(1)),
            Step::Removed { .. }
        ));
    }

    #[test]
    fn taking_back_waits_for_nothing_when_no_newer_instance_runs() {
        // The previous version crashes too: it would never run, and nothing is kept up meanwhile.
        let dead = Rolling {
            phase: Phase::Canceling,
            ..rolling(2, 1, 0)
        };
        assert_eq!(
            step(&dead, &running(0), &POLICY, seconds(1)),
            Step::Removed {
                because: "no instance of a newer version runs".into()
            }
        );
        // One of a version in between does: it goes on until the previous one is back.
        let mut between = Rolling {
            phase: Phase::Canceling,
            ..rolling(2, 3, 0)
        };
        between.others.push(Other {
            process: process("between"),
            instances: 1,
            running: 1,
            live: 1,
        });
        assert!(matches!(
            step(&between, &running(0), &POLICY, seconds(1)),
            Step::Wait { .. }
        ));
    }

    #[test]
    fn the_oldest_of_several_goes_first() {
        let others = vec![
            Other {
                process: process("a"),
                instances: 2,
                running: 2,
                live: 2,
            },
            Other {
                process: process("b"),
                instances: 1,
                running: 1,
                live: 1,
            },
        ];
        let both = Rolling {
            others,
            ..rolling(2, 0, 0)
        };
        assert_eq!(
            numbers(step(&both, &running(2), &POLICY, seconds(1))),
            scale(3, &[("a", 0)])
        );
    }
}
