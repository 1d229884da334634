//! Whether an execution that ended is run again.
//!
//! A retry is a new execution with the same action and parameters. What links them is its context:
//! `policies.retry {applied_policy, retry_count, retried_liveaction_id}`. The delay before it is a
//! fact of the new execution (it starts out delayed), so nothing is lost when a controller dies in
//! between.

use super::policy::{Kind, Policy, RetryOn};
use crate::execution::Status;
use serde_json::{Map, Value, json};

/// An execution that ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// Its id.
    pub id: &'a str,
    /// How it ended.
    pub status: Status,
    /// Its context.
    pub context: &'a Map<String, Value>,
}

/// Whether it is run again.
#[derive(Debug, Clone, PartialEq)]
pub enum Retry {
    /// It is not.
    No {
        /// Why not.
        because: &'static str,
    },
    /// A new execution is accepted.
    Again {
        /// The policy that says so.
        policy: String,
        /// How many retries this makes.
        count: u32,
        /// How long it is delayed, milliseconds.
        delay: i64,
        /// Its context.
        context: Map<String, Value>,
    },
}

/// Decides about an execution that ended, from the policies of its action.
pub fn retry(policies: &[Policy], ended: Ended<'_>) -> Retry {
    let no = |because| Retry::No { because };
    let condition = match ended.status {
        Status::Failed | Status::Abandoned => RetryOn::Failure,
        Status::Timeout => RetryOn::Timeout,
        Status::Succeeded => return no("it succeeded"),
        Status::Canceled => return no("it was canceled"),
        Status::Requested
        | Status::Delayed
        | Status::Scheduled
        | Status::Running
        | Status::Pending
        | Status::Pausing
        | Status::Paused
        | Status::Resuming
        | Status::Canceling => return no("it has not ended"),
    };
    let in_workflow = ended
        .context
        .get("parent")
        .is_some_and(|parent| !parent.is_null() && *parent != json!({}));
    if in_workflow {
        return no("it is part of a workflow, which has retries of its own");
    }
    let policy = policies.iter().find_map(|policy| match &policy.kind {
        Kind::Retry { on, most, delay } if policy.enabled && *on == condition => {
            Some((policy, *most, *delay))
        }
        Kind::Retry { .. } | Kind::Concurrency { .. } | Kind::ConcurrencyByAttribute { .. } => None,
    });
    let Some((policy, most, delay)) = policy else {
        return no("no policy of its action retries this end");
    };
    let before = ended
        .context
        .get("policies")
        .and_then(|policies| policies.get("retry")?.get("retry_count")?.as_u64())
        .map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX));
    if before >= most {
        return no("it was retried as often as its policy allows");
    }
    let mut context = ended.context.clone();
    context.insert(
        "policies".to_owned(),
        json!({"retry": {
            "applied_policy": policy.reference,
            "retry_count": before + 1,
            "retried_liveaction_id": ended.id,
        }}),
    );
    // Who ended the old one says nothing about the new one.
    for key in ["cancelled_by", "paused_by", "resumed_by"] {
        context.remove(key);
    }
    Retry::Again {
        policy: policy.reference.clone(),
        count: before + 1,
        delay,
        context,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::AtThreshold;

    fn policies() -> Vec<Policy> {
        let kinds = [
            Kind::Concurrency {
                threshold: 1,
                at_threshold: AtThreshold::Delay,
            },
            Kind::Retry {
                on: RetryOn::Failure,
                most: 2,
                delay: 1500,
            },
        ];
        kinds
            .into_iter()
            .enumerate()
            .map(|(index, kind)| Policy {
                reference: format!("p.{index}"),
                resource: "core.local".to_owned(),
                enabled: true,
                kind,
            })
            .collect()
    }

    fn ask(status: Status, context: Value) -> Retry {
        retry(
            &policies(),
            Ended {
                id: "e1",
                status,
                context: context.as_object().expect("an object"),
            },
        )
    }

    #[track_caller]
    fn refused(status: Status, context: Value, reason: &str) {
        match ask(status, context) {
            Retry::No { because } => assert!(because.contains(reason), "{because}"),
            again @ Retry::Again { .. } => panic!("{again:?}"),
        }
    }

    #[test]
    fn a_failure_is_run_again_with_a_context_that_says_so() {
        assert_eq!(
            ask(Status::Failed, json!({"user": "ada", "cancelled_by": "x"})),
            Retry::Again {
                policy: "p.1".to_owned(),
                count: 1,
                delay: 1500,
                context: json!({"user": "ada", "policies": {"retry": {
                    "applied_policy": "p.1", "retry_count": 1, "retried_liveaction_id": "e1",
                }}})
                .as_object()
                .cloned()
                .expect("an object"),
            }
        );
    }

    #[test]
    fn an_abandoned_execution_counts_as_failed() {
        assert!(matches!(
            ask(Status::Abandoned, json!({})),
            Retry::Again { count: 1, .. }
        ));
    }

    #[test]
    fn retries_are_counted() {
        let counted = |count: u32| json!({"policies": {"retry": {"retry_count": count}}});
        assert!(matches!(
            ask(Status::Failed, counted(1)),
            Retry::Again { count: 2, .. }
        ));
        refused(Status::Failed, counted(2), "as often as");
        refused(Status::Failed, counted(3), "as often as");
    }

    #[test]
    fn other_ends_are_not_retried() {
        refused(Status::Timeout, json!({}), "no policy");
        refused(Status::Succeeded, json!({}), "succeeded");
        refused(Status::Canceled, json!({}), "canceled");
        refused(Status::Running, json!({}), "not ended");
        refused(
            Status::Failed,
            json!({"parent": {"execution_id": "e0"}}),
            "part of a workflow",
        );
    }

    #[test]
    fn a_disabled_policy_retries_nothing() {
        let mut policies = policies();
        policies[1].enabled = false;
        let answer = retry(
            &policies,
            Ended {
                id: "e1",
                status: Status::Failed,
                context: &Map::new(),
            },
        );
        assert!(matches!(answer, Retry::No { .. }));
    }
}
