//! Why an app is as it is: what was recorded, turned into chains of causes.
//!
//! Every record knows only itself: a start its reason, a crash its exit, an audit event its user.
//! [`explain`] takes the last things that happened to the instances of an app and looks, for each, for the
//! record that led to it, and for what led to that.
//!
//! ```text
//!   started again, not placed ◄─ crashed ◄─ what its version was begun by ◄─ what had been changed
//!                             ◄─ its agent was lost, or is emptied ◄─ who asked for that
//!                             ◄─ a user restarted the instance
//!   started, stopped          ◄─ deployment, start, restart, scaling ◄─ build ◄─ package
//! ```
//!
//! Records are joined by what they share: instance, agent, process, version, droplet, package. Only between
//! a user's act and the instances that it brought there is nothing but the order in time.
//!
//! What a newcomer gets wrong: an agent is recorded as lost by a controller, its instances are missed by the health
//! manager; each has its own patience, so a cause may be written down after its effect ([`LATE`]).

mod deeds;

pub use deeds::{Act, Deed, read};

use super::dispatch::{APP_STOPPED, ASLEEP, NEWER_VERSION, SCALED_IN, USER_RESTARTS};
use std::collections::BTreeSet;

/// How much later than its effect a cause may have been recorded, in microseconds.
const LATE: i64 = 60_000_000;
/// Most changes that are named as having come with a start.
const CHANGES_MOST: usize = 5;

/// One index of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub process: String,
    pub process_type: String,
    pub version: String,
    pub index: u32,
}

/// What was decided about an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub at: i64,
    pub kind: DecisionKind,
    pub slot: Slot,
    pub instance: Option<String>,
    pub agent: Option<String>,
    /// Why it was to be started or stopped.
    pub because: String,
    /// Why on that agent, or why on none.
    pub placement: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecisionKind {
    Started,
    NotPlaced,
    NeverArrived,
    Stopped,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Crash {
    pub at: i64,
    pub slot: Slot,
    pub instance: String,
    pub agent: Option<String>,
    /// `out of memory`
    pub how: String,
    /// 128 + signal where a signal ended it.
    pub status: Option<i64>,
    pub while_starting: bool,
    /// Seconds it had been running.
    pub ran: Option<f64>,
}

/// News of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentNews {
    pub at: i64,
    pub agent: String,
    pub what: AgentChange,
    /// Who asked for it.
    pub by: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentChange {
    Lost,
    Back,
    DrainAsked,
    Draining,
    UndrainAsked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    pub guid: String,
    pub begun_at: i64,
    pub ended_at: Option<i64>,
    pub droplet: String,
    pub new_process: String,
    pub old_process: Option<String>,
    /// Why it was taken back.
    pub error: Option<String>,
}

/// All that is known of an app, in any order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recorded {
    pub decisions: Vec<Decision>,
    pub crashes: Vec<Crash>,
    pub deeds: Vec<Deed>,
    pub agents: Vec<AgentNews>,
    pub deployments: Vec<Deployment>,
}

/// Something that happened to an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub at: i64,
    pub kind: OutcomeKind,
    pub slot: Option<Slot>,
    pub instance: Option<String>,
    pub agent: Option<String>,
    pub text: String,
    /// Why on that agent, or why on none.
    pub placement: Option<String>,
    /// What led to it; each was led to by the next.
    pub causes: Vec<Cause>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutcomeKind {
    Started,
    Restarted,
    NotPlaced,
    Crashed,
    Stopped,
    StagingFailed,
    DeploymentFailed,
}

impl OutcomeKind {
    pub fn name(self) -> &'static str {
        match self {
            OutcomeKind::Started => "started",
            OutcomeKind::Restarted => "restarted",
            OutcomeKind::NotPlaced => "not_placed",
            OutcomeKind::Crashed => "crashed",
            OutcomeKind::Stopped => "stopped",
            OutcomeKind::StagingFailed => "staging_failed",
            OutcomeKind::DeploymentFailed => "deployment_failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub at: i64,
    pub kind: CauseKind,
    pub text: String,
    pub by: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CauseKind {
    /// It waited for room before.
    Waited,
    Crash,
    AgentLost,
    AgentDrained,
    NeverArrived,
    /// A user, or who acts for one.
    Act,
    Deployment,
    Build,
    Package,
    /// What was changed before and came into force with it.
    Change,
    /// Nothing recorded explains it but what was said when it was decided.
    Said,
}

impl CauseKind {
    pub fn name(self) -> &'static str {
        match self {
            CauseKind::Waited => "waited",
            CauseKind::Crash => "crash",
            CauseKind::AgentLost => "agent_lost",
            CauseKind::AgentDrained => "agent_drained",
            CauseKind::NeverArrived => "never_arrived",
            CauseKind::Act => "act",
            CauseKind::Deployment => "deployment",
            CauseKind::Build => "build",
            CauseKind::Package => "package",
            CauseKind::Change => "change",
            CauseKind::Said => "said",
        }
    }
}

/// The last `most` things that happened, the newest first, each with its causes.
pub fn explain(recorded: &Recorded, most: usize) -> Vec<Outcome> {
    let recorded = Sorted::of(recorded);
    let mut outcomes: Vec<Outcome> = recorded
        .decisions
        .iter()
        .filter_map(|decision| recorded.outcome(decision))
        .chain(
            recorded
                .crashes
                .iter()
                .filter_map(|it| recorded.unanswered(it)),
        )
        .chain(
            recorded
                .deeds
                .iter()
                .filter_map(|it| recorded.failed_staging(it)),
        )
        .chain(
            recorded
                .deployments
                .iter()
                .filter_map(|it| recorded.failed_deployment(it)),
        )
        .collect();
    outcomes.sort_by(|a, b| {
        let key = |it: &Outcome| (it.at, it.slot.as_ref().map(|slot| slot.index));
        key(b).cmp(&key(a))
    });
    outcomes.truncate(most);
    outcomes
}

/// What was recorded, the oldest first.
struct Sorted<'a> {
    decisions: Vec<&'a Decision>,
    crashes: Vec<&'a Crash>,
    deeds: Vec<&'a Deed>,
    agents: Vec<&'a AgentNews>,
    deployments: Vec<&'a Deployment>,
}

fn by_time<T>(records: &[T], at: impl Fn(&T) -> i64) -> Vec<&T> {
    let mut sorted: Vec<&T> = records.iter().collect();
    sorted.sort_by_key(|record| at(record));
    sorted
}

impl<'a> Sorted<'a> {
    fn of(recorded: &'a Recorded) -> Sorted<'a> {
        Sorted {
            decisions: by_time(&recorded.decisions, |it| it.at),
            crashes: by_time(&recorded.crashes, |it| it.at),
            deeds: by_time(&recorded.deeds, |it| it.at),
            agents: by_time(&recorded.agents, |it| it.at),
            deployments: by_time(&recorded.deployments, |it| it.begun_at),
        }
    }

    fn outcome(&self, decision: &Decision) -> Option<Outcome> {
        let slot = &decision.slot;
        let name = format!("instance {} of {}", slot.index, slot.process_type);
        let (kind, text, causes) = match decision.kind {
            // Told with the start that was tried again.
            DecisionKind::NeverArrived => return None,
            DecisionKind::NotPlaced => {
                if self.next_start(slot, decision.at).is_some() {
                    return None;
                }
                let text = format!("{name} could not be placed");
                (OutcomeKind::NotPlaced, text, self.start_causes(decision))
            }
            DecisionKind::Started => {
                let on = on(decision.agent.as_deref());
                let again = self.predecessor(decision).is_some();
                let (kind, text) = match again {
                    true => (
                        OutcomeKind::Restarted,
                        format!("{name} was started again{on}"),
                    ),
                    false => (OutcomeKind::Started, format!("{name} was started{on}")),
                };
                let mut causes = self.start_causes(decision);
                if let Some(waited) = self.wait_before(decision) {
                    causes.insert(0, waited);
                }
                (kind, text, causes)
            }
            DecisionKind::Stopped => {
                let on = on(decision.agent.as_deref());
                let text = format!("{name} was stopped{on}");
                (OutcomeKind::Stopped, text, self.stop_causes(decision))
            }
        };
        Some(Outcome {
            at: decision.at,
            kind,
            slot: Some(slot.clone()),
            instance: decision.instance.clone(),
            agent: decision.agent.clone(),
            text,
            placement: decision.placement.clone(),
            causes,
        })
    }

    fn next_start(&self, slot: &Slot, after: i64) -> Option<&'a Decision> {
        self.decisions
            .iter()
            .copied()
            .find(|it| it.kind == DecisionKind::Started && it.slot == *slot && it.at >= after)
    }

    /// The start of the same index and version before this one.
    fn predecessor(&self, decision: &Decision) -> Option<&'a Decision> {
        self.decisions.iter().copied().rev().find(|it| {
            it.kind == DecisionKind::Started && it.slot == decision.slot && it.at < decision.at
        })
    }

    /// A wait that ended with this start.
    fn wait_before(&self, started: &Decision) -> Option<Cause> {
        let since = self.predecessor(started).map_or(i64::MIN, |it| it.at);
        let wait = self.decisions.iter().rev().find(|it| {
            it.kind == DecisionKind::NotPlaced
                && it.slot == started.slot
                && it.at > since
                && it.at <= started.at
        })?;
        let for_what = wait.placement.as_deref().unwrap_or("room");
        let waited = span((started.at - wait.at).max(0) as f64 / 1e6);
        Some(Cause {
            at: wait.at,
            kind: CauseKind::Waited,
            text: format!("it waited {waited} to be placed: {for_what}"),
            by: None,
        })
    }

    /// What led to the wish to start an instance.
    fn start_causes(&self, decision: &Decision) -> Vec<Cause> {
        match self.predecessor(decision) {
            Some(before) => self.replacement_causes(before, decision),
            None => self.origin(decision),
        }
    }

    fn replacement_causes(&self, before: &Decision, decision: &Decision) -> Vec<Cause> {
        let between = |at: i64| at >= before.at && at <= decision.at + LATE;
        let crash = self.crashes.iter().rev().find(|crash| {
            between(crash.at)
                && crash.slot == decision.slot
                && (before.instance.is_none() || before.instance.as_ref() == Some(&crash.instance))
        });
        if let Some(crash) = crash {
            return self.crash_causes(crash);
        }
        // A stop of it that somebody wanted.
        let restarted = self.deeds.iter().rev().find(|deed| {
            matches!(&deed.act, Act::RestartInstance { process_type, index }
                if *process_type == decision.slot.process_type && *index == decision.slot.index)
                && deed.at >= before.at
                && deed.at <= decision.at
        });
        let woken = self.deeds.iter().rev().find(|deed| {
            matches!(&deed.act, Act::WakeUp { process_type, .. } if *process_type == decision.slot.process_type)
                && deed.at >= before.at
                && deed.at <= decision.at
        });
        if let Some(deed) = restarted.or(woken) {
            return vec![deed.cause(CauseKind::Act)];
        }
        let lost = self.decisions.iter().rev().find(|it| {
            it.kind == DecisionKind::NeverArrived
                && it.slot == decision.slot
                && it.at >= before.at
                && it.at <= decision.at
        });
        if let Some(lost) = lost {
            let on = on(lost.agent.as_deref());
            return vec![Cause {
                at: lost.at,
                kind: CauseKind::NeverArrived,
                text: format!("its start{on} never arrived: {}", lost.because),
                by: None,
            }];
        }
        if let Some(agent) = &before.agent {
            let causes = self.agent_causes(agent, before.at, decision.at);
            if !causes.is_empty() {
                return causes;
            }
        }
        vec![said(decision)]
    }

    /// What became of an agent between two times. A start may have reached one that had just been asked to
    /// be emptied.
    fn agent_causes(&self, agent: &str, from: i64, to: i64) -> Vec<Cause> {
        let asked_from = from.saturating_sub(LATE);
        let news: Vec<&AgentNews> = self
            .agents
            .iter()
            .copied()
            .filter(|news| news.agent == agent && news.at >= asked_from && news.at <= to + LATE)
            .collect();
        let lost = news.iter().rev();
        if let Some(lost) = lost
            .filter(|it| it.at >= from)
            .find(|it| it.what == AgentChange::Lost)
        {
            return vec![Cause {
                at: lost.at,
                kind: CauseKind::AgentLost,
                text: format!("its agent {agent} was lost: it was not heard any more"),
                by: None,
            }];
        }
        let drained = news
            .iter()
            .rev()
            .find(|it| matches!(it.what, AgentChange::DrainAsked | AgentChange::Draining));
        let Some(drained) = drained else {
            return Vec::new();
        };
        let asked = news
            .iter()
            .rev()
            .find(|it| it.what == AgentChange::DrainAsked);
        let told = asked.unwrap_or(drained);
        vec![Cause {
            at: told.at,
            kind: CauseKind::AgentDrained,
            text: match &told.by {
                Some(user) => format!("its agent {agent} is emptied: {user} asked for it"),
                None => format!("its agent {agent} is emptied"),
            },
            by: told.by.clone(),
        }]
    }

    fn crash_causes(&self, crash: &Crash) -> Vec<Cause> {
        let mut causes = vec![Cause {
            at: crash.at,
            kind: CauseKind::Crash,
            text: format!(
                "it crashed{}: {}",
                on(crash.agent.as_deref()),
                crash.describe()
            ),
            by: None,
        }];
        let first = self
            .decisions
            .iter()
            .copied()
            .find(|it| it.kind == DecisionKind::Started && it.slot == crash.slot);
        if let Some(first) = first {
            causes.extend(self.origin(first));
        }
        causes
    }

    /// What began the version of an instance, or brought its index.
    fn origin(&self, first: &Decision) -> Vec<Cause> {
        let begun = self
            .deeds
            .iter()
            .copied()
            .rev()
            .find(|deed| deed.at <= first.at && deed.act.starts(&first.slot));
        let deployment = self
            .deployments
            .iter()
            .copied()
            .find(|it| it.new_process == first.slot.process && it.begun_at <= first.at)
            // The process outlives its deployment: what was begun anew once that was over has another cause.
            .filter(|it| begun.is_none_or(|deed| it.ended_at.is_none_or(|end| deed.at < end)));
        if let Some(deployment) = deployment {
            return self.deployment_causes(deployment);
        }
        let Some(begun) = begun else {
            return vec![said(first)];
        };
        let mut causes = vec![begun.cause(CauseKind::Act)];
        match &begun.act {
            Act::Start | Act::Restart => {
                causes.extend(self.changes_before(begun.at));
                let droplet = self.deeds.iter().rev().find_map(|deed| match &deed.act {
                    Act::ChooseDroplet { droplet } if deed.at <= begun.at => Some(droplet),
                    _ => None,
                });
                // Only the first start after it was staged came from that build.
                let since = self.previous_begin(begun.at);
                if let Some(droplet) = droplet {
                    causes.extend(self.build_causes(droplet, since));
                }
            }
            Act::Deploy { droplet, .. } => causes.extend(self.build_causes(droplet, i64::MIN)),
            _ => {}
        }
        causes
    }

    fn deployment_causes(&self, deployment: &Deployment) -> Vec<Cause> {
        let asked = self.deeds.iter().find(|deed| {
            matches!(&deed.act, Act::Deploy { deployment: guid, .. } if *guid == deployment.guid)
        });
        let mut causes = vec![match asked {
            Some(deed) => deed.cause(CauseKind::Deployment),
            None => Cause {
                at: deployment.begun_at,
                kind: CauseKind::Deployment,
                text: "a deployment replaces the instances step by step".to_string(),
                by: None,
            },
        }];
        causes.extend(self.changes_before(deployment.begun_at));
        let since = self.previous_begin(deployment.begun_at);
        causes.extend(self.build_causes(&deployment.droplet, since));
        causes
    }

    /// When what ran before that time had been begun.
    fn previous_begin(&self, at: i64) -> i64 {
        self.deeds
            .iter()
            .rev()
            .find(|deed| deed.at < at && deed.act.renews())
            .map_or(i64::MIN, |deed| deed.at)
    }

    /// What was changed since the version before and came into force then.
    fn changes_before(&self, at: i64) -> Vec<Cause> {
        let since = self.previous_begin(at);
        self.deeds
            .iter()
            .rev()
            .filter(|deed| deed.at <= at && deed.at > since && deed.act.is_change())
            .take(CHANGES_MOST)
            .map(|deed| deed.cause(CauseKind::Change))
            .collect()
    }

    /// The build of a droplet, and its package, if they came after `since`.
    fn build_causes(&self, droplet: &str, since: i64) -> Vec<Cause> {
        let staged = self.deeds.iter().find_map(|deed| match &deed.act {
            Act::Staged {
                droplet: made,
                package,
            } if made == droplet => Some((deed, package)),
            _ => None,
        });
        let Some((staged, package)) = staged.filter(|(deed, _)| deed.at > since) else {
            return Vec::new();
        };
        let mut causes = vec![staged.cause(CauseKind::Build)];
        causes.extend(self.package_cause(package.as_deref()));
        causes
    }

    fn package_cause(&self, package: Option<&str>) -> Option<Cause> {
        let package = package?;
        self.deeds.iter().rev().find_map(|deed| match &deed.act {
            Act::Upload { package: sent } if sent == package => {
                Some(deed.cause(CauseKind::Package))
            }
            _ => None,
        })
    }

    fn stop_causes(&self, decision: &Decision) -> Vec<Cause> {
        let before = |deed: &&&Deed| deed.at <= decision.at;
        let slot = &decision.slot;
        let last = |wanted: &dyn Fn(&Act) -> bool| {
            self.deeds
                .iter()
                .rev()
                .filter(before)
                .find(|deed| wanted(&deed.act))
                .map(|deed| vec![deed.cause(CauseKind::Act)])
        };
        let replaced = || {
            let deployment = self.deployments.iter().copied().rev().find(|it| {
                it.begun_at <= decision.at
                    && it.ended_at.is_none_or(|ended| ended + LATE >= decision.at)
                    && (it.old_process.as_ref() == Some(&slot.process)
                        || it.new_process == slot.process)
            });
            deployment.map(|it| self.deployment_causes(it))
        };
        let found = match decision.because.as_str() {
            ASLEEP => last(&|act| matches!(act, Act::FallAsleep { .. })),
            APP_STOPPED => last(&|act| *act == Act::Stop),
            SCALED_IN => replaced().or_else(|| {
                last(&|act| matches!(act, Act::Scale { process_type, .. } if *process_type == slot.process_type))
            }),
            NEWER_VERSION => replaced().or_else(|| last(&Act::renews)),
            USER_RESTARTS => last(&|act| {
                matches!(act, Act::RestartInstance { process_type, index }
                    if *process_type == slot.process_type && *index == slot.index)
            }),
            _ => decision
                .agent
                .as_deref()
                .map(|agent| self.drain_before(agent, decision.at))
                .filter(|causes| !causes.is_empty()),
        };
        let mut causes = vec![said(decision)];
        causes.extend(found.unwrap_or_default());
        causes
    }

    /// The emptying of an agent that was not over at that time.
    fn drain_before(&self, agent: &str, at: i64) -> Vec<Cause> {
        let last = self
            .agents
            .iter()
            .rev()
            .find(|news| news.agent == agent && news.at <= at);
        match last.map(|news| news.what) {
            Some(AgentChange::DrainAsked | AgentChange::Draining) => {
                let begun = self.agents.iter().rev().find(|news| {
                    news.agent == agent
                        && news.at <= at
                        && matches!(news.what, AgentChange::UndrainAsked | AgentChange::Back)
                });
                self.agent_causes(agent, begun.map_or(i64::MIN, |news| news.at), at - LATE)
            }
            Some(AgentChange::Lost | AgentChange::Back | AgentChange::UndrainAsked) | None => {
                Vec::new()
            }
        }
    }

    /// A crash after which nothing was tried.
    fn unanswered(&self, crash: &Crash) -> Option<Outcome> {
        let answered = self.decisions.iter().any(|it| {
            matches!(it.kind, DecisionKind::Started | DecisionKind::NotPlaced)
                && it.slot.process == crash.slot.process
                && it.slot.index == crash.slot.index
                && it.instance.as_ref() != Some(&crash.instance)
                && it.at >= crash.at
        });
        let superseded = self.crashes.iter().any(|later| {
            later.at > crash.at
                && later.slot.process == crash.slot.process
                && later.slot.index == crash.slot.index
        });
        if answered || superseded {
            return None;
        }
        let slot = &crash.slot;
        Some(Outcome {
            at: crash.at,
            kind: OutcomeKind::Crashed,
            slot: Some(slot.clone()),
            instance: Some(crash.instance.clone()),
            agent: crash.agent.clone(),
            text: format!(
                "instance {} of {} crashed{}: {}",
                slot.index,
                slot.process_type,
                on(crash.agent.as_deref()),
                crash.describe()
            ),
            placement: None,
            causes: self.crash_causes(crash).split_off(1),
        })
    }

    fn failed_staging(&self, deed: &Deed) -> Option<Outcome> {
        let Act::StagingFailed {
            build,
            package,
            error,
        } = &deed.act
        else {
            return None;
        };
        let mut causes: Vec<Cause> = self
            .deeds
            .iter()
            .filter(|it| matches!(&it.act, Act::Stage { build: asked } if asked == build))
            .map(|it| it.cause(CauseKind::Build))
            .collect();
        causes.extend(self.package_cause(package.as_deref()));
        Some(Outcome {
            at: deed.at,
            kind: OutcomeKind::StagingFailed,
            slot: None,
            instance: None,
            agent: None,
            text: format!("staging failed: {error}"),
            placement: None,
            causes,
        })
    }

    fn failed_deployment(&self, deployment: &Deployment) -> Option<Outcome> {
        let (error, at) = (deployment.error.as_ref()?, deployment.ended_at?);
        let crash = self.crashes.iter().rev().find(|crash| {
            crash.slot.process == deployment.new_process && crash.at >= deployment.begun_at
        });
        let mut causes = match crash {
            Some(crash) => self.crash_causes(crash),
            None => self.deployment_causes(deployment),
        };
        // A crash leads to what began its version, which is this deployment.
        dedup(&mut causes);
        Some(Outcome {
            at,
            kind: OutcomeKind::DeploymentFailed,
            slot: None,
            instance: None,
            agent: None,
            text: format!("a deployment was taken back: {error}"),
            placement: None,
            causes,
        })
    }
}

fn dedup(causes: &mut Vec<Cause>) {
    let mut told = BTreeSet::new();
    causes.retain(|cause| told.insert((cause.at, cause.text.clone())));
}

/// What was said when it was decided.
fn said(decision: &Decision) -> Cause {
    Cause {
        at: decision.at,
        kind: CauseKind::Said,
        text: decision.because.clone(),
        by: None,
    }
}

fn on(agent: Option<&str>) -> String {
    agent
        .map(|agent| format!(" on {agent}"))
        .unwrap_or_default()
}

impl Crash {
    /// `out of memory (exit status 137) after 12 s`
    fn describe(&self) -> String {
        let mut text = self.how.clone();
        if let Some(status) = self.status
            && !text.contains(&status.to_string())
        {
            text.push_str(&format!(" (exit status {status})"));
        }
        if self.while_starting {
            text.push_str(" while it was starting");
        } else if let Some(ran) = self.ran {
            text.push_str(&format!(" after {}", span(ran)));
        }
        text
    }
}

/// `12 s`, `3 min`, `5 h`, `2 days`
fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.0} h", seconds / 3600.0),
        _ => format!("{:.0} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests;
