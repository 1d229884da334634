//! Instances that speak HTTP/2: what they get, and that nothing is held back on its way.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use http::{Request, Response};
use http_body_util::BodyExt;
use proto::bus::router::Registration;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use support::frames::{DATA, FrameClient, RST_STREAM, frame, request};
use support::streaming::*;
use support::*;

fn speaking_http2(uri: &str, address: SocketAddr) -> Registration {
    Registration {
        protocol: Some("http2".into()),
        ..registration(uri, address)
    }
}

async fn plain() -> TestRouter {
    TestRouter::with(|policy| policy.http2.plain = true).await
}

/// Says what it was asked, and ends with trailers.
async fn telling(request: Request<hyper::body::Incoming>) -> Response<Body> {
    let (head, asked) = request.into_parts();
    let text = format!(
        "{:?} {} {} host={:?} te={:?} for={:?} app={:?}\n",
        head.version,
        head.method,
        head.uri,
        head.headers.get("host"),
        head.headers.get("te"),
        head.headers["x-forwarded-for"],
        head.headers["x-cf-applicationid"],
    );
    let asked = asked.collect().await.unwrap().to_bytes();
    let (pieces, body) = body();
    tokio::spawn(async move {
        let _ = pieces.send(piece(&text)).await;
        let _ = pieces.send(hyper::body::Frame::data(asked)).await;
        let _ = pieces.send(trailers("0")).await;
    });
    Response::new(body)
}

#[tokio::test]
async fn a_call_reaches_its_instance_and_ends_with_trailers() {
    let (router, backend) = (plain().await, Http2Backend::start(100, telling).await);
    router.register(&speaking_http2("a.example.com", backend.address));
    let mut client = connect(router.address).await;
    let answer = client
        .send_request(post("a.example.com", full("hello")))
        .await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("x-vcap-request-id"));
    let collected = answer.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    let text = String::from_utf8(collected.to_bytes().to_vec()).unwrap();
    assert!(
        text.starts_with(
            "HTTP/2.0 POST http://a.example.com/service/call host=None te=Some(\"trailers\")"
        ),
        "{text}"
    );
    assert!(
        text.contains("for=\"127.0.0.1\" app=\"app-guid\""),
        "{text}"
    );
    assert!(text.ends_with("hello"), "{text}");
    let line = &router.access_log(1).await[0];
    assert!(line.contains("/service/call HTTP/2.0\" 200 5 "), "{line}");
}

#[tokio::test]
async fn an_answer_of_trailers_only_is_one() {
    let backend = Http2Backend::start(100, |_| async {
        Response::builder()
            .header("grpc-status", "12")
            .body(empty())
            .unwrap()
    })
    .await;
    let router = plain().await;
    router.register(&speaking_http2("a", backend.address));
    let mut client = connect(router.address).await;
    let answer = client.send_request(post("a", full("x"))).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "12");
    assert!(http_body::Body::is_end_stream(answer.body()));
}

/// Sends each piece back at once, in capitals.
async fn echoing(request: Request<hyper::body::Incoming>) -> Response<Body> {
    let mut asked = request.into_body();
    let (pieces, body) = body();
    tokio::spawn(async move {
        while let Some(Ok(frame)) = asked.frame().await {
            let frame = match frame.into_data() {
                Ok(data) => piece(&String::from_utf8_lossy(&data).to_uppercase()),
                Err(_) => continue,
            };
            if pieces.send(frame).await.is_err() {
                return;
            }
        }
        let _ = pieces.send(trailers("0")).await;
    });
    Response::new(body)
}

#[tokio::test]
async fn a_stream_goes_both_ways_piece_by_piece() {
    let (router, backend) = (plain().await, Http2Backend::start(100, echoing).await);
    router.register(&speaking_http2("a", backend.address));
    let mut client = connect(router.address).await;
    let (pieces, asked) = body();
    let answer = client.send_request(post("a", asked)).await.unwrap();
    let mut answer = answer.into_body();
    // Each is only sent when the one before came back: nothing may wait for more.
    for number in 0..200 {
        pieces
            .send(piece(&format!("piece {number}")))
            .await
            .unwrap();
        assert_eq!(next_text(&mut answer).await, format!("PIECE {number}"));
    }
    drop(pieces);
    let last = next(&mut answer).await.unwrap().unwrap();
    assert_eq!(last.into_trailers().unwrap()["grpc-status"], "0");
    assert!(next(&mut answer).await.is_none());
}

#[tokio::test]
async fn requests_share_connections_and_an_instance_gets_no_more_than_it_takes() {
    let all = Arc::new(tokio::sync::Barrier::new(40));
    let serve = move |_| {
        let all = all.clone();
        async move {
            all.wait().await;
            Response::new(full("ok"))
        }
    };
    let backend = Http2Backend::start(10, serve).await;
    let router = plain().await;
    router.register(&speaking_http2("a", backend.address));
    let mut calls = tokio::task::JoinSet::new();
    // All 40 have to be there at once, and one connection takes 10.
    let client = connect(router.address).await;
    for _ in 0..40 {
        let mut client = client.clone();
        calls.spawn(async move { client.send_request(post("a", empty())).await.unwrap() });
    }
    let answers = tokio::time::timeout(SOON, calls.join_all()).await.unwrap();
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert!(backend.count() >= 4, "{}", backend.count());
}

#[tokio::test]
async fn one_after_the_other_uses_one_connection_from_clients_of_any_kind() {
    let (router, backend) = (plain().await, Http2Backend::start(100, telling).await);
    router.register(&speaking_http2("a", backend.address));
    let mut client = connect(router.address).await;
    for _ in 0..20 {
        let answer = client.send_request(post("a", full("x"))).await.unwrap();
        answer.into_body().collect().await.unwrap();
        let answer = router
            .ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        assert!(answer.body.contains("hi"), "{answer:?}");
    }
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn http2_to_instances_is_a_setting_and_tunnels_are_of_http1() {
    let router = TestRouter::with(|policy| policy.http2.enabled = false).await;
    let backend = Backend::echo().await;
    router.register(&speaking_http2("a", backend.address));
    assert_eq!(router.get("a", "/").await.status, 200);

    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, _| async move {
        let head = peer.head().await.unwrap();
        assert!(head.to_ascii_lowercase().contains("upgrade: websocket"), "{head}");
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello")
            .await;
        peer.more().await;
    })
    .await;
    router.register(&speaking_http2("a", backend.address));
    let mut client = router.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 101"));
    let said = client
        .read_until(|read| (read.len() >= 5).then_some(5))
        .await;
    assert_eq!(said, b"hello");
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody_else() {
    // Two calls on one connection to the instance: one is never read.
    let serve = |request: Request<hyper::body::Incoming>| async move {
        if request.headers().contains_key("x-small") {
            return Response::new(full("small"));
        }
        let (pieces, body) = body();
        tokio::spawn(async move {
            let large = "x".repeat(16_384);
            while pieces.send(piece(&large)).await.is_ok() {}
        });
        Response::new(body)
    };
    let backend = Http2Backend::start(100, serve).await;
    let router = plain().await;
    router.register(&speaking_http2("a", backend.address));
    let mut unread = Vec::new();
    for _ in 0..20 {
        let mut client = connect(router.address).await;
        unread.push((
            client.send_request(post("a", empty())).await.unwrap(),
            client,
        ));
    }
    let mut client = connect(router.address).await;
    for _ in 0..20 {
        let mut request = post("a", empty());
        request
            .headers_mut()
            .insert("x-small", "1".parse().unwrap());
        let answer = tokio::time::timeout(SOON, client.send_request(request)).await;
        let body = answer.unwrap().unwrap().into_body().collect();
        let body = tokio::time::timeout(SOON, body).await.unwrap().unwrap();
        assert_eq!(body.to_bytes(), "small");
    }
}

#[tokio::test]
async fn a_call_that_is_taken_back_ends_at_the_instance() {
    let (told, mut ended) = tokio::sync::mpsc::channel::<()>(1);
    let serve = move |request: Request<hyper::body::Incoming>| {
        let told = told.clone();
        async move {
            let (pieces, body) = body();
            let mut asked = request.into_body();
            tokio::spawn(async move {
                let _ = pieces.send(piece("begun")).await;
                // Ends with an error when the call is reset.
                while let Some(Ok(_)) = asked.frame().await {}
                let _ = told.send(()).await;
                pieces.closed().await;
            });
            Response::new(body)
        }
    };
    let backend = Http2Backend::start(100, serve).await;
    let router = plain().await;
    router.register(&speaking_http2("a", backend.address));
    let mut client = FrameClient::connect(router.address).await;
    client.headers(1, 0, &request("POST", "a")).await;
    while client.next().await.unwrap().kind != DATA {}
    client
        .send(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()))
        .await;
    let ended = tokio::time::timeout(SOON, ended.recv()).await;
    assert_eq!(ended, Ok(Some(())));
}

#[tokio::test]
async fn an_instance_that_is_gone_costs_nobody_a_request() {
    let router = plain().await;
    let first = Http2Backend::start(100, telling).await;
    router.register(&speaking_http2("a", first.address));
    let mut client = connect(router.address).await;
    let answer = client.send_request(post("a", empty())).await.unwrap();
    answer.into_body().collect().await.unwrap();
    // Its kept connection is dead, and nobody listens any more.
    drop(first);
    let second = Http2Backend::start(100, telling).await;
    router.register(&speaking_http2("a", second.address));
    for _ in 0..20 {
        let mut request = post("a", empty());
        *request.method_mut() = http::Method::GET;
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn an_instance_that_speaks_no_http2_is_a_bad_gateway_in_time() {
    let router = TestRouter::with(|policy| {
        policy.http2.plain = true;
        policy.response_timeout = Duration::from_secs(5);
    })
    .await;
    let backend = Backend::start(|mut peer, _| async move {
        peer.more().await;
        peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .await;
    })
    .await;
    router.register(&speaking_http2("a", backend.address));
    let answer = router.get("a", "/").await;
    assert_eq!(answer.status, 502, "{answer:?}");
}
