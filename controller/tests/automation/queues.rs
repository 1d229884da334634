//! Long queues of executions that a policy holds: who is let in, and what an end costs.

use crate::cluster::{self, eventually};
use crate::world::{Client, World};
use automation::execution::{Event, Hold, Status};
use controller::automation::ids::new_id;
use controller::automation::ops::executions::Wanted;
use controller::store::automation::executions::Execution;
use controller::store::automation::held_executions;
use controller::store::query::Filter;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// Ends of which each costs what is compared.
const ENDS: usize = 15;

async fn limit(world: &World, admin: &Client, action: &str, kind: &str, parameters: Value) {
    // Without an agent these hold their slot until they are canceled.
    world
        .action(action, "local-shell-cmd", json!({}), json!({}))
        .await;
    let policy = json!({
        "pack": "check", "name": action, "enabled": true, "resource_ref": format!("check.{action}"),
        "policy_type": kind, "parameters": parameters,
    });
    admin.post("/v1/policies", policy).await.expect(201);
}

/// Accepts so many executions in one transaction, the oldest first: their ids. `command` by number.
async fn queue(
    world: &World,
    action: &str,
    count: usize,
    command: impl Fn(usize) -> String,
) -> Vec<String> {
    let automation = &world.node.automation;
    let mut tx = world.cluster.store.write("test").await.unwrap();
    let mut rows: Vec<Execution> = Vec::new();
    let first = cluster::now() / 1000 - count as i64;
    for number in 0..count {
        let wanted = Wanted {
            action: format!("check.{action}"),
            parameters: Map::from_iter([("cmd".to_string(), json!(command(number)))]),
            username: "admin".into(),
            ..Wanted::default()
        };
        // The first of each kind is asked for; the others are like it.
        let mut row = match rows.first() {
            Some(first) if command(0) == command(number) => first.clone(),
            _ => automation.compose(&mut tx, wanted).await.unwrap().row,
        };
        row.id = new_id();
        row.liveaction_id = new_id();
        row.life.accepted_at = first + number as i64;
        row.started_at = row.life.accepted_at * 1000;
        row.deadline = Some(row.started_at);
        rows.push(row);
    }
    Execution::insert_all(&mut tx, &rows, "").await.unwrap();
    tx.commit().await.unwrap();
    automation.nudge();
    rows.into_iter().map(|row| row.id).collect()
}

async fn count(world: &World, table: &'static str, filter: Filter) -> u64 {
    let mut reader = world.cluster.store.read().await.unwrap();
    filter.count(&mut reader, table).await.unwrap()
}

/// Waits until so many are held.
async fn held(world: &World, action: &'static str, wanted: u64) {
    let within = Instant::now() + Duration::from_secs(240);
    loop {
        let filter = Filter::new().equals("action_ref", action);
        let count = count(world, "held_executions", filter).await;
        if count == wanted {
            return;
        }
        assert!(Instant::now() < within, "{count} of {wanted} are held");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn ids_in(world: &World, action: &str, status: Status) -> Vec<String> {
    let mut reader = world.cluster.store.read().await.unwrap();
    let filter = Filter::new()
        .equals("action_ref", action)
        .equals("status", status.as_str())
        .order_by("started_at", "id", false);
    let rows = Execution::fetch(&mut reader, filter, "test").await.unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

/// Ends an execution that runs nowhere, and how long that took, with what it let in.
async fn end(world: &World, id: &str) -> Duration {
    let begun = Instant::now();
    let event = Event::CancelAsked { by: "test".into() };
    let moved = world.node.automation.move_execution(id, event).await;
    assert!(moved.unwrap().is_ok(), "{id}");
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_costs_no_more_with_ten_thousand_in_the_queue() {
    let Some(world) = World::start("an_end_costs_no_more_with_ten_thousand").await else {
        return;
    };
    let admin = world.admin().await;
    for action in ["many", "few"] {
        limit(
            &world,
            &admin,
            action,
            "action.concurrency",
            json!({"threshold": 1}),
        )
        .await;
    }
    let many = queue(&world, "many", 10_000, |_| "echo".into()).await;
    let few = queue(&world, "few", 2 * ENDS, |_| "echo".into()).await;
    held(&world, "check.many", 9_999).await;
    held(&world, "check.few", 2 * ENDS as u64 - 1).await;
    let (mut of_many, mut of_few) = (Vec::new(), Vec::new());
    for place in 0..ENDS {
        for (action, ids, times) in [
            ("check.many", &many, &mut of_many),
            ("check.few", &few, &mut of_few),
        ] {
            assert_eq!(
                ids_in(&world, action, Status::Scheduled).await,
                [ids[place].clone()],
                "in order of arrival"
            );
            times.push(end(&world, &ids[place]).await);
        }
    }
    of_many.sort();
    of_few.sort();
    // Reading the queue would take some hundred times as long.
    let (long, short) = (of_many[ENDS / 2], of_few[ENDS / 2]);
    assert!(long < 10 * short, "{long:?} against {short:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_value_has_its_own_place_in_a_queue() {
    for world in World::each("each_value_has_its_own_place_in_a_queue").await {
        let admin = world.admin().await;
        let parameters = json!({"threshold": 1, "attributes": ["cmd"]});
        limit(
            &world,
            &admin,
            "work",
            "action.concurrency.attr",
            parameters,
        )
        .await;
        let ids = queue(&world, "work", 60, |number| format!("echo {}", number % 3)).await;
        held(&world, "check.work", 57).await;
        assert_eq!(
            ids_in(&world, "check.work", Status::Scheduled).await,
            ids[..3]
        );
        // The second value's turn comes three times, the others stay as they are.
        for place in [1, 4, 7] {
            end(&world, &ids[place]).await;
            let mut running = vec![ids[0].clone(), ids[2].clone(), ids[place + 3].clone()];
            let mut scheduled = ids_in(&world, "check.work", Status::Scheduled).await;
            running.sort();
            scheduled.sort();
            assert_eq!(scheduled, running);
        }
        let kept = {
            let mut reader = world.cluster.store.read().await.unwrap();
            held_executions::standings(&mut reader, "check.work")
                .await
                .unwrap()
        };
        assert_eq!(kept.len(), 3);
        assert!(
            kept.iter().all(|one| !one.contains("echo")),
            "values are not kept in the clear: {kept:?}"
        );
        // Who is canceled while it waits leaves its queue; who comes next is let in.
        end(&world, &ids[3]).await;
        held(&world, "check.work", 53).await;
        end(&world, &ids[0]).await;
        let scheduled = ids_in(&world, "check.work", Status::Scheduled).await;
        assert!(scheduled.contains(&ids[6]), "{scheduled:?}");
        // Without the policy the next end lets all in.
        assert_eq!(admin.delete("/v1/policies/check.work").await.status, 204);
        end(&world, &ids[2]).await;
        held(&world, "check.work", 0).await;
        assert_eq!(
            ids_in(&world, "check.work", Status::Scheduled).await.len(),
            60 - 6
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_survives_a_change_of_its_policy() {
    for world in World::each("a_queue_survives_a_change_of_its_policy").await {
        let admin = world.admin().await;
        limit(
            &world,
            &admin,
            "work",
            "action.concurrency",
            json!({"threshold": 1}),
        )
        .await;
        let ids = queue(&world, "work", 6, |number| format!("echo {}", number % 2)).await;
        held(&world, "check.work", 5).await;
        // From then on one of each value.
        let mut policy = admin.get("/v1/policies/check.work").await.expect(200);
        policy["policy_type"] = json!("action.concurrency.attr");
        policy["parameters"] = json!({"threshold": 1, "attributes": ["cmd"]});
        let path = format!("/v1/policies/{}", policy["id"].as_str().unwrap());
        admin.put(&path, policy).await.expect(200);
        end(&world, &ids[0]).await;
        assert_eq!(
            ids_in(&world, "check.work", Status::Scheduled).await,
            ids[1..3]
        );
        held(&world, "check.work", 3).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_held_and_not_noted_is_noted_when_it_is_looked_at() {
    let Some(world) = World::start("who_is_held_and_not_noted").await else {
        return;
    };
    let admin = world.admin().await;
    limit(
        &world,
        &admin,
        "work",
        "action.concurrency",
        json!({"threshold": 1}),
    )
    .await;
    let ids = queue(&world, "work", 3, |_| "echo".into()).await;
    held(&world, "check.work", 2).await;
    let mut tx = world.cluster.store.write("test").await.unwrap();
    held_executions::remove(&mut tx, &ids).await.unwrap();
    let mut row = Execution::find(&mut tx, &ids[1]).await.unwrap().unwrap();
    assert!(matches!(row.life.hold, Some(Hold::Policy(_))));
    // As one that an earlier version held, when its next look is due.
    row.deadline = Some(cluster::now());
    row.update(&mut tx, cluster::now()).await.unwrap();
    tx.commit().await.unwrap();
    world.node.automation.nudge();
    held(&world, "check.work", 1).await;
    end(&world, &ids[0]).await;
    eventually("it is let in", async || {
        let scheduled = ids_in(&world, "check.work", Status::Scheduled).await;
        match scheduled == [ids[1].clone()] {
            true => Ok(()),
            false => Err(format!("{scheduled:?}")),
        }
    })
    .await;
}
