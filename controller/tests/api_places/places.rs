//! Tokens, accounts, organizations, spaces, roles, domains, routes, the catalogue, blobs and the
//! configuration, as they are spoken over HTTP.

use crate::http::{Http, PASSWORD, PUBLIC};
use ::http::{Method, Request, StatusCode};
use axum::body::Body;
use controller::store::Json;
use controller::store::automation::packs::Pack;
use serde_json::{Value, json};

fn names(page: &Value) -> Vec<&str> {
    page["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn whoever_knows_nothing_finds_the_way_in() {
    let http = Http::start().await;
    let root = http
        .send(Request::get("/").body(Body::empty()).unwrap())
        .await
        .expect(200);
    assert_eq!(
        root["links"]["cloud_controller_v3"]["href"],
        format!("{PUBLIC}/v3")
    );
    assert_eq!(
        root["links"]["cloud_controller_v3"]["meta"]["version"],
        "3.211.0"
    );
    assert_eq!(
        root["links"]["login"]["href"],
        "http://login.yard.internal:8080"
    );
    assert_eq!(
        root["links"]["log_cache"]["href"],
        "http://log-cache.yard.internal:8080"
    );
    assert_eq!(root["links"]["app_ssh"], Value::Null);
    let login = http
        .send(Request::get("/login").body(Body::empty()).unwrap())
        .await
        .expect(200);
    assert_eq!(
        login["prompts"]["password"],
        json!(["password", "Password"])
    );
    http.send(Request::get("/v3/info").body(Body::empty()).unwrap())
        .await
        .expect(200);
    let unknown = http
        .send(Request::get("/v3/nothing").body(Body::empty()).unwrap())
        .await;
    assert_eq!(unknown.refused(404), "Unknown request");
    let nobody = http
        .send(
            Request::get("/v3/organizations")
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    assert_eq!(
        nobody.expect(401)["errors"][0]["title"],
        "CF-NotAuthenticated"
    );
    let forged = Request::get("/v3/organizations")
        .header("authorization", "bearer a.b.c")
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        http.send(forged).await.expect(401)["errors"][0]["title"],
        "CF-InvalidAuthToken"
    );
}

#[tokio::test]
async fn tokens_are_given_for_passwords_and_for_refresh_tokens_once() {
    let http = Http::start().await;
    let password = PASSWORD.replace(' ', "+").replace('\'', "%27");
    let good = format!("grant_type=password&username=admin&password={password}");
    let tokens = http
        .form("/oauth/token", Some("cf:"), &good)
        .await
        .expect(200);
    assert_eq!(tokens["token_type"], "bearer");
    assert!(tokens["expires_in"].as_u64().unwrap() > 60);

    let refresh = format!(
        "grant_type=refresh_token&refresh_token={}",
        tokens["refresh_token"].as_str().unwrap()
    );
    let renewed = http
        .form("/oauth/token", Some("cf:"), &refresh)
        .await
        .expect(200);
    assert_ne!(renewed["refresh_token"], tokens["refresh_token"]);
    let spent = http
        .form("/oauth/token", Some("cf:"), &refresh)
        .await
        .expect(401);
    assert_eq!(spent["error"], "invalid_token");

    let wrong = http
        .form(
            "/oauth/token",
            Some("cf:"),
            "grant_type=password&username=admin&password=x",
        )
        .await
        .expect(401);
    assert_eq!(
        (wrong["error"].as_str(), wrong["error_description"].as_str()),
        (Some("unauthorized"), Some("Bad credentials"))
    );
    let cases = [
        (Some("cf:secret"), good.as_str(), 401, "invalid_client"),
        (None, good.as_str(), 401, "invalid_client"),
        (
            None,
            "grant_type=client_credentials&client_id=a&client_secret=b",
            400,
            "unsupported_grant_type",
        ),
        (
            Some("cf:"),
            "grant_type=password&passcode=x",
            400,
            "invalid_grant",
        ),
        (
            Some("cf:"),
            "grant_type=password&username=admin",
            400,
            "invalid_request",
        ),
        (Some("cf:"), "username=admin", 400, "invalid_request"),
        (
            Some("cf:"),
            "grant_type=magic",
            400,
            "unsupported_grant_type",
        ),
    ];
    for (client, form, status, error) in cases {
        let reply = http.form("/oauth/token", client, form).await;
        assert!(reply.status.is_client_error());
        if error == "invalid_request" && reply.status == StatusCode::UNPROCESSABLE_ENTITY {
            panic!("the framework's own answer came through: {form}");
        }
        assert_eq!(reply.expect(status)["error"], error, "{form}");
    }
}

#[tokio::test]
async fn accounts_are_made_found_and_deleted_as_clients_do() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let account =
        |name: &str| json!({"userName": name, "password": "long enough", "origin": "uaa"});
    let made = admin.post("/Users", account("dora")).await.expect(201);
    let guid = made["id"].as_str().unwrap().to_string();
    let again = admin.post("/Users", account("dora")).await.expect(409);
    assert_eq!(again["error"], "scim_resource_already_exists");
    let short = admin
        .post("/Users", json!({"userName": "eve", "password": "x"}))
        .await
        .expect(400);
    assert!(
        short["error_description"]
            .as_str()
            .unwrap()
            .contains("8 to 1024"),
        "{short}"
    );

    let found = admin
        .get("/Users?filter=userName+eq+%22dora%22+and+origin+eq+%22uaa%22")
        .await
        .expect(200);
    assert_eq!(
        (
            found["totalResults"].as_u64(),
            found["resources"][0]["id"].as_str()
        ),
        (Some(1), Some(guid.as_str()))
    );
    admin
        .get("/Users?filter=userName+co+%22d%22")
        .await
        .expect(400);

    assert_eq!(
        admin
            .post("/v3/users", json!({"guid": guid}))
            .await
            .expect(201)["username"],
        "dora"
    );
    assert!(
        admin
            .post("/v3/users", json!({"username": "nobody"}))
            .await
            .refused(422)
            .contains("POST /Users")
    );

    let dora = http.log_in("dora", "long enough").await;
    assert_eq!(
        dora.post("/Users", account("eve")).await.expect(403)["error"],
        "insufficient_scope"
    );
    let path = format!("/Users/{guid}/password");
    let wrong = dora
        .send(
            Method::PUT,
            &path,
            Some(json!({"oldPassword": "wrong", "password": "another one"})),
        )
        .await;
    assert_eq!(wrong.expect(422)["error"], "invalid_password");
    let change = json!({"oldPassword": "long enough", "password": "another one"});
    dora.send(Method::PUT, &path, Some(change))
        .await
        .expect(200);
    http.log_in("dora", "another one").await;

    let deleted = admin.delete(&format!("/v3/users/{guid}")).await;
    assert!(
        deleted
            .location
            .as_deref()
            .unwrap()
            .starts_with(&format!("{PUBLIC}/v3/jobs/"))
    );
    deleted.expect(202);
    admin.delete(&format!("/Users/{guid}")).await.expect(200);
    assert_eq!(
        dora.get("/v3/organizations").await.expect(401)["errors"][0]["title"],
        "CF-InvalidAuthToken"
    );
}

#[tokio::test]
async fn everybody_sees_only_where_he_has_a_role() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let org = admin
        .make(
            "/v3/organizations",
            json!({"name": "shipping, east", "suspended": false}),
        )
        .await;
    let space = admin
        .make(
            "/v3/spaces",
            json!({"name": "dev", "relationships": {"organization": {"data": {"guid": org}}}}),
        )
        .await;
    assert_eq!(
        names(
            &admin
                .get("/v3/organizations?order_by=name")
                .await
                .expect(200)
        ),
        ["default", "shipping, east"]
    );
    let page = admin
        .get("/v3/organizations?names=shipping%252C%20east&per_page=1&page=1")
        .await
        .expect(200);
    assert_eq!(
        (names(&page), &page["pagination"]["next"]),
        (vec!["shipping, east"], &Value::Null)
    );
    let one = admin.get("/v3/organizations?per_page=1").await.expect(200);
    assert_eq!(
        one["pagination"]["next"]["href"],
        format!("{PUBLIC}/v3/organizations?page=2&per_page=1")
    );

    let dora = admin
        .with_role("dora", "space_developer", "space", &space)
        .await;
    assert_eq!(
        names(&dora.get("/v3/organizations").await.expect(200)),
        ["shipping, east"]
    );
    let spaces = dora
        .get(&format!(
            "/v3/spaces?organization_guids={org}&include=organization"
        ))
        .await
        .expect(200);
    assert_eq!(names(&spaces), ["dev"]);
    assert_eq!(
        spaces["included"]["organizations"][0]["name"],
        "shipping, east"
    );
    let eve = admin
        .with_role("eve", "organization_user", "organization", &org)
        .await;
    assert!(names(&eve.get("/v3/spaces").await.expect(200)).is_empty());
    assert_eq!(
        eve.get(&format!("/v3/spaces/{space}")).await.refused(404),
        "Space not found"
    );
    dora.patch(
        &format!("/v3/organizations/{org}/"),
        json!({"name": "mine"}),
    )
    .await
    .expect(403);
    dora.delete(&format!("/v3/spaces/{space}"))
        .await
        .expect(403);

    // The words that clients take for "it is there already".
    assert_eq!(
        admin
            .post("/v3/organizations", json!({"name": "default"}))
            .await
            .refused(422),
        "Organization 'default' already exists."
    );
    let twin = json!({"name": "dev", "relationships": {"organization": {"data": {"guid": org}}}});
    assert_eq!(
        admin.post("/v3/spaces", twin).await.refused(422),
        "Name must be unique per organization"
    );
    let role = json!({"type": "space_developer", "relationships": {"user": {"data": {"username": "dora"}}, "space": {"data": {"guid": space}}}});
    assert_eq!(
        admin.post("/v3/roles", role).await.refused(422),
        "User 'dora' already has 'space_developer' role in space 'dev'."
    );
    // Nothing is ignored in silence.
    assert!(
        admin
            .post("/v3/organizations", json!({"name": "x", "colour": "red"}))
            .await
            .refused(422)
            .contains("unknown field `colour`")
    );
    assert!(
        admin
            .get("/v3/spaces?include=moon")
            .await
            .refused(400)
            .contains("'moon'")
    );

    let roles = dora
        .get(&format!("/v3/roles?space_guids={space}&include=user"))
        .await
        .expect(200);
    assert_eq!(roles["included"]["users"][0]["username"], "dora");
    let role = roles["resources"][0]["guid"].as_str().unwrap();
    assert_eq!(
        admin.get(&format!("/v3/roles/{role}")).await.expect(200)["type"],
        "space_developer"
    );
    admin.delete(&format!("/v3/roles/{role}")).await.expect(202);
    assert!(
        names(&dora.get("/v3/spaces").await.expect(200)).is_empty(),
        "a right that is taken ends at once"
    );

    let segment = admin
        .get(&format!(
            "/v3/organizations/{org}/relationships/default_isolation_segment"
        ))
        .await;
    assert_eq!(segment.expect(200), json!({"data": null}));
    let labelled = admin
        .patch(
            &format!("/v3/spaces/{space}"),
            json!({"metadata": {"labels": {"tier": "one"}}}),
        )
        .await
        .expect(200);
    assert_eq!(labelled["metadata"]["labels"]["tier"], "one");
    admin
        .delete(&format!("/v3/organizations/{org}/"))
        .await
        .expect(202);
    assert_eq!(
        admin.get(&format!("/v3/spaces/{space}")).await.refused(404),
        "Space not found"
    );
    let events = admin
        .get(&format!(
            "/v3/audit_events?target_guids={org}&order_by=-created_at"
        ))
        .await
        .expect(200);
    assert_eq!(
        events["resources"][0]["type"],
        "audit.organization.delete-request"
    );
}

#[tokio::test]
async fn routes_are_made_once_and_found_by_empty_paths() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let (org, space) = (
        admin.first("/v3/organizations").await,
        admin.first("/v3/spaces").await,
    );
    let domain = admin
        .get(&format!("/v3/organizations/{org}/domains/default"))
        .await
        .expect(200);
    assert_eq!(
        (domain["name"].as_str(), &domain["supported_protocols"]),
        (Some("yard.internal"), &json!(["http"]))
    );
    let domain = domain["guid"].as_str().unwrap().to_string();
    let places = json!({"space": {"data": {"guid": space}}, "domain": {"data": {"guid": domain}}});
    let route = admin
        .post(
            "/v3/routes",
            json!({"host": "shop", "relationships": places}),
        )
        .await
        .expect(201);
    assert_eq!(
        (
            route["url"].as_str(),
            route["path"].as_str(),
            &route["port"]
        ),
        (Some("shop.yard.internal"), Some(""), &Value::Null)
    );
    let guid = route["guid"].as_str().unwrap().to_string();
    let twin = admin
        .post(
            "/v3/routes",
            json!({"host": "shop", "relationships": places}),
        )
        .await
        .refused(422);
    assert!(
        twin.starts_with("Route already exists with host 'shop'"),
        "{twin}"
    );
    admin
        .post(
            "/v3/routes",
            json!({"host": "db", "port": 5432, "relationships": places}),
        )
        .await
        .expect(422);

    let found = admin
        .get(&format!(
            "/v3/routes?domain_guids={domain}&hosts=shop&paths=&per_page=1&page=1&include=space"
        ))
        .await
        .expect(200);
    assert_eq!(
        (
            found["resources"][0]["guid"].as_str(),
            found["included"]["spaces"][0]["name"].as_str()
        ),
        (Some(guid.as_str()), Some("default"))
    );
    let reservations = |query: &str| format!("/v3/domains/{domain}/route_reservations?{query}");
    assert_eq!(
        admin
            .get(&reservations("host=shop&path="))
            .await
            .expect(200)["matching_route"],
        true
    );
    assert_eq!(
        admin
            .get(&reservations("host=shop&path=%2Fa"))
            .await
            .expect(200)["matching_route"],
        false
    );
    assert_eq!(
        admin
            .get(&reservations("host=shop&port=1"))
            .await
            .expect(200)["matching_route"],
        false
    );
    admin.get(&reservations("name=shop")).await.expect(400);

    let destinations = format!("/v3/routes/{guid}/destinations");
    assert_eq!(
        admin.get(&destinations).await.expect(200)["destinations"],
        json!([])
    );
    let stranger = json!({"destinations": [{"app": {"guid": "nothing"}, "weight": null, "port": null, "protocol": null}], "links": {}});
    assert!(
        admin
            .post(&destinations, stranger)
            .await
            .refused(422)
            .contains("do not exist")
    );
    admin
        .delete(&format!("{destinations}/nothing"))
        .await
        .expect(422);
    admin
        .patch(&destinations, json!({"destinations": []}))
        .await
        .expect(200);

    let dora = admin
        .with_role("dora", "space_auditor", "space", &space)
        .await;
    assert_eq!(
        dora.get("/v3/routes").await.expect(200)["resources"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    dora.delete(&format!("/v3/routes/{guid}")).await.expect(403);
    admin
        .delete(&format!("/v3/spaces/{space}/routes"))
        .await
        .expect(422);
    admin
        .delete(&format!("/v3/spaces/{space}/routes?unmapped=true"))
        .await
        .expect(202);
    assert_eq!(
        admin.get(&format!("/v3/routes/{guid}")).await.refused(404),
        "Route not found"
    );

    let private = admin.make("/v3/domains", json!({"name": "shop.example", "relationships": {"organization": {"data": {"guid": org}}}})).await;
    assert_eq!(
        names(
            &admin
                .get(&format!("/v3/organizations/{org}/domains"))
                .await
                .expect(200)
        )
        .len(),
        2
    );
    admin
        .post("/v3/domains", json!({"name": "in.side", "internal": true}))
        .await
        .expect(422);
    admin
        .delete(&format!("/v3/domains/{private}"))
        .await
        .expect(202);
}

#[tokio::test]
async fn lists_that_clients_read_on_their_way_are_there() {
    let http = Http::start().await;
    let admin = http.admin().await;
    for path in [
        "/v3/service_instances?space_guids=x&fields[service_plan]=guid,name",
        "/v3/service_route_bindings?include=service_instance&route_guids=x",
        "/v3/service_plans?per_page=5000&available=true",
        "/v3/security_groups",
        "/v3/organization_quotas?names=x",
        "/v3/space_quotas?organization_guids=x",
    ] {
        let page = admin.get(path).await.expect(200);
        assert_eq!(
            (&page["resources"], &page["pagination"]["next"]),
            (&json!([]), &Value::Null),
            "{path}"
        );
    }
    for (path, missing) in [
        ("/v3/processes/x/sidecars", "Process not found"),
        ("/v3/apps/x/sidecars", "App not found"),
    ] {
        assert_eq!(admin.get(path).await.refused(404), missing);
    }
    assert!(
        admin
            .post("/v3/service_brokers", json!({"name": "mine"}))
            .await
            .refused(400)
            .contains("not supported")
    );
    let buildpacks = admin
        .get("/v3/buildpacks?order_by=position&names=python")
        .await
        .expect(200);
    assert_eq!(
        (names(&buildpacks), &buildpacks["resources"][0]["state"]),
        (vec!["python"], &json!("READY"))
    );
    let stack = admin.first("/v3/stacks?names=host").await;
    assert_eq!(
        admin.get(&format!("/v3/stacks/{stack}")).await.expect(200)["name"],
        "host"
    );
    assert_eq!(
        admin
            .get("/v3/feature_flags/diego_docker")
            .await
            .expect(200)["enabled"],
        false
    );
    assert_eq!(
        admin.get("/v3/feature_flags/none").await.refused(404),
        "Feature flag not found"
    );
    admin
        .patch("/v3/feature_flags/diego_docker", json!({"enabled": true}))
        .await
        .expect(422);
    let nobody = http
        .send(Request::get("/v3/stacks").body(Body::empty()).unwrap())
        .await;
    nobody.expect(401);
}

#[tokio::test]
async fn a_wrong_configuration_is_told_what_would_fit() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let put = async |path: &str, value: Value| {
        admin
            .send(
                Method::PUT,
                &format!("/yard/v1/config/{path}"),
                Some(json!({"value": value, "revision": null})),
            )
            .await
    };
    let large = put("router/limits/max_attempts", json!(0))
        .await
        .refused(422);
    assert!(
        large.contains("router/limits/max_attempts")
            && large.contains("a whole number from 1 to 20"),
        "{large}"
    );
    assert!(
        put("dea/heartbeat/period", json!(10))
            .await
            .refused(422)
            .contains("like 500ms, 10s")
    );
    put("no/such/key", json!(1)).await.expect(404);
    // A good value only fails because there is no cluster here.
    put("router/limits/max_attempts", json!(5))
        .await
        .expect(503);
    admin.get("/yard/v1/config").await.expect(503);
    admin.get("/yard/v1/config/watch").await.expect(503);
    admin
        .delete("/yard/v1/config/router/limits/max_attempts?revision=x")
        .await
        .expect(400);

    let space = admin.first("/v3/spaces").await;
    let dora = admin
        .with_role("dora", "space_developer", "space", &space)
        .await;
    let change = json!({"value": 5});
    dora.send(
        Method::PUT,
        "/yard/v1/config/router/limits/max_attempts",
        Some(change),
    )
    .await
    .expect(403);
    dora.get("/yard/v1/config/staging/environment")
        .await
        .expect(403);
    let status = dora.get("/yard/v1/status").await.expect(200);
    assert_eq!(
        (&status["agents"], &status["leader"]),
        (&json!([]), &Value::Null)
    );
}

#[tokio::test]
async fn libraries_of_packs_that_cannot_be_installed_are_shown_as_waiting() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let waiting = async || admin.get("/yard/v1/status").await.expect(200)["waiting"].clone();
    assert_eq!(waiting().await, json!([]));
    let an_hour_ago = controller::ops::now() - 3_600_000_000;
    let document = json!({
        "problem": "The requirements could not be installed: exit status 1\nCollecting six\nERROR: no network\n",
        "problem_since": an_hour_ago,
    });
    let mut tx = http.ops.store.write("test").await.unwrap();
    Pack {
        reference: "_base".into(),
        id: "1".repeat(24),
        name: "_base".into(),
        version: "0.0.0".into(),
        document: Json(document),
        config_schema: Json(Value::Null),
        archive_sha256: None,
        archive_size: None,
        builtin: true,
        created_at: 1,
        updated_at: 1,
        row_version: 1,
    }
    .insert(&mut tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let found = waiting().await;
    assert_eq!(found[0]["kind"], "libraries");
    assert_eq!(
        found[0]["because"],
        "The requirements could not be installed: exit status 1 … ERROR: no network"
    );
    assert!(found[0]["since"].as_f64() >= Some(3600.0), "{found}");
}

#[tokio::test]
async fn a_signed_url_moves_one_blob() {
    let http = Http::start().await;
    let expires = i64::MAX / 2;
    let url = |method: &Method, key: &str| {
        http.ops
            .blobs
            .url(method, key, expires)
            .replace("http://127.0.0.1:1", "")
    };
    let put = async |url: String| {
        http.send(Request::put(url).body(Body::from("droplet")).unwrap())
            .await
    };
    let stored = put(url(&Method::PUT, "uploads/b1/droplet.tgz"))
        .await
        .expect(200);
    assert_eq!(stored["size_in_bytes"], 7);
    let got = http
        .send(
            Request::get(url(&Method::GET, "uploads/b1/droplet.tgz"))
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    assert_eq!(
        (got.status, got.bytes.as_slice()),
        (StatusCode::OK, b"droplet".as_slice())
    );
    let head = Request::head(url(&Method::GET, "uploads/b1/droplet.tgz"))
        .body(Body::empty())
        .unwrap();
    assert_eq!(http.send(head).await.status, StatusCode::OK);
    put(url(&Method::GET, "uploads/b1/droplet.tgz"))
        .await
        .expect(403);
    put("/internal/blobs/uploads/b1/droplet.tgz".to_string())
        .await
        .expect(403);
    let missing = http
        .send(
            Request::get(url(&Method::GET, "droplets/none"))
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    put(url(&Method::PUT, "uploads/.hidden")).await.expect(404);
}

#[tokio::test]
async fn a_log_is_only_read_by_whom_it_concerns() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let nobody = http
        .send(
            Request::get("/internal/log_access/some-app")
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    nobody.expect(401);
    assert_eq!(
        admin
            .get("/internal/log_access/some-app")
            .await
            .refused(404),
        "App not found"
    );
}

#[tokio::test]
async fn who_gives_roles_finds_the_users_of_his_organizations() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let organization = admin.first("/v3/organizations").await;
    let space = admin.first("/v3/spaces").await;
    let elsewhere = admin
        .make("/v3/organizations", json!({"name": "elsewhere"}))
        .await;
    admin
        .with_role("stranger", "organization_user", "organization", &elsewhere)
        .await;
    let member = admin
        .with_role("member", "organization_user", "organization", &organization)
        .await;
    let developer = admin
        .with_role("developer", "space_developer", "space", &space)
        .await;
    let manager = admin
        .with_role(
            "manager",
            "organization_manager",
            "organization",
            &organization,
        )
        .await;
    let of_space = admin
        .with_role("of-space", "space_manager", "space", &space)
        .await;

    let seen = async |user: &crate::http::User<'_>| {
        let page = user.get("/v3/users").await.expect(200);
        let mut names: Vec<String> = page["resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|user| user["username"].as_str().unwrap().to_string())
            .collect();
        names.sort();
        names
    };
    let members = ["developer", "manager", "member", "of-space"];
    assert_eq!(seen(&manager).await, members);
    assert_eq!(seen(&of_space).await, members);
    assert_eq!(seen(&member).await, ["member"]);
    assert_eq!(seen(&developer).await, ["developer"]);

    let found = manager.first("/v3/users?usernames=developer").await;
    assert_eq!(
        manager.get(&format!("/v3/users/{found}")).await.expect(200)["username"],
        "developer"
    );
    member.get(&format!("/v3/users/{found}")).await.expect(404);
    let stranger = admin.first("/v3/users?usernames=stranger").await;
    manager
        .get(&format!("/v3/users/{stranger}"))
        .await
        .expect(404);
    manager
        .delete(&format!("/v3/users/{found}"))
        .await
        .expect(403);
}
