//! Revisions: kept as an app changes, and gone back to; deployments that pause.

use crate::http::{Http, User};
use crate::steps::{app_to_run, new_app, staged};
use controller::store::deployments::{self, Deployment};
use serde_json::{Value, json};

async fn deploy(user: &User<'_>, app: &str, mut wanted: Value) -> Value {
    wanted["relationships"] = json!({"app": {"data": {"guid": app}}});
    user.post("/v3/deployments", wanted).await.expect(201)
}

/// What the runtime does with one that is through.
async fn end(user: &User<'_>, deployment: &Value) {
    let guid = deployment["guid"].as_str().unwrap();
    change(user, guid, |row| {
        row.status = deployments::FINALIZED.into();
        row.reason = deployments::DEPLOYED.into();
    })
    .await;
}

async fn change(user: &User<'_>, guid: &str, change: impl FnOnce(&mut Deployment)) {
    let mut tx = user.http.ops.store.write("test").await.unwrap();
    let mut row = Deployment::find(&mut tx, guid).await.unwrap().unwrap();
    change(&mut row);
    row.update(&mut tx, controller::ops::now()).await.unwrap();
    tx.commit().await.unwrap();
}

fn told(revision: &Value) -> (u64, &str, bool) {
    (
        revision["version"].as_u64().unwrap(),
        revision["description"].as_str().unwrap(),
        revision["deployable"].as_bool().unwrap(),
    )
}

#[tokio::test]
async fn each_change_is_a_revision_and_one_goes_back_to_any() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = app_to_run(&user, &space, "shop").await;
    let path = format!("/v3/apps/{app}/revisions");
    assert_eq!(user.get(&path).await.expect(200)["resources"], json!([]));
    let first = user
        .get(&format!("/v3/apps/{app}/droplets/current"))
        .await
        .expect(200);

    let start = format!("/v3/apps/{app}/actions/restart");
    user.post(&start, json!({})).await.expect(200);
    // The same again is the same revision.
    user.post(&start, json!({})).await.expect(200);
    let listed = user.get(&path).await.expect(200);
    assert_eq!(listed["pagination"]["total_results"], 1);
    let one = &listed["resources"][0];
    assert_eq!(told(one), (1, "Initial revision.", true));
    assert_eq!(one["droplet"]["guid"], first["guid"]);
    assert_eq!(one["processes"]["web"]["command"], Value::Null);

    let variables = json!({"var": {"COLOR": "green"}});
    let environment = format!("/v3/apps/{app}/environment_variables");
    user.patch(&environment, variables).await.expect(200);
    user.patch(
        &format!("/v3/processes/{app}"),
        json!({"command": "serve --fast"}),
    )
    .await
    .expect(200);
    let second = staged(&user, &app).await;
    let brings = json!({"droplet": {"guid": second}});
    let deployment = deploy(&user, &app, brings).await;
    assert_eq!(deployment["revision"]["version"], 2);
    end(&user, &deployment).await;
    let newest = user
        .get(&format!("{path}?order_by=-created_at&per_page=1"))
        .await
        .expect(200);
    assert_eq!(
        told(&newest["resources"][0]),
        (
            2,
            "New droplet deployed. New environment variables deployed. Custom start command added for 'web' process.",
            true
        )
    );
    let deployed = user.get(&format!("{path}/deployed")).await.expect(200);
    let running: Vec<u64> = deployed["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["version"].as_u64().unwrap())
        .collect();
    assert!(
        running.contains(&1),
        "the old instances still run: {deployed}"
    );

    let found = user.get(&format!("{path}?versions=1")).await.expect(200);
    let back_to = found["resources"][0]["guid"].as_str().unwrap().to_string();
    let back = deploy(&user, &app, json!({"revision": {"guid": back_to}})).await;
    assert_eq!(
        (&back["droplet"]["guid"], &back["revision"]["version"]),
        (&first["guid"], &json!(3))
    );
    let newer = back["new_processes"][0]["guid"].as_str().unwrap();
    let process = user
        .get(&format!("/v3/processes/{newer}"))
        .await
        .expect(200);
    assert_eq!(process["command"], "serve", "the droplet's again");
    assert_eq!(
        process["relationships"]["revision"]["data"]["guid"],
        back["revision"]["guid"]
    );
    let variables = user.get(&environment).await.expect(200);
    assert_eq!(variables["var"], json!({}));
    let third = format!(
        "/v3/revisions/{}",
        back["revision"]["guid"].as_str().unwrap()
    );
    let shown = user.get(&third).await.expect(200);
    assert_eq!(
        told(&shown),
        (
            3,
            "New droplet deployed. New environment variables deployed. Custom start command removed for 'web' process. Rolled back to revision 1.",
            true
        )
    );
    let second = user.get(&format!("{path}?versions=2")).await.expect(200);
    let link = second["resources"][0]["links"]["environment_variables"]["href"]
        .as_str()
        .unwrap();
    let link = link.strip_prefix(crate::http::PUBLIC).unwrap();
    assert_eq!(
        user.get(link).await.expect(200)["var"],
        json!({"COLOR": "green"})
    );
    user.get(&format!("{path}?versions=x")).await.expect(400);

    let labels = json!({"metadata": {"labels": {"good": "yes"}}});
    let labelled = user.patch(&third, labels).await.expect(200);
    assert_eq!(labelled["metadata"]["labels"], json!({"good": "yes"}));
    user.get("/v3/revisions/none").await.expect(404);
    let feature = user
        .get(&format!("/v3/apps/{app}/features/revisions"))
        .await
        .expect(200);
    assert_eq!(feature["enabled"], true);
}

#[tokio::test]
async fn one_does_not_go_back_to_what_runs_or_to_what_is_gone() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = app_to_run(&user, &space, "shop").await;
    let other = new_app(&user, &space, "other").await;
    user.post(&format!("/v3/apps/{app}/actions/start"), json!({}))
        .await
        .expect(200);
    let revision = user.first(&format!("/v3/apps/{app}/revisions")).await;
    let refused = async |of: &str, revision: &str| {
        let wanted = json!({"revision": {"guid": revision}, "relationships": {"app": {"data": {"guid": of}}}});
        user.post("/v3/deployments", wanted).await.refused(422)
    };
    assert!(
        refused(&app, &revision)
            .await
            .contains("is the same as the deployed revision")
    );
    assert!(
        refused(&other, &revision)
            .await
            .contains("belongs to another app")
    );
}

#[tokio::test]
async fn a_canary_that_pauses_is_continued_to_its_next_stop() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = app_to_run(&user, &space, "shop").await;
    let options = json!({"web_instances": 10, "memory_in_mb": 48, "canary": {"steps": [{"instance_weight": 20}, {"instance_weight": 50}]}});
    let canary = deploy(
        &user,
        &app,
        json!({"strategy": "canary", "options": options}),
    )
    .await;
    assert_eq!(
        canary["options"]["canary"]["steps"][1]["instance_weight"],
        50
    );
    assert_eq!(canary["options"]["web_instances"], 10);
    assert_eq!(
        canary["status"]["canary"]["steps"],
        json!({"current": 1, "total": 2})
    );
    let newer = canary["new_processes"][0]["guid"].as_str().unwrap();
    let process = user
        .get(&format!("/v3/processes/{newer}"))
        .await
        .expect(200);
    assert_eq!(process["memory_in_mb"], 48);
    let guid = canary["guid"].as_str().unwrap();
    let own = format!("/v3/deployments/{guid}");
    let go_on = format!("{own}/actions/continue");
    let told = user.post(&go_on, json!({})).await.refused(422);
    assert!(
        told.contains("status: ACTIVE and reason: DEPLOYING"),
        "{told}"
    );
    for (current, next_stop) in [(2, Some(5)), (2, None)] {
        change(&user, guid, |row| row.reason = deployments::PAUSED.into()).await;
        let paused = user.get(&own).await.expect(200);
        assert_eq!(paused["status"]["reason"], "PAUSED");
        assert!(paused["links"]["continue"].is_object(), "{paused}");
        let on = user.post(&go_on, json!({})).await.expect(200);
        assert_eq!(on["status"]["reason"], "DEPLOYING");
        assert_eq!(on["status"]["canary"]["steps"]["current"], current);
        let mut reader = http.ops.store.read().await.unwrap();
        let row = Deployment::find(&mut reader, guid).await.unwrap().unwrap();
        assert_eq!((row.next_stop(), row.wanted_instances), (next_stop, 10));
    }
}
