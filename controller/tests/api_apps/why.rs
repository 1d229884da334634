//! Why an app is as it is, from what is recorded. Nobody decides anything here: records are laid by hand.

use crate::http::{Http, User};
use crate::steps::{app_to_run, new_app};
use controller::store::audit_events::{self, By, On};
use controller::store::decisions::{self, Decision};
use serde_json::{Value, json};

async fn process_of(user: &User<'_>, app: &str) -> String {
    let process = user.get(&format!("/v3/apps/{app}/processes/web")).await;
    let guid = process.expect(200)["guid"].as_str().map(str::to_string);
    guid.expect("a process")
}

fn decision(app: &str, process: &str, guid: &str, kind: &str, at: i64) -> Decision {
    Decision {
        guid: guid.into(),
        app_guid: app.into(),
        process_guid: process.into(),
        process_type: "web".into(),
        version: "v1".into(),
        instance_index: 0,
        instance: None,
        dea: None,
        kind: kind.into(),
        because: "its agent is lost".into(),
        placement: Some("needs 4096 MB memory".into()),
        created_at: at,
    }
}

async fn lay(http: &Http, rows: &[Decision]) {
    let mut tx = http.ops.store.write("test").await.unwrap();
    decisions::record(&mut tx, rows).await.unwrap();
    tx.commit().await.unwrap();
}

fn kinds(why: &Value) -> Vec<(&str, Vec<&str>)> {
    why["outcomes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|outcome| {
            let causes = outcome["causes"].as_array().unwrap().iter();
            let causes = causes.map(|cause| cause["kind"].as_str().unwrap());
            (outcome["kind"].as_str().unwrap(), causes.collect())
        })
        .collect()
}

#[tokio::test]
async fn what_was_recorded_is_told_as_a_chain_of_causes() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = app_to_run(&user, &space, "app").await;
    let start = format!("/v3/apps/{app}/actions/start");
    user.post(&start, json!({})).await.expect(200);
    let process = process_of(&user, &app).await;
    let at = controller::ops::now();
    let first = Decision {
        instance: Some("i1".into()),
        dea: Some("dea-2".into()),
        ..decision(&app, &process, "one", decisions::STARTED, at)
    };
    let wait = decision(
        &app,
        &process,
        "wait",
        decisions::NOT_PLACED,
        at + 2_000_000,
    );
    lay(&http, &[first, wait.clone()]).await;
    let mut tx = http.ops.store.write("test").await.unwrap();
    let (lost, agent) = ("agent.lost", On::agent("dea-2"));
    audit_events::record(&mut tx, lost, By::SYSTEM, agent, json!({}), at + 1_000_000)
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let asked = format!("/yard/v1/apps/{app}/why");
    let why = user.get(&asked).await.expect(200);
    assert_eq!(why["app"], json!({"guid": app, "name": "app"}));
    let told = kinds(&why);
    assert_eq!(told[0], ("not_placed", vec!["agent_lost"]), "{why:#}");
    assert_eq!(told[1].0, "started");
    assert_eq!(told[1].1[0], "act", "{why:#}");
    assert_eq!(why["outcomes"][0]["placement"], "needs 4096 MB memory");
    assert_eq!(why["outcomes"][0]["index"], 0);

    // A wait has one record, with its newest reason.
    let later = Decision {
        placement: Some("no agent takes work".into()),
        created_at: at + 9_000_000,
        ..wait
    };
    lay(&http, &[later]).await;
    let why = user.get(&asked).await.expect(200);
    assert_eq!(kinds(&why).len(), 2);
    assert_eq!(why["outcomes"][0]["placement"], "no agent takes work");

    let one = user.get(&format!("{asked}?limit=1")).await.expect(200);
    assert_eq!(kinds(&one).len(), 1);
    for wrong in ["limit=0", "limit=201", "limit=x", "most=1"] {
        user.get(&format!("{asked}?{wrong}")).await.refused(400);
    }

    let mut tx = http.ops.store.write("test").await.unwrap();
    assert_eq!(decisions::prune(&mut tx, at + 1).await.unwrap(), 1);
    assert_eq!(decisions::prune(&mut tx, at + 1).await.unwrap(), 0);
    tx.commit().await.unwrap();
    user.delete(&format!("/v3/apps/{app}")).await.expect(202);
    let mut reader = http.ops.store.read().await.unwrap();
    let left = decisions::of_app(&mut reader, &app, 10).await.unwrap();
    assert_eq!(left, [], "an app takes its records along");
}

#[tokio::test]
async fn who_does_not_see_an_app_is_not_told_why() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "app").await;
    let elsewhere = user.first("/v3/organizations").await;
    let other = user
        .make("/v3/spaces", json!({"name": "other", "relationships": {"organization": {"data": {"guid": elsewhere}}}}))
        .await;
    let stranger = user
        .with_role("stranger", "space_developer", "space", &other)
        .await;
    let asked = format!("/yard/v1/apps/{app}/why");
    stranger.get(&asked).await.refused(404);
    let why = user.get(&asked).await.expect(200);
    assert_eq!(why["outcomes"], json!([]));
}
