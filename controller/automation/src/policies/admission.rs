//! Which of the waiting executions of one action may start now.
//!
//! Problem: counting what runs and then deciding about one execution admits too many when two are
//! decided about at once, and lets a late one pass an early one. Approach: the whole queue of the
//! action is decided about at once, in order of arrival, from one snapshot; what is admitted counts
//! at once for those behind it. Whoever applies the answer does so in the transaction that read the
//! snapshot, and asks again whenever an execution of the action ends.
//!
//! What a newcomer gets wrong: an execution held by one policy does not hold back those behind it that
//! need no slot of that policy (another value of the attribute). Within the same values the order is
//! strict.

use super::policy::{AtThreshold, Kind, Policy};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An execution that is scheduled or running.
#[derive(Debug, Clone, Copy)]
pub struct Active<'a> {
    /// The parameters it was started with.
    pub parameters: &'a Map<String, Value>,
}

/// An execution that waits to be scheduled, its own delay over.
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a> {
    /// Its id; breaks ties of arrival.
    pub id: &'a str,
    /// When it was accepted, Unix milliseconds.
    pub accepted_at: i64,
    /// Its parameters.
    pub parameters: &'a Map<String, Value>,
}

/// What becomes of a waiting execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is scheduled.
    Schedule,
    /// It waits.
    Hold {
        /// The policy that holds it.
        policy: String,
        /// How many are active in its group, those just admitted among them.
        active: usize,
        /// How many may be.
        threshold: usize,
    },
    /// It is canceled.
    Cancel {
        /// The policy that says so.
        policy: String,
        /// How many are active in its group.
        active: usize,
        /// How many may be.
        threshold: usize,
    },
}

/// One limit and how far it is used up, by the values that tell groups apart.
struct Limit<'a> {
    policy: &'a Policy,
    threshold: usize,
    at_threshold: AtThreshold,
    attributes: &'a [String],
    used: BTreeMap<String, usize>,
}

impl Limit<'_> {
    /// The group of these parameters. A parameter that is not given counts as null.
    fn group(&self, parameters: &Map<String, Value>) -> String {
        let values: Vec<&Value> = self
            .attributes
            .iter()
            .map(|name| parameters.get(name).unwrap_or(&Value::Null))
            .collect();
        serde_json::to_string(&values).expect("values are JSON")
    }
}

/// Decides about every waiting execution of one action. The answer is in order of arrival.
pub fn admit(
    policies: &[Policy],
    active: &[Active<'_>],
    waiting: &[Waiting<'_>],
) -> Vec<(String, Admission)> {
    let mut limits: Vec<Limit<'_>> = policies.iter().filter_map(limit).collect();
    for limit in &mut limits {
        for execution in active {
            *limit
                .used
                .entry(limit.group(execution.parameters))
                .or_default() += 1;
        }
    }
    let mut queue: Vec<&Waiting<'_>> = waiting.iter().collect();
    queue.sort_by_key(|execution| (execution.accepted_at, execution.id));
    queue
        .into_iter()
        .map(|execution| {
            let admission = decide(&limits, execution.parameters);
            if admission == Admission::Schedule {
                for limit in &mut limits {
                    *limit
                        .used
                        .entry(limit.group(execution.parameters))
                        .or_default() += 1;
                }
            }
            (execution.id.to_owned(), admission)
        })
        .collect()
}

fn limit(policy: &Policy) -> Option<Limit<'_>> {
    let (threshold, at_threshold, attributes) = match &policy.kind {
        Kind::Concurrency {
            threshold,
            at_threshold,
        } => (*threshold, *at_threshold, &[][..]),
        Kind::ConcurrencyByAttribute {
            threshold,
            at_threshold,
            attributes,
        } => (*threshold, *at_threshold, attributes.as_slice()),
        Kind::Retry { .. } => return None,
    };
    policy.enabled.then(|| Limit {
        policy,
        threshold,
        at_threshold,
        attributes,
        used: BTreeMap::new(),
    })
}

/// The first policy at its threshold speaks, but a cancel wins over a hold: waiting for a slot of one
/// policy makes no sense for what another will not let in.
fn decide(limits: &[Limit<'_>], parameters: &Map<String, Value>) -> Admission {
    let mut admission = Admission::Schedule;
    for limit in limits {
        let active = limit
            .used
            .get(&limit.group(parameters))
            .copied()
            .unwrap_or_default();
        if active < limit.threshold {
            continue;
        }
        let policy = limit.policy.reference.clone();
        let threshold = limit.threshold;
        match limit.at_threshold {
            AtThreshold::Cancel => {
                return Admission::Cancel {
                    policy,
                    active,
                    threshold,
                };
            }
            AtThreshold::Delay => {
                if admission == Admission::Schedule {
                    admission = Admission::Hold {
                        policy,
                        active,
                        threshold,
                    };
                }
            }
        }
    }
    admission
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn policy(reference: &str, kind: Kind) -> Policy {
        Policy {
            reference: reference.to_owned(),
            resource: "core.local".to_owned(),
            enabled: true,
            kind,
        }
    }

    fn at_most(threshold: usize, at_threshold: AtThreshold) -> Policy {
        policy(
            "p.most",
            Kind::Concurrency {
                threshold,
                at_threshold,
            },
        )
    }

    fn per_host(threshold: usize) -> Policy {
        policy(
            "p.per_host",
            Kind::ConcurrencyByAttribute {
                threshold,
                at_threshold: AtThreshold::Delay,
                attributes: vec!["host".to_owned()],
            },
        )
    }

    fn on(host: &str) -> Map<String, Value> {
        json!({"host": host, "cmd": "date"})
            .as_object()
            .cloned()
            .expect("an object")
    }

    /// The outcome as `id:s`, `id:h(policy)` or `id:c(policy)`.
    fn outcome(policies: &[Policy], active: &[&str], waiting: &[(&str, i64, &str)]) -> String {
        let running: Vec<Map<String, Value>> = active.iter().map(|host| on(host)).collect();
        let queued: Vec<(&str, i64, Map<String, Value>)> = waiting
            .iter()
            .map(|(id, accepted_at, host)| (*id, *accepted_at, on(host)))
            .collect();
        let active: Vec<Active<'_>> = running
            .iter()
            .map(|parameters| Active { parameters })
            .collect();
        let waiting: Vec<Waiting<'_>> = queued
            .iter()
            .map(|(id, accepted_at, parameters)| Waiting {
                id,
                accepted_at: *accepted_at,
                parameters,
            })
            .collect();
        admit(policies, &active, &waiting)
            .into_iter()
            .map(|(id, admission)| match admission {
                Admission::Schedule => format!("{id}:s"),
                Admission::Hold { policy, .. } => format!("{id}:h({policy})"),
                Admission::Cancel { policy, .. } => format!("{id}:c({policy})"),
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn without_policies_everything_starts() {
        assert_eq!(outcome(&[], &["a"; 50], &[("1", 1, "a")]), "1:s");
        let mut disabled = at_most(1, AtThreshold::Delay);
        disabled.enabled = false;
        assert_eq!(outcome(&[disabled], &["a"; 50], &[("1", 1, "a")]), "1:s");
    }

    #[test]
    fn slots_go_to_those_who_came_first() {
        assert_eq!(
            outcome(
                &[at_most(3, AtThreshold::Delay)],
                &["a"],
                &[
                    ("late", 9, "a"),
                    ("first", 1, "a"),
                    ("b", 5, "a"),
                    ("a", 5, "a")
                ]
            ),
            "first:s a:s b:h(p.most) late:h(p.most)"
        );
    }

    #[test]
    fn one_too_many_can_be_canceled() {
        assert_eq!(
            outcome(
                &[at_most(1, AtThreshold::Cancel)],
                &[],
                &[("1", 1, "a"), ("2", 2, "a")]
            ),
            "1:s 2:c(p.most)"
        );
    }

    #[test]
    fn other_values_pass_those_that_are_held() {
        assert_eq!(
            outcome(
                &[per_host(1)],
                &["a"],
                &[("1", 1, "a"), ("2", 2, "b"), ("3", 3, "b"), ("4", 4, "c")]
            ),
            "1:h(p.per_host) 2:s 3:h(p.per_host) 4:s"
        );
    }

    #[test]
    fn all_policies_must_agree_and_a_cancel_wins() {
        assert_eq!(
            outcome(
                &[per_host(1), at_most(2, AtThreshold::Cancel)],
                &["a"],
                &[("1", 1, "a"), ("2", 2, "b"), ("3", 3, "a")]
            ),
            "1:h(p.per_host) 2:s 3:c(p.most)"
        );
    }

    #[test]
    fn the_reason_carries_the_numbers() {
        let parameters = on("a");
        let answer = admit(
            &[at_most(1, AtThreshold::Delay)],
            &[Active {
                parameters: &parameters,
            }],
            &[Waiting {
                id: "1",
                accepted_at: 0,
                parameters: &parameters,
            }],
        );
        assert_eq!(
            answer,
            [(
                "1".to_owned(),
                Admission::Hold {
                    policy: "p.most".to_owned(),
                    active: 1,
                    threshold: 1
                }
            )]
        );
    }

    fn hosts() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[abc]", 0..12)
    }

    proptest! {
        /// Safe: no group goes over its threshold through an admission. Fair: within a group nobody
        /// passes somebody. Convergent: asking again after applying the answer changes nothing.
        #[test]
        fn admission_is_safe_fair_and_convergent(
            running in hosts(),
            queued in hosts(),
            most in 1..8usize,
            per in 1..4usize,
        ) {
            let policies = [at_most(most, AtThreshold::Delay), per_host(per)];
            let running: Vec<Map<String, Value>> = running.iter().map(|host| on(host)).collect();
            let queued: Vec<(String, Map<String, Value>)> = queued
                .iter()
                .enumerate()
                .map(|(index, host)| (format!("{index:02}"), on(host)))
                .collect();
            let active: Vec<Active<'_>> = running.iter().map(|parameters| Active { parameters }).collect();
            let waiting: Vec<Waiting<'_>> = queued
                .iter()
                .map(|(id, parameters)| Waiting { id, accepted_at: 7, parameters })
                .collect();
            let answer = admit(&policies, &active, &waiting);
            prop_assert_eq!(&answer, &admit(&policies, &active, &waiting));

            let mut held = Vec::new();
            let mut after = active.clone();
            let mut left = Vec::new();
            for (execution, (id, admission)) in waiting.iter().zip(&answer) {
                prop_assert_eq!(execution.id, id);
                if *admission == Admission::Schedule {
                    prop_assert!(!held.contains(&&execution.parameters["host"]));
                    after.push(Active { parameters: execution.parameters });
                } else {
                    held.push(&execution.parameters["host"]);
                    left.push(*execution);
                }
            }
            if after.len() > active.len() {
                prop_assert!(after.len() <= most);
            }
            for host in ["a", "b", "c"] {
                let count = |all: &[Active<'_>]| all.iter().filter(|one| one.parameters["host"] == host).count();
                prop_assert!(count(&after) <= per || count(&after) == count(&active));
            }
            let again = admit(&policies, &after, &left);
            prop_assert!(again.iter().all(|(_, admission)| *admission != Admission::Schedule));
        }
    }
}
