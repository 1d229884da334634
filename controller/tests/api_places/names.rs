//! Names that nobody may take from somebody else, and what the events say of them.

use crate::http::Http;
use serde_json::{Value, json};

fn route(space: &str, domain: &str, host: &str, path: &str) -> Value {
    json!({"host": host, "path": path, "relationships": {
        "space": {"data": {"guid": space}}, "domain": {"data": {"guid": domain}},
    }})
}

fn domain(name: &str, organization: &str) -> Value {
    json!({"name": name, "relationships": {"organization": {"data": {"guid": organization}}}})
}

#[tokio::test]
async fn nobody_gets_a_name_of_the_platform_or_of_somebody_else() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let space = admin.first("/v3/spaces").await;
    let organization = admin.first("/v3/organizations").await;
    let shared = admin.first("/v3/domains").await;
    // Routers prefer the longer path: it would take logins away.
    for path in ["", "/oauth", "/v3/apps"] {
        let refused = admin
            .post("/v3/routes", route(&space, &shared, "UAA", path))
            .await;
        assert_eq!(
            refused.refused(422),
            "Route conflicts with a reserved system route: uaa.yard.internal"
        );
    }

    let manager = admin
        .with_role("max", "organization_manager", "organization", &organization)
        .await;
    for name in ["api.yard.internal", "x.login.yard.internal"] {
        let refused = manager
            .post("/v3/domains", domain(name, &organization))
            .await;
        assert!(
            refused.refused(422).contains("reserved for the system"),
            "{name}"
        );
    }
    admin
        .make("/v3/routes", route(&space, &shared, "shop", "/cart"))
        .await;
    let refused = manager
        .post("/v3/domains", domain("shop.yard.internal", &organization))
        .await;
    assert!(
        refused
            .refused(422)
            .ends_with("\"shop.yard.internal\" is already reserved by a route")
    );
    manager
        .make("/v3/domains", domain("mine.yard.internal", &organization))
        .await;
    let refused = admin
        .post("/v3/routes", route(&space, &shared, "mine", ""))
        .await;
    assert_eq!(
        refused.refused(422),
        "Route conflicts with the domain 'mine.yard.internal'."
    );
}

#[tokio::test]
async fn only_an_administrator_takes_every_name_of_a_shared_domain() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let space = admin.first("/v3/spaces").await;
    let organization = admin.first("/v3/organizations").await;
    let shared = admin.first("/v3/domains").await;
    let own = admin
        .make("/v3/domains", domain("apps.example.com", &organization))
        .await;
    let developer = admin
        .with_role("dora", "organization_user", "organization", &organization)
        .await;
    let role = json!({"type": "space_developer", "relationships": {
        "user": {"data": {"username": "dora"}}, "space": {"data": {"guid": space}},
    }});
    admin.make("/v3/roles", role).await;
    let refused = developer
        .post("/v3/routes", route(&space, &shared, "*", ""))
        .await;
    assert_eq!(
        refused.refused(422),
        "Only an administrator may create a wildcard route in the shared domain 'yard.internal'. Use a domain of your organization."
    );
    developer
        .make("/v3/routes", route(&space, &own, "*", ""))
        .await;
    admin
        .make("/v3/routes", route(&space, &shared, "*", ""))
        .await;
}

#[tokio::test]
async fn the_events_of_a_route_name_it() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let space = admin.first("/v3/spaces").await;
    let shared = admin.first("/v3/domains").await;
    let app = json!({"name": "shop", "relationships": {"space": {"data": {"guid": space}}}});
    let app = admin.make("/v3/apps", app).await;
    let guid = admin
        .make("/v3/routes", route(&space, &shared, "shop", "/cart"))
        .await;
    let own = format!("/v3/routes/{guid}");
    let led = json!({"destinations": [{"app": {"guid": app}}]});
    let led = admin
        .post(&format!("{own}/destinations"), led)
        .await
        .expect(200);
    let destination = led["destinations"][0]["guid"].as_str().unwrap();
    admin
        .delete(&format!("{own}/destinations/{destination}"))
        .await
        .expect(204);
    admin.delete(&own).await.expect(202);

    let event = async |target: &str, kind: &str| {
        let path = format!("/v3/audit_events?target_guids={target}&types={kind}");
        let mut listed = admin.get(&path).await.expect(200);
        listed["resources"][0].take()
    };
    let parts = json!({"host": "shop", "domain": "yard.internal", "path": "/cart"});
    for kind in ["audit.route.create", "audit.route.delete-request"] {
        let event = event(&guid, kind).await;
        let request = &event["data"]["request"];
        assert_eq!(event["target"]["name"], "shop.yard.internal/cart", "{kind}");
        assert_eq!(request["url"], "shop.yard.internal/cart", "{kind}");
        for part in ["host", "domain", "path"] {
            assert_eq!(request[part], parts[part], "{kind}");
        }
    }
    for kind in ["audit.app.map-route", "audit.app.unmap-route"] {
        let data = event(&app, kind).await["data"].take();
        assert_eq!(data["route"], "shop.yard.internal/cart", "{kind}");
        assert_eq!(data["destination_guid"], destination, "{kind}");
        assert_eq!(data["process_type"], "web", "{kind}");
        for part in ["host", "domain", "path"] {
            assert_eq!(data[part], parts[part], "{kind}");
        }
    }
}

#[tokio::test]
async fn an_event_that_is_listed_can_be_looked_at() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let organization = admin.first("/v3/organizations").await;
    let manager = admin
        .with_role("max", "organization_manager", "organization", &organization)
        .await;
    manager
        .make("/v3/domains", domain("max.example.com", &organization))
        .await;
    let listed = manager
        .get("/v3/audit_events?types=audit.domain.create")
        .await
        .expect(200);
    let guid = listed["resources"][0]["guid"].as_str().unwrap();
    let own = format!("/v3/audit_events/{guid}");
    assert_eq!(
        manager.get(&own).await.expect(200)["type"],
        "audit.domain.create"
    );
    let user = admin
        .with_role("ulla", "organization_user", "organization", &organization)
        .await;
    user.get(&own).await.expect(404);
}
