//! Web pages of other origins, as browsers ask for them.

use crate::databases::Database;
use crate::site::{Reply, Site};
use axum::body::Body;
use http::{Method, Request};
use serde_json::json;

const PAGE: &str = "https://ui.example";

/// What a browser asks before it sends a request with headers of its own, without credentials.
async fn preflight(site: &Site, path: &str, origin: &str) -> Reply {
    let request = Request::builder()
        .method(Method::OPTIONS)
        .uri(path)
        .header("origin", origin)
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "x-auth-token")
        .body(Body::empty())
        .unwrap();
    site.send(request).await
}

#[tokio::test]
async fn pages_of_the_origins_that_the_operator_names_may_use_the_api() {
    let database = Database::sqlite().await;
    let site = Site::over(database.store.clone(), 1).await;
    let asked = preflight(&site, "/api/v1/executions", "http://127.0.0.1:3000").await;
    assert_eq!(
        asked.header("access-control-allow-origin"),
        Some("http://127.0.0.1:3000"),
        "the one of the default"
    );

    let key = "automation/api/allow_origin";
    site.set(key, &json!("https://other.example, https://ui.example"));
    for path in [
        "/api/v1/executions",
        "/v1/rules/a.b/",
        "/auth/v1/tokens",
        "/stream/v1/stream",
    ] {
        let asked = preflight(&site, path, PAGE).await;
        assert_eq!(asked.status, 200, "{path}");
        for (name, value) in [
            ("access-control-allow-origin", PAGE),
            ("access-control-allow-credentials", "true"),
            (
                "access-control-allow-methods",
                "GET,POST,PUT,DELETE,OPTIONS",
            ),
            (
                "access-control-allow-headers",
                "Content-Type,Authorization,X-Auth-Token,St2-Api-Key,X-Request-ID",
            ),
            ("vary", "Origin"),
        ] {
            assert_eq!(asked.header(name), Some(value), "{path} {name}");
        }
        let stranger = preflight(&site, path, "https://evil.example").await;
        assert_eq!(stranger.status, 200, "{path}");
        assert_eq!(stranger.header("access-control-allow-origin"), None);
        assert_eq!(stranger.header("access-control-allow-methods"), None);
    }

    // The answers themselves say it too, refusals as well.
    let origin = [("origin", PAGE)];
    for (path, status) in [("/v1/rules", 200), ("/v1/nothing", 404)] {
        let reply = site.call_with(Method::GET, path, None, &origin).await;
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), Some(PAGE));
        assert_eq!(
            reply.header("access-control-expose-headers"),
            Some("Content-Type,X-Limit,X-Total-Count,X-Request-ID")
        );
    }
    let reply = site.call(Method::GET, "/v1/rules", None).await;
    assert_eq!(
        reply.header("access-control-allow-origin"),
        None,
        "no browser"
    );

    site.set(key, &json!("*"));
    let anybody = preflight(&site, "/v1/rules", "https://evil.example").await;
    assert_eq!(anybody.header("access-control-allow-origin"), Some("*"));
    assert_eq!(anybody.header("access-control-allow-credentials"), None);
}
