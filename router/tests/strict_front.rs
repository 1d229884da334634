//! What the front refuses, seen from a client's socket, and what then reaches an instance: nothing.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::time::{Duration, Instant};
use support::*;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn an_ambiguous_request_is_answered_and_the_connection_closed() {
    let (router, backend) = (TestRouter::start().await, Backend::echo().await);
    router.route("a", backend.address);
    let cases: &[(&str, u16)] = &[
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 400),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\rX: 1\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nbody",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nbody",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        ("GET / HTTP/3.7\r\nHost: a\r\n\r\n", 505),
        ("NONSENSE\r\n\r\n", 400),
    ];
    for (case, status) in cases {
        let mut client = router.connect().await;
        // What follows must never be taken for a request.
        client
            .send(format!("{case}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.status, *status, "{case:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{case:?}");
        assert!(answer.header("x-cf-routererror").is_some(), "{case:?}");
        assert!(client.is_closed().await, "{case:?}");
    }
    assert_eq!(backend.count(), 0);
    assert_eq!(router.access_log(cases.len()).await.len(), cases.len());
}

#[tokio::test]
async fn a_refused_head_comes_after_the_answers_before_it() {
    let (router, backend) = (TestRouter::start().await, Backend::saying("ok").await);
    router.route("a", backend.address);
    let mut client = router.connect().await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.answer().await.status, 400);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_head_in_many_pieces_is_read() {
    let (router, backend) = (TestRouter::start().await, Backend::saying("ok").await);
    router.route("a", backend.address);
    let mut client = router.connect().await;
    client.socket.set_nodelay(true).unwrap();
    for _ in 0..2 {
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n" {
            client.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.answer().await.body, "ok");
    }
}

#[tokio::test]
async fn a_large_head_passes_up_to_the_limit() {
    let router = TestRouter::with(|policy| policy.max_header_bytes = 100_000).await;
    let backend = Backend::saying("ok").await;
    router.route("a", backend.address);
    let with = |size: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "y".repeat(size)
        )
    };
    assert_eq!(router.ask(&with(95_000)).await.status, 200);
    let answer = router.ask(&with(300_000)).await;
    assert_eq!(
        (answer.status, answer.header("x-cf-routererror")),
        (431, Some("max-request-size-exceeded"))
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    );
    assert_eq!(router.ask(&many).await.status, 431);
}

#[tokio::test]
async fn broken_chunks_do_not_reach_the_instance_as_a_body() {
    let router = TestRouter::start().await;
    let backend = Backend::echo().await;
    router.route("a", backend.address);
    let mut client = router.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(head.contains("malformed_request_body"), "{head}");
}

#[tokio::test]
async fn a_head_that_does_not_end_times_out_and_silence_may_last_longer() {
    let router = TestRouter::with(|policy| {
        policy.header_timeout = Duration::from_millis(150);
        policy.idle_timeout = Duration::from_millis(900);
    })
    .await;
    let backend = Backend::saying("ok").await;
    router.route("a", backend.address);
    let mut slow = router.connect().await;
    slow.send("GET / HTTP/1.1\r\nHost: a\r\nX:").await;
    let answer = slow.answer().await;
    assert_eq!(answer.status, 408, "{answer:?}");
    assert!(slow.is_closed().await);

    let mut quiet = router.connect().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    quiet.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(quiet.answer().await.body, "ok");
    let begun = Instant::now();
    assert!(quiet.is_closed().await);
    assert!(
        begun.elapsed() > Duration::from_millis(600),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_body_that_does_not_come_times_out_and_a_slow_one_may_take_its_time() {
    let limit = Duration::from_secs(2);
    let router = TestRouter::with(|policy| policy.body_timeout = limit).await;
    let backend = Backend::echo().await;
    router.route("a", backend.address);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n";
    let mut stuck = router.connect().await;
    stuck.send(format!("{head}half")).await;
    let mut slow = router.connect().await;
    slow.send(head).await;
    let begun = Instant::now();
    for _ in 0..10 {
        tokio::time::sleep(limit / 8).await;
        slow.send("x").await;
    }
    assert!(begun.elapsed() > limit);
    let answer = slow.answer().await;
    assert!(answer.body.ends_with("xxxxxxxxxx"), "{answer:?}");

    let answer = stuck.answer().await;
    assert_eq!(answer.status, 408, "{answer:?}");
    assert_eq!(
        answer.header("x-cf-routererror"),
        Some("request_body_timeout")
    );
    assert!(stuck.is_closed().await);
}

#[tokio::test]
async fn an_instance_that_takes_its_time_with_a_body_is_not_held_against_the_client() {
    const SIZE: usize = 32 << 20;
    let limit = Duration::from_millis(300);
    let router = TestRouter::with(|policy| policy.body_timeout = limit).await;
    let backend = Backend::start(move |mut peer, _| async move {
        peer.head().await;
        tokio::time::sleep(limit * 5).await;
        let mut count = 0;
        while count < SIZE && peer.more().await {
            count += std::mem::take(&mut peer.read).len();
        }
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
    })
    .await;
    router.route("a", backend.address);
    let mut client = router.connect().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"
        ))
        .await;
    client.send(vec![b'y'; SIZE]).await;
    assert_eq!(client.answer().await.body, "ok");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_left() {
    let router = TestRouter::with(|policy| policy.send_timeout = Duration::from_millis(300)).await;
    let (told, mut gone) = tokio::sync::mpsc::channel::<()>(1);
    let backend = Backend::start(move |mut peer, _| {
        let told = told.clone();
        async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
                .await;
            // Ends when the router closes the connection.
            while peer.socket.write_all(&[b'x'; 65_536]).await.is_ok() {}
            told.send(()).await.unwrap();
        }
    })
    .await;
    router.route("a", backend.address);
    let mut client = router.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let left = tokio::time::timeout(SOON, gone.recv()).await;
    assert_eq!(left, Ok(Some(())));
    let line = router.access_log(1).await.remove(0);
    assert!(line.contains("incomplete_response"), "{line}");
}

#[tokio::test]
async fn more_clients_than_may_be_wait_until_one_leaves_and_silent_ones_are_closed_for_them() {
    let router = TestRouter::with(|policy| policy.max_clients = 2).await;
    let backend = Backend::saying("ok").await;
    router.route("a", backend.address);
    let mut silent = router.connect().await;
    let _busy = router.connect().await;
    let mut waiting = router.connect().await;
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(waiting.answer().await.body, "ok");
    assert!(silent.is_closed().await);
}
