//! What counts as a request and as an error, and for whom.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use proto::bus::router::Registration;
use router::domain::tally::Taken;
use std::collections::BTreeMap;
use support::*;

/// Takes until so many requests have been counted: a request counts when it is over on the router's side, which
/// may be after its client has the answer.
async fn counted(router: &TestRouter, requests: u64) -> BTreeMap<(String, String), (u64, u64)> {
    let mut sum: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    eventually(SOON, async || {
        let taken = {
            let registry = router.registry.lock().unwrap();
            registry.tallies().take(registry.table())
        };
        for taken in taken {
            let Taken {
                open: _,
                route,
                app,
                requests,
                errors,
            } = taken;
            let count = sum.entry((route, app.unwrap_or_default())).or_default();
            *count = (count.0 + requests, count.1 + errors);
        }
        let total: u64 = sum.values().map(|(requests, _)| requests).sum();
        if total == requests {
            Ok(sum.clone())
        } else {
            Err(format!("{sum:?}"))
        }
    })
    .await
}

fn of(app: &str, uri: &str, address: std::net::SocketAddr) -> Registration {
    Registration {
        app: (!app.is_empty()).then(|| app.to_string()),
        ..registration(uri, address)
    }
}

#[tokio::test]
async fn answers_count_for_the_app_that_gave_them_or_should_have() {
    let router = TestRouter::start().await;
    let good = Backend::saying("good").await;
    let bad = Backend::start(|mut peer, _| async move {
        while peer.request().await.is_some() {
            peer.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    router.register(&of("good", "a.example.com", good.address));
    router.register(&of("good", "a.example.com/sub", good.address));
    router.register(&of("bad", "b.example.com", bad.address));
    router.register(&of("dead", "c.example.com", dead_address()));
    router.register(&of("", "d.example.com", good.address));
    for (host, path, status) in [
        ("a.example.com", "/", 200),
        ("a.example.com", "/", 200),
        ("a.example.com", "/sub/x", 200),
        ("b.example.com", "/", 500),
        ("c.example.com", "/", 502),
        ("d.example.com", "/", 200),
        ("unknown.example.com", "/", 404),
    ] {
        assert_eq!(router.get(host, path).await.status, status, "{host}{path}");
    }
    let counted = counted(&router, 6).await;
    let expected = [
        (("a.example.com", "good"), (2, 0)),
        (("a.example.com/sub", "good"), (1, 0)),
        (("b.example.com", "bad"), (1, 1)),
        (("c.example.com", "dead"), (1, 1)),
        (("d.example.com", ""), (1, 0)),
    ]
    .map(|((route, app), count)| ((route.to_string(), app.to_string()), count));
    assert_eq!(counted, BTreeMap::from(expected));
}

#[tokio::test]
async fn what_an_instance_answered_last_outlives_its_route() {
    let router = TestRouter::start().await;
    let backend = Backend::saying("hello").await;
    let message = of("app", "a.example.com", backend.address);
    router.register(&message);
    assert_eq!(router.get("a.example.com", "/").await.status, 200);
    {
        let mut registry = router.registry.lock().unwrap();
        let announcement =
            router::domain::announcement::Announcement::read(&message, false).unwrap();
        assert!(registry.unregister(&announcement, 1).visible());
        router
            .worker
            .table
            .store(std::sync::Arc::new(registry.snapshot()));
    }
    assert_eq!(router.get("a.example.com", "/").await.status, 404);
    let counted = counted(&router, 1).await;
    assert_eq!(
        counted[&("a.example.com".to_string(), "app".to_string())],
        (1, 0)
    );
}
