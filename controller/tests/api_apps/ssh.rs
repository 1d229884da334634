//! Codes, permits and tickets, and who gets them.

use crate::http::Http;
use crate::steps::new_app;
use controller::domain::ssh::Wanted;
use controller::ops::Live;
use controller::ops::ssh::Entering;
use http::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// What the running half was asked for.
type Asked = Arc<Mutex<Vec<Entering>>>;

async fn world() -> (Http, Asked) {
    let asked = Asked::default();
    let told = asked.clone();
    let live = Live {
        enter: Arc::new(move |entering| {
            told.lock().unwrap().push(entering);
            Box::pin(async { Ok(Some(([127, 0, 0, 1], 4711).into())) })
        }),
        ..Live::none()
    };
    (Http::with(live, None).await, asked)
}

const AUTHORIZE: &str =
    "/oauth/authorize?response_type=code&client_id=ssh-proxy&grant_type=authorization_code";

async fn code(user: &crate::http::User<'_>) -> String {
    let reply = user.get(AUTHORIZE).await;
    assert_eq!(reply.status, 302);
    let location = reply.location.unwrap();
    location.split_once("?code=").unwrap().1.to_string()
}

async fn permit(user: &crate::http::User<'_>, code: &str, process: &str) -> crate::http::Reply {
    let login = json!({"code": code, "process": process, "index": 2, "crashed": false});
    user.post("/internal/ssh/permits", login).await
}

async fn kinds(user: &crate::http::User<'_>, app: &str) -> Vec<String> {
    let events = user
        .get(&format!("/v3/audit_events?target_guids={app}&per_page=100"))
        .await
        .expect(200);
    let events = events["resources"].as_array().unwrap().clone();
    let kinds = events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .filter(|kind| kind.contains("ssh"));
    kinds.map(str::to_string).collect()
}

#[tokio::test]
async fn a_code_buys_a_permit_once_and_a_permit_tickets() {
    let (http, asked) = world().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "app").await;
    let code = code(&user).await;
    let bought = permit(&user, &code, &app).await.expect(200);
    permit(&user, &code, &app).await.expect(401);
    permit(&user, "made up", &app).await.expect(401);
    let ask = async |permit: &str| -> crate::http::Reply {
        let request = http::Request::post("/internal/ssh/entries")
            .header("authorization", format!("bearer {permit}"))
            .body(axum::body::Body::empty())
            .unwrap();
        http.send(request).await
    };
    let bought = bought["permit"].as_str().unwrap();
    let mut tickets = Vec::new();
    for _ in 0..2 {
        let entry = ask(bought).await.expect(200);
        assert_eq!(entry["address"], "127.0.0.1:4711");
        tickets.push(entry["ticket"].as_str().unwrap().to_string());
    }
    assert_ne!(tickets[0], tickets[1]);
    {
        let asked = asked.lock().unwrap();
        assert_eq!(asked[0].wanted, Wanted::Live { index: 2 });
        assert_eq!(asked[0].process.as_str(), app);
        assert_eq!(asked[1].ticket, tickets[1]);
    }
    ask("a.b.c").await.expect(401);
    // A token of the API is no permit, and a permit is no token.
    user.send(Method::POST, "/internal/ssh/entries", None)
        .await
        .expect(401);
    let request = http::Request::get("/v3/apps")
        .header("authorization", format!("bearer {bought}"))
        .body(axum::body::Body::empty())
        .unwrap();
    http.send(request).await.expect(401);
    assert_eq!(kinds(&user, &app).await, ["audit.app.ssh-authorized"]);

    // The switch counts for the connection that is open.
    let feature = format!("/v3/apps/{app}/features/ssh");
    let off = user.patch(&feature, json!({"enabled": false})).await;
    assert_eq!(off.expect(200)["enabled"], false);
    assert!(ask(bought).await.refused(422).contains("Disabled for app"));
    user.patch(&feature, json!({"enabled": true}))
        .await
        .expect(200);
    ask(bought).await.expect(200);
}

#[tokio::test]
async fn developers_come_in_and_nobody_else() {
    let (http, asked) = world().await;
    let admin = http.admin().await;
    let space = admin.first("/v3/spaces").await;
    let app = new_app(&admin, &space, "app").await;
    for (role, status) in [
        ("space_developer", 200),
        ("space_supporter", 403),
        ("space_manager", 403),
        ("space_auditor", 403),
    ] {
        let user = admin.with_role(role, role, "space", &space).await;
        let code = code(&user).await;
        permit(&user, &code, &app).await.expect(status);
    }
    assert!(asked.lock().unwrap().is_empty());
    let kinds = kinds(&admin, &app).await;
    let refused = kinds
        .iter()
        .filter(|kind| *kind == "audit.app.ssh-unauthorized");
    assert_eq!((refused.count(), kinds.len()), (3, 4));
    let feature = format!("/v3/spaces/{space}/features/ssh");
    let off = admin.patch(&feature, json!({"enabled": false})).await;
    assert_eq!(off.expect(200)["enabled"], false);
    assert_eq!(
        admin
            .get(&format!("/v3/apps/{app}/ssh_enabled"))
            .await
            .expect(200),
        json!({"enabled": false, "reason": "Disabled for space"})
    );
    let code = code(&admin).await;
    let refused = permit(&admin, &code, &app).await.refused(422);
    assert!(refused.contains("Disabled for space"), "{refused}");
    let unknown = self::code(&admin).await;
    permit(&admin, &unknown, "none").await.expect(404);
}

#[tokio::test]
async fn codes_are_for_the_proxy_and_for_whoever_is_logged_in() {
    let (http, _) = world().await;
    let user = http.admin().await;
    let other = user.get(&AUTHORIZE.replace("ssh-proxy", "cf")).await;
    let document: Value = other.expect(401);
    assert_eq!(document["error"], "invalid_client");
    let token = user
        .get(&AUTHORIZE.replace("response_type=code", "response_type=token"))
        .await;
    assert_eq!(token.expect(400)["error"], "unsupported_response_type");
    let nobody = http::Request::get(AUTHORIZE)
        .body(axum::body::Body::empty())
        .unwrap();
    http.send(nobody).await.expect(401);
}
