//! Apps that sleep: requests are held until an instance is there, so many and so long.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use proto::bus::router::Registration;
use std::net::SocketAddr;
use std::time::Duration;
use support::*;

/// The registration of a process that sleeps under a name.
fn asleep(uri: &str) -> Registration {
    let controller: SocketAddr = "127.0.0.1:9".parse().unwrap();
    Registration {
        app: None,
        private_instance_id: Some("controller-1".into()),
        yard_wakes: Some("process-1".into()),
        ..registration(uri, controller)
    }
}

async fn held(router: &TestRouter, count: usize) {
    eventually(SOON, async || {
        let held = router.worker.sleepers.waited_for();
        let wanted: Vec<_> = (count > 0)
            .then(|| ("process-1".to_string(), count))
            .into_iter()
            .collect();
        (held == wanted).then_some(()).ok_or(format!("{held:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_request_is_held_until_an_instance_is_there() {
    let (router, backend) = (TestRouter::start().await, Backend::echo().await);
    router.register(&asleep("a"));
    let mut plain = router.connect().await;
    plain.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut posted = router.connect().await;
    posted
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        .await;
    let mut upgraded = router.connect().await;
    upgraded
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    held(&router, 3).await;
    // Somebody else's instance changes nothing.
    router.route("b", backend.address);
    held(&router, 3).await;
    assert_eq!(backend.count(), 0);
    router.route("a", backend.address);
    assert!(plain.answer().await.body.starts_with("GET /x HTTP/1.1"));
    assert!(posted.answer().await.body.ends_with("body"));
    assert_eq!(upgraded.answer().await.status, 200);
    held(&router, 0).await;
    // While there are instances the sleep is of no account.
    router.register(&asleep("a"));
    assert_eq!(router.get("a", "/").await.status, 200);
}

#[tokio::test]
async fn a_request_of_http2_is_held_too() {
    use support::frames::*;
    let router = TestRouter::with(|policy| policy.http2.plain = true).await;
    let backend = Backend::saying("ok").await;
    router.register(&asleep("a"));
    let mut client = FrameClient::connect(router.address).await;
    client.headers(1, END_STREAM, &get("a")).await;
    held(&router, 1).await;
    router.route("a", backend.address);
    let body = "ok".to_string();
    assert_eq!(client.end(1).await, End::Answered { status: 200, body });
}

#[tokio::test]
async fn so_many_are_held_so_long_and_who_leaves_makes_room() {
    let router = TestRouter::with(|policy| {
        policy.max_held = 1;
        policy.hold = Duration::from_secs(1);
    })
    .await;
    router.register(&asleep("a"));
    let mut first = router.connect().await;
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    held(&router, 1).await;
    let second = router.get("a", "/").await;
    assert_eq!(second.status, 503);
    assert_eq!(second.header("x-cf-routererror"), Some("too_many_held"));
    assert!(second.header("retry-after").is_some());
    let first = first.answer().await;
    assert_eq!(first.status, 503);
    assert_eq!(first.header("x-cf-routererror"), Some("not_awake"));
    assert!(first.header("retry-after").is_some());

    let mut leaving = router.connect().await;
    leaving.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    held(&router, 1).await;
    drop(leaving);
    held(&router, 0).await;
}

#[tokio::test]
async fn what_is_taken_back_is_not_held() {
    let router = TestRouter::start().await;
    router.register(&asleep("a"));
    let mut waiting = router.connect().await;
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    held(&router, 1).await;
    router.unregister(&asleep("a"));
    assert_eq!(waiting.answer().await.status, 404);
    assert_eq!(router.get("a", "/").await.status, 404);
    router.register(&asleep("a"));
    router.unregister(&Registration {
        yard_returns: Some(true),
        ..asleep("a")
    });
    assert_eq!(router.get("a", "/").await.status, 503);
}
