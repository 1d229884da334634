//! Clients that say nothing for a while: the router keeps next to nothing of them, and they notice nothing.

mod support;

use router::domain::policy::Policy;
use std::time::Duration;
use support::{Backend, Client, TestRouter};

/// Longer than the router holds on to what a conversation needs.
const LONG: Duration = Duration::from_millis(1200);
const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async fn router_and_client(change: impl FnOnce(&mut Policy)) -> (TestRouter, Backend, Client) {
    let router = TestRouter::with(change).await;
    let backend = Backend::echo().await;
    router.route("a", backend.address);
    let mut client = router.connect().await;
    client.send(ASK).await;
    assert_eq!(client.answer().await.status, 200);
    tokio::time::sleep(LONG).await;
    (router, backend, client)
}

#[tokio::test]
async fn a_quiet_client_goes_on_where_it_was() {
    let (_router, _backend, mut client) = router_and_client(|_| {}).await;
    client.send(ASK).await;
    assert_eq!(client.answer().await.status, 200);

    tokio::time::sleep(LONG).await;
    let (begun, rest) = ASK.split_at(9);
    client.send(begun).await;
    tokio::time::sleep(LONG).await;
    client.send(rest).await;
    assert_eq!(client.answer().await.status, 200);

    tokio::time::sleep(LONG).await;
    client
        .send("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcdGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let (first, second) = (client.answer().await, client.answer().await);
    assert!(
        first.body.starts_with("POST /1") && first.body.ends_with("abcd"),
        "{first:?}"
    );
    assert!(second.body.starts_with("GET /2"), "{second:?}");

    tokio::time::sleep(LONG).await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 400);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_quiet_client_is_let_go_when_the_router_drains() {
    let (router, _backend, mut client) = router_and_client(|_| {}).await;
    let stopped = router.tasks.stop(Duration::from_secs(60));
    let closed = client.is_closed();
    let (_, closed) = tokio::join!(stopped, closed);
    assert!(closed);
}

#[tokio::test]
async fn a_quiet_client_that_begins_a_head_must_end_it() {
    let limit = Duration::from_secs(2);
    let (_router, _backend, mut client) =
        router_and_client(|policy| policy.header_timeout = limit).await;
    client.send("GET / HTTP/1.1\r\nX:").await;
    assert_eq!(client.answer().await.status, 408);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn who_waits_for_an_answer_or_has_a_tunnel_is_not_quiet() {
    let router = TestRouter::start().await;
    let slow = Backend::start(|mut peer, _| async move {
        while peer.more().await {
            let asked = std::mem::take(&mut peer.read).to_ascii_lowercase();
            let asked = String::from_utf8_lossy(&asked);
            tokio::time::sleep(LONG).await;
            peer.send(match asked.contains("upgrade:") {
                true => {
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
                }
                false if asked.starts_with("get") => {
                    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                }
                false => "pong",
            })
            .await;
        }
    })
    .await;
    router.route("a", slow.address);
    let mut client = router.connect().await;
    client.send(ASK).await;
    assert_eq!(client.answer().await.body, "ok");
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 101"));
    for _ in 0..2 {
        tokio::time::sleep(LONG).await;
        client.send("ping").await;
        let said = client
            .read_until(|read| (read.len() >= 4).then_some(4))
            .await;
        assert_eq!(said, b"pong");
    }
}
