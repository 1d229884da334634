//! Services that users provide themselves: made, bound, shown, told of and deleted.

use crate::http::{Http, PUBLIC, User};
use crate::steps::{job, new_app, yaml};
use controller::store::facts::{self, Kind};
use controller::store::platform_events;
use controller::store::routes;
use controller::store::service_instances::ServiceInstance;
use futures_util::future::join_all;
use serde_json::{Value, json};

const PASSWORD: &str = "open sesame";
const URI: &str = "postgres://shop:open sesame@10.0.0.9/shop";

fn in_space(space: &str) -> Value {
    json!({"space": {"data": {"guid": space}}})
}

/// As `cf cups` writes it.
fn new_service(space: &str, name: &str) -> Value {
    json!({
        "type": "user-provided", "name": name, "tags": ["sql"],
        "credentials": {"uri": URI, "password": PASSWORD}, "relationships": in_space(space),
    })
}

fn new_binding(app: &str, service: &str, name: Option<&str>) -> Value {
    json!({
        "type": "app", "name": name,
        "relationships": {"app": {"data": {"guid": app}}, "service_instance": {"data": {"guid": service}}},
    })
}

async fn service(user: &User<'_>, space: &str, name: &str) -> String {
    user.make("/v3/service_instances", new_service(space, name))
        .await
}

async fn bind(user: &User<'_>, app: &str, service: &str, name: Option<&str>) -> String {
    let body = new_binding(app, service, name);
    user.make("/v3/service_credential_bindings", body).await
}

async fn bindings(user: &User<'_>) -> u64 {
    let list = user.get("/v3/service_credential_bindings").await;
    list.expect(200)["pagination"]["total_results"]
        .as_u64()
        .unwrap()
}

/// What rules were told of services so far: name of the event and payload.
async fn told(http: &Http) -> Vec<(String, Value)> {
    let mut reader = http.ops.store.read().await.unwrap();
    let all = facts::after(&mut reader, 0, 10_000).await.unwrap();
    all.into_iter()
        .filter(|fact| fact.kind == Kind::PlatformEvent)
        .filter_map(|fact| platform_events::read(&fact.payload))
        .filter(|(name, _)| name.starts_with("yard.service."))
        .collect()
}

/// The types of the newest audit events about something.
async fn audited(user: &User<'_>, guid: &str) -> Vec<String> {
    let path = format!("/v3/audit_events?target_guids={guid}&order_by=created_at");
    let events = user.get(&path).await.expect(200);
    assert!(!events.to_string().contains(PASSWORD), "{events}");
    let kind = |event: &Value| event["type"].as_str().unwrap().to_string();
    events["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(kind)
        .collect()
}

#[tokio::test]
async fn a_service_is_made_shown_changed_and_deleted_as_clients_expect() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let reply = user
        .post("/v3/service_instances", new_service(&space, "db"))
        .await;
    assert_eq!(reply.location, None, "nothing is left to wait for");
    let made = reply.expect(201);
    let guid = made["guid"].as_str().unwrap();
    let own = format!("/v3/service_instances/{guid}");
    for (field, value) in [
        ("name", json!("db")),
        ("type", json!("user-provided")),
        ("tags", json!(["sql"])),
        ("syslog_drain_url", Value::Null),
        ("route_service_url", Value::Null),
        ("relationships", in_space(&space)),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    assert_eq!(made["last_operation"]["type"], "create");
    assert_eq!(made["last_operation"]["state"], "succeeded");
    assert_eq!(made["links"]["self"]["href"], format!("{PUBLIC}{own}"));
    assert!(!made.to_string().contains(PASSWORD));
    assert_eq!(user.get(&own).await.expect(200), made);
    assert_eq!(
        user.get(&format!("{own}/credentials")).await.expect(200),
        json!({"uri": URI, "password": PASSWORD})
    );

    // In the database nobody can read them.
    let mut reader = http.ops.store.read().await.unwrap();
    let row = ServiceInstance::find(&mut reader, guid).await.unwrap();
    let row = row.unwrap();
    assert!(!row.credentials.is_empty() && !row.credentials.contains("sesame"));
    drop(reader);

    // As `cf uups` writes it.
    let changed = user
        .patch(
            &own,
            json!({"credentials": {"uri": "mysql://x"}, "tags": []}),
        )
        .await
        .expect(200);
    assert_eq!(changed["tags"], json!([]));
    assert_eq!(changed["last_operation"]["type"], "update");
    assert_eq!(
        user.get(&format!("{own}/credentials")).await.expect(200),
        json!({"uri": "mysql://x"})
    );
    let renamed = user
        .patch(
            &own,
            json!({"name": "base", "metadata": {"labels": {"a": "b"}}}),
        )
        .await
        .expect(200);
    assert_eq!(renamed["name"], "base");
    assert_eq!(renamed["metadata"]["labels"], json!({"a": "b"}));
    user.patch(&own, json!({"name": "base"})).await.expect(200);
    let emptied = user.patch(&own, json!({"credentials": null})).await;
    emptied.expect(200);
    assert_eq!(
        user.get(&format!("{own}/credentials")).await.expect(200),
        json!({})
    );

    let shared = format!("{own}/relationships/shared_spaces");
    assert_eq!(user.get(&shared).await.expect(200)["data"], json!([]));
    let usage = user.get(&format!("{shared}/usage_summary")).await;
    assert_eq!(usage.expect(200)["usage_summary"], json!([]));
    let refused = user.post(&shared, json!({"data": []})).await.refused(422);
    assert!(refused.contains("cannot be shared"), "{refused}");
    let refused = user.get(&format!("{own}/parameters")).await.refused(400);
    assert!(refused.contains("does not support fetching"), "{refused}");

    let gone = user.delete(&own).await;
    assert_eq!(gone.status.as_u16(), 204);
    let missing = user.get(&own).await.refused(404);
    assert_eq!(missing, "Service instance not found");
    assert_eq!(
        audited(&user, guid).await,
        [
            "audit.user_provided_service_instance.create",
            "audit.user_provided_service_instance.show",
            "audit.user_provided_service_instance.update",
            "audit.user_provided_service_instance.show",
            "audit.user_provided_service_instance.update",
            "audit.user_provided_service_instance.update",
            "audit.user_provided_service_instance.show",
            "audit.user_provided_service_instance.delete",
        ]
    );
    let all = told(&http).await;
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "yard.service.created",
            "yard.service.updated",
            "yard.service.updated",
            "yard.service.updated",
            "yard.service.deleted",
        ]
    );
    assert_eq!(all[1].1["changed"], json!(["credentials", "tags"]));
    assert_eq!(all[2].1["changed"], json!(["name", "metadata"]));
    assert_eq!(all[0].1["service"], json!({"guid": guid, "name": "db"}));
    assert_eq!(all[0].1["space"]["name"], "default");
    assert!(
        all.iter()
            .all(|(_, payload)| !payload.to_string().contains("sesame"))
    );
}

#[tokio::test]
async fn what_cannot_be_a_service_is_refused_by_name() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    service(&user, &space, "db").await;
    let check = async |change: Value, expected: &str| {
        let mut body = new_service(&space, "other");
        for (field, value) in change.as_object().unwrap() {
            body[field] = value.clone();
        }
        let refused = user.post("/v3/service_instances", body).await.refused(422);
        assert!(refused.contains(expected), "{change}: {refused}");
    };
    check(json!({"name": "db"}), "The service instance name is taken").await;
    check(json!({"name": null}), "Name can't be blank").await;
    check(json!({"name": " "}), "Name must not be blank").await;
    check(
        json!({"type": "managed", "relationships": {
            "space": {"data": {"guid": space}}, "service_plan": {"data": {"guid": "small"}},
        }}),
        "Invalid service plan.",
    )
    .await;
    check(json!({"type": "borrowed"}), "'managed', 'user-provided'").await;
    check(
        json!({"syslog_drain_url": "syslog://x"}),
        "Syslog drain url is not supported yet",
    )
    .await;
    check(
        json!({"route_service_url": "http://x"}),
        "Route service url must be https://",
    )
    .await;
    check(json!({"parameters": {"a": 1}}), "of managed services").await;
    check(json!({"relationships": in_space("none")}), "Invalid space.").await;
    check(json!({"credentials": [1]}), "credentials: invalid type").await;
    check(
        json!({"credentials": {"a": "x".repeat(40_000)}}),
        "at most 32768 fit",
    )
    .await;
    check(json!({"colour": "red"}), "unknown field `colour`").await;
    // Nothing is what some clients send for what they do not mean.
    let mut body = new_service(&space, "quiet");
    body["syslog_drain_url"] = json!("");
    body["route_service_url"] = json!("");
    user.make("/v3/service_instances", body).await;
    let names = user.get("/v3/service_instances?order_by=name").await;
    let names = names.expect(200)["resources"].clone();
    let names: Vec<&str> = names
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["db", "quiet"], "what was refused was not made");
}

#[tokio::test]
async fn an_app_is_bound_and_sees_what_it_is_bound_to() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "shop").await;
    let db = service(&user, &space, "db").await;
    let environment = format!("/v3/apps/{app}/env");
    let services = async || {
        let shown = user.get(&environment).await.expect(200);
        shown["system_env_json"]["VCAP_SERVICES"].clone()
    };
    assert_eq!(services().await, json!({}));
    let made = user
        .post(
            "/v3/service_credential_bindings",
            new_binding(&app, &db, Some("main")),
        )
        .await
        .expect(201);
    let guid = made["guid"].as_str().unwrap();
    let own = format!("/v3/service_credential_bindings/{guid}");
    assert_eq!(
        (
            &made["type"],
            &made["name"],
            &made["last_operation"]["state"]
        ),
        (&json!("app"), &json!("main"), &json!("succeeded"))
    );
    assert_eq!(made["relationships"]["app"]["data"]["guid"], app);
    assert_eq!(
        services().await,
        json!({"user-provided": [{
            "label": "user-provided", "name": "main", "tags": ["sql"],
            "instance_guid": db, "instance_name": "db", "binding_guid": guid, "binding_name": "main",
            "credentials": {"uri": URI, "password": PASSWORD},
            "syslog_drain_url": null, "volume_mounts": [],
        }]})
    );
    assert_eq!(
        user.get(&format!("{own}/details")).await.expect(200),
        json!({"credentials": {"uri": URI, "password": PASSWORD}, "syslog_drain_url": null, "volume_mounts": []})
    );

    // Others are refused with the words clients look for.
    let refused = user
        .post(
            "/v3/service_credential_bindings",
            new_binding(&app, &db, None),
        )
        .await
        .refused(422);
    assert!(refused.contains("The app is already bound to the service instance"));
    let cache = service(&user, &space, "cache").await;
    let check = async |body: Value, expected: &str| {
        let refused = user
            .post("/v3/service_credential_bindings", body.clone())
            .await
            .refused(422);
        assert!(refused.contains(expected), "{body}: {refused}");
    };
    check(
        new_binding(&app, &cache, Some("main")),
        "already has a binding with name 'main'",
    )
    .await;
    check(new_binding(&app, &cache, Some("a b")), "letters, digits").await;
    check(
        new_binding("none", &cache, None),
        "The app could not be found: 'none'",
    )
    .await;
    check(
        new_binding(&app, "none", None),
        "The service instance could not be found: 'none'",
    )
    .await;
    let mut body = new_binding(&app, &cache, None);
    body["parameters"] = json!({"a": 1});
    check(body, "Binding parameters are not supported").await;
    let mut body = new_binding(&app, &cache, None);
    body["strategy"] = json!("multiple");
    check(body, "'multiple' is not supported").await;
    let key = json!({"type": "key", "name": "k", "relationships": {"service_instance": {"data": {"guid": cache}}}});
    check(key, "type 'key' are not supported for user-provided").await;
    let organization = user.first("/v3/organizations").await;
    let elsewhere = user
        .make(
            "/v3/spaces",
            json!({"name": "test", "relationships": {"organization": {"data": {"guid": organization}}}}),
        )
        .await;
    let far = service(&user, &elsewhere, "far").await;
    check(new_binding(&app, &far, None), "in different spaces").await;

    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    let labelled = user.patch(&own, labelled).await.expect(200);
    assert_eq!(labelled["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(user.delete(&own).await.status.as_u16(), 204);
    assert_eq!(services().await, json!({}));
    user.get(&own).await.expect(404);
    assert_eq!(
        audited(&user, guid).await,
        [
            "audit.service_binding.create",
            "audit.service_binding.show",
            "audit.service_binding.update",
            "audit.service_binding.delete",
        ]
    );
    let all = told(&http).await;
    let bound: Vec<&(String, Value)> = all
        .iter()
        .filter(|(name, _)| name.ends_with("bound"))
        .collect();
    assert_eq!(bound.len(), 2);
    for ((name, payload), expected) in bound
        .into_iter()
        .zip(["yard.service.bound", "yard.service.unbound"])
    {
        assert_eq!(name, expected);
        assert_eq!(payload["app"], json!({"guid": app, "name": "shop"}));
        assert_eq!(payload["service"], json!({"guid": db, "name": "db"}));
        assert_eq!(
            (&payload["binding"], &payload["binding_name"]),
            (&json!(guid), &json!("main"))
        );
        assert_eq!(payload["user"], "admin");
    }
}

#[tokio::test]
async fn lists_are_filtered_and_include_what_clients_ask_for() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let (shop, jobs) = (
        new_app(&user, &space, "shop").await,
        new_app(&user, &space, "jobs").await,
    );
    let (db, cache) = (
        service(&user, &space, "db").await,
        service(&user, &space, "cache").await,
    );
    bind(&user, &shop, &db, None).await;
    bind(&user, &jobs, &db, Some("main")).await;
    bind(&user, &shop, &cache, None).await;
    let count = async |path: String, expected: u64| {
        let list = user.get(&path).await.expect(200);
        assert_eq!(list["pagination"]["total_results"], expected, "{path}");
        list
    };

    // `cf services`
    let plans = "fields[service_plan]=guid,name,relationships.service_offering&fields[service_plan.service_offering]=guid,name,relationships.service_broker&fields[service_plan.service_offering.service_broker]=guid,name";
    let list = count(
        format!("/v3/service_instances?space_guids={space}&order_by=name&per_page=5000&{plans}"),
        2,
    )
    .await;
    assert_eq!(list["resources"][0]["name"], "cache");
    let list = count(
        format!("/v3/service_credential_bindings?service_instance_guids={db},{cache}&include=app"),
        3,
    )
    .await;
    let apps: Vec<&str> = list["included"]["apps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|app| app["name"].as_str().unwrap())
        .collect();
    assert_eq!(apps.len(), 2);
    assert!(apps.contains(&"shop") && apps.contains(&"jobs"));

    let list = count(
        "/v3/service_instances?names=db&fields[space]=guid,name&fields[space.organization]=guid"
            .into(),
        1,
    )
    .await;
    assert_eq!(list["included"]["spaces"][0]["name"], "default");
    assert_eq!(list["included"]["organizations"][0]["name"], "default");
    for (query, expected) in [
        ("type=managed", 0),
        ("type=managed,user-provided", 2),
        ("names=none", 0),
        ("service_plan_names=small", 0),
        ("organization_guids=none", 0),
    ] {
        count(format!("/v3/service_instances?{query}"), expected).await;
    }
    for (query, expected) in [
        (format!("app_guids={shop}&service_instance_guids={db}"), 1),
        ("app_names=shop".into(), 2),
        ("service_instance_names=db".into(), 2),
        ("names=main".into(), 1),
        ("type=key".into(), 0),
        ("type=app&app_names=jobs".into(), 1),
        ("service_offering_names=pg".into(), 0),
    ] {
        count(format!("/v3/service_credential_bindings?{query}"), expected).await;
    }
    let one = user
        .first("/v3/service_credential_bindings?names=main")
        .await;
    let shown = user
        .get(&format!(
            "/v3/service_credential_bindings/{one}?include=service_instance"
        ))
        .await
        .expect(200);
    assert_eq!(shown["included"]["service_instances"][0]["name"], "db");
    user.get("/v3/service_instances?colours=red")
        .await
        .expect(400);
    user.get("/v3/service_credential_bindings?include=plan")
        .await
        .expect(400);
}

#[tokio::test]
async fn roles_decide_who_sees_and_does_what() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let space = admin.first("/v3/spaces").await;
    let organization = admin.first("/v3/organizations").await;
    admin
        .with_role("ann", "organization_user", "organization", &organization)
        .await;
    let app = new_app(&admin, &space, "shop").await;
    let db = service(&admin, &space, "db").await;
    let binding = bind(&admin, &app, &db, None).await;
    let role = async |name: &str, role: &str| {
        admin
            .with_role(name, "organization_user", "organization", &organization)
            .await;
        let relationships = json!({"user": {"data": {"username": name, "origin": "uaa"}}, "space": {"data": {"guid": space}}});
        admin
            .post(
                "/v3/roles",
                json!({"type": role, "relationships": relationships}),
            )
            .await
            .expect(201);
        http.log_in(name, "long enough").await
    };
    let developer = role("dev", "space_developer").await;
    let auditor = role("aud", "space_auditor").await;
    let manager = role("man", "space_manager").await;
    let stranger = http.log_in("ann", "long enough").await;
    let (own, bound) = (
        format!("/v3/service_instances/{db}"),
        format!("/v3/service_credential_bindings/{binding}"),
    );
    for (user, sees, secrets) in [
        (&developer, 200, 200),
        (&auditor, 200, 403),
        (&manager, 200, 403),
        (&stranger, 404, 404),
    ] {
        user.get(&own).await.expect(sees);
        user.get(&bound).await.expect(sees);
        user.get(&format!("{own}/credentials"))
            .await
            .expect(secrets);
        user.get(&format!("{bound}/details")).await.expect(secrets);
        let changed = user.patch(&own, json!({"tags": ["x"]})).await;
        assert_eq!(changed.status.as_u16(), secrets);
        let listed = user.get("/v3/service_instances").await.expect(200);
        let expected = u64::from(sees == 200);
        assert_eq!(listed["pagination"]["total_results"], expected);
        assert_eq!(bindings(user).await, expected);
    }
    for (user, manages) in [(&developer, true), (&auditor, false)] {
        assert_eq!(
            user.get(&format!("{own}/permissions")).await.expect(200),
            json!({"read": true, "manage": manages})
        );
    }
    for user in [&auditor, &manager] {
        user.post("/v3/service_instances", new_service(&space, "x"))
            .await
            .expect(403);
        let other = new_binding(&app, &db, None);
        user.post("/v3/service_credential_bindings", other)
            .await
            .expect(403);
        user.delete(&bound).await.expect(403);
        user.delete(&own).await.expect(403);
    }
    let hidden = stranger
        .post("/v3/service_instances", new_service(&space, "x"))
        .await
        .refused(422);
    assert!(hidden.contains("Invalid space."), "{hidden}");
    stranger.delete(&bound).await.expect(404);
    assert_eq!(developer.delete(&bound).await.status.as_u16(), 204);
    assert_eq!(developer.delete(&own).await.status.as_u16(), 204);
}

#[tokio::test]
async fn what_belongs_together_goes_together() {
    let http = Http::start().await;
    let user = http.admin().await;
    let organization = user.first("/v3/organizations").await;
    let space = user
        .make(
            "/v3/spaces",
            json!({"name": "test", "relationships": {"organization": {"data": {"guid": organization}}}}),
        )
        .await;
    let (shop, jobs) = (
        new_app(&user, &space, "shop").await,
        new_app(&user, &space, "jobs").await,
    );
    let (db, cache) = (
        service(&user, &space, "db").await,
        service(&user, &space, "cache").await,
    );
    for (app, service) in [(&shop, &db), (&shop, &cache), (&jobs, &db), (&jobs, &cache)] {
        bind(&user, app, service, None).await;
    }
    let gone = user.delete(&format!("/v3/apps/{shop}")).await;
    assert_eq!(job(&user, gone).await["state"], "COMPLETE");
    assert_eq!(bindings(&user).await, 2);
    let gone = user.delete(&format!("/v3/service_instances/{db}")).await;
    assert_eq!(gone.status.as_u16(), 204, "with its binding");
    assert_eq!(bindings(&user).await, 1);
    let gone = user.delete(&format!("/v3/spaces/{space}")).await;
    assert_eq!(job(&user, gone).await["state"], "COMPLETE");
    assert_eq!(bindings(&user).await, 0);
    let left = user.get("/v3/service_instances").await.expect(200);
    assert_eq!(left["pagination"]["total_results"], 0);
    let all = told(&http).await;
    let count = |name: &str| all.iter().filter(|(told, _)| told == name).count();
    assert_eq!(count("yard.service.unbound"), 4);
    assert_eq!(count("yard.service.deleted"), 2);
}

#[tokio::test]
async fn a_manifest_binds_what_it_names_and_leaves_the_rest_bound() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    service(&user, &space, "db").await;
    service(&user, &space, "cache").await;
    let apply = async |text: &str| {
        let path = format!("/v3/spaces/{space}/actions/apply_manifest");
        let reply = yaml(&user, &path, text).await;
        job(&user, reply).await
    };
    let done = apply("applications: [{name: shop, services: [db]}]").await;
    assert_eq!(done["state"], "COMPLETE", "{done}");
    let done = apply(
        "applications: [{name: shop, services: [db, {name: cache, binding_name: sessions}]}]",
    )
    .await;
    assert_eq!(done["state"], "COMPLETE", "{done}");
    let done = apply("applications: [{name: shop}]").await;
    assert_eq!(done["state"], "COMPLETE", "{done}");
    assert_eq!(bindings(&user).await, 2);
    let named = user
        .get("/v3/service_credential_bindings?names=sessions")
        .await
        .expect(200);
    assert_eq!(named["pagination"]["total_results"], 1);

    let failed = apply("applications: [{name: other, services: [nothing]}]").await;
    assert_eq!(failed["state"], "FAILED");
    assert!(
        failed["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("For application 'other': Service instance 'nothing' not found"),
        "{failed}"
    );
    let apps = user.get("/v3/apps?names=other").await.expect(200);
    assert_eq!(apps["pagination"]["total_results"], 0, "all or nothing");

    service(&user, &space, "queue").await;
    let diff = yaml(
        &user,
        &format!("/v3/spaces/{space}/manifest_diff"),
        "applications: [{name: shop, services: [db, queue]}]",
    )
    .await
    .expect(201);
    assert_eq!(
        diff["diff"],
        json!([{"op": "add", "path": "/applications/0/services/queue", "value": "queue"}])
    );
}

#[tokio::test]
async fn a_quota_counts_services() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let organization = user.first("/v3/organizations").await;
    let body = json!({
        "name": "small", "services": {"total_service_instances": 1},
        "relationships": {
            "organization": {"data": {"guid": organization}}, "spaces": {"data": [{"guid": space}]},
        },
    });
    let quota = user.make("/v3/space_quotas", body).await;
    let db = service(&user, &space, "db").await;
    let refused = user
        .post("/v3/service_instances", new_service(&space, "cache"))
        .await
        .refused(422);
    assert_eq!(refused, "You have exceeded your space's services limit.");
    let usage = user.get(&format!("/v3/spaces/{space}/usage_summary")).await;
    assert_eq!(usage.expect(200)["usage_summary"]["service_instances"], 1);
    user.patch(
        &format!("/v3/service_instances/{db}"),
        json!({"name": "base"}),
    )
    .await
    .expect(200);
    user.patch(
        &format!("/v3/space_quotas/{quota}"),
        json!({"services": {"total_service_instances": null}}),
    )
    .await
    .expect(200);
    service(&user, &space, "cache").await;
}

/// SQLite has one writer at a time; on PostgreSQL both look before either has written.
#[tokio::test]
async fn side_by_side_one_name_is_one_service_and_one_pair_one_binding() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "shop").await;
    for round in 0..4 {
        let name = format!("db-{round}");
        let asked = (0..8).map(|_| user.post("/v3/service_instances", new_service(&space, &name)));
        let mut made = Vec::new();
        for reply in join_all(asked).await {
            match reply.status.as_u16() {
                201 => made.push(reply.expect(201)["guid"].as_str().unwrap().to_string()),
                _ => assert!(reply.refused(422).contains("name is taken")),
            }
        }
        assert_eq!(made.len(), 1);
        let body = new_binding(&app, &made[0], None);
        let asked = (0..8).map(|_| user.post("/v3/service_credential_bindings", body.clone()));
        let mut bound = 0;
        for reply in join_all(asked).await {
            match reply.status.as_u16() {
                201 => bound += 1,
                _ => assert!(reply.refused(422).contains("already bound")),
            }
        }
        assert_eq!(bound, 1);
    }
}

#[tokio::test]
async fn what_an_app_could_not_be_told_is_not_bound() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "shop").await;
    let mut services = Vec::new();
    for name in ["one", "two", "three"] {
        let mut body = new_service(&space, name);
        body["credentials"] = json!({"certificate": "x".repeat(30_000)});
        services.push(user.make("/v3/service_instances", body).await);
    }
    bind(&user, &app, &services[0], None).await;
    bind(&user, &app, &services[1], None).await;
    let refused = user
        .post(
            "/v3/service_credential_bindings",
            new_binding(&app, &services[2], None),
        )
        .await
        .refused(422);
    assert!(refused.contains("at most 65536 fit"), "{refused}");
    let third = format!("/v3/service_instances/{}", services[2]);
    user.patch(&third, json!({"credentials": {}}))
        .await
        .expect(200);
    bind(&user, &app, &services[2], None).await;
    let refused = user
        .patch(
            &third,
            json!({"credentials": {"certificate": "x".repeat(30_000)}}),
        )
        .await
        .refused(422);
    assert!(refused.contains("at most 65536 fit"), "{refused}");
}

#[tokio::test]
async fn a_route_is_bound_to_a_service_that_sees_its_requests() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let route = json!({"host": "shop", "relationships": user.places_of_routes().await});
    let route = user.make("/v3/routes", route).await;
    let app = new_app(&user, &space, "shop").await;
    let to_app = json!({"destinations": [{"app": {"guid": app}}]});
    user.post(&format!("/v3/routes/{route}/destinations"), to_app)
        .await
        .expect(200);

    // As `cf cups -r` and `cf bind-route-service` write it.
    let mut body = new_service(&space, "guard");
    body["route_service_url"] = json!("https://guard.example.com");
    let guard = user.make("/v3/service_instances", body).await;
    let plain = service(&user, &space, "plain").await;
    let bind = |service: &str| json!({"relationships": {"route": {"data": {"guid": route}}, "service_instance": {"data": {"guid": service}}}});
    const BINDINGS: &str = "/v3/service_route_bindings";
    let refused = user.post(BINDINGS, bind(&plain)).await.refused(422);
    assert!(
        refused.contains("does not support route binding"),
        "{refused}"
    );
    let made = user.post(BINDINGS, bind(&guard)).await.expect(201);
    assert_eq!(made["route_service_url"], "https://guard.example.com");
    assert_eq!(made["last_operation"]["state"], "succeeded");
    let again = user.post(BINDINGS, bind(&guard)).await.refused(422);
    assert!(again.contains("already bound"), "{again}");
    let listed = user
        .get(&format!(
            "{BINDINGS}?include=service_instance&route_guids={route}"
        ))
        .await
        .expect(200);
    assert_eq!(listed["resources"], json!([made]));
    assert_eq!(listed["included"]["service_instances"][0]["name"], "guard");

    let names = async || {
        let mut reader = http.ops.store.read().await.unwrap();
        let names = routes::names(&mut reader, &app, "web").await.unwrap();
        assert_eq!(names.uris, ["shop.yard.internal"]);
        let terms = names.terms.get("shop.yard.internal").cloned();
        terms.and_then(|terms| terms.route_service_url)
    };
    assert_eq!(names().await.as_deref(), Some("https://guard.example.com"));
    let own = format!("/v3/service_instances/{guard}");
    user.patch(&own, json!({"route_service_url": ""}))
        .await
        .refused(422);
    user.patch(
        &own,
        json!({"route_service_url": "https://other.example.com/in"}),
    )
    .await
    .expect(200);
    assert_eq!(
        names().await.as_deref(),
        Some("https://other.example.com/in")
    );
    let changes = async || {
        let mut reader = http.ops.store.read().await.unwrap();
        let all = facts::after(&mut reader, 0, 10_000).await.unwrap();
        let of_app = |fact: &&facts::Fact| fact.kind == Kind::RoutesChanged && fact.object == app;
        all.iter().filter(of_app).count()
    };
    assert_eq!(
        changes().await,
        3,
        "mapped, bound, moved: agents are told each time"
    );

    let dora = user
        .with_role("dora", "space_auditor", "space", &space)
        .await;
    let binding = format!("{BINDINGS}/{}", made["guid"].as_str().unwrap());
    assert_eq!(dora.get(&binding).await.expect(200)["guid"], made["guid"]);
    dora.delete(&binding).await.expect(403);
    user.delete(&binding).await.expect(204);
    assert_eq!(names().await, None);
    user.make(BINDINGS, bind(&guard)).await;
    user.delete(&own).await.expect(204);
    assert_eq!(names().await, None, "a deleted service sees nothing");
    assert_eq!(changes().await, 6);
}
