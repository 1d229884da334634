//! On which terms routes lead to apps.

use crate::http::{Http, User};
use serde_json::{Value, json};

#[tokio::test]
async fn routes_have_options_and_destinations_have_protocols() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let space = admin.first("/v3/spaces").await;
    let places = admin.places_of_routes().await;
    let route = json!({"host": "calls", "options": {"loadbalancing": "round-robin"}, "relationships": places});
    let route = admin.post("/v3/routes", route).await.expect(201);
    assert_eq!(route["options"], json!({"loadbalancing": "round-robin"}));
    let own = format!("/v3/routes/{}", route["guid"].as_str().unwrap());
    a_destination_has_a_protocol(&admin, &space, &format!("{own}/destinations")).await;
    a_route_has_options(&admin, &own).await;
}

/// As `cf update-route --option` and `--remove-option` write them.
async fn a_route_has_options(admin: &User<'_>, route: &str) {
    let options = json!({"loadbalancing": "hash", "hash_header": "X-User"});
    let changed = admin.patch(route, json!({"options": options})).await;
    assert_eq!(changed.expect(200)["options"], options);
    let refused = admin
        .patch(route, json!({"options": {"loadbalancing": "fastest"}}))
        .await
        .refused(422);
    assert!(refused.contains("least-connection"), "{refused}");
    // Limits, as a program and as a command line write them.
    let limits = json!({"rate_limit": "600/m", "body_limit": 1024, "time_limit": "2s", "concurrency_limit": "5", "compression": "gzip"});
    let changed = admin.patch(route, json!({"options": limits})).await;
    let changed = changed.expect(200);
    assert_eq!(changed["options"]["body_limit"], 1024);
    assert_eq!(changed["options"]["loadbalancing"], "hash");
    for (bad, named) in [
        (json!({"rate_limit": "lots"}), "rate_limit"),
        (json!({"limits": {"rate": 5}}), "limits"),
    ] {
        let refused = admin
            .patch(route, json!({"options": bad}))
            .await
            .refused(422);
        assert!(
            refused.contains(&format!("'{named}'")) && refused.contains("concurrency_limit (50)"),
            "{refused}"
        );
    }
    let none: serde_json::Map<String, Value> = limits
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| (name.clone(), Value::Null))
        .collect();
    admin
        .patch(route, json!({"options": none}))
        .await
        .expect(200);
    let removed = json!({"options": {"loadbalancing": null}});
    let changed = admin.patch(route, removed).await.expect(200);
    assert_eq!(changed["options"], json!({}));
    admin.patch(route, json!({})).await.expect(200);
}

async fn a_destination_has_a_protocol(admin: &User<'_>, space: &str, destinations: &str) {
    let app = json!({"name": "calls", "relationships": {"space": {"data": {"guid": space}}}});
    let app = admin.make("/v3/apps", app).await;
    let to =
        |protocol: Value| json!({"destinations": [{"app": {"guid": app}, "protocol": protocol}]});
    // As `cf map-route --destination-protocol` and `cf update-destination` write it; without one it stays.
    for (wanted, have) in [
        (Value::Null, "http1"),
        (json!("http2"), "http2"),
        (Value::Null, "http2"),
    ] {
        let mapped = admin.post(destinations, to(wanted)).await.expect(200);
        let list = mapped["destinations"].as_array().unwrap();
        assert_eq!(list.len(), 1, "{mapped}");
        assert_eq!(list[0]["protocol"], have);
    }
    let refused = admin.post(destinations, to(json!("tcp"))).await;
    assert_eq!(
        refused.refused(422),
        "Cannot use 'tcp' protocol for http routes; valid options are: [http1, http2]."
    );
    let list = admin.get(destinations).await.expect(200);
    let own = format!(
        "{destinations}/{}",
        list["destinations"][0]["guid"].as_str().unwrap()
    );
    let changed = admin.patch(&own, json!({"protocol": "http1"})).await;
    assert_eq!(changed.expect(200)["protocol"], "http1");
    admin
        .patch(&own, json!({"protocol": "spdy"}))
        .await
        .refused(422);
    let shown = admin.get(destinations).await.expect(200);
    assert_eq!(shown["destinations"][0]["protocol"], "http1");
    admin.delete(&own).await.expect(204);
    admin.delete(&format!("/v3/apps/{app}")).await.expect(202);
}

#[tokio::test]
async fn a_route_moves_to_another_space_when_it_leads_nowhere() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let places = admin.places_of_routes().await;
    let (here, organization) = (
        admin.first("/v3/spaces").await,
        admin.first("/v3/organizations").await,
    );
    let there = json!({"name": "there", "relationships": {"organization": {"data": {"guid": organization}}}});
    let there = admin.make("/v3/spaces", there).await;
    let app = json!({"name": "app", "relationships": {"space": {"data": {"guid": here}}}});
    let app = admin.make("/v3/apps", app).await;
    let route = json!({"host": "moves", "relationships": places});
    let route = admin.make("/v3/routes", route).await;
    let own = format!("/v3/routes/{route}");
    let to = |space: &str| json!({"data": {"guid": space}});
    let (path, leads) = (
        format!("{own}/relationships/space"),
        format!("{own}/destinations"),
    );

    let wanted = json!({"destinations": [{"app": {"guid": app}}]});
    let made = admin.post(&leads, wanted).await.expect(200);
    let told = admin.patch(&path, to(&there)).await.refused(422);
    assert!(told.contains("unmap it first"), "{told}");
    let destination = made["destinations"][0]["guid"].as_str().unwrap();
    let one = format!("{leads}/{destination}");
    admin
        .send(::http::Method::DELETE, &one, None)
        .await
        .expect(204);
    let told = admin.patch(&path, to("nowhere")).await.refused(422);
    assert!(told.contains("Ensure the space exists"), "{told}");
    let moved = admin.patch(&path, to(&there)).await.expect(200);
    assert_eq!(moved["data"]["guid"], there);
    let shown = admin.get(&own).await.expect(200);
    assert_eq!(shown["relationships"]["space"]["data"]["guid"], there);
    admin.patch(&path, to(&there)).await.expect(200);

    let shared = format!("{own}/relationships/shared_spaces");
    assert_eq!(admin.get(&shared).await.expect(200)["data"], json!([]));
    let told = admin.post(&shared, json!({"data": [{"guid": here}]})).await;
    assert_eq!(told.refused(403), "Feature Disabled: route_sharing");
}

#[tokio::test]
async fn a_domain_goes_with_its_routes() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let space = admin.first("/v3/spaces").await;
    let domain = admin
        .make("/v3/domains", json!({"name": "gone.example.com"}))
        .await;
    let places = json!({"space": {"data": {"guid": space}}, "domain": {"data": {"guid": domain}}});
    let route = json!({"host": "x", "relationships": places});
    let route = admin.make("/v3/routes", route).await;
    let path = format!("/v3/domains/{domain}");
    admin
        .send(::http::Method::DELETE, &path, None)
        .await
        .expect(202);
    admin.get(&format!("/v3/routes/{route}")).await.expect(404);
    admin.get(&path).await.expect(404);
    let events = admin
        .get("/v3/audit_events?types=audit.route.delete-request")
        .await
        .expect(200);
    assert_eq!(events["resources"][0]["target"]["guid"], route.as_str());
}
