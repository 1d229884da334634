//! Domains whose routes have ports, and these routes.

use crate::http::{Http, PUBLIC, User};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A domain of a router group, and a space.
struct Place {
    domain: String,
    space: String,
}

impl Place {
    async fn of(admin: &User<'_>, name: &str, group: &str) -> Place {
        let domain = json!({"name": name, "router_group": {"guid": group}});
        Place {
            domain: admin.make("/v3/domains", domain).await,
            space: admin.first("/v3/spaces").await,
        }
    }

    fn route(&self, fields: Value) -> Value {
        let mut route = fields;
        route["relationships"] = json!({
            "space": {"data": {"guid": self.space}},
            "domain": {"data": {"guid": self.domain}},
        });
        route
    }

    async fn refused(&self, user: &User<'_>, fields: Value) -> String {
        user.post("/v3/routes", self.route(fields))
            .await
            .refused(422)
    }
}

/// As `cf router-groups` and `cf create-shared-domain --router-group` ask.
#[tokio::test]
async fn router_groups_are_found_where_the_root_says() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let root = admin.get("/").await.expect(200);
    let routing = root["links"]["routing"]["href"].as_str().unwrap();
    assert_eq!(routing, format!("{PUBLIC}/routing"));
    let all = admin.get("/routing/v1/router_groups").await.expect(200);
    let tcp = json!({"guid": "default-tcp", "name": "default-tcp", "type": "tcp", "reservable_ports": "10000-10999"});
    assert_eq!((all.as_array().unwrap().len(), &all[0]), (2, &tcp));
    let named = "/routing/v1/router_groups?name=default-udp";
    let udp = admin.get(named).await.expect(200);
    assert_eq!(
        (udp.as_array().unwrap().len(), &udp[0]["type"]),
        (1, &json!("udp"))
    );
    http.configure(&[("router/tcp/ports", "\"2000-2001,3000\"")]);
    let one = admin.get("/routing/v1/router_groups/default-tcp").await;
    assert_eq!(one.expect(200)["reservable_ports"], "2000-2001,3000");
    let missing = admin.get("/routing/v1/router_groups?name=other").await;
    let missing = missing.expect(404);
    assert_eq!(
        missing,
        json!({"name": "ResourceNotFoundError", "message": "Router Group 'other' not found"})
    );
    let stranger = User {
        http: &http,
        token: "expired".into(),
    };
    let refused = stranger.get("/routing/v1/router_groups").await.expect(401);
    assert_eq!(
        refused,
        json!({"name": "UnauthorizedError", "message": "Token is expired"})
    );
}

#[tokio::test]
async fn a_domain_of_a_router_group_is_for_all_and_has_its_protocol() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let check = async |user: &User<'_>, body: Value, words: &str| {
        let refused = user.post("/v3/domains", body).await.refused(422);
        assert_eq!(refused, words);
    };
    check(
        &admin,
        json!({"name": "tcp.example", "router_group": {"guid": "none"}}),
        "Router group with guid 'none' not found.",
    )
    .await;
    let org = admin.first("/v3/organizations").await;
    check(
        &admin,
        json!({
            "name": "tcp.example", "router_group": {"guid": "default-tcp"},
            "relationships": {"organization": {"data": {"guid": org}}},
        }),
        "Domains scoped to an organization cannot be associated to a router group.",
    )
    .await;
    check(
        &admin,
        json!({"name": "tcp.example", "internal": true, "router_group": {"guid": "default-tcp"}}),
        "Internal domains cannot be associated to a router group.",
    )
    .await;
    let dora = admin
        .with_role("dora", "organization_manager", "organization", &org)
        .await;
    let own = json!({"name": "tcp.example", "router_group": {"guid": "default-tcp"}});
    dora.post("/v3/domains", own.clone()).await.expect(403);
    let made = admin.post("/v3/domains", own).await.expect(201);
    assert_eq!(
        (&made["router_group"], &made["supported_protocols"]),
        (&json!({"guid": "default-tcp"}), &json!(["tcp"]))
    );
    // Where nobody says a domain, it is not meant.
    let default = format!("/v3/organizations/{org}/domains/default");
    let default = admin.get(&default).await.expect(200);
    assert_eq!(default["name"], "yard.internal");
    assert_eq!(default["router_group"], Value::Null);
}

/// As `cf create-route tcp.example --port 10101` and without the port.
#[tokio::test]
async fn routes_get_ports_and_no_two_the_same() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let place = Place::of(&admin, "tcp.example", "default-tcp").await;
    let made = admin
        .post("/v3/routes", place.route(json!({"port": 10101})))
        .await
        .expect(201);
    assert_eq!(
        [
            &made["protocol"],
            &made["port"],
            &made["url"],
            &made["host"],
            &made["path"]
        ],
        [
            &json!("tcp"),
            &json!(10101),
            &json!("tcp.example:10101"),
            &json!(""),
            &json!("")
        ]
    );
    let other = Place::of(&admin, "other.example", "default-tcp").await;
    let elsewhere =
        "Port '10101' is not available. Try a different port or use a different domain.";
    for (place, fields, words) in [
        (
            &place,
            json!({"port": 10101}),
            "Route already exists with port '10101' for domain 'tcp.example'.",
        ),
        (&other, json!({"port": 10101}), elsewhere),
        (
            &place,
            json!({"port": 0}),
            "Routes with protocol 'tcp' must specify a port.",
        ),
        (
            &place,
            json!({"port": 9000}),
            "Port '9000' is not available. Try a different port or use a different domain.",
        ),
        (
            &place,
            json!({"port": 70000}),
            "Port must be greater than or equal to 0 and less than or equal to 65535",
        ),
        (
            &place,
            json!({"host": "a"}),
            "Hosts are not supported for TCP routes.",
        ),
        (
            &place,
            json!({"path": "/a"}),
            "Paths are not supported for TCP routes.",
        ),
    ] {
        assert_eq!(
            place.refused(&admin, fields.clone()).await,
            words,
            "{fields}"
        );
    }
    let limited = place
        .refused(&admin, json!({"options": {"rate_limit": "1/s"}}))
        .await;
    assert!(limited.contains("for tcp routes"), "{limited}");
    // A port of another transport is another port.
    let udp = Place::of(&admin, "udp.example", "default-udp").await;
    let made = admin
        .post("/v3/routes", udp.route(json!({"port": 10101})))
        .await;
    assert_eq!(made.expect(201)["protocol"], "udp");
    let hosts = udp.refused(&admin, json!({"host": "a"})).await;
    assert_eq!(hosts, "Hosts are not supported for UDP routes.");
    let places = admin.places_of_routes().await;
    let http_route = json!({"host": "shop", "port": 10102, "relationships": places});
    assert_eq!(
        admin.post("/v3/routes", http_route).await.refused(422),
        "Routes with protocol 'http' do not support ports."
    );

    // Chosen by the platform, until there are no more.
    http.configure(&[("router/tcp/ports", "\"10100-10103\"")]);
    let mut chosen = BTreeSet::new();
    for _ in 0..3 {
        let made = admin
            .post("/v3/routes", place.route(json!({})))
            .await
            .expect(201);
        chosen.insert(made["port"].as_u64().unwrap());
    }
    assert_eq!(chosen, [10100, 10102, 10103].into());
    assert_eq!(
        place.refused(&admin, json!({})).await,
        "There are no more ports available for this domain."
    );

    // As `cf map-route`, `cf check-route` and `cf delete-route` look for one.
    let domain = &place.domain;
    let found = admin
        .get(&format!(
            "/v3/routes?domain_guids={domain}&hosts=&paths=&ports=10101&per_page=1&page=1"
        ))
        .await
        .expect(200);
    assert_eq!(found["pagination"]["total_results"], 1);
    assert_eq!(found["resources"][0]["port"], 10101);
    // (10101 there is twice, of TCP and of UDP.)
    for (query, count) in [("ports=10101,10102", 3), ("ports=x", 0), ("ports=", 5)] {
        let found = admin.get(&format!("/v3/routes?{query}")).await.expect(200);
        assert_eq!(found["pagination"]["total_results"], count, "{query}");
    }
    let reserved = |port: &str| format!("/v3/domains/{domain}/route_reservations?port={port}");
    for (port, is_reserved) in [("10101", true), ("10999", false), ("x", false)] {
        let answer = admin.get(&reserved(port)).await.expect(200);
        assert_eq!(answer["matching_route"], is_reserved, "{port}");
    }
    let guid = found["resources"][0]["guid"].as_str().unwrap();
    admin
        .delete(&format!("/v3/routes/{guid}"))
        .await
        .expect(202);
    let again = admin.post("/v3/routes", other.route(json!({"port": 10101})));
    again.await.expect(201);
}

#[tokio::test]
async fn a_route_with_a_port_leads_to_an_app_in_its_own_protocol() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let place = Place::of(&admin, "tcp.example", "default-tcp").await;
    let space = &place.space;
    let app = json!({"name": "echo", "relationships": {"space": {"data": {"guid": space}}}});
    let app = admin.make("/v3/apps", app).await;
    let route = admin
        .make("/v3/routes", place.route(json!({"port": 10101})))
        .await;
    let destinations = format!("/v3/routes/{route}/destinations");
    let to = |protocol: Value| json!({"destinations": [{"app": {"guid": app}, "port": 8080, "protocol": protocol}]});
    let refused = admin.post(&destinations, to(json!("http2"))).await;
    assert_eq!(
        refused.refused(422),
        "Cannot use 'http2' protocol for tcp routes; valid options are: [tcp]."
    );
    let mapped = admin.post(&destinations, to(Value::Null)).await.expect(200);
    assert_eq!(mapped["destinations"][0]["protocol"], "tcp");
    let own = mapped["destinations"][0]["guid"].as_str().unwrap();
    let changed = admin
        .patch(
            &format!("{destinations}/{own}"),
            json!({"protocol": "http1"}),
        )
        .await;
    assert!(changed.refused(422).starts_with("Cannot use 'http1'"));
    // What agents and apps are told.
    let mut reader = http.ops.store.read().await.unwrap();
    let names = controller::store::routes::names(&mut reader, &app, "web")
        .await
        .unwrap();
    assert_eq!(names.uris, ["tcp://tcp.example:10101"]);
    let terms = &names.terms["tcp://tcp.example:10101"];
    assert_eq!(terms.protocol.as_deref(), Some("tcp"));
    drop(reader);
    let environment = admin.get(&format!("/v3/apps/{app}/env")).await.expect(200);
    let application = &environment["application_env_json"]["VCAP_APPLICATION"];
    assert_eq!(
        application["application_uris"],
        json!(["tcp.example:10101"])
    );
    // A service that sees requests sees none here.
    let service = json!({
        "type": "user-provided", "name": "guard", "route_service_url": "https://guard.example",
        "relationships": {"space": {"data": {"guid": space}}},
    });
    let service = admin.make("/v3/service_instances", service).await;
    let bound = json!({"relationships": {
        "route": {"data": {"guid": route}},
        "service_instance": {"data": {"guid": service}},
    }});
    let refused = admin
        .post("/v3/service_route_bindings", bound)
        .await
        .refused(422);
    assert!(refused.contains("tcp routes"), "{refused}");
}

#[tokio::test]
async fn a_manifest_names_a_port() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let place = Place::of(&admin, "tcp.example", "default-tcp").await;
    let space = &place.space;
    let apply = async |route: &str| {
        let manifest = format!("applications: [{{name: echo, routes: [{route}]}}]");
        let manifest = controller::domain::manifest::parse(&manifest).unwrap();
        let actor = http.ops.actor(&admin.token).await.unwrap();
        let applied = http.ops.apply_manifest(&actor, space, &manifest).await;
        applied.map_err(|refusal| refusal.to_string())
    };
    for route in [
        "{route: 'tcp.example:10101'}",
        "{route: 'tcp.example:10101', protocol: tcp}",
        "{route: 'tcp://tcp.example:10101'}",
    ] {
        apply(route).await.unwrap();
        let routes = admin.get("/v3/routes").await.expect(200);
        assert_eq!(routes["pagination"]["total_results"], 1, "{route}");
        let leads = &routes["resources"][0]["destinations"][0];
        assert_eq!(leads["protocol"], "tcp");
    }
    for (route, words) in [
        ("{route: tcp.example}", "must specify a port"),
        (
            "{route: 'a.tcp.example:10102'}",
            "Hosts are not supported for TCP routes.",
        ),
        (
            "{route: 'tcp.example:9000'}",
            "Port '9000' is not available",
        ),
        (
            "{route: 'tcp.example:10101', protocol: http1}",
            "Cannot use 'http1' protocol for tcp routes",
        ),
        (
            "{route: 'a.yard.internal:10101'}",
            "Routes with protocol 'http' do not support ports.",
        ),
        (
            "{route: 'a.yard.internal', protocol: udp}",
            "Cannot use 'udp' protocol for http routes",
        ),
    ] {
        let refused = apply(route).await.unwrap_err();
        assert!(refused.contains(words), "{route}: {refused}");
    }
    let actor = http.ops.actor(&admin.token).await.unwrap();
    let same =
        "applications: [{name: echo, routes: [{route: 'tcp.example:10101', protocol: tcp}]}]";
    let changes = http.ops.diff_manifest(&actor, space, same).await.unwrap();
    assert_eq!(changes, []);
}

/// As `cf create-org-quota --reserved-route-ports` means it.
#[tokio::test]
async fn ports_count_against_quotas() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let place = Place::of(&admin, "tcp.example", "default-tcp").await;
    let org = admin.first("/v3/organizations").await;
    let quota = json!({"name": "few", "routes": {"total_reserved_ports": 1}});
    let quota = admin.make("/v3/organization_quotas", quota).await;
    let holders = format!("/v3/organization_quotas/{quota}/relationships/organizations");
    admin
        .post(&holders, json!({"data": [{"guid": org}]}))
        .await
        .expect(200);
    let route = admin
        .make("/v3/routes", place.route(json!({"port": 10101})))
        .await;
    assert_eq!(
        place.refused(&admin, json!({})).await,
        "Reserved route ports quota exceeded for organization 'default'."
    );
    let usage = format!("/v3/organizations/{org}/usage_summary");
    let used = admin.get(&usage).await.expect(200);
    assert_eq!(used["usage_summary"]["reserved_ports"], 1);
    // Names are not ports.
    let places = admin.places_of_routes().await;
    admin
        .post(
            "/v3/routes",
            json!({"host": "shop", "relationships": places}),
        )
        .await
        .expect(201);
    admin
        .delete(&format!("/v3/routes/{route}"))
        .await
        .expect(202);
    admin.make("/v3/routes", place.route(json!({}))).await;
}

/// On PostgreSQL two transactions may choose the same port: one of them has to choose again.
#[tokio::test]
async fn those_who_come_at_once_get_different_ports() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let place = Place::of(&admin, "tcp.example", "default-tcp").await;
    http.configure(&[("router/tcp/ports", "\"10000-10019\"")]);
    let made = futures_util::future::join_all(
        (0..8).map(|_| admin.post("/v3/routes", place.route(json!({})))),
    )
    .await;
    let ports: BTreeSet<u64> = made
        .into_iter()
        .map(|made| made.expect(201)["port"].as_u64().unwrap())
        .collect();
    assert_eq!(ports.len(), 8);
}
