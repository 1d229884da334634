//! Clients that speak HTTP/2: what reaches an instance, what does not, and who is let go.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::corpus::{Fate, http2_cases};
use support::frames::*;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A router that takes HTTP/2 without TLS.
async fn plain(change: impl FnOnce(&mut router::domain::policy::Policy)) -> TestRouter {
    TestRouter::with(|policy| {
        policy.http2.plain = true;
        change(policy);
    })
    .await
}

fn answered(status: u16, end: &End) -> &str {
    match end {
        End::Answered {
            status: found,
            body,
        } if *found == status => body,
        other => panic!("{other:?} instead of {status}"),
    }
}

#[tokio::test]
async fn a_request_reaches_its_instance_as_one_of_http1() {
    let (router, backend) = (plain(|_| {}).await, Backend::echo().await);
    router.route("a.example.com", backend.address);
    let mut client = FrameClient::connect(router.address).await;
    client
        .headers(
            1,
            END_STREAM,
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/x//y%2F?q=1;2"),
                (":authority", "A.example.com:8080"),
                ("cookie", "a=1"),
                ("cookie", "b=2"),
                ("te", "trailers"),
                ("x-forwarded-for", "1.2.3.4"),
                ("x-cf-instanceid", "forged"),
            ],
        )
        .await;
    let end = client.end(1).await;
    let body = answered(200, &end).to_ascii_lowercase();
    assert!(
        body.starts_with("get /x//y%2f?q=1;2 http/1.1\r\n"),
        "{body}"
    );
    for line in [
        "host: a.example.com:8080",
        "cookie: a=1; b=2",
        "te: trailers",
        "x-forwarded-for: 1.2.3.4, 127.0.0.1",
        "x-forwarded-proto: http",
        &format!("x-cf-instanceid: instance-{}", backend.address.port()),
    ] {
        assert!(body.contains(line), "{line} in {body}");
    }
    let line = &router.access_log(1).await[0];
    assert!(
        line.contains("\"GET /x//y%2F?q=1;2 HTTP/2.0\" 200 0 "),
        "{line}"
    );
    // A name nobody has is not an error of the connection.
    client.headers(3, END_STREAM, &get("nobody")).await;
    answered(404, &client.end(3).await);
    client.headers(5, END_STREAM, &get("a.example.com")).await;
    answered(200, &client.end(5).await);
}

#[tokio::test]
async fn many_requests_at_once_share_a_connection_and_not_their_fate() {
    let router = plain(|_| {}).await;
    // Answers when all are there, so that they must have been under way together.
    let all = Arc::new(tokio::sync::Barrier::new(50));
    let backend = Backend::start(move |mut peer, _| {
        let all = all.clone();
        async move {
            while let Some(request) = peer.request().await {
                all.wait().await;
                let body = String::from_utf8(request.body).unwrap();
                let length = body.len();
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
                ))
                .await;
            }
        }
    })
    .await;
    router.route("a", backend.address);
    let mut client = FrameClient::connect(router.address).await;
    let streams: Vec<u32> = (0..50).map(|n| n * 2 + 1).collect();
    for stream in &streams {
        client.headers(*stream, 0, &request("POST", "a")).await;
    }
    for stream in &streams {
        let body = format!("body of {stream}");
        client
            .send(&frame(DATA, END_STREAM, *stream, body.as_bytes()))
            .await;
    }
    let mut ends = std::collections::BTreeMap::new();
    let reading = async {
        while ends.len() < streams.len() {
            let frame = client.next().await.unwrap();
            if frame.kind == DATA && !frame.payload.is_empty() {
                ends.insert(frame.stream, String::from_utf8(frame.payload).unwrap());
            }
        }
    };
    tokio::time::timeout(SOON, reading).await.unwrap();
    for stream in streams {
        // (The instance sends back what it got, the chunk's framing too.)
        assert!(
            ends[&stream].contains(&format!("\r\nbody of {stream}\r\n")),
            "{ends:?}"
        );
    }
}

#[tokio::test]
async fn http2_without_tls_is_a_setting_and_http1_stays() {
    let backend = Backend::saying("ok").await;
    let closed = TestRouter::start().await;
    closed.route("a", backend.address);
    let mut client = closed.connect().await;
    client.send(PREFACE).await;
    assert_eq!(client.answer().await.status, 505);
    assert!(client.is_closed().await);

    let router = plain(|_| {}).await;
    router.route("a", backend.address);
    assert_eq!(router.get("a", "/").await.body, "ok");
    // A method that begins like the preface, however its bytes come.
    let mut client = router.connect().await;
    client.socket.set_nodelay(true).unwrap();
    for piece in ["P", "RI", " / HTTP/1.1\r\nHost:", " a\r\n\r\n"] {
        client.send(piece).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.answer().await.body, "ok");
    // And the preface itself in pieces.
    let mut client = FrameClient {
        socket: tokio::net::TcpStream::connect(router.address)
            .await
            .unwrap(),
    };
    client.socket.set_nodelay(true).unwrap();
    for piece in PREFACE.chunks(7) {
        client.send(piece).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.send(&frame(SETTINGS, 0, 0, &[])).await;
    client.headers(1, END_STREAM, &get("a")).await;
    assert_eq!(answered(200, &client.end(1).await), "ok");
}

/// What must become of a request that has no one meaning.

#[tokio::test]
async fn an_ambiguous_request_reaches_nobody() {
    let (router, backend) = (plain(|_| {}).await, Backend::echo().await);
    router.route("a", backend.address);
    let cases = http2_cases();
    for (headers, fate) in &cases {
        let mut client = FrameClient::connect(router.address).await;
        client.headers(1, END_STREAM, headers).await;
        let end = client.end(1).await;
        let right = match (fate, &end) {
            (Fate::Refused(wanted), End::Answered { status, .. }) => wanted == status,
            (Fate::Ended, End::Reset(_) | End::Closed(_)) => true,
            _ => false,
        };
        assert!(right, "{headers:?}: {end:?} instead of {fate:?}");
    }
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_is_no_body() {
    // Notes every whole request that comes, and answers none.
    let whole = Arc::new(Mutex::new(Vec::new()));
    let noted = whole.clone();
    let backend = Backend::start(move |mut peer, _| {
        let noted = noted.clone();
        async move {
            while let Some(request) = peer.request().await {
                noted.lock().unwrap().push(request.text());
            }
        }
    })
    .await;
    let router = plain(|_| {}).await;
    router.route("a", backend.address);
    let cases: [(&str, &[u8], &[u8]); 3] = [
        ("4", b"GET", b""),
        ("4", b"GET /", b""),
        ("0", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", b""),
    ];
    for (length, first, second) in cases {
        let mut client = FrameClient::connect(router.address).await;
        let mut headers = request("POST", "a");
        headers.push(("content-length", length));
        client.headers(1, 0, &headers).await;
        client.send(&frame(DATA, 0, 1, first)).await;
        client.send(&frame(DATA, END_STREAM, 1, second)).await;
        assert_eq!(client.end(1).await, End::Reset(1), "{length} {first:?}");
    }
    // A body that is taken back half way.
    let mut client = FrameClient::connect(router.address).await;
    client.headers(1, 0, &request("POST", "a")).await;
    client.send(&frame(DATA, 0, 1, b"half")).await;
    client
        .send(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()))
        .await;
    client.headers(3, END_STREAM, &get("nobody")).await;
    answered(404, &client.end(3).await);
    eventually(SOON, async || {
        let lines = router.access_log(1).await;
        let over = lines
            .iter()
            .filter(|line| line.contains("\"POST / "))
            .count();
        (over == 4).then_some(()).ok_or(format!("{lines:?}"))
    })
    .await;
    // One without a body is whole before its body turns out to be too long: but what is in that is nothing.
    for request in whole.lock().unwrap().iter() {
        let request = request.to_ascii_lowercase();
        assert!(request.starts_with("post / http/1.1\r\n"), "{request}");
        assert!(request.contains("content-length: 0\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n"), "{request}");
    }
}

/// Sends these frames again and again until the router has had enough.
async fn flood(router: &TestRouter, begin: &[u8], mut again: impl FnMut(u32) -> Vec<u8>) {
    let mut client = FrameClient::connect(router.address).await;
    client.send(begin).await;
    let (mut reader, mut writer) = client.socket.into_split();
    // What the router says is read, so that it is not held back by its own answers.
    let reading = async {
        let mut piece = vec![0; 65_536];
        while matches!(reader.read(&mut piece).await, Ok(count) if count > 0) {}
    };
    let writing = async {
        for number in 1..u32::MAX / 2 {
            if writer.write_all(&again(number)).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let both = async {
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    };
    tokio::time::timeout(SOON * 3, both)
        .await
        .expect("it is let go");
}

#[tokio::test]
async fn who_floods_is_let_go_and_others_are_served() {
    let (router, backend) = (plain(|_| {}).await, Backend::saying("ok").await);
    router.route("a", backend.address);
    let one = |kind: u8, payload: &'static [u8]| {
        let bytes = frame(kind, 0, 0, payload);
        move |_| bytes.repeat(100)
    };
    let headers = block(&get("a"));
    let post = frame(HEADERS, END_HEADERS, 1, &block(&request("POST", "a")));

    // Rapid reset.
    flood(&router, &[], |number| {
        let stream = number * 2 - 1;
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &headers);
        bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        bytes
    })
    .await;
    flood(&router, &[], one(PING, &[0; 8])).await;
    flood(&router, &[], one(SETTINGS, &[])).await;
    flood(&router, &[], {
        let bytes = frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1]).repeat(100);
        move |_| bytes.clone()
    })
    .await;
    flood(&router, &[], one(WINDOW_UPDATE, &[0, 0, 0, 1])).await;
    // Frames of a body, without a body.
    flood(&router, &post, {
        let bytes = frame(DATA, 0, 1, &[]).repeat(100);
        move |_| bytes.clone()
    })
    .await;
    // Headers in many pieces: empty ones, small ones, large ones.
    let begun = frame(HEADERS, 0, 1, &headers);
    for piece in [
        Vec::new(),
        vec![0x88],
        block(&[("x-filler", &"y".repeat(8000))]),
    ] {
        let bytes = frame(CONTINUATION, 0, 1, &piece);
        flood(&router, &begun, move |_| bytes.clone()).await;
    }
    // Requests that are malformed, each reset.
    let bad = block(&[(":method", "GET"), ("connection", "x")]);
    flood(&router, &[], |number| {
        frame(HEADERS, END_HEADERS | END_STREAM, number * 2 - 1, &bad)
    })
    .await;

    assert_eq!(router.get("a", "/").await.body, "ok");
    eventually(SOON, async || {
        let present = router.worker.crowd.present();
        (present <= 1)
            .then_some(())
            .ok_or(format!("{present} here"))
    })
    .await;
}

#[tokio::test]
async fn headers_that_unpack_to_much_take_little() {
    let (router, backend) = (plain(|_| {}).await, Backend::saying("ok").await);
    router.route("a", backend.address);
    let before = resident();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let bomb = bomb("a");
        let mut client = FrameClient::connect(router.address).await;
        client
            .send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb))
            .await;
        let end = client.end(1).await;
        assert!(
            matches!(end, End::Closed(_) | End::Answered { status: 431, .. }),
            "{end:?}"
        );
        clients.push(client);
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes for 960 MB of headers");

    let mut client = FrameClient::connect(router.address).await;
    let long = "y".repeat(8000);
    let mut headers = get("a");
    headers.push(("x", &long));
    client.headers(1, END_STREAM, &headers).await;
    answered(200, &client.end(1).await);
    let mut many = block(&get("a"));
    for _ in 0..10 {
        many.extend(block(&[("x", &long)]));
    }
    let (first, rest) = many.split_at(16_384);
    client.send(&frame(HEADERS, END_STREAM, 3, first)).await;
    let pieces = rest.chunks(16_384);
    let last = pieces.len() - 1;
    for (place, piece) in pieces.enumerate() {
        let flags = if place == last { END_HEADERS } else { 0 };
        client.send(&frame(CONTINUATION, flags, 3, piece)).await;
    }
    answered(431, &client.end(3).await);
    // More than 100 of them are too many, however small.
    let mut headers = get("a");
    headers.extend([("x", "1"); 101]);
    client.headers(5, END_STREAM, &headers).await;
    answered(431, &client.end(5).await);
}

#[tokio::test]
async fn a_client_that_takes_its_time_is_let_go() {
    let limit = Duration::from_millis(300);
    let router = plain(|policy| {
        policy.header_timeout = limit;
        policy.send_timeout = limit;
        policy.idle_timeout = limit * 2;
    })
    .await;
    let backend = Backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            .await;
        while peer.socket.write_all(&[b'x'; 65_536]).await.is_ok() {}
    })
    .await;
    router.route("a", backend.address);
    let asked = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&get("a")));
    // A preface that does not end. (Whether what is sent still arrives is not asked: it may be too late.)
    let mut client = FrameClient {
        socket: tokio::net::TcpStream::connect(router.address)
            .await
            .unwrap(),
    };
    client.try_send(&PREFACE[..10]).await;
    client.closed(SOON).await;
    // A header block that does not end, in the middle of a frame and between two.
    let begun = frame(HEADERS, 0, 1, &block(&get("a")));
    for part in [&begun[..], &begun[..begun.len() - 3]] {
        let mut client = FrameClient::connect(router.address).await;
        client.try_send(part).await;
        client.closed(SOON).await;
    }
    // No request at all: it is told so.
    let mut client = FrameClient::connect(router.address).await;
    assert_eq!(client.closed(SOON).await, Some(0));
    // An answer that may not be sent, and one that is not read.
    let mut client = FrameClient::with_settings(router.address, &[(4, 0)]).await;
    client.try_send(&asked).await;
    client.closed(SOON).await;
    let most = 0x7fff_ffff;
    let mut client = FrameClient::with_settings(router.address, &[(4, most)]).await;
    client
        .try_send(&frame(WINDOW_UPDATE, 0, 0, &(most - 65_535).to_be_bytes()))
        .await;
    client.try_send(&asked).await;
    eventually(SOON, async || {
        let present = router.worker.crowd.present();
        (present == 0)
            .then_some(())
            .ok_or(format!("{present} here"))
    })
    .await;
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_its_request_and_no_other() {
    let router = plain(|policy| policy.body_timeout = Duration::from_millis(500)).await;
    let backend = Backend::echo().await;
    router.route("a", backend.address);
    let mut client = FrameClient::connect(router.address).await;
    client.headers(1, 0, &request("POST", "a")).await;
    client.send(&frame(DATA, 0, 1, b"begun")).await;
    answered(408, &client.end(1).await);
    client.headers(3, END_STREAM, &get("a")).await;
    answered(200, &client.end(3).await);
}

#[tokio::test]
async fn the_end_of_the_router_waits_for_requests_under_way() {
    let router = plain(|_| {}).await;
    let (go, wait) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |mut peer, _| {
        let mut wait = wait.clone();
        async move {
            while peer.request().await.is_some() {
                wait.wait_for(|go| *go).await.unwrap();
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
                    .await;
            }
        }
    })
    .await;
    router.route("a", backend.address);
    let mut client = FrameClient::connect(router.address).await;
    client.headers(1, END_STREAM, &get("a")).await;
    eventually(SOON, async || match backend.count() {
        0 => Err("it is not there yet".to_string()),
        _ => Ok(()),
    })
    .await;
    let tasks = router.tasks.clone();
    let ending = tokio::spawn(async move { tasks.stop(SOON).await });
    let goaway = tokio::time::timeout(SOON, async {
        loop {
            let frame = client.next().await.unwrap();
            if frame.kind == GOAWAY {
                return frame;
            }
        }
    });
    assert_eq!(goaway.await.unwrap().payload[4..8], [0; 4]);
    go.send(true).unwrap();
    assert_eq!(answered(200, &client.end(1).await), "late");
    client.closed(SOON).await;
    ending.await.unwrap();
}
