//! Which of the waiting executions of one action may start now.
//!
//! Problem: counting what runs and then deciding about one execution admits too many when two are
//! decided about at once, and lets a late one pass an early one; deciding about the whole queue each
//! time reads thousands of rows for one slot.
//!
//! Approach: for the limits an execution is only its [`Standing`], the groups it counts in. Executions
//! of the same standing are alike but for their age, so of each standing that is not held
//! ([`Limits::ask`]) the oldest are enough, and the rest of the queue need not be read. Those are decided
//! about at once, in order of arrival, from one snapshot ([`admit`]); what is admitted counts at once
//! for those behind it. Whoever applies the answer does so in the transaction that read the snapshot,
//! and asks again whenever an execution of the action ends.
//!
//! What a newcomer gets wrong: an execution held by one policy does not hold back those behind it that
//! need no slot of that policy (another value of the attribute). Within the same values the order is
//! strict.

use super::policy::{AtThreshold, Kind, Policy};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An execution that waits to be scheduled, its own delay over.
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a> {
    /// Its id; breaks ties of arrival.
    pub id: &'a str,
    /// When it was accepted, Unix milliseconds.
    pub accepted_at: i64,
    /// What it is to the limits.
    pub standing: &'a Standing,
}

/// What an execution is to the limits of its action: the group it counts in, of each limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing(Vec<String>);

impl Standing {
    /// As it is kept; [`Limits::read`] reads it back.
    pub fn text(&self) -> String {
        format!("[{}]", self.0.join(","))
    }
}

/// Who of the executions of one standing is to be decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// All of them stay held.
    Nobody,
    /// The oldest, so many; there is no room for more.
    Oldest(usize),
    /// All: no limit holds them, or they are to be canceled.
    All,
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
#[derive(Debug, Clone)]
struct Limit<'a> {
    policy: &'a Policy,
    threshold: usize,
    at_threshold: AtThreshold,
    attributes: &'a [String],
    used: BTreeMap<String, usize>,
}

impl Limit<'_> {
    fn used(&self, group: &str) -> usize {
        self.used.get(group).copied().unwrap_or_default()
    }

    fn group(&self, mark: &str) -> String {
        serde_json::to_string(&(&self.policy.reference, self.attributes, mark))
            .expect("texts are JSON")
    }
}

/// What the policies of one action limit, and how far each limit is used up.
#[derive(Debug, Clone)]
pub struct Limits<'a>(Vec<Limit<'a>>);

impl<'a> Limits<'a> {
    /// Nothing is used yet.
    pub fn of(policies: &'a [Policy]) -> Limits<'a> {
        Limits(policies.iter().filter_map(limit).collect())
    }

    /// Everything may start.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether parameters tell executions apart. If not, all are of the same standing.
    pub fn looks_at_parameters(&self) -> bool {
        self.0.iter().any(|limit| !limit.attributes.is_empty())
    }

    /// The standing of an execution with these parameters; one that is not given counts as null.
    /// `mark` stands for values, equal for equal ones: standings are kept in the clear, and a
    /// parameter may be secret.
    pub fn standing(
        &self,
        parameters: &Map<String, Value>,
        mark: impl Fn(&str) -> String,
    ) -> Standing {
        let group = |limit: &Limit<'_>| {
            if limit.attributes.is_empty() {
                return limit.group("");
            }
            let values: Vec<&Value> = limit
                .attributes
                .iter()
                .map(|name| parameters.get(name).unwrap_or(&Value::Null))
                .collect();
            limit.group(&mark(
                &serde_json::to_string(&values).expect("values are JSON"),
            ))
        };
        Standing(self.0.iter().map(group).collect())
    }

    /// A standing that was kept. None: it was made by other policies than these.
    pub fn read(&self, text: &str) -> Option<Standing> {
        let groups: Vec<(String, Vec<String>, String)> = serde_json::from_str(text).ok()?;
        if groups.len() != self.0.len() {
            return None;
        }
        let group =
            |(limit, (policy, attributes, mark)): (&Limit<'_>, (String, Vec<String>, String))| {
                let same = limit.policy.reference == policy && limit.attributes == attributes;
                same.then(|| limit.group(&mark))
            };
        self.0
            .iter()
            .zip(groups)
            .map(group)
            .collect::<Option<_>>()
            .map(Standing)
    }

    /// So many of this standing are scheduled or running.
    pub fn take(&mut self, standing: &Standing, count: usize) {
        for (limit, group) in self.0.iter_mut().zip(&standing.0) {
            *limit.used.entry(group.clone()).or_default() += count;
        }
    }

    /// Who of this standing is to be decided about.
    pub fn ask(&self, standing: &Standing) -> Ask {
        match self.decide(standing) {
            Admission::Hold { .. } => Ask::Nobody,
            Admission::Cancel { .. } => Ask::All,
            Admission::Schedule => {
                let room =
                    |(limit, group): (&Limit<'_>, &String)| limit.threshold - limit.used(group);
                let room = self.0.iter().zip(&standing.0).map(room).min();
                room.map_or(Ask::All, Ask::Oldest)
            }
        }
    }

    /// The first policy at its threshold speaks, but a cancel wins over a hold: waiting for a slot of one
    /// policy makes no sense for what another will not let in.
    fn decide(&self, standing: &Standing) -> Admission {
        let mut admission = Admission::Schedule;
        for (limit, group) in self.0.iter().zip(&standing.0) {
            let active = limit.used(group);
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

/// Decides about these executions of one action; those that may start use up the limits. The answer is
/// in order of arrival.
pub fn admit(limits: &mut Limits<'_>, waiting: &[Waiting<'_>]) -> Vec<(String, Admission)> {
    let mut queue: Vec<&Waiting<'_>> = waiting.iter().collect();
    queue.sort_by_key(|execution| (execution.accepted_at, execution.id));
    queue
        .into_iter()
        .map(|execution| {
            let admission = limits.decide(execution.standing);
            if admission == Admission::Schedule {
                limits.take(execution.standing, 1);
            }
            (execution.id.to_owned(), admission)
        })
        .collect()
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

    fn standing(limits: &Limits<'_>, host: &str) -> Standing {
        limits.standing(&on(host), |values| values.to_uppercase())
    }

    /// The limits with so many running, by host.
    fn limits<'a, S: AsRef<str>>(policies: &'a [Policy], active: &[S]) -> Limits<'a> {
        let mut limits = Limits::of(policies);
        for host in active {
            let standing = standing(&limits, host.as_ref());
            limits.take(&standing, 1);
        }
        limits
    }

    /// Decides about those of a queue (id, when it was accepted, host).
    fn decided<S: AsRef<str>>(
        limits: &mut Limits<'_>,
        queue: &[(S, i64, S)],
    ) -> Vec<(String, Admission)> {
        let standings: Vec<Standing> = queue
            .iter()
            .map(|(_, _, host)| standing(limits, host.as_ref()))
            .collect();
        let waiting: Vec<Waiting<'_>> = queue
            .iter()
            .zip(&standings)
            .map(|((id, accepted_at, _), standing)| Waiting {
                id: id.as_ref(),
                accepted_at: *accepted_at,
                standing,
            })
            .collect();
        admit(limits, &waiting)
    }

    /// The outcome as `id:s`, `id:h(policy)` or `id:c(policy)`.
    fn outcome(policies: &[Policy], active: &[&str], waiting: &[(&str, i64, &str)]) -> String {
        decided(&mut limits(policies, active), waiting)
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
        let policies = [at_most(1, AtThreshold::Delay)];
        assert_eq!(
            decided(&mut limits(&policies, &["a"]), &[("1", 0, "a")]),
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

    #[test]
    fn of_a_standing_only_those_are_asked_for_who_may_move() {
        let policies = [at_most(5, AtThreshold::Delay), per_host(2)];
        let mut limits = limits(&policies, &["a", "a", "b"]);
        let ask = |limits: &Limits<'_>, host| limits.ask(&standing(limits, host));
        assert_eq!(ask(&limits, "a"), Ask::Nobody);
        assert_eq!(ask(&limits, "b"), Ask::Oldest(1));
        assert_eq!(ask(&limits, "c"), Ask::Oldest(2));
        let other = standing(&limits, "d");
        limits.take(&other, 2);
        assert_eq!(ask(&limits, "c"), Ask::Nobody);
        let policies = [at_most(1, AtThreshold::Cancel)];
        assert_eq!(ask(&self::limits(&policies, &["a"]), "b"), Ask::All);
        assert_eq!(ask(&Limits::of(&[]), "b"), Ask::All);
    }

    #[test]
    fn a_standing_is_read_back_by_the_policies_that_made_it_and_hides_the_values() {
        let policies = [at_most(5, AtThreshold::Delay), per_host(2)];
        let limits = Limits::of(&policies);
        let kept = limits.standing(&on("secret"), |values| format!("{}", values.len()));
        assert!(!kept.text().contains("secret"), "{kept:?}");
        assert_eq!(limits.read(&kept.text()), Some(kept.clone()));
        assert!(limits.looks_at_parameters());
        // Another threshold is no other standing.
        let raised = [at_most(9, AtThreshold::Delay), per_host(3)];
        assert_eq!(Limits::of(&raised).read(&kept.text()), Some(kept.clone()));
        let fewer = [at_most(5, AtThreshold::Delay)];
        assert!(!Limits::of(&fewer).looks_at_parameters());
        let mut by_command = per_host(2);
        by_command.kind = Kind::ConcurrencyByAttribute {
            threshold: 2,
            at_threshold: AtThreshold::Delay,
            attributes: vec!["cmd".to_owned()],
        };
        let others = [&fewer[..], &[at_most(5, AtThreshold::Delay), by_command]];
        for other in others {
            assert_eq!(Limits::of(other).read(&kept.text()), None);
        }
        assert_eq!(limits.read("nonsense"), None);
    }

    fn hosts() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[abc]", 0..12)
    }

    /// The queue of these hosts in order of arrival, two at a time.
    fn queue(hosts: &[String]) -> Vec<(String, i64, String)> {
        hosts
            .iter()
            .enumerate()
            .map(|(index, host)| (format!("{index:02}"), index as i64 / 2, host.clone()))
            .collect()
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
            let queued = queue(&queued);
            let mut used = limits(&policies, &running);
            let answer = decided(&mut used, &queued);
            prop_assert_eq!(&answer, &decided(&mut limits(&policies, &running), &queued));

            let mut held = Vec::new();
            let mut after: Vec<&String> = running.iter().collect();
            let mut left = Vec::new();
            for (execution, (id, admission)) in queued.iter().zip(&answer) {
                prop_assert_eq!(&execution.0, id);
                if *admission == Admission::Schedule {
                    prop_assert!(!held.contains(&&execution.2));
                    after.push(&execution.2);
                } else {
                    held.push(&execution.2);
                    left.push(execution.clone());
                }
            }
            if after.len() > running.len() {
                prop_assert!(after.len() <= most);
            }
            for host in ["a", "b", "c"] {
                let before = running.iter().filter(|one| *one == host).count();
                let count = after.iter().filter(|one| **one == host).count();
                prop_assert!(count <= per || count == before);
            }
            let again = decided(&mut used, &left);
            prop_assert!(again.iter().all(|(_, admission)| *admission != Admission::Schedule));
        }

        /// Asking for the oldest of each standing until nobody is asked for comes to the same as
        /// deciding about the whole queue.
        #[test]
        fn the_oldest_of_each_standing_are_enough(
            running in hosts(),
            queued in hosts(),
            most in 1..8usize,
            per in 1..4usize,
            at_threshold in prop_oneof![Just(AtThreshold::Delay), Just(AtThreshold::Cancel)],
        ) {
            let policies = [at_most(most, at_threshold), per_host(per)];
            let moving = |used: &mut Limits<'_>, asked: &[(String, i64, String)]| {
                let mut answer = decided(used, asked);
                answer.retain(|(_, admission)| !matches!(admission, Admission::Hold { .. }));
                answer
            };
            let mut used = limits(&policies, &running);
            let mut whole = moving(&mut used, &queue(&queued));
            // What another has to be canceled by may have come behind it.
            let mut left = queue(&queued);
            left.retain(|(id, ..)| whole.iter().all(|(done, _)| done != id));
            whole.extend(moving(&mut used, &left));
            let mut left = queue(&queued);
            let mut used = limits(&policies, &running);
            let mut moved = Vec::new();
            loop {
                let mut asked = Vec::new();
                for host in ["a", "b", "c"] {
                    let alike = left.iter().filter(|one| one.2 == host);
                    match used.ask(&standing(&used, host)) {
                        Ask::Nobody => {}
                        Ask::Oldest(count) => asked.extend(alike.take(count).cloned()),
                        Ask::All => asked.extend(alike.cloned()),
                    }
                }
                if asked.is_empty() {
                    break;
                }
                let answer = moving(&mut used, &asked);
                left.retain(|(id, ..)| answer.iter().all(|(done, _)| done != id));
                moved.extend(answer);
            }
            let ids = |answer: Vec<(String, Admission)>| -> BTreeMap<String, bool> {
                answer.into_iter().map(|(id, admission)| (id, admission == Admission::Schedule)).collect()
            };
            prop_assert_eq!(ids(moved), ids(whole));
        }
    }
}
