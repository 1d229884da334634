//! One-off tasks, as they are asked for, listed, cancelled and forgotten. Nobody runs them here.

use crate::http::{Http, User};
use crate::steps::{self, new_app};
use ::http::Method;
use controller::domain::tasks::{Event, Exit};
use controller::store::facts;
use controller::store::tasks::{self, Task};
use proto::ids::DeaId;
use serde_json::{Value, json};

/// In the first space.
async fn app_to_run(user: &User<'_>, name: &str) -> String {
    let space = user.first("/v3/spaces").await;
    steps::app_to_run(user, &space, name).await
}

async fn ask(user: &User<'_>, app: &str, body: Value) -> Value {
    let path = format!("/v3/apps/{app}/tasks");
    user.post(&path, body).await.expect(202)
}

fn guid(document: &Value) -> String {
    document["guid"].as_str().unwrap().to_string()
}

/// What the runtime writes down.
async fn happens(http: &Http, task: &str, event: Event) {
    let mut tx = http.ops.store.write("test").await.unwrap();
    let mut task = Task::find(&mut tx, task).await.unwrap().unwrap();
    let now = controller::ops::now();
    task.step(&mut tx, event, now).await.unwrap();
    tx.commit().await.unwrap();
}

async fn runs(http: &Http, task: &str) {
    happens(http, task, Event::Chosen(DeaId::new("dea-7").unwrap())).await;
    happens(http, task, Event::Taken).await;
}

fn exit(status: i32) -> Event {
    Event::Exited(Exit {
        succeeded: status == 0,
        description: format!("exited with status {status}"),
        status: Some(status),
        signal: None,
    })
}

async fn facts_of(http: &Http) -> Vec<facts::Fact> {
    let mut reader = http.ops.store.read().await.unwrap();
    facts::after(&mut reader, 0, 1000).await.unwrap()
}

#[tokio::test]
async fn a_task_is_asked_for_and_told_from_others() {
    let http = Http::start().await;
    let user = http.admin().await;
    let app = app_to_run(&user, "app").await;
    let wanted = json!({"name": "migrate", "command": "rake db:migrate", "memory_in_mb": 96,
        "metadata": {"labels": {"of": "tuesday"}}});
    let task = ask(&user, &app, wanted).await;
    assert_eq!(task["state"], "PENDING");
    assert_eq!(task["sequence_id"], 1);
    assert_eq!(task["name"], "migrate");
    assert_eq!(task["command"], "rake db:migrate");
    assert_eq!(task["memory_in_mb"], 96);
    assert_eq!(task["disk_in_mb"], 1024, "the default");
    assert_eq!(task["result"]["failure_reason"], Value::Null);
    assert_eq!(task["log_rate_limit_in_bytes_per_second"], -1);
    assert_eq!(task["metadata"]["labels"]["of"], "tuesday");
    assert_eq!(task["relationships"]["app"]["data"]["guid"], app.as_str());
    let own = format!("/v3/tasks/{}", guid(&task));
    assert!(
        task["links"]["self"]["href"]
            .as_str()
            .unwrap()
            .ends_with(&own)
    );
    assert_eq!(task["links"]["cancel"]["method"], "POST");

    let other = ask(&user, &app, json!({"command": "true"})).await;
    assert_eq!(other["sequence_id"], 2);
    assert!(
        !other["name"].as_str().unwrap().is_empty(),
        "one is made up"
    );
    assert_eq!(user.get(&own).await.expect(200), task);
    let changed = json!({"metadata": {"labels": {"of": null}, "annotations": {"why": "x"}}});
    let changed = user.patch(&own, changed).await.expect(200);
    assert_eq!(
        changed["metadata"],
        json!({"labels": {}, "annotations": {"why": "x"}})
    );

    let listed = async |query: &str| {
        let page = user
            .get(&format!("/v3/apps/{app}/tasks?{query}"))
            .await
            .expect(200);
        let numbers = page["resources"].as_array().unwrap().iter();
        numbers
            .map(|task| task["sequence_id"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(listed("order_by=-created_at").await, [2, 1]);
    assert_eq!(listed("names=migrate").await, [1]);
    assert_eq!(listed("sequence_ids=2,9").await, [2]);
    assert_eq!(listed("states=RUNNING").await, [0_u64; 0]);
    assert_eq!(listed("per_page=1&page=2&order_by=sequence_id").await, [2]);
    let told = user.get("/v3/tasks?sequence_ids=x").await.refused(400);
    assert!(told.contains("sequence_ids"), "{told}");
    let space = user.first("/v3/spaces").await;
    for query in [format!("app_guids={app}"), format!("space_guids={space}")] {
        let page = user.get(&format!("/v3/tasks?{query}")).await.expect(200);
        assert_eq!(page["pagination"]["total_results"], 2, "{query}");
        assert_eq!(
            page["resources"][0]["command"],
            Value::Null,
            "not in lists of several apps"
        );
    }
    let event = user
        .get(&format!(
            "/v3/audit_events?types=audit.app.task.create&target_guids={app}&order_by=created_at"
        ))
        .await
        .expect(200);
    let data = &event["resources"][0]["data"];
    assert_eq!(data["task_guid"], task["guid"]);
    assert!(
        !data.to_string().contains("rake"),
        "commands may hold passwords: {data}"
    );
    let asked = facts_of(&http).await;
    assert!(
        asked
            .iter()
            .any(|fact| fact.kind == facts::Kind::TaskChanged && fact.object == guid(&task))
    );
}

#[tokio::test]
async fn a_task_is_like_a_process_of_its_app() {
    let http = Http::start().await;
    let user = http.admin().await;
    let app = app_to_run(&user, "app").await;
    let worker = user
        .get(&format!("/v3/apps/{app}/processes/worker"))
        .await
        .expect(200);
    let scale = json!({"memory_in_mb": 48, "disk_in_mb": 77});
    user.post(
        &format!("/v3/apps/{app}/processes/worker/actions/scale"),
        scale,
    )
    .await
    .expect(202);
    let like = json!({"template": {"process": {"guid": worker["guid"]}}});
    let task = ask(&user, &app, like).await;
    assert_eq!(task["command"], "work", "the droplet's for this type");
    assert_eq!(
        (&task["memory_in_mb"], &task["disk_in_mb"]),
        (&json!(48), &json!(77))
    );
    let other = app_to_run(&user, "other").await;
    let path = format!("/v3/apps/{other}/tasks");
    let like = json!({"template": {"process": {"guid": worker["guid"]}}});
    assert_eq!(
        user.post(&path, like).await.refused(404),
        "Process not found"
    );
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_by_name() {
    let http = Http::start().await;
    let user = http.admin().await;
    let app = app_to_run(&user, "app").await;
    let path = format!("/v3/apps/{app}/tasks");
    for (body, expected) in [
        (json!({}), "No command was given"),
        (json!({"command": "  "}), "No command was given"),
        (
            json!({"command": "x".repeat(200_000)}),
            "at most 100000 fit",
        ),
        (json!({"command": "true", "name": ""}), "Name must have"),
        (
            json!({"command": "true", "name": "a\nb"}),
            "control characters",
        ),
        (
            json!({"command": "true", "memory_in_mb": 0}),
            "Memory in mb must be greater than 0",
        ),
        (
            json!({"command": "true", "disk_in_mb": -1}),
            "disk_in_mb: invalid value",
        ),
        (
            json!({"command": "true", "user": "root"}),
            "User is not supported",
        ),
        (
            json!({"command": "true", "log_rate_limit_in_bytes_per_second": 5}),
            "Log rate limit",
        ),
        (
            json!({"command": "true", "environment": {}}),
            "unknown field",
        ),
    ] {
        let told = user.post(&path, body.clone()).await.refused(422);
        assert!(told.contains(expected), "{body}: {told}");
    }
    let foreign = json!({"command": "true", "droplet_guid": "none"});
    assert_eq!(
        user.post(&path, foreign).await.refused(404),
        "Droplet not found"
    );
    let space = user.first("/v3/spaces").await;
    let bare = new_app(&user, &space, "bare").await;
    let told = user
        .post(
            &format!("/v3/apps/{bare}/tasks"),
            json!({"command": "true"}),
        )
        .await
        .refused(422);
    assert!(told.starts_with("Task must have a droplet"), "{told}");
    assert_eq!(
        user.get("/v3/tasks/none").await.refused(404),
        "Task not found"
    );
}

#[tokio::test]
async fn a_task_is_cancelled_once_and_ends_as_it_ended() {
    let http = Http::start().await;
    let user = http.admin().await;
    let app = app_to_run(&user, "app").await;
    let waiting = guid(&ask(&user, &app, json!({"command": "true"})).await);
    let over = user
        .post(&format!("/v3/tasks/{waiting}/actions/cancel"), json!({}))
        .await
        .expect(202);
    assert_eq!(over["state"], "FAILED", "nobody was told of it");
    assert_eq!(over["result"]["failure_reason"], "task was cancelled");

    let running = guid(&ask(&user, &app, json!({"command": "true"})).await);
    runs(&http, &running).await;
    let own = format!("/v3/tasks/{running}");
    let seen = user.get(&own).await.expect(200);
    assert_eq!(
        (&seen["state"], &seen["yard_agent"]),
        (&json!("RUNNING"), &json!("dea-7"))
    );
    let cancelled = user
        .send(Method::PUT, &format!("{own}/cancel"), None)
        .await
        .expect(202);
    assert_eq!(cancelled["state"], "CANCELING");
    let again = user
        .post(&format!("{own}/actions/cancel"), json!({}))
        .await
        .refused(422);
    assert_eq!(
        again,
        "Task state is CANCELING and therefore cannot be canceled"
    );
    happens(&http, &running, exit(137)).await;
    happens(&http, &running, exit(0)).await;
    let ended = user.get(&own).await.expect(200);
    assert_eq!(ended["state"], "FAILED");
    assert_eq!(ended["result"]["failure_reason"], "task was cancelled");
    assert_eq!(ended["result"]["yard_exit_status"], 137);
    let events = user
        .get(&format!(
            "/v3/audit_events?types=audit.app.task.cancel&target_guids={app}"
        ))
        .await
        .expect(200);
    assert_eq!(events["pagination"]["total_results"], 2);
    let told: Vec<Value> = facts_of(&http)
        .await
        .into_iter()
        .filter(|fact| fact.kind == facts::Kind::PlatformEvent)
        .map(|fact| fact.payload)
        .filter(|payload| payload["name"] == "task.finished")
        .collect();
    assert_eq!(told.len(), 2, "one for each, in the transaction of its end");
    assert_eq!(told[1]["payload"]["task"], running.as_str());
    assert_eq!(told[1]["payload"]["exit_status"], 137);
    assert_eq!(told[1]["payload"]["succeeded"], false);
}

#[tokio::test]
async fn who_may_what_with_tasks() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let app = app_to_run(&admin, "app").await;
    let space = admin.first("/v3/spaces").await;
    let auditor = admin
        .with_role("ann", "space_auditor", "space", &space)
        .await;
    let supporter = admin
        .with_role("sam", "space_supporter", "space", &space)
        .await;
    let organization = admin.first("/v3/organizations").await;
    let stranger = admin
        .with_role("eve", "organization_user", "organization", &organization)
        .await;
    let task = guid(&ask(&admin, &app, json!({"command": "echo secret"})).await);
    let own = format!("/v3/tasks/{task}");
    for user in [&auditor, &supporter] {
        assert_eq!(user.get(&own).await.expect(200)["command"], Value::Null);
        let listed = user.get(&format!("/v3/apps/{app}/tasks")).await.expect(200);
        assert_eq!(listed["resources"][0]["command"], Value::Null);
        let path = format!("/v3/apps/{app}/tasks");
        assert_eq!(
            user.post(&path, json!({"command": "true"})).await.status,
            403
        );
        assert_eq!(user.patch(&own, json!({})).await.status, 403);
    }
    assert_eq!(stranger.get(&own).await.refused(404), "Task not found");
    assert_eq!(
        stranger.get("/v3/tasks").await.expect(200)["resources"],
        json!([])
    );
    let cancel = format!("{own}/actions/cancel");
    assert_eq!(stranger.post(&cancel, json!({})).await.status, 404);
    assert_eq!(auditor.post(&cancel, json!({})).await.status, 403);
    assert_eq!(supporter.post(&cancel, json!({})).await.status, 202);
}

#[tokio::test]
async fn an_app_takes_its_tasks_with_it() {
    let http = Http::start().await;
    let user = http.admin().await;
    let app = app_to_run(&user, "app").await;
    let task = guid(&ask(&user, &app, json!({"command": "sleep 60"})).await);
    runs(&http, &task).await;
    user.delete(&format!("/v3/apps/{app}")).await.expect(202);
    assert_eq!(user.get(&format!("/v3/tasks/{task}")).await.status, 404);
    let facts = facts_of(&http).await;
    let removed = facts
        .iter()
        .find(|fact| fact.kind == facts::Kind::TaskRemoved);
    let removed = removed.expect("whoever runs it is to be told");
    assert_eq!(
        (removed.object.as_str(), &removed.payload["dea"]),
        (task.as_str(), &json!("dea-7"))
    );
    let events = user
        .get(&format!(
            "/v3/audit_events?types=audit.app.task.cancel&target_guids={app}"
        ))
        .await
        .expect(200);
    assert_eq!(events["pagination"]["total_results"], 1);
}

#[tokio::test]
async fn old_tasks_are_forgotten_and_their_numbers_are_not_used_again() {
    let http = Http::start().await;
    let user = http.admin().await;
    let app = app_to_run(&user, "app").await;
    let ended = guid(&ask(&user, &app, json!({"command": "true"})).await);
    runs(&http, &ended).await;
    happens(&http, &ended, exit(0)).await;
    let open = guid(&ask(&user, &app, json!({"command": "true"})).await);
    let newest = guid(&ask(&user, &app, json!({"command": "true"})).await);
    happens(&http, &newest, Event::CancelAsked).await;
    let forget = async |before: i64| {
        let mut tx = http.ops.store.write("test").await.unwrap();
        let forgotten = tasks::forget(&mut tx, before).await.unwrap();
        tx.commit().await.unwrap();
        forgotten
    };
    http.ops.sweep().await.unwrap();
    assert_eq!(
        user.get(&format!("/v3/tasks/{ended}")).await.status,
        200,
        "it is young"
    );
    assert_eq!(forget(controller::ops::now() + 1_000_000).await, 2);
    assert_eq!(user.get(&format!("/v3/tasks/{ended}")).await.status, 404);
    assert_eq!(
        user.get(&format!("/v3/tasks/{open}")).await.status,
        200,
        "it is not over"
    );
    assert_eq!(
        ask(&user, &app, json!({"command": "true"})).await["sequence_id"],
        4
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_of_tasks_asked_for_at_once_are_all_different() {
    let http = Http::start().await;
    let user = http.admin().await;
    let app = app_to_run(&user, "app").await;
    let asked = (0..8).map(|_| ask(&user, &app, json!({"command": "true"})));
    let tasks = futures_util::future::join_all(asked).await;
    let mut numbers: Vec<u64> = tasks
        .iter()
        .map(|task| task["sequence_id"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[tokio::test]
async fn open_tasks_count_against_the_quota_and_ended_ones_do_not() {
    let http = Http::start().await;
    let user = http.admin().await;
    let app = app_to_run(&user, "app").await;
    let organization = user.first("/v3/organizations").await;
    let limits = json!({"name": "few tasks",
        "apps": {"per_app_tasks": 2, "total_memory_in_mb": 300, "per_process_memory_in_mb": 200}});
    let quota = user.make("/v3/organization_quotas", limits).await;
    let holders = json!({"data": [{"guid": organization}]});
    let path = format!("/v3/organization_quotas/{quota}/relationships/organizations");
    user.post(&path, holders).await.expect(200);

    let path = format!("/v3/apps/{app}/tasks");
    let of_size = |memory: u32| json!({"command": "true", "memory_in_mb": memory});
    let refused = async |memory: u32, why: &str| {
        let answer = user.post(&path, of_size(memory)).await.expect(422);
        let detail = answer["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains(why), "{detail}");
    };
    refused(201, "memory").await;
    let first = guid(&ask(&user, &app, of_size(200)).await);
    refused(101, "memory").await;
    ask(&user, &app, of_size(100)).await;
    refused(1, "app_task_limit").await;

    runs(&http, &first).await;
    happens(&http, &first, exit(0)).await;
    ask(&user, &app, of_size(200)).await;
}
