//! The answers of instances, as these write them: where one ends must not be in doubt, because the next request on the
//! connection is somebody else's.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::time::Duration;
use support::{Answer, Backend, SOON, TestRouter};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n";

/// An instance that answers each request with this text, in pieces of that size.
async fn saying(text: &'static str, size: usize) -> Backend {
    Backend::start(move |mut peer, _| async move {
        while peer.request().await.is_some() {
            for piece in text.as_bytes().chunks(size) {
                peer.send(piece).await;
                if size < text.len() {
                    tokio::task::yield_now().await;
                }
            }
        }
    })
    .await
}

/// What a body says, whatever chunks it came in.
fn said(answer: &Answer) -> String {
    match answer.header("transfer-encoding") {
        Some(_) => answer.body.split("\r\n").skip(1).step_by(2).collect(),
        None => answer.body.clone(),
    }
}

#[tokio::test]
async fn an_answer_ends_where_it_says_and_the_connection_is_used_again() {
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200\r\ncontent-length: 5, 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2  \r\nhe\r\n003;x=y\r\nllo\r\n0\r\nx-sum: 1\r\n\r\n",
    ] {
        for size in [1, 7, text.len()] {
            let (router, backend) = (TestRouter::start().await, saying(text, size).await);
            router.route("a.example.com", backend.address);
            let mut client = router.connect().await;
            for _ in 0..3 {
                client.send(REQUEST).await;
                let answer = client.answer().await;
                assert_eq!(answer.status, 200, "{text:?}: {answer:?}");
                assert_eq!(said(&answer), "hello", "{text:?}: {answer:?}");
                let lengths = answer.head.to_lowercase().matches("content-length").count();
                assert!(lengths <= 1, "{answer:?}");
            }
            assert_eq!(backend.count(), 1, "{text:?} in pieces of {size}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, _| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it")
            .await;
    })
    .await;
    router.route("a.example.com", backend.address);
    let mut client = router.connect().await;
    for _ in 0..2 {
        client.send(REQUEST).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("all of it"), "{answer:?}");
    }
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn a_status_may_have_words_of_its_own() {
    let router = TestRouter::start().await;
    let text = "HTTP/1.1 404 No such shop\r\ncontent-length: 0\r\n\r\n";
    let backend = saying(text, text.len()).await;
    router.route("a.example.com", backend.address);
    let answer = router.get("a.example.com", "/").await;
    assert!(
        answer.head.starts_with("HTTP/1.1 404 No such shop\r\n"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn an_answer_whose_end_is_in_doubt_is_none() {
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\ncontent-length: 5x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx y: 1\r\ncontent-length: 0\r\n\r\n",
        "no answer at all\r\n\r\n",
    ] {
        let (router, backend) = (TestRouter::start().await, saying(text, text.len()).await);
        router.route("a.example.com", backend.address);
        let answer = router.get("a.example.com", "/").await;
        assert_eq!(answer.status, 502, "{text:?}: {answer:?}");
        let said = answer.header("x-cf-routererror").unwrap_or_default();
        assert!(
            said.starts_with("endpoint_failure (the answer of the instance"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn what_an_instance_says_unasked_is_nobodys_answer() {
    let router = TestRouter::start().await;
    // After the first answer, at once or later, one that nobody asked for.
    for late in [false, true] {
        let backend = Backend::start(move |mut peer, number| async move {
            while peer.request().await.is_some() {
                let own = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
                let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
                if late {
                    peer.send(own).await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    peer.send(evil).await;
                } else {
                    peer.send(own + evil).await;
                }
            }
        })
        .await;
        let host = format!("late-{late}.example.com");
        router.route(&host, backend.address);
        for number in 0..3 {
            let answer = router.get(&host, "/").await;
            assert_eq!((answer.status, answer.body), (200, number.to_string()));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(backend.count(), 3);
    }
}

#[tokio::test]
async fn an_instance_may_answer_while_the_body_is_on_its_way() {
    let router = TestRouter::start().await;
    // Gives back each chunk as it comes.
    let backend = Backend::start(|mut peer, _| async move {
        if peer.head().await.is_none() {
            return;
        }
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        loop {
            let come = std::mem::take(&mut peer.read);
            peer.send(&come).await;
            if come.ends_with(b"0\r\n\r\n") || !peer.more().await {
                return;
            }
        }
    })
    .await;
    router.route("a.example.com", backend.address);
    let mut client = router.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    assert!(client.head().await.contains("200 OK"));
    for text in ["one", "two", "six"] {
        client.send(format!("3\r\n{text}\r\n")).await;
        let wanted = format!("3\r\n{text}\r\n");
        let come = client
            .read_until(|read| (read.len() >= wanted.len()).then_some(wanted.len()))
            .await;
        assert_eq!(String::from_utf8_lossy(&come), wanted);
    }
    client.send("0\r\n\r\n").await;
    let end = client
        .read_until(|read| (read.len() >= 5).then_some(5))
        .await;
    assert_eq!(end, b"0\r\n\r\n");
}

#[tokio::test]
async fn an_instance_that_wants_no_more_of_a_body_is_heard() {
    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, number| async move {
        let head = peer.head().await.unwrap_or_default();
        if head.starts_with("POST") {
            peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nno!")
                .await;
            // It reads no more.
            tokio::time::sleep(SOON).await;
        } else {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}"
            ))
            .await;
        }
    })
    .await;
    router.route("a.example.com", backend.address);
    let mut client = router.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 1000000\r\n\r\nsome of it")
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (413, "no!"));
    // Nobody else's request follows half a body.
    let answer = router.get("a.example.com", "/").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "1"));
}
