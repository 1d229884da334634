//! The stream of events: filters, ends, and readers at another controller than the leader.

use crate::world::World;
use serde_json::{Value, json};

const END: &str = "end_event=st2.execution__update&end_execution_id";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_an_execution_from_its_birth_to_its_end() {
    for world in World::each("readers_see_an_execution").await {
        let admin = world.admin().await;
        world.action("noop", "noop", json!({}), json!({})).await;
        world.action("other", "noop", json!({}), json!({})).await;
        let mut events = admin
            .stream("/v1/stream?events=st2.execution__*&action_refs=check.noop")
            .await;
        let header = |name: &str| events.headers[name].to_str().unwrap().to_string();
        assert_eq!(header("content-type"), "text/event-stream; charset=UTF-8");
        assert_eq!(header("x-accel-buffering"), "no");
        admin.run("check.other", json!({})).await;
        let id = admin.run("check.noop", json!({})).await;
        let mut seen = Vec::new();
        loop {
            let (name, document) = events.next().await.unwrap();
            assert_eq!(document["action"]["ref"], "check.noop");
            assert_eq!(document["id"], id.as_str());
            seen.push(name);
            if document["status"] == "succeeded" {
                break;
            }
        }
        assert!(
            seen.contains(&"st2.execution__create".to_string()),
            "{seen:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_has_come_already_is_shown_and_ends_the_stream() {
    let Some(world) = World::start("an_end_that_has_come_already").await else {
        return;
    };
    let admin = world.admin().await;
    world.action("noop", "noop", json!({}), json!({})).await;
    let id = admin.run("check.noop", json!({})).await;
    admin.until(&id, "succeeded").await;
    let mut events = admin.stream(&format!("/stream/v1/stream?{END}={id}")).await;
    let (name, document) = events.next().await.unwrap();
    assert_eq!(name, "st2.execution__update");
    assert_eq!(
        (&document["id"], &document["status"]),
        (&json!(id), &json!("succeeded"))
    );
    assert_eq!(events.next().await, None);

    // And one that is still to come.
    let body = json!({"action": "check.noop", "delay": 300});
    let later = admin.post("/v1/executions", body).await.expect(201);
    let later = later["id"].as_str().unwrap();
    let mut events = admin
        .stream(&format!(
            "/api/v1/stream?{END}={later}&execution_ids={later}"
        ))
        .await;
    let mut last = Value::Null;
    while let Some((_, document)) = events.next().await {
        last = document;
    }
    assert_eq!(last["status"], "succeeded");
}

/// `st2 pack install` prints what it finds there, and fails with a riddle if there is no result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_event_of_a_stream_with_an_end_has_the_result() {
    let Some(world) = World::start("the_last_event_has_the_result").await else {
        return;
    };
    let admin = world.admin().await;
    world.action("noop", "noop", json!({}), json!({})).await;
    let body = json!({"action": "check.noop", "delay": 300});
    let later = admin.post("/v1/executions", body).await.expect(201);
    let later = later["id"].as_str().unwrap();
    let mut events = admin.stream(&format!("/v1/stream?{END}={later}")).await;
    let mut ends = Vec::new();
    while let Some((_, document)) = events.next().await {
        if document["id"] == later && document["status"] == "succeeded" {
            ends.push(document.get("result").cloned());
        }
    }
    assert_eq!(ends.len(), 1, "it is told once");
    let kept = admin
        .get(&format!("/v1/executions/{later}"))
        .await
        .expect(200);
    assert!(ends[0].is_some(), "there is one");
    assert_eq!(ends[0].as_ref(), kept.get("result"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_at_another_controller_miss_nothing() {
    let Some(world) = World::start("readers_at_another_controller").await else {
        return;
    };
    let admin = world.admin().await;
    let second = world.second().await;
    let experimental = json!({"experimental": {"default": true}, "message": {"type": "string"}});
    world
        .action("say", "announcement", experimental, json!({}))
        .await;
    let there = admin.at(&second);
    let mut events = there.stream("/v1/stream").await;
    let id = admin.run("check.say", json!({"message": "hello"})).await;
    let (mut said, mut statuses) = (Value::Null, Vec::new());
    while said.is_null() || statuses.last() != Some(&json!("succeeded")) {
        let (name, document) = events.next().await.unwrap();
        if name == "st2.announcement__general" {
            said = document["payload"].clone();
        } else {
            assert_eq!(document["id"], id.as_str());
            statuses.push(document["status"].clone());
        }
    }
    assert_eq!(said, json!({"message": "hello"}));
    // What is asked for there is done by the leader.
    let id = there.run("check.say", json!({"message": "again"})).await;
    there.until(&id, "succeeded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_replayed_followed_and_ended() {
    let Some(world) = World::start("output_is_replayed_followed_and_ended").await else {
        return;
    };
    use controller::automation::ids::new_id;
    use controller::store::automation::execution_outputs::ExecutionOutput;
    let admin = world.admin().await;
    world
        .action("work", "local-shell-cmd", json!({}), json!({}))
        .await;
    let id = admin.run("check.work", json!({"cmd": "true"})).await;
    let printed = async |position: i64, output_type: &str, data: &str| {
        let mut tx = world.cluster.store.write("test").await.unwrap();
        let row = ExecutionOutput {
            id: new_id(),
            execution_id: id.clone(),
            position,
            output_type: output_type.into(),
            data: data.into(),
            created_at: 1,
        };
        row.insert(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    printed(1, "stdout", "one\n").await;
    printed(2, "stderr", "wrong\n").await;
    let path = format!("/stream/v1/executions/{id}/output?output_type=stdout");
    let mut events = admin.stream(&path).await;
    let (name, piece) = events.next().await.unwrap();
    assert_eq!(name, "st2.execution.output__create");
    assert_eq!(
        (&piece["data"], &piece["action_ref"], &piece["execution_id"]),
        (&json!("one\n"), &json!("check.work"), &json!(id))
    );
    printed(3, "stdout", "two\n").await;
    assert_eq!(events.next().await.unwrap().1["data"], "two\n");
    admin
        .delete(&format!("/v1/executions/{id}"))
        .await
        .expect(200);
    assert_eq!(events.next().await.unwrap().0, "EOF");
    assert_eq!(events.next().await, None);
    let text = admin
        .get(&format!("/v1/executions/{id}/output"))
        .await
        .text();
    assert_eq!(text, "one\nwrong\ntwo\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_keep_up_is_told_what_it_lost() {
    let Some(world) = World::start("a_reader_that_does_not_keep_up").await else {
        return;
    };
    let admin = world.admin().await;
    let mut events = admin.stream("/v1/stream?events=check").await;
    for number in 0..1500 {
        world
            .node
            .automation
            .show("check", json!({"number": number}));
    }
    let mut seen = 0;
    loop {
        let (_, document) = events.next().await.unwrap();
        seen += 1;
        if document["number"] == 1499 {
            break;
        }
    }
    assert_eq!(seen, 1024);
    assert_eq!(
        events.comments,
        ["476 events were lost: they came faster than they were read"]
    );
}
