//! Retention: what is old goes, and what belongs to it with it.

use crate::cluster::now;
use crate::world::World;
use controller::automation::engine::retention;
use controller::automation::ids::new_id;
use controller::store::automation::execution_outputs::{self, ExecutionOutput};
use controller::store::automation::executions::Execution;
use controller::store::automation::tokens::Token;
use controller::store::automation::traces::Trace;
use controller::store::automation::trigger_instances::TriggerInstance;
use controller::store::query::Filter;
use controller::store::sql::Connection;
use serde_json::json;

const DAY: i64 = 86_400_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_old_is_forgotten_and_what_still_counts_is_kept() {
    for world in World::each("what_is_old_is_forgotten").await {
        let admin = world.admin().await;
        let automation = &world.node.automation;
        world.action("noop", "noop", json!({}), json!({})).await;
        let old = admin.run("check.noop", json!({})).await;
        let young = admin.run("check.noop", json!({})).await;
        let body = json!({"action": "check.noop", "delay": 600_000});
        let held = admin.post("/v1/executions", body).await.expect(201);
        let held = held["id"].as_str().unwrap();
        for id in [&old, &young] {
            admin.until(id, "succeeded").await;
        }
        // Concluded: nothing is left to be done for it.
        let age = async |id: &str, days: i64| {
            crate::cluster::eventually("it can be made older", async || {
                let mut tx = world.cluster.store.write("test").await.unwrap();
                let mut row = Execution::find(&mut tx, id).await.unwrap().unwrap();
                if row.ended_at.is_some() && row.deadline.is_some() {
                    return Err("its end is not followed up".to_string());
                }
                row.started_at -= days * DAY;
                row.update(&mut tx, now()).await.unwrap();
                tx.commit().await.unwrap();
                Ok(())
            })
            .await;
        };
        age(&old, 91).await;
        age(&young, 89).await;
        age(held, 365).await;
        let mut tx = world.cluster.store.write("test").await.unwrap();
        for (position, execution, days) in [(1, &old, 1), (1, &young, 8), (2, &young, 6)] {
            ExecutionOutput {
                id: new_id(),
                execution_id: execution.clone(),
                position,
                output_type: "stdout".into(),
                data: String::new(),
                created_at: now() - days * DAY,
            }
            .insert(&mut tx)
            .await
            .unwrap();
        }
        let trace = Trace {
            id: new_id(),
            trace_tag: "t".into(),
            started_at: now() - 91 * DAY,
        };
        trace.insert(&mut tx).await.unwrap();
        let happened = Filter::new().equals("trigger_ref", "core.st2.generic.actiontrigger");
        let mut instances = TriggerInstance::fetch(&mut tx, happened, "test")
            .await
            .unwrap();
        assert_eq!(instances.len(), 2);
        for (instance, status) in instances
            .iter_mut()
            // The rules look at neither.
            .zip(["processed", "processing"])
        {
            instance.status = status.into();
            instance.occurred_at = now() - 31 * DAY;
            instance.update(&mut tx, now()).await.unwrap();
        }
        tx.commit().await.unwrap();
        let expired = automation
            .issue_token("guid-of-admin", "admin", 0, None)
            .await
            .unwrap();

        // One execution, one piece of output, one instance, one trace.
        assert_eq!(retention::sweep(automation).await.unwrap(), 4);
        assert_eq!(retention::sweep(automation).await.unwrap(), 0);
        let mut reader = world.cluster.store.read().await.unwrap();
        assert_eq!(Execution::find(&mut reader, &old).await.unwrap(), None);
        for id in [&young, held] {
            assert!(Execution::find(&mut reader, id).await.unwrap().is_some());
        }
        let left = async |id: &str, reader: &mut Connection| {
            execution_outputs::after(reader, id, 0, 10)
                .await
                .unwrap()
                .len()
        };
        assert_eq!(left(&old, &mut reader).await, 0);
        assert_eq!(left(&young, &mut reader).await, 1);
        let hash = &expired.row.token_hash;
        assert_eq!(Token::find(&mut reader, hash).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_of_an_execution_that_is_not_settled_is_never_swept() {
    for world in World::each("the_report_of_what_is_not_settled_is_never_swept").await {
        let admin = world.admin().await;
        world.action("noop", "noop", json!({}), json!({})).await;
        let settled = admin.run("check.noop", json!({})).await;
        crate::cluster::eventually("its end is followed up", async || {
            let mut reader = world.cluster.store.read().await.unwrap();
            let row = Execution::find(&mut reader, &settled).await.unwrap();
            match row.unwrap().deadline {
                None => Ok(()),
                Some(at) => Err(format!("it is looked at again at {at}")),
            }
        })
        .await;
        let body = json!({"action": "check.noop", "delay": 86_400_000});
        let held = admin.post("/v1/executions", body).await.expect(201);
        let held = held["id"].as_str().unwrap();
        // Both as old as anything can be; the row of the settled one names a result that was too large for it.
        let mut tx = world.cluster.store.write("test").await.unwrap();
        for id in [&settled, held] {
            let mut row = Execution::find(&mut tx, id).await.unwrap().unwrap();
            row.started_at = 1;
            if *id == settled {
                row.result_sha256 = Some("5e771ed".into());
            }
            row.update(&mut tx, now()).await.unwrap();
        }
        tx.commit().await.unwrap();
        let folder = world.cluster.folder.path();
        let kept = [
            format!("results/{held}-1"),
            format!("results/{held}-2"),
            "results/5e771ed".to_string(),
        ];
        let swept = [
            format!("results/{settled}-1"),
            "results/0123abc".to_string(),
        ];
        for key in kept.iter().chain(&swept) {
            let file = folder.join("report");
            std::fs::write(&file, "a report").unwrap();
            world.cluster.blobs.put_file(key, &file).await.unwrap();
            let blob = std::fs::File::options()
                .write(true)
                .open(folder.join("blobs").join(key))
                .unwrap();
            blob.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        let removed = world.node.automation.ops.sweep().await.unwrap();
        assert_eq!(removed, swept.len());
        for key in &kept {
            assert!(
                world.cluster.blobs.size(key).await.unwrap().is_some(),
                "{key}"
            );
        }
        for key in &swept {
            assert_eq!(world.cluster.blobs.size(key).await.unwrap(), None, "{key}");
        }
    }
}
