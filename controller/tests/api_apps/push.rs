//! The steps of a push, one after the other; manifests; deployments.

use crate::http::{DOMAIN, Http, PUBLIC};
use crate::steps::{end_build, form, job, new_app, new_package, ready_package, staged, yaml, zip};
use ::http::{Method, Request, header};
use axum::body::Body;
use serde_json::{Value, json};

#[tokio::test]
async fn a_push_goes_all_its_steps() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let manifest =
        "applications: [{name: web-app, memory: 64M, default-route: true, env: {A: '1'}}]";

    let diff = yaml(
        &user,
        &format!("/v3/spaces/{space}/manifest_diff"),
        manifest,
    )
    .await
    .expect(201);
    assert!(
        diff["diff"]
            .as_array()
            .unwrap()
            .iter()
            .any(|change| change["path"] == "/applications/0/name"),
        "{diff}"
    );
    let applied = yaml(
        &user,
        &format!("/v3/spaces/{space}/actions/apply_manifest"),
        manifest,
    )
    .await;
    let done = job(&user, applied).await;
    assert_eq!(
        (&done["state"], &done["operation"]),
        (&json!("COMPLETE"), &json!("space.apply_manifest"))
    );
    assert_eq!(
        (&done["errors"], &done["warnings"]),
        (&json!([]), &json!([]))
    );

    let apps = user
        .get(&format!("/v3/apps?names=web-app&space_guids={space}"))
        .await
        .expect(200);
    let app = &apps["resources"][0];
    assert_eq!(
        (&app["name"], &app["state"]),
        (&json!("web-app"), &json!("STOPPED"))
    );
    assert_eq!(
        app["lifecycle"],
        json!({"type": "buildpack", "data": {"buildpacks": [], "stack": "host"}})
    );
    assert_eq!(
        app["relationships"],
        json!({"space": {"data": {"guid": space}}, "current_droplet": {"data": null}})
    );
    assert_eq!(apps["pagination"]["next"], Value::Null);
    let app = app["guid"].as_str().unwrap().to_string();

    let listed = json!({"resources": [{"path": "a", "mode": "644", "size_in_bytes": 100_000, "checksum": {"value": "a".repeat(40)}}]});
    assert_eq!(
        user.post("/v3/resource_matches", listed).await.expect(201),
        json!({"resources": []})
    );
    let package = new_package(&user, &app).await;
    let document = user
        .get(&format!("/v3/packages/{package}"))
        .await
        .expect(200);
    assert_eq!(
        (&document["type"], &document["state"]),
        (&json!("bits"), &json!("AWAITING_UPLOAD"))
    );
    assert_eq!(
        document["data"],
        json!({"error": null, "checksum": {"type": "sha256", "value": null}})
    );
    assert_eq!(
        document["links"]["upload"]["href"],
        format!("{PUBLIC}/v3/packages/{package}/upload")
    );
    let unready = user
        .post("/v3/builds", json!({"package": {"guid": package}}))
        .await;
    assert_eq!(
        unready.refused(400),
        "Bad request: Cannot stage package whose state is not ready."
    );
    let bits = zip(&[("index.html", b"hello")]);
    let upload = format!("/v3/packages/{package}/upload");
    let document = http
        .send(form(
            &user,
            &upload,
            &[("resources", false, b"[]"), ("bits", true, &bits)],
        ))
        .await
        .expect(200);
    assert_eq!(document["state"], "READY");
    assert_eq!(
        document["data"]["checksum"]["value"]
            .as_str()
            .unwrap()
            .len(),
        64
    );
    http.send(form(&user, &upload, &[("bits", true, &bits)]))
        .await
        .expect(422);

    let build = user
        .post(
            "/v3/builds",
            json!({"package": {"guid": package}, "lifecycle": null}),
        )
        .await
        .expect(201);
    assert_eq!(
        (&build["state"], &build["error"], &build["droplet"]),
        (&json!("STAGING"), &Value::Null, &Value::Null)
    );
    assert_eq!(build["created_by"]["name"], "admin");
    let build = build["guid"].as_str().unwrap();
    let second = user
        .post("/v3/builds", json!({"package": {"guid": package}}))
        .await;
    assert_eq!(
        second.refused(422),
        "Only one build can be STAGING at a time per application."
    );
    let droplet = end_build(&http.ops, build).await;
    let document = user.get(&format!("/v3/builds/{build}")).await.expect(200);
    assert_eq!(
        (&document["state"], &document["droplet"]),
        (&json!("STAGED"), &json!({"guid": droplet}))
    );
    let document = user
        .get(&format!("/v3/droplets/{droplet}"))
        .await
        .expect(200);
    assert_eq!(
        document["process_types"],
        json!({"web": "serve", "worker": "work"})
    );
    assert_eq!(document["buildpacks"][0]["buildpack_name"], "staticfile");
    assert_eq!(
        (&document["state"], &document["image"]),
        (&json!("STAGED"), &Value::Null)
    );
    assert_eq!(
        user.first(&format!(
            "/v3/packages/{package}/droplets?states=STAGED&order_by=-created_at&per_page=1&page=1"
        ))
        .await,
        droplet
    );

    assert_eq!(
        user.get(&format!("/v3/apps/{app}/droplets/current"))
            .await
            .refused(404),
        "Droplet not found"
    );
    let early = user
        .post(&format!("/v3/apps/{app}/actions/start"), json!({}))
        .await;
    assert_eq!(
        early.refused(422),
        "Assign a droplet before starting this app."
    );
    let relationship = format!("/v3/apps/{app}/relationships/current_droplet");
    let set = user
        .patch(&relationship, json!({"data": {"guid": droplet}}))
        .await
        .expect(200);
    assert_eq!(set["data"], json!({"guid": droplet}));
    assert_eq!(
        user.get(&relationship).await.expect(200)["data"],
        json!({"guid": droplet})
    );
    let restarted = user
        .send(
            Method::POST,
            &format!("/v3/apps/{app}/actions/restart"),
            None,
        )
        .await
        .expect(200);
    assert_eq!(restarted["state"], "STARTED");
    assert_eq!(
        restarted["relationships"]["current_droplet"]["data"]["guid"],
        droplet
    );

    // The summary: all of its calls are needed.
    let processes = user
        .get(&format!("/v3/apps/{app}/processes"))
        .await
        .expect(200);
    let kinds: Vec<(&str, u64)> = processes["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| {
            (
                process["type"].as_str().unwrap(),
                process["instances"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(kinds, [("web", 1), ("worker", 0)]);
    let web = user.get(&format!("/v3/processes/{app}")).await.expect(200);
    assert_eq!(
        (&web["command"], &web["memory_in_mb"]),
        (&json!("serve"), &json!(64))
    );
    assert_eq!(
        web["health_check"],
        json!({"type": "port", "data": {"timeout": null, "invocation_timeout": null, "interval": null}})
    );
    assert_eq!(web["log_rate_limit_in_bytes_per_second"], -1);
    assert_eq!(
        user.get(&format!("/v3/processes/{app}/stats"))
            .await
            .expect(200)["resources"],
        json!([])
    );
    user.get(&format!("/v3/processes/{app}/sidecars"))
        .await
        .expect(200);
    let routes = user
        .get(&format!("/v3/apps/{app}/routes"))
        .await
        .expect(200);
    assert_eq!(routes["resources"][0]["url"], format!("web-app.{DOMAIN}"));
    user.get(&format!("/v3/apps/{app}/droplets/current"))
        .await
        .expect(200);
    let query = format!(
        "/v3/deployments?app_guids={app}&status_values=ACTIVE&order_by=-created_at&per_page=1&page=1"
    );
    assert_eq!(user.get(&query).await.expect(200)["resources"], json!([]));

    let gone = user.delete(&format!("/v3/apps/{app}")).await;
    assert_eq!(job(&user, gone).await["state"], "COMPLETE");
    assert_eq!(
        user.get(&format!("/v3/apps/{app}")).await.refused(404),
        "App not found"
    );
}

#[tokio::test]
async fn manifests_are_refused_at_once_or_by_their_job() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let path = format!("/v3/spaces/{space}/actions/apply_manifest");
    let check = async |text: &str, expected: &str| {
        let told = yaml(&user, &path, text).await.refused(422);
        assert!(told.contains(expected), "{text}: {told}");
    };
    check(
        "applications: [{name: a, buildpacks: [cobol]}]",
        "Buildpack must be an existing admin buildpack or a valid git URI",
    )
    .await;
    check(
        "applications: [{name: a, memory: 64}]",
        "For application 'a':",
    )
    .await;
    check("applications: [", "not valid YAML").await;
    let failed = job(
        &user,
        yaml(
            &user,
            &path,
            "applications: [{name: a, routes: [{route: a.nowhere.example}]}]",
        )
        .await,
    )
    .await;
    assert_eq!(failed["state"], "FAILED");
    assert_eq!(failed["errors"][0]["code"], 10008);
    assert!(
        failed["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("For application 'a':"),
        "{failed}"
    );
    assert_eq!(
        user.get("/v3/apps").await.expect(200)["pagination"]["total_results"],
        0,
        "all of it or nothing"
    );
    let nowhere = yaml(
        &user,
        "/v3/spaces/none/actions/apply_manifest",
        "applications: [{name: a}]",
    )
    .await;
    assert_eq!(nowhere.refused(404), "Space not found");
    let no_text = Request::post(&path)
        .header(header::AUTHORIZATION, format!("bearer {}", user.token))
        .body(Body::from(vec![0xff, 0xfe]));
    http.send(no_text.unwrap()).await.expect(400);
}

#[tokio::test]
async fn a_manifest_says_when_an_app_sleeps() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let path = format!("/v3/spaces/{space}/actions/apply_manifest");
    let apply = async |more: &str| {
        let manifest = format!("applications: [{{name: a, no-route: true{more}}}]");
        job(&user, yaml(&user, &path, &manifest).await).await
    };
    let sleeps = async || {
        let found = user.get("/v3/processes?types=web").await.expect(200);
        found["resources"][0]["yard_sleep_after_in_seconds"].clone()
    };
    for (more, wanted) in [
        (", sleep-after: 10m", json!(600)),
        // What is not mentioned stays.
        (", memory: 64M", json!(600)),
        (", sleep-after: never", Value::Null),
    ] {
        assert_eq!(apply(more).await["state"], "COMPLETE", "{more}");
        assert_eq!(sleeps().await, wanted, "{more}");
    }
    let worker = ", processes: [{type: worker, sleep-after: 10m}]";
    let failed = apply(worker).await;
    let told = failed["errors"][0]["detail"].as_str().unwrap_or_default();
    assert!(told.contains("Only the web process can sleep"), "{failed}");
    let text = "applications: [{name: a, sleep-after: soon}]";
    let told = yaml(&user, &path, text).await.refused(422);
    assert!(told.contains("'sleep-after' must be a time"), "{told}");
}

#[tokio::test]
async fn deployments_are_begun_and_taken_back() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "app").await;
    let relationships = json!({"app": {"data": {"guid": app}}});
    let check = async |mut body: Value, expected: &str| {
        body["relationships"] = relationships.clone();
        let told = user
            .post("/v3/deployments", body.clone())
            .await
            .refused(422);
        assert!(told.contains(expected), "{body}: {told}");
    };
    check(json!({}), "Invalid droplet").await;
    let droplet = staged(&user, &app).await;
    check(
        json!({"strategy": "blue-green", "droplet": {"guid": droplet}}),
        "Strategy 'blue-green' is not",
    )
    .await;
    check(
        json!({"revision": {"guid": "x"}}),
        "The revision does not exist",
    )
    .await;
    check(
        json!({"options": {"canary": {"steps": []}}}),
        "only valid for Canary deployments",
    )
    .await;
    check(json!({"options": {"max_in_flight": 0}}), "greater than 0").await;
    check(json!({"options": {"speed": 1}}), "unknown field `speed`").await;
    check(
        json!({"droplet": {"guid": "none"}}),
        "Unable to assign current droplet",
    )
    .await;

    check(
        json!({"droplet": {"guid": droplet}, "options": {"web_instances": 100_000}}),
        "Instances must be at most",
    )
    .await;
    check(
        json!({"droplet": {"guid": droplet}, "options": {"memory_in_mb": 0}}),
        "Memory in mb must be greater than 0",
    )
    .await;

    let options = json!({"max_in_flight": 2, "canary": null, "web_instances": null, "memory_in_mb": null, "disk_in_mb": null, "log_rate_limit_in_bytes_per_second": null});
    let wanted = json!({"strategy": "rolling", "droplet": {"guid": droplet}, "revision": null, "options": options, "relationships": relationships});
    let deployment = user.post("/v3/deployments", wanted).await.expect(201);
    assert_eq!(
        (
            &deployment["status"]["value"],
            &deployment["status"]["reason"]
        ),
        (&json!("ACTIVE"), &json!("DEPLOYING"))
    );
    assert_eq!(
        (&deployment["strategy"], &deployment["options"]),
        (&json!("rolling"), &json!({"max_in_flight": 2}))
    );
    let newer = deployment["new_processes"][0]["guid"].as_str().unwrap();
    assert_eq!(deployment["new_processes"][0]["type"], "web");
    assert_eq!(
        user.get(&format!("/v3/processes/{newer}"))
            .await
            .expect(200)["command"],
        "serve"
    );
    let scaled = user
        .post(
            &format!("/v3/processes/{app}/actions/scale"),
            json!({"instances": 2}),
        )
        .await;
    assert_eq!(
        scaled.refused(422),
        "Cannot scale this process while a deployment is in flight."
    );
    let changed = user
        .patch(&format!("/v3/processes/{app}"), json!({"command": "other"}))
        .await;
    assert_eq!(
        changed.refused(422),
        "Cannot update this process while a deployment is in flight."
    );

    let own = format!("/v3/deployments/{}", deployment["guid"].as_str().unwrap());
    let listed = user.get(&format!("/v3/deployments?app_guids={app}&status_values=ACTIVE&order_by=-created_at&per_page=1&page=1")).await.expect(200);
    assert_eq!(listed["resources"][0]["guid"], deployment["guid"]);
    assert!(
        user.post(&format!("{own}/actions/continue"), json!({}))
            .await
            .refused(422)
            .contains("Cannot continue")
    );
    user.send(Method::POST, &format!("{own}/actions/cancel"), None)
        .await
        .expect(200);
    let canceling = user.get(&own).await.expect(200);
    assert_eq!(
        (
            &canceling["status"]["value"],
            &canceling["status"]["reason"]
        ),
        (&json!("ACTIVE"), &json!("CANCELING"))
    );
    assert_eq!(canceling["status"]["details"]["error"], "canceled by admin");
    assert_eq!(
        user.get("/v3/deployments/none").await.refused(404),
        "Deployment not found"
    );
    assert_eq!(
        user.get("/v3/jobs/none").await.refused(404),
        "Job not found"
    );
}

#[tokio::test]
async fn an_app_has_one_build_at_a_time_whoever_asks() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    // A connection of the store for each who asks at once; and a race is not lost each time.
    for round in 0..5 {
        let app = new_app(&user, &space, &format!("shop-{round}")).await;
        let package = ready_package(&user, &app).await;
        let looked = (0..16).map(|_| user.get("/v3/spaces"));
        futures_util::future::join_all(looked).await;
        let build = json!({"package": {"guid": package}});
        let asked = (0..8).map(|_| user.post("/v3/builds", build.clone()));
        let (begun, refused): (Vec<_>, Vec<_>) = futures_util::future::join_all(asked)
            .await
            .into_iter()
            .partition(|reply| reply.status.is_success());
        assert_eq!((begun.len(), refused.len()), (1, 7));
        for reply in refused {
            assert_eq!(
                reply.refused(422),
                "Only one build can be STAGING at a time per application."
            );
        }
    }
}
