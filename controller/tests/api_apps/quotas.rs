//! Quotas: made, given and taken, who sees them, and what they refuse.

use crate::http::{Http, PUBLIC, Reply, User};
use crate::steps::{app_to_run, job, yaml};
use controller::store::facts::{self, Kind};
use controller::store::platform_events;
use futures_util::future::join_all;
use serde_json::{Value, json};

const AT_ONCE: usize = 8;
/// A race is not lost each time.
const ROUNDS: usize = 6;

async fn quota(user: &User<'_>, name: &str, limits: Value) -> String {
    let mut body = limits;
    body["name"] = json!(name);
    user.make("/v3/organization_quotas", body).await
}

async fn give(user: &User<'_>, quota: &str, organization: &str) {
    let path = format!("/v3/organization_quotas/{quota}/relationships/organizations");
    let body = json!({"data": [{"guid": organization}]});
    let given = user.post(&path, body.clone()).await.expect(200);
    assert_eq!(given["data"], body["data"]);
}

async fn space_quota(user: &User<'_>, name: &str, space: &str, limits: Value) -> String {
    let organization = user.first("/v3/organizations").await;
    let mut body = limits;
    body["name"] = json!(name);
    body["relationships"] = json!({
        "organization": {"data": {"guid": organization}}, "spaces": {"data": [{"guid": space}]},
    });
    user.make("/v3/space_quotas", body).await
}

/// An app with a droplet of so many instances of so many megabytes.
async fn sized(user: &User<'_>, space: &str, name: &str, instances: u32, memory: u32) -> String {
    let app = app_to_run(user, space, name).await;
    scale(
        user,
        &app,
        json!({"instances": instances, "memory_in_mb": memory}),
    )
    .await
    .expect(202);
    app
}

async fn scale(user: &User<'_>, app: &str, wanted: Value) -> Reply {
    user.post(&format!("/v3/processes/{app}/actions/scale"), wanted)
        .await
}

async fn act(user: &User<'_>, app: &str, action: &str) -> Reply {
    user.post(&format!("/v3/apps/{app}/actions/{action}"), json!({}))
        .await
}

async fn route(user: &User<'_>, space: &str, domain: &str, host: &str) -> Reply {
    let body = json!({"host": host, "relationships": {
        "space": {"data": {"guid": space}}, "domain": {"data": {"guid": domain}},
    }});
    user.post("/v3/routes", body).await
}

async fn usage(user: &User<'_>, path: &str) -> (u64, u64) {
    let document = user.get(&format!("{path}/usage_summary")).await.expect(200);
    let number = |name: &str| document["usage_summary"][name].as_u64().unwrap();
    (number("memory_in_mb"), number("started_instances"))
}

/// What rules were told of quotas so far.
async fn told(http: &Http) -> Vec<Value> {
    let mut reader = http.ops.store.read().await.unwrap();
    let all = facts::after(&mut reader, 0, 10_000).await.unwrap();
    all.into_iter()
        .filter(|fact| fact.kind == Kind::PlatformEvent)
        .filter_map(|fact| platform_events::read(&fact.payload))
        .filter(|(name, _)| name == "yard.quota.exceeded")
        .map(|(_, payload)| payload)
        .collect()
}

#[tokio::test]
async fn every_organization_has_a_quota_and_they_are_made_changed_and_deleted() {
    let http = Http::start().await;
    let user = http.admin().await;
    let organization = user.get("/v3/organizations").await.expect(200)["resources"][0].clone();
    let place = organization["guid"].as_str().unwrap();
    let default = user
        .get("/v3/organization_quotas?names=default")
        .await
        .expect(200)["resources"][0]
        .clone();
    let default_guid = default["guid"].as_str().unwrap();
    assert_eq!(
        organization["relationships"]["quota"]["data"]["guid"],
        default["guid"]
    );
    assert_eq!(
        default["apps"],
        json!({
            "total_memory_in_mb": null, "per_process_memory_in_mb": null, "total_instances": null,
            "per_app_tasks": null, "log_rate_limit_in_bytes_per_second": null,
        })
    );
    let own = format!("/v3/organization_quotas/{default_guid}");
    assert!(
        user.delete(&own)
            .await
            .refused(422)
            .contains("every new organization gets it")
    );

    // As `cf create-org-quota small -m 1G` writes it.
    let small = user
        .post(
            "/v3/organization_quotas",
            json!({
                "name": "small", "apps": {"total_memory_in_mb": 1024},
                "services": {"paid_services_allowed": false, "total_service_instances": 0},
                "routes": {"total_routes": 0, "total_reserved_ports": 0},
            }),
        )
        .await
        .expect(201);
    assert_eq!(small["apps"]["total_memory_in_mb"], 1024);
    assert_eq!(small["services"]["paid_services_allowed"], false);
    assert_eq!(small["services"]["total_service_instances"], 0);
    assert_eq!(small["services"]["total_service_keys"], Value::Null);
    assert_eq!(
        small["routes"],
        json!({"total_routes": 0, "total_reserved_ports": 0})
    );
    assert_eq!(small["domains"], json!({"total_domains": null}));
    assert_eq!(small["relationships"]["organizations"], json!({"data": []}));
    let small = small["guid"].as_str().unwrap();
    let own = format!("/v3/organization_quotas/{small}");
    assert_eq!(small_links(&user, &own).await, format!("{PUBLIC}{own}"));

    let check = async |body: Value, expected: &str| {
        let told = user
            .post("/v3/organization_quotas", body.clone())
            .await
            .refused(422);
        assert!(told.contains(expected), "{body}: {told}");
    };
    check(
        json!({"name": "small"}),
        "Organization Quota 'small' already exists.",
    )
    .await;
    check(json!({}), "Name must be a string").await;
    check(
        json!({"name": "x", "services": {"total_service_keys": 5}}),
        "services.total_service_keys would be watched by nobody",
    )
    .await;
    check(
        json!({"name": "x", "apps": {"log_rate_limit_in_bytes_per_second": 1000}}),
        "apps.log_rate_limit_in_bytes_per_second would be watched by nobody",
    )
    .await;
    check(
        json!({"name": "x", "apps": {"total_instances": -1}}),
        "apps.total_instances must be null, or a number from 0",
    )
    .await;
    check(
        json!({"name": "x", "apps": {"total_disk_in_mb": 1}}),
        "unknown field `total_disk_in_mb`",
    )
    .await;
    check(
        json!({"name": "x", "relationships": {"organizations": {"data": [{"guid": "none"}]}}}),
        "Organizations with guids [\"none\"] do not exist",
    )
    .await;
    assert_eq!(
        user.get("/v3/organization_quotas").await.expect(200)["pagination"]["total_results"],
        2,
        "what was refused was not made"
    );

    let changed = user
        .patch(
            &own,
            json!({"name": "tiny", "apps": {"total_memory_in_mb": null, "total_instances": 3}}),
        )
        .await
        .expect(200);
    assert_eq!(
        (
            &changed["name"],
            &changed["apps"]["total_memory_in_mb"],
            &changed["apps"]["total_instances"]
        ),
        (&json!("tiny"), &Value::Null, &json!(3))
    );
    assert_eq!(
        changed["routes"]["total_routes"], 0,
        "what is not named stays"
    );
    assert!(
        user.patch(&own, json!({"name": "default"}))
            .await
            .refused(422)
            .contains("Organization Quota 'default' already exists.")
    );

    give(&user, small, place).await;
    let found = user
        .get(&format!(
            "/v3/organization_quotas?organization_guids={place}"
        ))
        .await
        .expect(200);
    assert_eq!(found["resources"][0]["name"], "tiny");
    assert_eq!(found["pagination"]["total_results"], 1);
    assert!(
        user.delete(&own)
            .await
            .refused(422)
            .contains("This quota is applied to one or more organizations.")
    );
    give(&user, default_guid, place).await;
    assert_eq!(
        job(&user, user.delete(&own).await).await["state"],
        "COMPLETE"
    );
    assert_eq!(
        user.get(&own).await.refused(404),
        "Organization quota not found"
    );
    let events = user
        .get(&format!("/v3/audit_events?target_guids={small}"))
        .await
        .expect(200);
    let kinds: Vec<&str> = events["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "audit.organization_quota.create",
            "audit.organization_quota.update",
            "audit.organization_quota.apply",
            "audit.organization_quota.delete"
        ]
    );
}

async fn small_links(user: &User<'_>, own: &str) -> String {
    user.get(own).await.expect(200)["links"]["self"]["href"]
        .as_str()
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn spaces_get_quotas_of_their_organization_and_lose_them() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let organization = user.first("/v3/organizations").await;
    let quota = space_quota(
        &user,
        "team",
        &space,
        json!({"apps": {"total_instances": 2}}),
    )
    .await;
    let own = format!("/v3/space_quotas/{quota}");
    let of_space = async || {
        user.get(&format!("/v3/spaces/{space}")).await.expect(200)["relationships"]["quota"].clone()
    };
    assert_eq!(of_space().await["data"]["guid"], quota.as_str());
    let shown = user.get(&own).await.expect(200);
    assert_eq!(shown["domains"], Value::Null, "spaces have no domains");
    assert_eq!(
        shown["relationships"],
        json!({"organization": {"data": {"guid": organization}}, "spaces": {"data": [{"guid": space}]}})
    );
    let relationships = json!({"organization": {"data": {"guid": organization}}});
    let told = user
        .post(
            "/v3/space_quotas",
            json!({"name": "team", "relationships": relationships}),
        )
        .await
        .refused(422);
    assert_eq!(told, "Space Quota 'team' already exists.");
    let told = user
        .post(
            "/v3/space_quotas",
            json!({"name": "x", "domains": {"total_domains": 1}, "relationships": relationships}),
        )
        .await
        .refused(422);
    assert!(told.contains("unknown field `domains`"), "{told}");
    let there = user
        .make("/v3/organizations", json!({"name": "elsewhere"}))
        .await;
    let stranger = user
        .make(
            "/v3/spaces",
            json!({"name": "s", "relationships": {"organization": {"data": {"guid": there}}}}),
        )
        .await;
    let spaces = format!("{own}/relationships/spaces");
    assert_eq!(
        user.post(&spaces, json!({"data": [{"guid": stranger}]}))
            .await
            .refused(422),
        "Space quotas cannot be applied outside of their owning organization."
    );
    let found = user
        .get(&format!("/v3/space_quotas?space_guids={space}&names=team"))
        .await
        .expect(200);
    assert_eq!(found["pagination"]["total_results"], 1);
    user.delete(&format!("{spaces}/{space}")).await.expect(204);
    assert_eq!(of_space().await["data"], Value::Null);
    assert!(
        user.delete(&format!("{spaces}/{space}"))
            .await
            .refused(422)
            .contains("Ensure the space quota is applied to this space.")
    );
    let given = user
        .post(&spaces, json!({"data": [{"guid": space}]}))
        .await
        .expect(200);
    assert_eq!(given["data"], json!([{"guid": space}]));
    assert_eq!(
        job(&user, user.delete(&own).await).await["state"],
        "COMPLETE"
    );
    assert_eq!(of_space().await["data"], Value::Null);
    assert_eq!(user.get(&own).await.refused(404), "Space quota not found");

    let body =
        json!({"name": "team", "relationships": {"organization": {"data": {"guid": there}}}});
    user.post("/v3/space_quotas", body).await.expect(201);
    let deleted = user.delete(&format!("/v3/organizations/{there}")).await;
    assert_eq!(job(&user, deleted).await["state"], "COMPLETE");
}

#[tokio::test]
async fn members_see_their_own_quotas_and_managers_divide_among_spaces() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let space = admin.first("/v3/spaces").await;
    let organization = admin.first("/v3/organizations").await;
    let other = quota(&admin, "other", json!({})).await;
    let team = space_quota(&admin, "team", &space, json!({})).await;
    let dora = admin
        .with_role("dora", "space_developer", "space", &space)
        .await;
    let mara = admin
        .with_role(
            "mara",
            "organization_manager",
            "organization",
            &organization,
        )
        .await;
    let olaf = admin
        .with_role("olaf", "organization_user", "organization", &organization)
        .await;
    for user in [&dora, &mara, &olaf] {
        let seen = user.get("/v3/organization_quotas").await.expect(200);
        assert_eq!(seen["pagination"]["total_results"], 1);
        assert_eq!(seen["resources"][0]["name"], "default");
        let path = format!("/v3/organization_quotas/{other}");
        user.get(&path).await.expect(404);
        user.patch(&path, json!({"name": "mine"})).await.expect(404);
        let own = seen["resources"][0]["guid"].as_str().unwrap();
        let own = format!("/v3/organization_quotas/{own}");
        user.patch(&own, json!({"name": "mine"})).await.expect(403);
        user.delete(&own).await.expect(403);
        let apply = format!("{own}/relationships/organizations");
        user.post(&apply, json!({"data": []})).await.expect(403);
        user.post("/v3/organization_quotas", json!({"name": "mine"}))
            .await
            .expect(403);
    }
    let path = format!("/v3/space_quotas/{team}");
    let limits = json!({"apps": {"total_instances": 1}});
    dora.get(&path).await.expect(200);
    dora.patch(&path, limits.clone()).await.expect(403);
    olaf.get(&path).await.expect(404);
    mara.patch(&path, limits).await.expect(200);
    let mine = json!({"name": "mine", "relationships": {"organization": {"data": {"guid": organization}}}});
    dora.post("/v3/space_quotas", mine.clone())
        .await
        .expect(403);
    mara.post("/v3/space_quotas", mine).await.expect(201);
    let there = admin
        .make("/v3/organizations", json!({"name": "elsewhere"}))
        .await;
    let theirs =
        json!({"name": "mine", "relationships": {"organization": {"data": {"guid": there}}}});
    assert!(
        mara.post("/v3/space_quotas", theirs)
            .await
            .refused(422)
            .contains("does not exist, or you do not have access to it")
    );
    usage(&dora, &format!("/v3/spaces/{space}")).await;
    olaf.get(&format!("/v3/spaces/{space}/usage_summary"))
        .await
        .expect(404);
}

#[tokio::test]
async fn apps_grow_as_far_as_their_quotas_let_them() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let organization = user.first("/v3/organizations").await;
    let place = format!("/v3/organizations/{organization}");
    let small = quota(
        &user,
        "small",
        json!({"apps": {"total_memory_in_mb": 300, "per_process_memory_in_mb": 200, "total_instances": 4}}),
    )
    .await;
    let app = sized(&user, &space, "app", 2, 100).await;
    let large = sized(&user, &space, "large", 1, 201).await;
    give(&user, &small, &organization).await;
    assert_eq!(usage(&user, &place).await, (0, 0), "nothing is started");
    act(&user, &app, "start").await.expect(200);
    assert_eq!(usage(&user, &place).await, (200, 2));
    act(&user, &app, "start").await.expect(200);
    act(&user, &app, "restart").await.expect(200);
    scale(&user, &app, json!({"instances": 3}))
        .await
        .expect(202);
    let check = async |reply: Reply, expected: &str| {
        let reply = reply.expect(422);
        assert_eq!(reply["errors"][0]["detail"], expected);
        assert_eq!(reply["errors"][0]["code"], 10008);
        assert_eq!(reply["errors"].as_array().unwrap().len(), 1);
    };
    check(
        scale(&user, &app, json!({"instances": 4})).await,
        "memory quota_exceeded",
    )
    .await;
    check(
        scale(&user, &app, json!({"instances": 5, "memory_in_mb": 10})).await,
        "app_instance_limit app_instance_limit_exceeded",
    )
    .await;
    check(
        scale(&user, &app, json!({"instances": 1, "memory_in_mb": 201})).await,
        "memory instance_memory_limit_exceeded",
    )
    .await;
    check(
        act(&user, &large, "start").await,
        "memory quota_exceeded, memory instance_memory_limit_exceeded",
    )
    .await;
    check(
        act(&user, &large, "restart").await,
        "memory quota_exceeded, memory instance_memory_limit_exceeded",
    )
    .await;
    assert_eq!(
        usage(&user, &place).await,
        (300, 3),
        "refused means unchanged"
    );
    let seen = user.get(&format!("/v3/processes/{app}")).await.expect(200);
    assert_eq!(
        (&seen["instances"], &seen["memory_in_mb"]),
        (&json!(3), &json!(100))
    );

    let team = space_quota(
        &user,
        "team",
        &space,
        json!({"apps": {"total_instances": 1}}),
    )
    .await;
    act(&user, &app, "restart").await.expect(200);
    scale(&user, &app, json!({"instances": 2}))
        .await
        .expect(202);
    check(
        scale(&user, &app, json!({"instances": 3})).await,
        "app_instance_limit space_app_instance_limit_exceeded",
    )
    .await;
    act(&user, &app, "stop").await.expect(200);
    check(
        act(&user, &app, "start").await,
        "app_instance_limit space_app_instance_limit_exceeded",
    )
    .await;
    user.patch(
        &format!("/v3/space_quotas/{team}"),
        json!({"apps": {"total_instances": null}}),
    )
    .await
    .expect(200);
    act(&user, &app, "start").await.expect(200);

    // The next ones replace instances step by step: one more than three is there at a time.
    scale(&user, &app, json!({"instances": 3}))
        .await
        .expect(202);
    let deployment = json!({"relationships": {"app": {"data": {"guid": app}}}});
    check(
        user.post("/v3/deployments", deployment.clone()).await,
        "memory quota_exceeded for organization default. This organization's quota may not be large enough to support rolling deployments or your configured max-in-flight.",
    )
    .await;
    scale(&user, &app, json!({"instances": 2}))
        .await
        .expect(202);
    user.post("/v3/deployments", deployment).await.expect(201);
    assert_eq!(
        usage(&user, &place).await,
        (300, 3),
        "with the one in flight"
    );
    let one_more = sized(&user, &space, "one-more", 1, 1).await;
    check(
        act(&user, &one_more, "start").await,
        "memory quota_exceeded",
    )
    .await;
}

#[tokio::test]
async fn manifests_routes_and_domains_are_refused_beyond_the_quota() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let organization = user.first("/v3/organizations").await;
    let domain = user.first("/v3/domains").await;
    let app = sized(&user, &space, "a", 1, 64).await;
    act(&user, &app, "start").await.expect(200);
    let small = quota(
        &user,
        "small",
        json!({
            "apps": {"total_memory_in_mb": 128, "per_process_memory_in_mb": 128}, "routes": {"total_routes": 2},
            "domains": {"total_domains": 1},
        }),
    )
    .await;
    give(&user, &small, &organization).await;
    let path = format!("/v3/spaces/{space}/actions/apply_manifest");
    let failed = async |text: &str| {
        let done = job(&user, yaml(&user, &path, text).await).await;
        assert_eq!(done["state"], "FAILED", "{text}");
        assert_eq!(done["errors"][0]["code"], 10008);
        done["errors"][0]["detail"].as_str().unwrap().to_string()
    };
    assert_eq!(
        failed("applications: [{name: a, instances: 3, memory: 64M}]").await,
        "For application 'a': memory quota_exceeded"
    );
    assert_eq!(
        failed("applications: [{name: a, instances: 2, memory: 64M}, {name: b, memory: 1G}]").await,
        "For application 'b': memory instance_memory_limit_exceeded"
    );
    let routes = "applications: [{name: a, memory: 64M, routes: [{route: x.yard.internal}, {route: y.yard.internal}, {route: z.yard.internal}]}]";
    assert_eq!(
        failed(routes).await,
        "For application 'a': Routes quota exceeded for organization 'default'."
    );
    let routes = user.get("/v3/routes").await.expect(200);
    assert_eq!(routes["pagination"]["total_results"], 0, "all or nothing");
    let applied = yaml(
        &user,
        &path,
        "applications: [{name: a, instances: 2, memory: 64M}]",
    )
    .await;
    assert_eq!(job(&user, applied).await["state"], "COMPLETE");

    for host in ["x", "y"] {
        route(&user, &space, &domain, host).await.expect(201);
    }
    let refused = route(&user, &space, &domain, "z").await.refused(422);
    assert_eq!(refused, "Routes quota exceeded for organization 'default'.");
    space_quota(
        &user,
        "team",
        &space,
        json!({"routes": {"total_routes": 1}}),
    )
    .await;
    let refused = route(&user, &space, &domain, "z").await.refused(422);
    assert_eq!(
        refused,
        "Routes quota exceeded for space 'default'. Routes quota exceeded for organization 'default'."
    );
    let private = |name: &str| json!({"name": name, "relationships": {"organization": {"data": {"guid": organization}}}});
    user.post("/v3/domains", private("one.example"))
        .await
        .expect(201);
    assert_eq!(
        user.post("/v3/domains", private("two.example"))
            .await
            .refused(422),
        "The number of private domains exceeds the quota for organization \"default\""
    );
    let shared = json!({"name": "shared.example"});
    user.post("/v3/domains", shared).await.expect(201);
}

#[tokio::test]
async fn rules_are_told_once_a_minute_what_was_refused() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let organization = user.first("/v3/organizations").await;
    let domain = user.first("/v3/domains").await;
    let app = sized(&user, &space, "app", 1, 100).await;
    act(&user, &app, "start").await.expect(200);
    let limits = json!({"apps": {"total_memory_in_mb": 150}, "routes": {"total_routes": 0}});
    let small = quota(&user, "small", limits).await;
    give(&user, &small, &organization).await;
    for _ in 0..3 {
        scale(&user, &app, json!({"instances": 2}))
            .await
            .expect(422);
    }
    let events = told(&http).await;
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    assert_eq!(event["quota"], json!({"guid": small, "name": "small"}));
    assert_eq!(
        (&event["scope"], &event["limit"]),
        (&json!("organization"), &json!("apps.total_memory_in_mb"))
    );
    assert_eq!(
        (&event["allowed"], &event["used"], &event["asked"]),
        (&json!(150), &json!(100), &json!(100))
    );
    assert_eq!(event["app"], json!({"guid": app, "name": "app"}));
    assert_eq!(event["space"]["guid"], space.as_str());
    assert_eq!(event["organization"]["name"], "default");
    assert_eq!(event["user"], "admin");
    // Another limit of the same quota has a minute of its own.
    route(&user, &space, &domain, "x").await.expect(422);
    let events = told(&http).await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[1]["limit"], "routes.total_routes");
    assert_eq!(events[1]["app"], Value::Null);
}

/// On PostgreSQL two could both see room for one.
#[tokio::test]
async fn what_is_asked_for_side_by_side_does_not_overshoot() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let organization = user.first("/v3/organizations").await;
    let domain = user.first("/v3/domains").await;
    let mut apps = Vec::new();
    for number in 0..AT_ONCE {
        apps.push(sized(&user, &space, &format!("app{number}"), 1, 100).await);
    }
    let limits = json!({"apps": {"total_memory_in_mb": 300}, "routes": {"total_routes": 3}});
    let small = quota(&user, "small", limits).await;
    give(&user, &small, &organization).await;
    let place = format!("/v3/organizations/{organization}");
    for round in 0..ROUNDS {
        let replies = join_all(apps.iter().map(|app| act(&user, app, "start"))).await;
        let mut started = 0;
        for reply in replies {
            if reply.status.is_success() {
                started += 1;
            } else {
                assert_eq!(reply.refused(422), "memory quota_exceeded");
            }
        }
        assert_eq!(started, 3, "round {round}");
        assert_eq!(usage(&user, &place).await, (300, 3));
        // A start, a scale and a manifest want the same room, and none has it.
        let path = format!("/v3/spaces/{space}/actions/apply_manifest");
        let texts: Vec<String> = (0..AT_ONCE)
            .map(|number| format!("applications: [{{name: app{number}, instances: 4}}]"))
            .collect();
        let (scaled, applied) = futures_util::future::join(
            join_all(
                apps.iter()
                    .map(|app| scale(&user, app, json!({"instances": 4}))),
            ),
            join_all(texts.iter().map(|text| yaml(&user, &path, text))),
        )
        .await;
        assert_eq!((scaled.len(), applied.len()), (AT_ONCE, AT_ONCE));
        assert!(usage(&user, &place).await.0 <= 300, "round {round}");
        for app in &apps {
            act(&user, app, "stop").await.expect(200);
            scale(&user, app, json!({"instances": 1})).await.expect(202);
        }
    }
    let hosts: Vec<String> = (0..AT_ONCE).map(|number| format!("host{number}")).collect();
    let replies = join_all(hosts.iter().map(|host| route(&user, &space, &domain, host))).await;
    let made = replies
        .iter()
        .filter(|reply| reply.status.is_success())
        .count();
    assert_eq!(made, 3);
}
