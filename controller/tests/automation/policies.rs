//! Policies: written over the API, obeyed by the engine.

use crate::cluster::eventually;
use crate::world::{Client, World};
use serde_json::{Value, json};

fn policy(name: &str, action: &str, kind: &str, parameters: Value) -> Value {
    json!({
        "pack": "check", "name": name, "enabled": true, "resource_ref": action,
        "policy_type": kind, "parameters": parameters,
    })
}

async fn status(client: &Client, id: &str) -> Value {
    client
        .get(&format!("/v1/executions/{id}"))
        .await
        .expect(200)["status"]
        .clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_written_read_and_deleted() {
    let Some(world) = World::start("policies_are_written_read_and_deleted").await else {
        return;
    };
    let admin = world.admin().await;
    let types = admin.get("/v1/policytypes?resource_type=action").await;
    assert_eq!(types.header("x-total-count"), Some("3"));
    let one = admin.get("/v1/policytypes/action.retry").await.expect(200);
    assert_eq!(one["parameters"]["max_retry_count"]["maximum"], 5);
    admin
        .get("/v1/policytypes/action.colour")
        .await
        .refused(404);

    let written = policy(
        "few",
        "check.noop",
        "action.concurrency",
        json!({"threshold": 3}),
    );
    let made = admin
        .post("/v1/policies", written.clone())
        .await
        .expect(201);
    assert_eq!(made["ref"], "check.few");
    assert_eq!(made["uid"], "policy:check:few");
    assert_eq!(
        made["parameters"],
        json!({"threshold": 3, "action": "delay"})
    );
    let again = admin.post("/v1/policies", written).await.expect(409);
    assert_eq!(again["conflict-id"], made["id"]);
    assert!(
        again["faultstring"]
            .as_str()
            .unwrap()
            .contains("duplicate key error")
    );
    // The whole document comes back.
    let mut changed = admin.get("/v1/policies/check.few").await.expect(200);
    changed["enabled"] = json!(false);
    let path = format!("/v1/policies/{}", made["id"].as_str().unwrap());
    let changed = admin.put(&path, changed).await.expect(200);
    assert_eq!(
        (&changed["enabled"], &changed["id"]),
        (&json!(false), &made["id"])
    );
    let listed = admin
        .get("/v1/policies?pack=check&enabled=False")
        .await
        .expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    for wrong in [
        policy("few", "check.noop", "action.colour", json!({})),
        policy(
            "few",
            "check.noop",
            "action.concurrency",
            json!({"threshold": 0}),
        ),
        policy(
            "many",
            "check.noop",
            "action.concurrency",
            json!({"threshold": 1}),
        ),
    ] {
        admin.put(&path, wrong).await.refused(400);
    }
    assert_eq!(admin.delete(&path).await.status, 204);
    admin.get(&path).await.refused(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_are_held_back_start_in_the_order_of_arrival() {
    for world in World::each("those_that_are_held_back_start_in_order").await {
        let admin = world.admin().await;
        world
            .action("work", "local-shell-cmd", json!({}), json!({}))
            .await;
        let one_at_a_time = policy(
            "one",
            "check.work",
            "action.concurrency",
            json!({"threshold": 1}),
        );
        admin.post("/v1/policies", one_at_a_time).await.expect(201);
        let mut queue = Vec::new();
        for number in 0..4 {
            queue.push(
                admin
                    .run("check.work", json!({"cmd": format!("echo {number}")}))
                    .await,
            );
        }
        for later in &queue[1..] {
            admin.until(later, "delayed").await;
        }
        let mut waiting = Vec::new();
        let ops = &world.node.automation.ops;
        ops.waiting(&mut waiting).await.unwrap();
        waiting.retain(|one| one.kind == "execution");
        let told: Vec<_> = waiting
            .iter()
            .map(|one| (one.guid.as_str(), one.name.as_str(), one.because.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    queue[1].as_str(),
                    "check.work",
                    "3 executions held by the policy check.one, until others of this action have ended"
                ),
                (
                    queue[0].as_str(),
                    "check.work",
                    "1 execution without an agent: none has room for another action"
                ),
            ]
        );
        // Without an agent they hold their slot until they are canceled.
        for (at, id) in queue.iter().enumerate() {
            admin.until(id, "scheduled").await;
            for later in &queue[at + 1..] {
                admin.until(later, "delayed").await;
            }
            admin
                .delete(&format!("/v1/executions/{id}"))
                .await
                .expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_too_many_is_canceled_where_the_policy_says_so() {
    let Some(world) = World::start("one_too_many_is_canceled").await else {
        return;
    };
    let admin = world.admin().await;
    world
        .action("work", "local-shell-cmd", json!({}), json!({}))
        .await;
    let parameters = json!({"threshold": 1, "action": "cancel", "attributes": ["cmd"]});
    let by_command = policy("one", "check.work", "action.concurrency.attr", parameters);
    admin.post("/v1/policies", by_command).await.expect(201);
    let first = admin.run("check.work", json!({"cmd": "a"})).await;
    admin.until(&first, "scheduled").await;
    let other = admin.run("check.work", json!({"cmd": "b"})).await;
    let same = admin.run("check.work", json!({"cmd": "a"})).await;
    admin.until(&same, "canceled").await;
    admin.until(&other, "scheduled").await;
    assert_eq!(status(&admin, &first).await, "scheduled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_run_again_as_often_as_the_policy_says() {
    for world in World::each("what_fails_is_run_again").await {
        let admin = world.admin().await;
        // Announcements without the flag fail.
        world
            .action("broken", "announcement", json!({}), json!({}))
            .await;
        let parameters = json!({"retry_on": "failure", "max_retry_count": 2, "delay": 0});
        let twice = policy("twice", "check.broken", "action.retry", parameters);
        admin.post("/v1/policies", twice).await.expect(201);
        let first = admin.run("check.broken", json!({})).await;
        admin.until(&first, "failed").await;
        let counts = eventually("it was run three times", async || {
            let all = admin
                .get("/v1/executions?action=check.broken&sort_asc=true")
                .await;
            let all = all.expect(200);
            let all = all.as_array().unwrap();
            let ended = all.iter().filter(|one| one["status"] == "failed").count();
            if ended < 3 {
                return Err(format!("{ended} of {}", all.len()));
            }
            let count = |one: &Value| one["context"]["policies"]["retry"]["retry_count"].clone();
            Ok(all.iter().map(count).collect::<Vec<_>>())
        })
        .await;
        assert_eq!(counts, [json!(null), json!(1), json!(2)]);
    }
}
