//! What to start and what to stop, so that the agents run what the rows say.
//!
//! [`plan`] compares the desired processes with what is observed and what is on its way, and
//! returns actions with their reasons. It starts an index **once** for each version of a process:
//! what was started and is gone again (crashed, lost) is the health manager's matter, which knows
//! grace and back-off; its requests pass [`verify`]. Placement is not decided here.
//!
//! ```text
//!   rows ──► Desired ┐
//!   heartbeats ► Observed ┼─► plan ─► Start / Stop ─► sent ─► Ledger (in flight)
//!   Ledger ──────────┘                                   └─ settle: seen, exited, or never arrived
//! ```
//!
//! Safety: an index is never started while a live instance of that version holds it or a start of
//! it is in flight, nor before every agent has told all it runs (`Sight::warm`): a controller that
//! has just come up would double the whole cluster. Only what was never started anywhere
//! (`Desired::untried`) need not wait for that: no agent can be found to run it. Nothing is stopped
//! that was not seen lately.

use super::observed::{Instance, Observed};
use proto::bus::health::{HealthOperation, HealthRequest, InstanceState};
use proto::ids::{DeaId, InstanceId, ProcessGuid, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Reasons of what the rows ask for.
pub const NEWLY_DESIRED: &str = "newly desired";
pub const PROCESS_REMOVED: &str = "the process was removed";
pub const APP_STOPPED: &str = "the app is stopped";
pub const NEWER_VERSION: &str = "a newer version replaces it";
pub const SCALED_IN: &str = "scaled in";
pub const ASLEEP: &str = "nobody asks for it: it sleeps";
pub const USER_RESTARTS: &str = "a user restarts this instance";

/// What the rows want of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    pub version: Version,
    pub instances: u32,
    /// The app is started and there is a droplet to run.
    pub run: bool,
    /// It is to have no instances because nobody asks for it.
    pub asleep: bool,
    /// No instance of this version was ever started, by anybody.
    pub untried: bool,
}

/// One thing to do, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Start {
        process: ProcessGuid,
        version: Version,
        index: u32,
        because: String,
    },
    Stop {
        process: ProcessGuid,
        instances: Vec<InstanceId>,
        because: String,
    },
}

/// How far what is seen may be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    pub now: Duration,
    /// Every agent has told all it runs.
    pub warm: bool,
    /// An observation older than this stops nothing.
    pub fresh: Duration,
}

/// A start that was sent and not yet seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    pub process: ProcessGuid,
    pub version: Version,
    pub index: u32,
    pub dea: DeaId,
    pub sent_at: Duration,
    /// When to give it up if nothing was seen.
    pub give_up_at: Duration,
}

/// How a start in flight ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The agent shows it.
    Seen,
    /// It ended already.
    Exited,
    /// It never arrived: the index may be started again.
    NeverArrived { because: &'static str },
}

/// What this controller has sent: in memory only, a new leader begins with an empty one and
/// waits until it is warm.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    launches: BTreeMap<InstanceId, Launch>,
    stops: BTreeMap<InstanceId, Duration>,
    /// Indices of the version that were started once.
    started: BTreeMap<ProcessGuid, (Version, BTreeSet<u32>)>,
}

/// A complete heartbeat this long after a start was sent must show it.
const MUST_SHOW: Duration = Duration::from_secs(5);
/// A stop is repeated after this long if the instance is still there.
const STOP_AGAIN: Duration = Duration::from_secs(10);

impl Ledger {
    pub fn sent_start(&mut self, instance: InstanceId, launch: Launch) {
        let (version, indices) = self
            .started
            .entry(launch.process.clone())
            .or_insert_with(|| (launch.version.clone(), BTreeSet::new()));
        if *version != launch.version {
            *version = launch.version.clone();
            indices.clear();
        }
        indices.insert(launch.index);
        self.launches.insert(instance, launch);
    }

    pub fn sent_stop(&mut self, instance: InstanceId, now: Duration) {
        self.stops.insert(instance, now);
    }

    /// Compares what was sent with what is seen; returns the launches that are over.
    pub fn settle(
        &mut self,
        observed: &Observed,
        now: Duration,
    ) -> Vec<(InstanceId, Launch, Settled)> {
        let mut over = Vec::new();
        for (id, launch) in &self.launches {
            if let Some(settled) = settle_one(id, launch, observed, now) {
                over.push((id.clone(), launch.clone(), settled));
            }
        }
        for (id, launch, settled) in &over {
            self.launches.remove(id);
            match settled {
                Settled::Seen | Settled::Exited => {}
                Settled::NeverArrived { .. } => {
                    self.forget(&launch.process, &launch.version, launch.index)
                }
            }
        }
        self.stops.retain(|id, at| {
            observed.instance(id).is_some() && now.saturating_sub(*at) < STOP_AGAIN
        });
        over
    }

    /// Forgets processes that are no longer desired or have another version.
    pub fn keep_only(&mut self, desired: &BTreeMap<ProcessGuid, Desired>) {
        self.started
            .retain(|process, (version, indices)| match desired.get(process) {
                Some(wanted) if wanted.run && wanted.version == *version => {
                    // Scaled in and out again: the index is newly desired.
                    indices.retain(|index| *index < wanted.instances);
                    true
                }
                Some(_) | None => false,
            });
    }

    pub fn in_flight(
        &self,
        process: &ProcessGuid,
        version: &Version,
        index: u32,
    ) -> Option<&Launch> {
        self.launches.values().find(|launch| {
            launch.process == *process && launch.version == *version && launch.index == index
        })
    }

    pub fn launches(&self) -> impl Iterator<Item = (&InstanceId, &Launch)> {
        self.launches.iter()
    }

    pub fn is_stopping(&self, instance: &InstanceId) -> bool {
        self.stops.contains_key(instance)
    }

    fn was_started(&self, process: &ProcessGuid, version: &Version, index: u32) -> bool {
        self.started
            .get(process)
            .is_some_and(|(known, indices)| known == version && indices.contains(&index))
    }

    /// The start was not sent after all.
    pub fn withdraw(&mut self, instance: &InstanceId) {
        if let Some(launch) = self.launches.remove(instance) {
            self.forget(&launch.process, &launch.version, launch.index);
        }
    }

    /// The index counts as newly desired again: it could not be placed, or is to be replaced.
    pub fn forget(&mut self, process: &ProcessGuid, version: &Version, index: u32) {
        if let Some((known, indices)) = self.started.get_mut(process)
            && known == version
        {
            indices.remove(&index);
        }
    }
}

fn settle_one(
    id: &InstanceId,
    launch: &Launch,
    observed: &Observed,
    now: Duration,
) -> Option<Settled> {
    if observed.has_exited(id) {
        return Some(Settled::Exited);
    }
    // A stranger's agent gives its own instance ids.
    let shown = observed.instance(id).is_some()
        || observed.of_process(&launch.process).any(|one| {
            one.version == launch.version
                && one.index == launch.index
                && one.dea.as_ref() == Some(&launch.dea)
                && one.is_live()
        });
    if shown {
        return Some(Settled::Seen);
    }
    if now >= launch.give_up_at {
        return Some(Settled::NeverArrived {
            because: "the agent did not show it in time",
        });
    }
    let patience = launch.sent_at.saturating_add(MUST_SHOW);
    match observed.agent(&launch.dea) {
        None if now > patience => Some(Settled::NeverArrived {
            because: "the agent is gone",
        }),
        None => None,
        Some(agent) if agent.last_complete.is_some_and(|at| at > patience) => {
            Some(Settled::NeverArrived {
                because: "the agent does not have it",
            })
        }
        Some(_) => None,
    }
}

/// Compares everything desired with everything observed.
pub fn plan(
    desired: &BTreeMap<ProcessGuid, Desired>,
    observed: &Observed,
    ledger: &Ledger,
    sight: Sight,
) -> Vec<Action> {
    let mut actions = Vec::new();
    for process in observed.processes() {
        actions.extend(stops(
            process,
            desired.get(process),
            observed,
            ledger,
            sight,
        ));
    }
    let startable = |wanted: &Desired| wanted.run && (sight.warm || wanted.untried);
    for (process, wanted) in desired.iter().filter(|(_, wanted)| startable(wanted)) {
        let held: BTreeSet<u32> = observed
            .of_process(process)
            .filter(|one| one.version == wanted.version)
            .map(|one| one.index)
            .collect();
        for index in 0..wanted.instances {
            let begun = held.contains(&index)
                || ledger.was_started(process, &wanted.version, index)
                || ledger.in_flight(process, &wanted.version, index).is_some();
            if !begun {
                actions.push(Action::Start {
                    process: process.clone(),
                    version: wanted.version.clone(),
                    index,
                    because: NEWLY_DESIRED.to_string(),
                });
            }
        }
    }
    actions
}

/// The stops of one process, one action for each reason.
fn stops(
    process: &ProcessGuid,
    wanted: Option<&Desired>,
    observed: &Observed,
    ledger: &Ledger,
    sight: Sight,
) -> Vec<Action> {
    let mut by_reason: BTreeMap<&'static str, Vec<InstanceId>> = BTreeMap::new();
    for one in observed.of_process(process) {
        let stoppable = match one.state {
            InstanceState::Starting | InstanceState::Running | InstanceState::Evacuating => true,
            // Nothing of it runs.
            InstanceState::Crashed => false,
        };
        let fresh = sight.now.saturating_sub(one.seen_at) <= sight.fresh;
        if !stoppable || !fresh || ledger.is_stopping(&one.id) {
            continue;
        }
        if let Some(reason) = unwanted(one, wanted) {
            by_reason.entry(reason).or_default().push(one.id.clone());
        }
    }
    by_reason
        .into_iter()
        .map(|(reason, instances)| Action::Stop {
            process: process.clone(),
            instances,
            because: reason.to_string(),
        })
        .collect()
}

fn unwanted(one: &Instance, wanted: Option<&Desired>) -> Option<&'static str> {
    match wanted {
        None => Some(PROCESS_REMOVED),
        Some(wanted) if !wanted.run => Some(APP_STOPPED),
        Some(wanted) if wanted.version != one.version => Some(NEWER_VERSION),
        Some(wanted) if wanted.asleep => Some(ASLEEP),
        Some(wanted) if one.index >= wanted.instances => Some(SCALED_IN),
        Some(_) => None,
    }
}

/// What became of a request of the health manager.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    pub actions: Vec<Action>,
    /// What was not done, and why not.
    pub ignored: Vec<String>,
    /// Indices not started because they are live or on their way as far as is known here. The
    /// health manager may have heard of an end before us: look again when more was heard.
    pub held: Vec<u32>,
}

/// Checks a request of the health manager against the rows and what is seen now: it was planned a
/// moment ago, from older knowledge of both.
pub fn verify(
    request: &HealthRequest,
    wanted: Option<&Desired>,
    observed: &Observed,
    ledger: &Ledger,
) -> Verdict {
    match request.op {
        HealthOperation::Start => verify_start(request, wanted, observed, ledger),
        HealthOperation::Stop => verify_stop(request, wanted, observed, ledger),
    }
}

fn verify_start(
    request: &HealthRequest,
    wanted: Option<&Desired>,
    observed: &Observed,
    ledger: &Ledger,
) -> Verdict {
    let mut verdict = Verdict::default();
    let wanted = match wanted {
        None => {
            verdict.ignored.push("there is no such process".to_string());
            return verdict;
        }
        Some(wanted) if !wanted.run => {
            verdict.ignored.push("the app is stopped".to_string());
            return verdict;
        }
        Some(wanted)
            if request
                .version
                .as_ref()
                .is_some_and(|version| *version != wanted.version) =>
        {
            verdict
                .ignored
                .push("it was planned for another version".to_string());
            return verdict;
        }
        Some(wanted) => wanted,
    };
    let asked: BTreeSet<u32> = request.indices.iter().copied().collect();
    for index in asked {
        let live = observed
            .of_process(&request.droplet)
            .any(|one| one.version == wanted.version && one.index == index && one.is_live());
        if index >= wanted.instances {
            verdict
                .ignored
                .push(format!("index {index} is not desired"));
        } else if live {
            verdict.held.push(index);
            verdict
                .ignored
                .push(format!("index {index} runs or starts"));
        } else if ledger
            .in_flight(&request.droplet, &wanted.version, index)
            .is_some()
        {
            verdict.held.push(index);
            verdict
                .ignored
                .push(format!("a start of index {index} is on its way"));
        } else {
            verdict.actions.push(Action::Start {
                process: request.droplet.clone(),
                version: wanted.version.clone(),
                index,
                because: request
                    .yard_reason
                    .clone()
                    .unwrap_or_else(|| "the health manager asks".to_string()),
            });
        }
    }
    verdict
}

fn verify_stop(
    request: &HealthRequest,
    wanted: Option<&Desired>,
    observed: &Observed,
    ledger: &Ledger,
) -> Verdict {
    let mut verdict = Verdict::default();
    let mut stopping: BTreeSet<InstanceId> = BTreeSet::new();
    for id in &request.instances {
        let Some(one) = observed
            .instance(id)
            .filter(|one| one.process == request.droplet)
        else {
            verdict.ignored.push(format!("instance {id} is not seen"));
            continue;
        };
        if ledger.is_stopping(id) || stopping.contains(id) {
            verdict
                .ignored
                .push(format!("instance {id} is being stopped"));
            continue;
        }
        let spare = observed.of_process(&request.droplet).any(|other| {
            other.id != one.id
                && other.index == one.index
                && other.version == one.version
                && other.is_running()
                && !stopping.contains(&other.id)
                && !ledger.is_stopping(&other.id)
        });
        if unwanted(one, wanted).is_some() || spare {
            stopping.insert(id.clone());
        } else {
            verdict.ignored.push(format!(
                "instance {id} is the only one of index {}",
                one.index
            ));
        }
    }
    if !stopping.is_empty() {
        verdict.actions.push(Action::Stop {
            process: request.droplet.clone(),
            instances: stopping.into_iter().collect(),
            because: request
                .yard_reason
                .clone()
                .unwrap_or_else(|| "the health manager asks".to_string()),
        });
    }
    verdict
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests {
    use super::super::observed::tests::{
        beat, dea, exit, heartbeat, instance, process, seconds, version,
    };
    use super::*;
    use proto::bus::health::ExitReason;

    fn wanted(instances: u32, run: bool, name: &str) -> BTreeMap<ProcessGuid, Desired> {
        BTreeMap::from([(
            process("p"),
            Desired {
                version: version(name),
                instances,
                run,
                asleep: false,
                untried: false,
            },
        )])
    }

    fn sight(now: u64) -> Sight {
        Sight {
            now: seconds(now),
            warm: true,
            fresh: seconds(30),
        }
    }

    fn launch(index: u32, sent: u64) -> Launch {
        Launch {
            process: process("p"),
            version: version("v1"),
            index,
            dea: dea("dea-1"),
            sent_at: seconds(sent),
            give_up_at: seconds(sent + 60),
        }
    }

    /// `start 0`, `stop a b (why)`
    fn show(actions: &[Action]) -> Vec<String> {
        actions
            .iter()
            .map(|action| match action {
                Action::Start { index, version, .. } => format!("start {version} {index}"),
                Action::Stop {
                    instances, because, ..
                } => {
                    let ids: Vec<&str> = instances.iter().map(InstanceId::as_str).collect();
                    format!("stop {} ({because})", ids.join(" "))
                }
            })
            .collect()
    }

    fn seen(beats: Vec<proto::bus::health::Beat>, at: u64) -> Observed {
        let mut observed = Observed::default();
        observed.heartbeat(&heartbeat("dea-1", Some(true), beats), seconds(at));
        observed
    }

    #[test]
    fn newly_desired_indices_start_once() {
        let desired = wanted(2, true, "v1");
        let mut observed = seen(vec![], 0);
        let mut ledger = Ledger::default();
        assert_eq!(
            show(&plan(&desired, &observed, &ledger, sight(0))),
            ["start v1 0", "start v1 1"]
        );
        ledger.sent_start(instance("a"), launch(0, 0));
        assert_eq!(
            show(&plan(&desired, &observed, &ledger, sight(0))),
            ["start v1 1"]
        );
        ledger.sent_start(instance("b"), launch(1, 0));
        let both = vec![
            beat("a", 0, InstanceState::Running),
            beat("b", 1, InstanceState::Starting),
        ];
        observed.heartbeat(&heartbeat("dea-1", Some(true), both), seconds(1));
        assert_eq!(ledger.settle(&observed, seconds(1)).len(), 2);
        // Crashed and gone: the health manager's matter.
        observed.exited(&exit("a", 0, ExitReason::Crashed), seconds(2));
        assert!(plan(&desired, &observed, &ledger, sight(2)).is_empty());
        observed.heartbeat(&heartbeat("dea-1", Some(true), vec![]), seconds(3));
        assert!(plan(&desired, &observed, &ledger, sight(3)).is_empty());
    }

    #[test]
    fn a_start_that_never_arrived_is_sent_again() {
        let desired = wanted(1, true, "v1");
        let mut observed = seen(vec![], 0);
        let mut ledger = Ledger::default();
        ledger.sent_start(instance("a"), launch(0, 0));
        observed.heartbeat(&heartbeat("dea-1", Some(true), vec![]), seconds(4));
        assert!(
            ledger.settle(&observed, seconds(4)).is_empty(),
            "too early to say"
        );
        observed.heartbeat(&heartbeat("dea-1", Some(true), vec![]), seconds(6));
        let over = ledger.settle(&observed, seconds(6));
        assert_eq!(
            over[0].2,
            Settled::NeverArrived {
                because: "the agent does not have it"
            }
        );
        assert_eq!(
            show(&plan(&desired, &observed, &ledger, sight(6))),
            ["start v1 0"]
        );
    }

    #[test]
    fn nothing_starts_before_every_agent_was_heard() {
        let desired = wanted(1, true, "v1");
        let cold = Sight {
            warm: false,
            ..sight(0)
        };
        assert!(plan(&desired, &Observed::default(), &Ledger::default(), cold).is_empty());
    }

    #[test]
    fn what_was_never_started_need_not_wait_for_every_agent() {
        let mut desired = wanted(1, true, "v1");
        if let Some(fresh) = desired.get_mut(&process("p")) {
            fresh.untried = true;
        }
        let cold = Sight {
            warm: false,
            ..sight(0)
        };
        let mut ledger = Ledger::default();
        assert_eq!(
            show(&plan(&desired, &Observed::default(), &ledger, cold)),
            ["start v1 0"]
        );
        ledger.sent_start(instance("a"), launch(0, 0));
        assert!(plan(&desired, &Observed::default(), &ledger, cold).is_empty());
    }

    #[test]
    fn a_restart_stops_the_old_version_and_starts_the_new() {
        let observed = seen(vec![beat("a", 0, InstanceState::Running)], 0);
        assert_eq!(
            show(&plan(
                &wanted(1, true, "v2"),
                &observed,
                &Ledger::default(),
                sight(0)
            )),
            ["stop a (a newer version replaces it)", "start v2 0"]
        );
    }

    #[test]
    fn what_is_not_desired_any_more_stops_if_seen_lately() {
        use InstanceState::{Crashed, Running};
        let observed = seen(
            vec![
                beat("a", 0, Running),
                beat("b", 1, Running),
                beat("c", 2, Crashed),
            ],
            0,
        );
        let mut ledger = Ledger::default();
        assert_eq!(
            show(&plan(&wanted(1, true, "v1"), &observed, &ledger, sight(1))),
            ["stop b (scaled in)"]
        );
        assert_eq!(
            show(&plan(&wanted(2, false, "v1"), &observed, &ledger, sight(1))),
            ["stop a b (the app is stopped)"]
        );
        assert_eq!(
            show(&plan(&BTreeMap::new(), &observed, &ledger, sight(1))),
            ["stop a b (the process was removed)"]
        );
        assert!(
            plan(&BTreeMap::new(), &observed, &ledger, sight(31)).is_empty(),
            "too old to act on"
        );
        ledger.sent_stop(instance("a"), seconds(1));
        assert_eq!(
            show(&plan(&BTreeMap::new(), &observed, &ledger, sight(2))),
            ["stop b (the process was removed)"]
        );
        ledger.settle(&observed, seconds(12));
        assert_eq!(
            show(&plan(&BTreeMap::new(), &observed, &ledger, sight(12))).len(),
            1,
            "asked again after a while"
        );
        assert_eq!(
            show(&plan(&BTreeMap::new(), &observed, &ledger, sight(12))),
            ["stop a b (the process was removed)"]
        );
    }

    #[test]
    fn an_evacuating_instance_stays_as_long_as_it_is_desired_and_no_longer() {
        use InstanceState::Evacuating;
        let observed = seen(vec![beat("a", 0, Evacuating), beat("b", 1, Evacuating)], 0);
        let act = |desired| show(&plan(&desired, &observed, &Ledger::default(), sight(1)));
        assert_eq!(
            act(wanted(2, true, "v1")),
            Vec::<String>::new(),
            "its replacement is the health manager's matter"
        );
        assert_eq!(act(wanted(1, true, "v1")), ["stop b (scaled in)"]);
        assert_eq!(
            act(wanted(2, false, "v1")),
            ["stop a b (the app is stopped)"]
        );
    }

    #[test]
    fn an_index_scaled_in_and_out_again_is_newly_desired() {
        let mut ledger = Ledger::default();
        ledger.sent_start(instance("a"), launch(1, 0));
        let mut observed = seen(vec![beat("a", 1, InstanceState::Running)], 1);
        ledger.settle(&observed, seconds(1));
        ledger.keep_only(&wanted(1, true, "v1"));
        observed.exited(&exit("a", 1, ExitReason::Stopped), seconds(2));
        assert_eq!(
            show(&plan(&wanted(2, true, "v1"), &observed, &ledger, sight(2))),
            ["start v1 0", "start v1 1"]
        );
    }

    fn ask(op: HealthOperation, indices: &[u32], instances: &[&str]) -> HealthRequest {
        HealthRequest {
            droplet: process("p"),
            op,
            last_updated: 0.0,
            version: Some(version("v1")),
            indices: indices.to_vec(),
            instances: instances.iter().map(|id| instance(id)).collect(),
            flapping: None,
            yard_reason: None,
        }
    }

    #[test]
    fn a_start_asked_for_is_checked_again() {
        use InstanceState::{Crashed, Running};
        let observed = seen(vec![beat("a", 0, Running), beat("b", 1, Crashed)], 0);
        let mut ledger = Ledger::default();
        ledger.sent_start(instance("x"), launch(2, 0));
        let desired = wanted(3, true, "v1");
        let request = ask(HealthOperation::Start, &[0, 1, 1, 2, 3], &[]);
        let verdict = verify(&request, desired.get(&process("p")), &observed, &ledger);
        assert_eq!(show(&verdict.actions), ["start v1 1"]);
        assert_eq!(
            verdict.ignored,
            [
                "index 0 runs or starts",
                "a start of index 2 is on its way",
                "index 3 is not desired"
            ]
        );
        assert_eq!(verdict.held, [0, 2]);
        let other = wanted(3, true, "v2");
        assert!(
            verify(&request, other.get(&process("p")), &observed, &ledger)
                .actions
                .is_empty()
        );
        let stopped = wanted(3, false, "v1");
        assert!(
            verify(&request, stopped.get(&process("p")), &observed, &ledger)
                .actions
                .is_empty()
        );
        assert_eq!(
            verify(&request, None, &observed, &ledger).ignored,
            ["there is no such process"]
        );
    }

    #[test]
    fn the_last_instance_of_an_index_is_never_stopped_on_request() {
        use InstanceState::Running;
        let observed = seen(
            vec![
                beat("a", 0, Running),
                beat("b", 0, Running),
                beat("c", 1, Running),
            ],
            0,
        );
        let desired = wanted(2, true, "v1");
        let desired = desired.get(&process("p"));
        let verdict = verify(
            &ask(HealthOperation::Stop, &[], &["a", "b", "c", "d"]),
            desired,
            &observed,
            &Ledger::default(),
        );
        assert_eq!(show(&verdict.actions), ["stop a (the health manager asks)"]);
        assert_eq!(
            verdict.ignored,
            [
                "instance b is the only one of index 0",
                "instance c is the only one of index 1",
                "instance d is not seen"
            ]
        );
    }
}
