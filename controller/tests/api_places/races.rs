//! What two ask for at once happens once. SQLite has one writer; PostgreSQL lets both read first.

use crate::http::{Http, PASSWORD, Reply, User};
use futures_util::future::join_all;
use serde_json::json;

const AT_ONCE: usize = 8;
/// A race is not lost each time.
const ROUNDS: usize = 10;

/// The store has a connection for each of those who ask at once: they do not queue for the first.
async fn warm(admin: &User<'_>) {
    for reply in join_all((0..2 * AT_ONCE).map(|_| admin.get("/v3/spaces"))).await {
        reply.expect(200);
    }
}

fn done(replies: &[Reply]) -> usize {
    replies
        .iter()
        .filter(|reply| reply.status.is_success())
        .count()
}

#[tokio::test]
async fn a_refresh_token_is_spent_once() {
    let http = Http::start().await;
    warm(&http.admin().await).await;
    let password = PASSWORD.replace(' ', "+").replace('\'', "%27");
    let login = format!("grant_type=password&username=admin&password={password}");
    let mut tokens = http
        .form("/oauth/token", Some("cf:"), &login)
        .await
        .expect(200);
    for _ in 0..ROUNDS {
        let refresh = format!(
            "grant_type=refresh_token&refresh_token={}",
            tokens["refresh_token"].as_str().unwrap()
        );
        let asked = (0..AT_ONCE).map(|_| http.form("/oauth/token", Some("cf:"), &refresh));
        let replies = join_all(asked).await;
        assert_eq!(done(&replies), 1);
        for reply in replies {
            if reply.status.is_success() {
                tokens = reply.json;
            } else {
                assert_eq!(reply.expect(401)["error"], "invalid_token");
            }
        }
    }
}

#[tokio::test]
async fn a_role_is_given_once() {
    let http = Http::start().await;
    let admin = http.admin().await;
    warm(&admin).await;
    let space = admin.first("/v3/spaces").await;
    let dora = admin
        .with_role("dora", "space_auditor", "space", &space)
        .await;
    let role = json!({"type": "space_developer", "relationships": {
        "user": {"data": {"username": "dora"}}, "space": {"data": {"guid": space}},
    }});
    let new = json!({"name": "x", "relationships": {"space": {"data": {"guid": space}}}});
    for _ in 0..ROUNDS {
        let asked = (0..AT_ONCE).map(|_| admin.post("/v3/roles", role.clone()));
        let replies = join_all(asked).await;
        assert_eq!(done(&replies), 1);
        let given = "User 'dora' already has 'space_developer' role in space 'default'.";
        let mut guid = String::new();
        for reply in replies {
            if reply.status.is_success() {
                guid = reply.json["guid"].as_str().unwrap().to_string();
            } else {
                assert_eq!(reply.refused(422), given);
            }
        }
        admin.delete(&format!("/v3/roles/{guid}")).await.expect(202);
        dora.post("/v3/apps", new.clone()).await.expect(403);
    }
}
