//! What waits, as the rows say, in `yard status`.

use crate::http::{Http, User};
use crate::steps::{app_to_run, new_app, ready_package};
use controller::domain::tasks::Event;
use controller::store::Json;
use controller::store::automation::pack_stagings::PackStaging;
use controller::store::tasks::Task;
use proto::ids::DeaId;
use serde_json::{Value, json};

/// What waits of this kind: the name, and for what.
async fn waiting(user: &User<'_>, kind: &str) -> Vec<(String, String)> {
    let status = user.get("/yard/v1/status").await.expect(200);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let all = status["waiting"].as_array().unwrap().iter();
    all.filter(|one| one["kind"] == kind)
        .inspect(|one| assert!(one["since"].as_f64() >= Some(0.0), "{one}"))
        .map(|one| (text(&one["name"]), text(&one["because"])))
        .collect()
}

fn one(name: &str, because: &str) -> Vec<(String, String)> {
    vec![(name.to_string(), because.to_string())]
}

#[tokio::test]
async fn a_task_says_what_it_waits_for_until_an_agent_takes_it() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = app_to_run(&user, &space, "app").await;
    let tasks = format!("/v3/apps/{app}/tasks");
    let asked = json!({"command": "true", "name": "chore"});
    let task = user.post(&tasks, asked).await.expect(202);
    assert_eq!(
        waiting(&user, "task").await,
        one("app #1 chore", "it looks for an agent")
    );
    let steps = [
        (
            Event::Chosen(DeaId::new("dea-7").unwrap()),
            one("app #1 chore", "dea-7 was told and has not taken it yet"),
        ),
        (
            Event::NotTaken("dea-7 is full".into()),
            one("app #1 chore", "dea-7 is full"),
        ),
        (
            Event::Chosen(DeaId::new("dea-8").unwrap()),
            one("app #1 chore", "dea-8 was told and has not taken it yet"),
        ),
        (Event::Taken, vec![]),
    ];
    for (event, told) in steps {
        let mut tx = http.ops.store.write("test").await.unwrap();
        let guid = task["guid"].as_str().unwrap();
        let mut row = Task::find(&mut tx, guid).await.unwrap().unwrap();
        row.step(&mut tx, event, controller::ops::now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(waiting(&user, "task").await, told);
    }
}

#[tokio::test]
async fn a_build_and_the_staging_of_a_pack_wait_until_they_are_over() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "app").await;
    let package = ready_package(&user, &app).await;
    let build = json!({"package": {"guid": package}});
    let build = user.make("/v3/builds", build).await;
    assert_eq!(
        waiting(&user, "build").await,
        one("app", "it looks for an agent and a stager")
    );
    crate::steps::end_build(&http.ops, &build).await;
    assert_eq!(waiting(&user, "build").await, []);

    let now = controller::ops::now();
    let mut staging = PackStaging {
        task: "pack-1".into(),
        pack: "chess".into(),
        dea: None,
        outcome: Json(Value::Null),
        created_at: now,
        updated_at: now,
        row_version: 1,
    };
    let mut tx = http.ops.store.write("test").await.unwrap();
    staging.insert(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        waiting(&user, "pack").await,
        one("chess", "it looks for an agent with room")
    );
    staging.dea = Some("dea-1".into());
    let mut tx = http.ops.store.write("test").await.unwrap();
    staging.update(&mut tx, now).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        waiting(&user, "pack").await,
        one("chess", "dea-1 installs what it requires")
    );
    staging.outcome = Json(json!({"sha256": "1"}));
    let mut tx = http.ops.store.write("test").await.unwrap();
    staging.update(&mut tx, now).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(waiting(&user, "pack").await, []);

    let dora = user
        .with_role("dora", "space_developer", "space", &space)
        .await;
    user.make("/v3/builds", json!({"package": {"guid": package}}))
        .await;
    assert_eq!(waiting(&dora, "build").await, []);
    assert_eq!(waiting(&user, "build").await.len(), 1);
}
