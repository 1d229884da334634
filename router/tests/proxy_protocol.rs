//! What a load balancer says of its client before the client's own bytes.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::time::Duration;
use support::frames::*;
use support::*;

const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LINE: &str = "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n";

async fn behind_a_balancer() -> (TestRouter, Backend) {
    let router = TestRouter::with(|policy| {
        policy.proxy_protocol = true;
        policy.http2.plain = true;
        policy.header_timeout = Duration::from_secs(2);
    })
    .await;
    let backend = Backend::echo().await;
    router.route("a", backend.address);
    (router, backend)
}

async fn asked(router: &TestRouter, before: &[u8]) -> Answer {
    let mut client = router.connect().await;
    client.send(before).await;
    client.send(ASK).await;
    client.answer().await
}

#[tokio::test]
async fn the_client_is_who_the_balancer_says() {
    let (router, _backend) = behind_a_balancer().await;
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    binary.extend([192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb]);
    for header in [LINE.as_bytes(), &binary] {
        let answer = asked(&router, header).await;
        let body = answer.body.to_ascii_lowercase();
        assert!(body.contains("x-forwarded-for: 192.0.2.7\r\n"), "{body}");
    }
    // Its own connection, and clients that come by themselves.
    for header in ["PROXY UNKNOWN\r\n", "", "\r\n"] {
        let answer = asked(&router, header.as_bytes()).await;
        let body = answer.body.to_ascii_lowercase();
        assert!(
            body.contains("x-forwarded-for: 127.0.0.1\r\n"),
            "{header:?}: {body}"
        );
    }
    let line = &router.access_log(1).await[0];
    assert!(line.contains("\"192.0.2.7:56324\""), "{line}");
    // Byte by byte, before HTTP/2.
    let mut client = FrameClient {
        socket: tokio::net::TcpStream::connect(router.address)
            .await
            .unwrap(),
    };
    client.socket.set_nodelay(true).unwrap();
    for byte in LINE.bytes() {
        client.send(&[byte]).await;
    }
    let mut client = FrameClient::on(client.socket, &[]).await;
    client.headers(1, END_STREAM, &get("a")).await;
    let End::Answered { status: 200, body } = client.end(1).await else {
        panic!("no answer");
    };
    assert!(body.contains("192.0.2.7"), "{body}");
}

#[tokio::test]
async fn what_cannot_be_read_is_not_served_and_nobody_is_believed_unasked() {
    let (router, backend) = behind_a_balancer().await;
    for header in ["PROXY TCP4 x y 1 2\r\n", "PROXY TCP4 192.0.2.7"] {
        let mut client = router.connect().await;
        client.send(header).await;
        assert!(client.is_closed().await, "{header:?}");
    }
    assert_eq!(backend.count(), 0);
    let unasked = TestRouter::start().await;
    unasked.route("a", backend.address);
    // There it is a request line, and none that anybody speaks.
    assert_eq!(asked(&unasked, LINE.as_bytes()).await.status, 505);
}
