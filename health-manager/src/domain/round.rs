//! One turn of the planner: what is due is planned, what was planned is remembered, and what is to be
//! asked is put into messages.
//!
//! Several health managers know the same and only the leader asks. The others plan too, and remember what
//! they noticed, so that a new leader does not begin its graces anew; but what they did not ask does not
//! count as asked.

use super::Millis;
use super::plan::{Because, Operation, Plan, Request, Scope, plan};
use super::policy::Policy;
use super::world::World;
use proto::bus::health::{HealthOperation, HealthRequest};
use proto::ids::ProcessGuid;
use std::collections::{BTreeMap, BTreeSet};

/// What is to be planned anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    pub processes: BTreeSet<ProcessGuid>,
    pub all: bool,
}

/// What came of a turn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Round {
    /// Without requests where somebody else leads.
    pub plan: Plan,
    /// Requests that are somebody else's to make.
    pub left_to_the_leader: usize,
    /// Everything was planned.
    pub all: bool,
}

/// Plans what is due.
pub fn round(world: &mut World, due: Due, leads: bool, now: Millis, policy: &Policy) -> Round {
    let Due { processes, all } = due;
    if all {
        world.tidy(now, policy);
    }
    let scope = if all {
        Scope::All
    } else {
        Scope::Only(&processes)
    };
    let mut plan = plan(world, scope, now, policy);
    let mut left_to_the_leader = 0;
    if !leads {
        left_to_the_leader = plan.requests.len();
        plan.requests.clear();
    }
    world.commit(&plan, now);
    Round {
        plan,
        left_to_the_leader,
        all,
    }
}

/// One message for each process, operation, version and reason, in the order of the plan.
pub fn messages(plan: &Plan) -> Vec<HealthRequest> {
    let mut order: Vec<Key<'_>> = Vec::new();
    let mut grouped: BTreeMap<Key<'_>, HealthRequest> = BTreeMap::new();
    for request in &plan.requests {
        let key = Key::of(request);
        let message = grouped.entry(key.clone()).or_insert_with(|| {
            order.push(key);
            HealthRequest {
                droplet: request.process.clone(),
                op: match request.operation {
                    Operation::Start { .. } => HealthOperation::Start,
                    Operation::Stop { .. } => HealthOperation::Stop,
                },
                last_updated: request.last_updated,
                version: Some(request.version.clone()),
                indices: Vec::new(),
                instances: Vec::new(),
                flapping: request.flapping.then_some(true),
                yard_reason: Some(request.because.text()),
            }
        });
        match &request.operation {
            Operation::Start { index } => message.indices.push(*index),
            Operation::Stop { instance } => message.instances.push(instance.clone()),
        }
    }
    order
        .into_iter()
        .filter_map(|key| grouped.remove(&key))
        .collect()
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    process: &'a ProcessGuid,
    version: &'a str,
    stop: bool,
    because: Because,
}

impl<'a> Key<'a> {
    fn of(request: &'a Request) -> Key<'a> {
        Key {
            process: &request.process,
            version: request.version.as_str(),
            stop: matches!(request.operation, Operation::Stop { .. }),
            because: request.because,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::desired::Wanted;
    use super::*;
    use proto::bus::health::DesiredProcess;
    use proto::config::Settings;
    use proto::ids::Version;

    fn process(name: &str) -> ProcessGuid {
        ProcessGuid::new(name).expect("an id")
    }

    fn world(instances: u32) -> World {
        let mut world = World::default();
        world.connected(0);
        let read = DesiredProcess {
            id: process("p"),
            instances,
            state: "STARTED".into(),
            memory: 1,
            package_state: "STAGED".into(),
            version: Version::new("v1").expect("an id"),
            updated_at: 1.0,
        };
        let set = BTreeMap::from([(process("p"), Wanted::read(1, &read, 0))]);
        world.desired.replace(set, 0);
        world
    }

    fn everything() -> Due {
        Due {
            all: true,
            ..Due::default()
        }
    }

    #[test]
    fn who_does_not_lead_notices_and_does_not_ask() {
        let policy = Policy::read(&Settings::default());
        let mut world = world(2);
        let first = round(&mut world, everything(), false, 0, &policy);
        assert_eq!(first.plan.noticed.len(), 2);
        let now = policy.grace.max(policy.lost_after);
        let follower = round(&mut world, everything(), false, now, &policy);
        assert_eq!(
            (follower.left_to_the_leader, follower.plan.requests.len()),
            (2, 0)
        );
        // Nothing counts as asked: whoever leads from here on asks at once.
        let leader = round(&mut world, everything(), true, now, &policy);
        assert_eq!(messages(&leader.plan).len(), 1);
        assert_eq!(messages(&leader.plan)[0].indices, [0, 1]);
        let again = round(&mut world, everything(), true, now, &policy);
        assert!(again.plan.requests.is_empty());
    }

    #[test]
    fn only_what_is_due_is_planned() {
        let policy = Policy::read(&Settings::default());
        let mut world = world(1);
        let other = Due {
            processes: BTreeSet::from([process("other")]),
            all: false,
        };
        let made = round(&mut world, other, true, 0, &policy);
        assert!(made.plan.noticed.is_empty() && !made.all);
    }

    #[test]
    fn each_reason_has_its_message() {
        let request = |operation, because| Request {
            process: process("p"),
            version: Version::new("v1").expect("an id"),
            operation,
            because,
            last_updated: 1.0,
            flapping: false,
        };
        let plan = Plan {
            requests: vec![
                request(Operation::Start { index: 3 }, Because::AgentLost),
                request(
                    Operation::Start { index: 1 },
                    Because::Crashed { crashes: 1 },
                ),
                request(Operation::Start { index: 2 }, Because::AgentLost),
            ],
            ..Plan::default()
        };
        let sent: Vec<Vec<u32>> = messages(&plan)
            .into_iter()
            .map(|message| message.indices)
            .collect();
        assert_eq!(sent, [vec![3, 2], vec![1]]);
    }
}
