//! What comes from outside: at the leader it is judged and begun at once, elsewhere it is recorded for the leader.

use crate::databases;
use crate::events::{enforcements, executions, instances, ready, rule, webhook};
use crate::site::Site;
use controller::runtime::LEADERSHIP;
use controller::store::automation::executions::Execution;
use controller::store::automation::trigger_instances::TriggerInstance;
use controller::store::leadership;
use serde_json::json;

/// Two requests to a webhook, one of which matches, and one for an execution: what is recorded before any
/// engine has looked.
async fn take_in(site: &Site) -> (Vec<TriggerInstance>, Vec<Execution>) {
    for n in [1, 2] {
        site.post("/v1/webhooks/a", json!({"n": n}))
            .await
            .expect(202);
    }
    site.post("/v1/executions", json!({"action": "test.noop"}))
        .await
        .expect(201);
    let hook = &site.get("/v1/triggers?type=core.st2.webhook").await[0]["ref"];
    (
        instances(site, hook.as_str().unwrap()).await,
        executions(site).await,
    )
}

#[tokio::test]
async fn what_comes_to_the_leader_begins_in_the_transaction_that_records_it() {
    let name = "what_comes_to_the_leader_begins_in_the_transaction_that_records_it";
    for database in databases::each(name).await {
        let mut site = ready(&database).await;
        let criteria = json!({"trigger.body.n": {"type": "equals", "pattern": 1}});
        site.post("/v1/rules", rule("one", webhook("a"), criteria, json!({})))
            .await
            .expect(201);
        let (taken, begun) = take_in(&site).await;
        assert_eq!(taken.len(), 2);
        for row in &taken {
            assert_eq!((row.status.as_str(), row.row_version), ("processed", 1));
        }
        let enforced = enforcements(&site).await;
        assert_eq!(enforced.len(), 1);
        assert_eq!(enforced[0].execution_id.as_ref(), Some(&begun[0].id));
        let statuses: Vec<&str> = begun.iter().map(|row| row.status.as_str()).collect();
        assert_eq!(statuses, ["succeeded", "succeeded"]);
        // The rules hear of their ends, and nothing is done twice.
        site.settle().await;
        assert_eq!(executions(&site).await.len(), 2);
        assert_eq!(
            instances(&site, "core.st2.generic.actiontrigger")
                .await
                .len(),
            2
        );
    }
}

#[tokio::test]
async fn who_does_not_lead_or_only_believes_so_records_what_comes_for_the_leader() {
    let name = "who_does_not_lead_or_only_believes_so_records_what_comes_for_the_leader";
    for database in databases::each(name).await {
        let mut site = ready(&database).await;
        let criteria = json!({"trigger.body.n": {"type": "equals", "pattern": 1}});
        site.post("/v1/rules", rule("one", webhook("a"), criteria, json!({})))
            .await
            .expect(201);
        // The second time somebody else leads, which this controller has not noticed.
        for (times, leader) in [(1, 1), (2, 2)] {
            if times == 1 {
                site.lead(None);
            } else {
                let mut tx = site.automation.ops.store.write("test").await.unwrap();
                leadership::fence(&mut tx, LEADERSHIP, 2).await.unwrap();
                tx.commit().await.unwrap();
            }
            let (taken, recorded) = take_in(&site).await;
            let pending = taken.iter().filter(|row| row.status == "pending").count();
            let requested = recorded.iter().filter(|row| row.status == "requested");
            assert_eq!((pending, requested.count()), (2, 1));
            site.lead(Some(leader));
            site.settle().await;
            let done = executions(&site).await;
            assert_eq!(done.len(), 2 * times);
            assert!(done.iter().all(|row| row.status == "succeeded"));
        }
    }
}
