//! Processes: their settings, their scale, what is seen of their instances.

use crate::http::Http;
use crate::steps::{app_to_run, new_app, other, staged};
use ::http::{Method, Request, StatusCode, header};
use axum::body::Body;
use controller::domain::observed::{IndexState, IndexStats};
use controller::ops::{Live, Ops};
use http_body_util::BodyExt;
use proto::bus::dea::{InstanceStats, Usage};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

#[tokio::test]
async fn processes_are_changed_and_scaled() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "app").await;
    let own = format!("/v3/processes/{app}");
    let changed = json!({"command": "run", "health_check": {"type": "http", "data": {"endpoint": "/up", "timeout": 90}}});
    let changed = user.patch(&own, changed).await.expect(200);
    assert_eq!(changed["command"], "run");
    assert_eq!(changed["health_check"]["data"]["endpoint"], "/up");
    assert_eq!(changed["health_check"]["data"]["timeout"], 90);
    let back = user
        .patch(
            &format!("/v3/apps/{app}/processes/web"),
            json!({"command": null}),
        )
        .await
        .expect(200);
    assert_eq!(back["command"], Value::Null);
    let wanted = json!({"instances": 3, "memory_in_mb": 128, "disk_in_mb": null, "log_rate_limit_in_bytes_per_second": -1});
    let scaled = user
        .post(
            &format!("/v3/apps/{app}/processes/web/actions/scale"),
            wanted,
        )
        .await
        .expect(202);
    assert_eq!(
        (&scaled["instances"], &scaled["memory_in_mb"]),
        (&json!(3), &json!(128))
    );
    assert_eq!(
        user.post(&format!("{own}/actions/scale"), json!({"instances": 2}))
            .await
            .expect(202)["instances"],
        2
    );
    assert_eq!(
        user.get(&format!("/v3/apps/{app}/processes/web"))
            .await
            .expect(200)["guid"],
        app.as_str()
    );

    let check = async |path: String, body: Value, expected: &str| {
        let told = user
            .send(Method::POST, &path, Some(body))
            .await
            .refused(422);
        assert!(told.contains(expected), "{path}: {told}");
    };
    check(
        format!("{own}/actions/scale"),
        json!({"instances": -1}),
        "instances: invalid value",
    )
    .await;
    check(
        format!("{own}/actions/scale"),
        json!({"instances": 1_000_000}),
        "Instances must be at most",
    )
    .await;
    check(
        format!("{own}/actions/scale"),
        json!({"memory_in_mb": 0}),
        "Memory in mb must be greater than 0",
    )
    .await;
    check(
        format!("{own}/actions/scale"),
        json!({"log_rate_limit_in_bytes_per_second": 5}),
        "not supported",
    )
    .await;
    assert!(
        user.patch(&own, json!({"health_check": {"type": "magic"}}))
            .await
            .refused(422)
            .contains("Health check type")
    );
    assert!(
        user.patch(&own, json!({"metadata": {"labels": {"a": "b"}}}))
            .await
            .refused(422)
            .contains("Metadata")
    );
    assert_eq!(
        user.get(&format!("/v3/apps/{app}/processes/worker"))
            .await
            .refused(404),
        "Process not found"
    );

    assert_eq!(
        user.delete(&format!("/v3/apps/{app}/processes/web/instances/1"))
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        user.delete(&format!("{own}/instances/0")).await.status,
        StatusCode::NO_CONTENT
    );
    for index in ["2", "x", "-1"] {
        let told = user
            .delete(&format!("/v3/apps/{app}/processes/web/instances/{index}"))
            .await
            .refused(404);
        assert_eq!(told, "Instance not found", "{index}");
    }
}

#[tokio::test]
async fn what_is_seen_of_instances_is_shown() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = app_to_run(&user, &space, "app").await;
    let seen = |index, state, stats, details: Option<&str>| IndexStats {
        index,
        state,
        instance: None,
        dea: None,
        uptime: 61.7,
        since: None,
        stats,
        details: details.map(str::to_string),
    };
    let measured = InstanceStats {
        name: "app".into(),
        host: "10.0.0.1".into(),
        port: 61001,
        uris: Vec::new(),
        uptime: 61.7,
        mem_quota: 256 << 20,
        disk_quota: 1 << 30,
        fds_quota: 16384,
        cores: 2,
        usage: Usage {
            time: 1_700_000_000.5,
            cpu: 0.25,
            mem: 1000,
            disk: 2000,
        },
    };
    let all = vec![
        seen(0, IndexState::Running, Some(measured), None),
        seen(1, IndexState::Down, None, Some("waiting for memory")),
    ];
    let live = Live {
        stats: Arc::new(move |process| {
            if process.kind == "web" {
                all.clone()
            } else {
                Vec::new()
            }
        }),
        ..Live::none()
    };
    let router = other(Ops {
        live,
        ..http.ops.clone()
    });
    let get = async |path: String| -> Value {
        let request = Request::get(path)
            .header(header::AUTHORIZATION, format!("bearer {}", user.token))
            .body(Body::empty());
        let response = router.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    };
    let stats = format!("/v3/apps/{app}/processes/web/stats");
    let embedded =
        format!("/v3/processes?space_guids={space}&embed=process_instances&per_page=5000");
    let stopped = get(stats.clone()).await;
    assert_eq!(stopped["resources"][0]["state"], "DOWN", "it is stopped");
    assert_eq!(stopped["resources"][0]["instance_guid"], "");
    let embedded_one = get(embedded.clone()).await["resources"][0]["process_instances"].clone();
    assert_eq!(
        embedded_one,
        json!([{"index": 0, "state": "DOWN", "since": 0}])
    );
    user.post(&format!("/v3/apps/{app}/actions/start"), json!({}))
        .await
        .expect(200);

    let shown = get(stats).await;
    let first = &shown["resources"][0];
    assert_eq!(
        (&first["type"], &first["state"], &first["routable"]),
        (&json!("web"), &json!("RUNNING"), &json!(true))
    );
    assert_eq!(
        (&first["uptime"], &first["mem_quota"], &first["fds_quota"]),
        (&json!(61), &json!(256 << 20), &json!(16384))
    );
    assert_eq!(
        first["usage"],
        json!({"time": "2023-11-14T22:13:20Z", "cpu": 0.25, "mem": 1000, "disk": 2000, "log_rate": 0})
    );
    assert_eq!(
        (
            &first["instance_ports"][0]["external"],
            &first["instance_ports"][0]["internal"]
        ),
        (&json!(61001), &json!(8080))
    );
    let second = &shown["resources"][1];
    assert_eq!(
        (&second["state"], &second["routable"], &second["usage"]),
        (&json!("DOWN"), &Value::Null, &json!({}))
    );
    assert_eq!(second["details"], "waiting for memory");
    let listed = get(embedded).await;
    assert_eq!(
        listed["resources"][0]["process_instances"][0],
        json!({"index": 0, "state": "RUNNING", "since": 61})
    );
    assert!(
        user.get("/v3/processes?embed=everything")
            .await
            .refused(400)
            .contains("Invalid embed")
    );
}

#[tokio::test]
async fn commands_are_shown_to_developers_one_by_one_only() {
    const IN_LISTS: &str = "[PRIVATE DATA HIDDEN IN LISTS]";
    const HIDDEN: &str = "[PRIVATE DATA HIDDEN]";
    let http = Http::start().await;
    let admin = http.admin().await;
    let space = admin.first("/v3/spaces").await;
    let app = new_app(&admin, &space, "app").await;
    let droplet = staged(&admin, &app).await;
    let own = format!("/v3/processes/{app}");
    admin
        .patch(&own, json!({"command": "run --password x"}))
        .await
        .expect(200);
    let developer = admin
        .with_role("dora", "space_developer", "space", &space)
        .await;
    let supporter = admin
        .with_role("sam", "space_supporter", "space", &space)
        .await;

    for list in [
        "/v3/processes",
        "/v3/processes?embed=process_instances",
        &format!("/v3/apps/{app}/processes"),
    ] {
        assert_eq!(
            developer.get(list).await.expect(200)["resources"][0]["command"],
            IN_LISTS,
            "{list}"
        );
    }
    assert_eq!(
        developer.get(&own).await.expect(200)["command"],
        "run --password x"
    );
    assert_eq!(supporter.get(&own).await.expect(200)["command"], HIDDEN);
    let scaled = supporter
        .post(&format!("{own}/actions/scale"), json!({"instances": 2}))
        .await
        .expect(202);
    assert_eq!(scaled["command"], HIDDEN);

    let droplets = developer.get("/v3/droplets").await.expect(200);
    assert_eq!(
        droplets["resources"][0]["process_types"],
        json!({"redacted_message": IN_LISTS})
    );
    let droplet = format!("/v3/droplets/{droplet}");
    assert!(developer.get(&droplet).await.expect(200)["process_types"]["web"].is_string());
    assert_eq!(
        supporter.get(&droplet).await.expect(200)["process_types"],
        json!({"redacted_message": HIDDEN})
    );
}
