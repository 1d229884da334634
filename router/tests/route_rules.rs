//! What the owner of a route sets for its requests: rate, size, time, number at a time, and packed answers.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use proto::bus::router::{Registration, RouteLimits, RouteOptions};
use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;
use support::*;

fn limited(address: SocketAddr, limits: RouteLimits) -> Registration {
    Registration {
        options: Some(RouteOptions {
            yard_limits: Some(limits),
            ..RouteOptions::default()
        }),
        ..registration("a.example.com", address)
    }
}

fn refusal(answer: &Answer) -> (u16, Option<&str>) {
    (answer.status, answer.header("x-cf-routererror"))
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n";

#[tokio::test]
async fn a_route_lets_so_many_requests_in() {
    let router = TestRouter::start().await;
    let backend = Backend::saying("in").await;
    let limits = RouteLimits {
        rate: Some(3),
        rate_period_ms: Some(3_600_000),
        ..RouteLimits::default()
    };
    router.register(&limited(backend.address, limits.clone()));
    router.route("free.example.com", backend.address);
    for _ in 0..3 {
        assert_eq!(router.get("a.example.com", "/").await.body, "in");
    }
    let answer = router.get("a.example.com", "/").await;
    assert_eq!(refusal(&answer), (429, Some("route_rate_limit")));
    assert_eq!(
        answer.body,
        "429 Too Many Requests: The route gets more requests than it lets in.\n"
    );
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1000..=1200).contains(&wait), "{wait}");
    // Another instance, and the same one again, come with the same rules: nothing begins anew.
    let second = Backend::saying("in").await;
    router.register(&limited(second.address, limits.clone()));
    router.register(&limited(backend.address, limits.clone()));
    assert_eq!(router.get("a.example.com", "/").await.status, 429);
    assert_eq!(router.get("free.example.com", "/").await.status, 200);
    // The owner changes his mind.
    let more = RouteLimits {
        rate: Some(5),
        ..limits
    };
    router.register(&limited(second.address, more));
    assert_eq!(router.get("a.example.com", "/").await.status, 200);
    router.route("a.example.com", second.address);
    for _ in 0..9 {
        assert_eq!(router.get("a.example.com", "/").await.status, 200);
    }
}

#[tokio::test]
async fn a_route_serves_so_many_requests_at_a_time() {
    let router = TestRouter::start().await;
    // Answers its first connection when it is told to.
    let (go, told) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |mut peer, number| {
        let mut told = told.clone();
        async move {
            while peer.request().await.is_some() {
                if number == 0 {
                    told.wait_for(|told| *told).await.unwrap();
                }
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
            }
        }
    })
    .await;
    let limits = RouteLimits {
        concurrency: Some(1),
        ..RouteLimits::default()
    };
    router.register(&limited(backend.address, limits));
    let mut first = router.connect().await;
    first.send(GET).await;
    eventually(SOON, async || match backend.count() {
        1 => Ok(()),
        count => Err(format!("{count} connections")),
    })
    .await;
    let answer = router.get("a.example.com", "/").await;
    assert_eq!(refusal(&answer), (503, Some("route_concurrency_limit")));
    assert_eq!(answer.header("retry-after"), Some("1"));
    go.send(true).unwrap();
    assert_eq!(first.answer().await.body, "ok");
    // Its place is given up when its answer is over, however soon that is seen.
    let after = eventually(SOON, async || {
        let answer = router.get("a.example.com", "/").await;
        match answer.status {
            200 => Ok(answer),
            status => Err(status.to_string()),
        }
    });
    assert_eq!(after.await.body, "ok");
}

#[tokio::test]
async fn a_route_takes_bodies_up_to_a_length() {
    let router = TestRouter::start().await;
    let backend = Backend::echo().await;
    let limits = RouteLimits {
        body_bytes: Some(10),
        ..RouteLimits::default()
    };
    router.register(&limited(backend.address, limits));
    let post = |headers: &str, body: &str| {
        format!("POST / HTTP/1.1\r\nHost: a.example.com\r\n{headers}\r\n\r\n{body}")
    };
    let fits = router.ask(&post("Content-Length: 10", "0123456789")).await;
    assert!(fits.status == 200 && fits.body.ends_with("0123456789"));
    let chunked = "Transfer-Encoding: chunked";
    let fits = router
        .ask(&post(chunked, "5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"))
        .await;
    assert_eq!(fits.status, 200);
    let asked = backend.count();
    // What says that it is too long reaches nobody, and need not come.
    let mut client = router.connect().await;
    client.send(post("Content-Length: 11", "")).await;
    let answer = client.answer().await;
    assert_eq!(refusal(&answer), (413, Some("route_body_limit")));
    assert!(client.is_closed().await);
    assert_eq!(backend.count(), asked);
    // What turns out too long is not passed on whole.
    let long = "6\r\n012345\r\n6\r\n678901\r\n0\r\n\r\n";
    let answer = router.ask(&post(chunked, long)).await;
    assert_eq!(refusal(&answer), (413, Some("route_body_limit")));
    // The instance is not to blame.
    let fits = router.ask(&post("Content-Length: 2", "ok")).await;
    assert_eq!(fits.status, 200);
}

#[tokio::test]
async fn a_route_gives_its_app_so_much_time() {
    let router = TestRouter::start().await;
    // Takes requests for ever to `/never`, and begins an answer that goes on to others.
    let backend = Backend::start(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            if request.head.starts_with("GET /never") {
                continue;
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegin")
                .await;
            tokio::time::sleep(Duration::from_millis(1500)).await;
            peer.send("ended").await;
        }
    })
    .await;
    let limits = RouteLimits {
        time_ms: Some(1000),
        ..RouteLimits::default()
    };
    router.register(&limited(backend.address, limits));
    let answer = router.get("a.example.com", "/never").await;
    assert_eq!(refusal(&answer), (504, Some("route_time_limit")));
    // An answer that began may take its time.
    assert_eq!(router.get("a.example.com", "/").await.body, "beginended");
}

fn packed(address: SocketAddr) -> Registration {
    Registration {
        options: Some(RouteOptions {
            yard_compression: Some("gzip".into()),
            ..RouteOptions::default()
        }),
        ..registration("a.example.com", address)
    }
}

/// The body of a chunked answer.
fn dechunked(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let at = raw.windows(2).position(|end| end == b"\r\n").unwrap();
        let size = std::str::from_utf8(&raw[..at]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&raw[at + 2..at + 2 + size]);
        raw = &raw[at + 2 + size + 2..];
    }
}

fn unpacked(packed: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_string(&mut text)
        .unwrap();
    text
}

#[tokio::test]
async fn answers_are_packed_for_those_who_take_them_so() {
    let text = "a line that comes again\n".repeat(2000);
    let router = TestRouter::start().await;
    let length = text.len();
    let answer = text.clone();
    let backend = Backend::start(move |mut peer, _| {
        let answer = answer.clone();
        async move {
            while peer.request().await.is_some() {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"1\"\r\nContent-Length: {length}\r\n\r\n");
                peer.send(head).await;
                peer.send(&answer).await;
            }
        }
    })
    .await;
    router.register(&packed(backend.address));
    router.route("plain.example.com", backend.address);
    let asking =
        |host: &str, headers: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    let mut client = router.connect().await;
    for _ in 0..2 {
        client
            .send(asking("a.example.com", "Accept-Encoding: gzip, br\r\n"))
            .await;
        let head = client.head().await.to_ascii_lowercase();
        for line in [
            "content-encoding: gzip\r\n",
            "vary: accept-encoding\r\n",
            "etag: w/\"1\"\r\n",
            "transfer-encoding: chunked\r\n",
        ] {
            assert!(head.contains(line), "{head}");
        }
        assert!(!head.contains("content-length"), "{head}");
        let end = b"\r\n0\r\n\r\n";
        let raw = client
            .read_until(|read| {
                let at = read.windows(end.len()).position(|seen| seen == end)?;
                Some(at + end.len())
            })
            .await;
        assert!(raw.len() < length / 10, "{}", raw.len());
        assert_eq!(unpacked(&dechunked(&raw)), text);
    }
    assert_eq!(backend.count(), 1, "the connection to the instance is kept");
    let plain = router.ask(&asking("a.example.com", "")).await;
    assert_eq!(plain.body, text);
    assert_eq!(plain.header("vary"), Some("Accept-Encoding"));
    let other = asking("plain.example.com", "Accept-Encoding: gzip\r\n");
    let other = router.ask(&other).await;
    assert_eq!((other.body.len(), other.header("vary")), (length, None));
}

#[tokio::test]
async fn a_packed_answer_comes_as_it_is_said() {
    let router = TestRouter::start().await;
    let (more, told) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |mut peer, _| {
        let mut told = told.clone();
        async move {
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
            told.wait_for(|told| *told).await.unwrap();
            peer.send("4\r\nlast\r\n0\r\n\r\n").await;
        }
    })
    .await;
    router.register(&packed(backend.address));
    let mut client = router.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a.example.com\r\nAccept-Encoding: gzip\r\n\r\n")
        .await;
    client.head().await;
    // The first piece can be read while the instance still thinks about the last.
    let first = client
        .read_until(|read| {
            let at = read.windows(2).position(|end| end == b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&read[..at]).ok()?, 16).ok()?;
            (read.len() >= at + 2 + size + 2).then_some(at + 2 + size + 2)
        })
        .await;
    let mut begun = vec![0; 5];
    let mut whole = dechunked(&[&first, b"0\r\n\r\n".as_slice()].concat());
    flate2::read::GzDecoder::new(whole.as_slice())
        .read_exact(&mut begun)
        .unwrap();
    assert_eq!(begun, b"first");
    more.send(true).unwrap();
    let end = b"\r\n0\r\n\r\n";
    let rest = client
        .read_until(|read| {
            let at = read.windows(end.len()).position(|seen| seen == end)?;
            Some(at + end.len())
        })
        .await;
    whole.extend(dechunked(&rest));
    assert_eq!(unpacked(&whole), "firstlast");
}
