//! Apps, their environment, and who sees them.

use crate::http::Http;
use crate::steps::{job, new_app, staged};
use ::http::{Method, Request};
use axum::body::Body;
use serde_json::{Value, json};

#[tokio::test]
async fn apps_are_found_by_their_labels() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    for (name, labels) in [
        ("one", json!({"team": "red", "example.com/stage": "live"})),
        ("two", json!({"team": "Red", "stage": "team"})),
        ("three", json!({})),
    ] {
        let app = json!({
            "name": name,
            "metadata": {"labels": labels, "annotations": {"note": "team=red, or \"team\":\"red\""}},
            "relationships": {"space": {"data": {"guid": space}}},
        });
        user.post("/v3/apps", app).await.expect(201);
    }
    for (selector, expected) in [
        ("team", &["one", "two"][..]),
        ("!team", &["three"]),
        ("team%3Dred", &["one"]),
        ("team%3D%3DRed", &["two"]),
        ("team%21%3Dred", &["two", "three"]),
        ("team+in+%28red%2CRed%29", &["one", "two"]),
        ("team+notin+(red,blue),team", &["two"]),
        ("example.com/stage", &["one"]),
        ("stage", &["two"]),
        ("red", &[]),
    ] {
        let page = user
            .get(&format!(
                "/v3/apps?order_by=created_at&label_selector={selector}"
            ))
            .await
            .expect(200);
        let names: Vec<&str> = page["resources"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|app| app["name"].as_str())
            .collect();
        assert_eq!(names, expected, "{selector}");
        assert_eq!(
            page["pagination"]["total_results"],
            expected.len(),
            "{selector}"
        );
    }
    for (path, why) in [
        ("/v3/apps?label_selector=", "Missing label_selector value"),
        (
            "/v3/spaces?label_selector=a+b",
            "Invalid label_selector value: 'a b'",
        ),
        (
            "/v3/routes?label_selector=a",
            "Unknown query parameter(s): 'label_selector'",
        ),
    ] {
        let told = user.get(path).await.refused(400);
        assert!(told.contains(why), "{path}: {told}");
    }
    let own = format!("/v3/spaces/{space}");
    for (metadata, why) in [
        (
            json!({"labels": {"a": "b=c!"}}),
            "Metadata label value error: 'b=c!'",
        ),
        (json!({"labels": {"a b": "c"}}), "Metadata key error: 'a b'"),
        (
            json!({"annotations": {"-a": "c"}}),
            "Metadata key error: '-a'",
        ),
    ] {
        let told = user
            .patch(&own, json!({"metadata": metadata}))
            .await
            .refused(422);
        assert!(told.contains(why), "{told}");
    }
}

#[tokio::test]
async fn apps_are_made_changed_and_found() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let relationships = json!({"space": {"data": {"guid": space}}});
    let wanted = json!({
        "name": "one",
        "lifecycle": {"type": "buildpack", "data": {"buildpacks": ["python_buildpack"], "stack": null}},
        "environment_variables": {"TEXT": "x", "NUMBER": 1, "FLAG": true},
        "metadata": {"labels": {"team": "a"}},
        "relationships": relationships,
    });
    let app = user.post("/v3/apps", wanted.clone()).await.expect(201);
    assert_eq!(
        app["lifecycle"]["data"],
        json!({"buildpacks": ["python"], "stack": "host"})
    );
    assert_eq!(
        app["metadata"],
        json!({"labels": {"team": "a"}, "annotations": {}})
    );
    assert_eq!(
        app["links"]["start"],
        json!({"href": format!("{}/actions/start", app["links"]["self"]["href"].as_str().unwrap()), "method": "POST"})
    );
    assert_eq!(
        user.post("/v3/apps", wanted).await.refused(422),
        "App with the name 'one' already exists."
    );
    let guid = app["guid"].as_str().unwrap();
    let own = format!("/v3/apps/{guid}");

    let renamed = json!({"name": "two", "lifecycle": {"type": "buildpack", "data": {"buildpacks": null}}, "metadata": {"labels": {"team": null}}});
    let renamed = user.patch(&own, renamed).await.expect(200);
    assert_eq!(
        (
            &renamed["name"],
            &renamed["lifecycle"]["data"]["buildpacks"]
        ),
        (&json!("two"), &json!([]))
    );
    assert_eq!(renamed["metadata"]["labels"], json!({}));
    let page = user
        .get("/v3/apps?names=two&order_by=name&per_page=5000&include=space.organization")
        .await
        .expect(200);
    assert_eq!(page["included"]["spaces"][0]["guid"], space.as_str());
    assert_eq!(page["included"]["organizations"][0]["name"], "default");
    assert_eq!(
        user.get(&format!("{own}?include=space")).await.expect(200)["included"]["spaces"][0]["guid"],
        space.as_str()
    );

    let check = async |method: Method, path: String, body: Value, status: u16, expected: &str| {
        let told = user
            .send(method, &path, Some(body.clone()))
            .await
            .refused(status);
        assert!(told.contains(expected), "{path} {body}: {told}");
    };
    let docker = json!({"name": "d", "lifecycle": {"type": "docker", "data": {}}, "relationships": relationships});
    check(
        Method::POST,
        "/v3/apps".into(),
        docker,
        422,
        "Lifecycle type 'docker' is not supported",
    )
    .await;
    check(
        Method::POST,
        "/v3/apps".into(),
        json!({"relationships": relationships}),
        422,
        "Name must be a string",
    )
    .await;
    check(
        Method::POST,
        "/v3/apps".into(),
        json!({"name": "x"}),
        422,
        "missing field `relationships`",
    )
    .await;
    let nowhere = json!({"name": "x", "relationships": {"space": {"data": {"guid": "none"}}}});
    check(
        Method::POST,
        "/v3/apps".into(),
        nowhere,
        422,
        "Invalid space",
    )
    .await;
    check(
        Method::PATCH,
        own.clone(),
        json!({"nmae": "x"}),
        422,
        "unknown field `nmae`",
    )
    .await;
    check(
        Method::PATCH,
        "/v3/apps/none".into(),
        json!({}),
        404,
        "App not found",
    )
    .await;
    check(
        Method::POST,
        format!("{own}/tasks"),
        json!({"command": "x"}),
        422,
        "Task must have a droplet",
    )
    .await;
    check(
        Method::PATCH,
        format!("{own}/features/revisions"),
        json!({"enabled": false}),
        422,
        "cannot be disabled",
    )
    .await;
    check(
        Method::PATCH,
        format!("{own}/features/magic"),
        json!({"enabled": true}),
        404,
        "Feature not found",
    )
    .await;
    assert!(
        user.get("/v3/apps?colour=red")
            .await
            .refused(400)
            .contains("Unknown query parameter(s): 'colour'")
    );
    assert!(
        user.get("/v3/apps?include=droplet")
            .await
            .refused(400)
            .contains("Invalid included resource")
    );

    assert_eq!(
        user.patch(&format!("{own}/features/ssh"), json!({"enabled": false}))
            .await
            .expect(200)["enabled"],
        false
    );
    assert_eq!(
        user.get(&format!("{own}/features")).await.expect(200)["resources"][0]["name"],
        "ssh"
    );
    assert_eq!(
        user.get(&format!("{own}/ssh_enabled")).await.expect(200),
        json!({"enabled": false, "reason": "Disabled for app"})
    );
    for path in [
        "revisions",
        "revisions/deployed",
        "tasks",
        "packages",
        "builds",
        "droplets",
        "sidecars",
    ] {
        assert_eq!(
            user.get(&format!("{own}/{path}")).await.expect(200)["resources"],
            json!([]),
            "{path}"
        );
    }
    let cache = tempfile::NamedTempFile::new().unwrap();
    http.ops
        .blobs
        .put_file(&format!("caches/{guid}-host.tgz"), cache.path())
        .await
        .unwrap();
    let cleared = user
        .send(
            Method::POST,
            &format!("{own}/actions/clear_buildpack_cache"),
            None,
        )
        .await;
    assert_eq!(job(&user, cleared).await["state"], "COMPLETE");
    assert_eq!(
        http.ops
            .blobs
            .size(&format!("caches/{guid}-host.tgz"))
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn an_environment_is_read_and_changed() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "app").await;
    let path = format!("/v3/apps/{app}/environment_variables");
    let set = user
        .patch(&path, json!({"var": {"A": "1", "B": 2, "C": null}}))
        .await
        .expect(200);
    assert_eq!(set["var"], json!({"A": "1", "B": "2"}));
    assert_eq!(
        user.patch(&path, json!({"var": {"A": null}}))
            .await
            .expect(200)["var"],
        json!({"B": "2"})
    );
    assert_eq!(user.get(&path).await.expect(200)["var"], json!({"B": "2"}));
    assert!(
        user.patch(&path, json!({"var": {"A": {"b": 1}}}))
            .await
            .refused(422)
            .contains("'A' must be a text")
    );
    assert!(
        user.patch(&path, json!({"var": {"VCAP_X": "1"}}))
            .await
            .refused(422)
            .contains("VCAP_")
    );
    let all = user.get(&format!("/v3/apps/{app}/env")).await.expect(200);
    for object in [
        "environment_variables",
        "staging_env_json",
        "running_env_json",
        "system_env_json",
        "application_env_json",
    ] {
        assert!(all[object].is_object(), "{object}");
    }
    let application = &all["application_env_json"]["VCAP_APPLICATION"];
    assert_eq!(
        (
            &application["application_name"],
            &application["organization_name"]
        ),
        (&json!("app"), &json!("default"))
    );
    assert_eq!(all["system_env_json"], json!({"VCAP_SERVICES": {}}));

    let auditor = user
        .with_role("auditor", "space_auditor", "space", &space)
        .await;
    auditor.get(&format!("/v3/apps/{app}")).await.expect(200);
    assert_eq!(
        auditor.get(&path).await.expect(403)["errors"][0]["title"],
        "CF-NotAuthorized"
    );
    auditor
        .get(&format!("/v3/apps/{app}/env"))
        .await
        .expect(403);
    auditor
        .post(
            &format!("/v3/apps/{app}/actions/clear_buildpack_cache"),
            json!({}),
        )
        .await
        .expect(403);
    auditor
        .patch(
            &format!("/v3/apps/{app}/features/ssh"),
            json!({"enabled": false}),
        )
        .await
        .expect(403);
}

#[tokio::test]
async fn strangers_see_nothing() {
    let http = Http::start().await;
    let user = http.admin().await;
    let organization = user.first("/v3/organizations").await;
    let space = user.first("/v3/spaces").await;
    let other = json!({"name": "other", "relationships": {"organization": {"data": {"guid": organization}}}});
    let other = user.make("/v3/spaces", other).await;
    let app = new_app(&user, &space, "app").await;
    let droplet = staged(&user, &app).await;
    let package = user.first(&format!("/v3/apps/{app}/packages")).await;
    let build = user.first(&format!("/v3/apps/{app}/builds")).await;
    let stranger = user
        .with_role("stranger", "space_developer", "space", &other)
        .await;
    for (path, expected) in [
        (format!("/v3/apps/{app}"), "App not found"),
        (format!("/v3/apps/{app}/packages"), "App not found"),
        (format!("/v3/apps/{app}/revisions"), "App not found"),
        (format!("/v3/processes/{app}"), "Process not found"),
        (format!("/v3/processes/{app}/stats"), "Process not found"),
        (format!("/v3/packages/{package}"), "Package not found"),
        (format!("/v3/builds/{build}"), "Build not found"),
        (format!("/v3/droplets/{droplet}"), "Droplet not found"),
    ] {
        assert_eq!(stranger.get(&path).await.refused(404), expected, "{path}");
    }
    for path in [
        "apps",
        "processes",
        "packages",
        "builds",
        "droplets",
        "deployments",
    ] {
        assert_eq!(
            stranger.get(&format!("/v3/{path}")).await.expect(200)["resources"],
            json!([]),
            "{path}"
        );
    }
    stranger
        .delete(&format!("/v3/apps/{app}"))
        .await
        .expect(404);
    let nobody = Request::get(format!("/v3/apps/{app}"))
        .body(Body::empty())
        .unwrap();
    http.send(nobody).await.expect(401);
}
