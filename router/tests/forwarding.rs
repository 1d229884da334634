//! Requests through a real router to real sockets: what goes through, and how.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::*;
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn a_request_reaches_its_instance_with_what_the_router_knows() {
    let (router, backend) = (TestRouter::start().await, Backend::echo().await);
    router.route("a.example.com", backend.address);
    let answer = router
        .ask("GET /x//y%2F?q=1;2 HTTP/1.1\r\nHost: A.example.com:8080\r\nConnection: close, x-drop\r\nX-Drop: 1\r\nX-Vcap-Request-Id: forged\r\nX-CF-InstanceID: forged\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.body.to_ascii_lowercase();
    assert!(
        body.starts_with("get /x//y%2f?q=1;2 http/1.1\r\n"),
        "{body}"
    );
    for line in [
        "host: a.example.com:8080",
        "x-forwarded-for: 1.2.3.4, 127.0.0.1",
        "x-forwarded-proto: http",
        "x-cf-applicationid: app-guid",
        &format!("x-cf-instanceid: instance-{}", backend.address.port()),
        "x-cf-instanceindex: 0",
    ] {
        assert!(body.contains(line), "{line} in {body}");
    }
    assert!(
        !body.contains("x-drop") && !body.contains("forged") && body.contains("x-request-start: 1")
    );
    let id = answer.header("x-vcap-request-id").unwrap();
    assert!(body.contains(&format!("x-vcap-request-id: {id}")), "{body}");
    assert_eq!(answer.header("connection"), Some("close"));

    let line = &router.access_log(1).await[0];
    assert!(line.starts_with("A.example.com:8080 - ["), "{line}");
    assert!(
        line.contains("\"GET /x//y%2F?q=1;2 HTTP/1.1\" 200 0 "),
        "{line}"
    );
    assert!(
        line.contains(&format!("\"{}\"", backend.address))
            && line.contains("app_id:\"app-guid\" app_index:\"0\""),
        "{line}"
    );
    assert!(
        line.contains(&format!("vcap_request_id:\"{id}\"")),
        "{line}"
    );
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let (router, backend) = (TestRouter::start().await, Backend::saying("hello").await);
    router.route("a.example.com", backend.address);
    let mut client = router.connect().await;
    for _ in 0..50 {
        client
            .send("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
            .await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    }
    assert_eq!(backend.count(), 1);
    // Pipelined ones are answered in order.
    client.send("GET /1 HTTP/1.1\r\nHost: a.example.com\r\n\r\nGET /2 HTTP/1.1\r\nHost: none.example.com\r\n\r\nGET /3 HTTP/1.1\r\nHost: a.example.com\r\n\r\n").await;
    let statuses = [
        client.answer().await.status,
        client.answer().await.status,
        client.answer().await.status,
    ];
    assert_eq!(statuses, [200, 404, 200]);
}

#[tokio::test]
async fn bodies_go_through_with_their_own_framing() {
    let (router, backend) = (TestRouter::start().await, Backend::echo().await);
    router.route("a.example.com", backend.address);
    let mut client = router.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    let answer = client.answer().await;
    assert!(
        answer
            .body
            .to_ascii_lowercase()
            .contains("content-length: 5")
            && answer.body.ends_with("hello"),
        "{answer:?}"
    );
    client.send("POST / HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    client.send("2\r\nde\r\n0\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(
        answer
            .body
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked"),
        "{answer:?}"
    );
    assert!(
        answer.body.contains("abc")
            && answer.body.contains("de")
            && answer.body.ends_with("0\r\n\r\n"),
        "{answer:?}"
    );
    // A body of a GET, framed by chunks, stays a body.
    client.send("GET / HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n").await;
    assert!(client.answer().await.body.contains("xyz"));
    client
        .send("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(
        backend.count(),
        1,
        "complete bodies leave the connection usable"
    );
    let lines = router.access_log(4).await;
    assert!(
        lines[0].contains("\" 200 5 ") && lines[1].contains("\" 200 5 "),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_large_body_streams_both_ways_with_backpressure() {
    const SIZE: usize = 20 << 20;
    let router = TestRouter::start().await;
    // Sends much and reads nothing until told.
    let backend = Backend::start(|mut peer, _| async move {
        while let Some(head) = peer.head().await {
            let mut count = peer.read.len();
            peer.read.clear();
            if head.starts_with("POST") {
                while count < SIZE && peer.more().await {
                    count += peer.read.len();
                    peer.read.clear();
                }
            }
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nX-Count: {count}\r\nContent-Length: {SIZE}\r\n\r\n"
            ))
            .await;
            peer.send(vec![b'x'; SIZE]).await;
        }
    })
    .await;
    router.route("a.example.com", backend.address);
    let mut client = router.connect().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: {SIZE}\r\n\r\n"
        ))
        .await;
    client.send(vec![b'y'; SIZE]).await;
    let answer = client.answer().await;
    assert_eq!(answer.header("x-count"), Some(SIZE.to_string().as_str()));
    assert_eq!(answer.body.len(), SIZE);
}

#[tokio::test]
async fn an_answer_without_end_is_passed_on_as_it_comes() {
    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n").await;
        // The next event comes when the first was seen: it waits for the client to leave.
        peer.more().await;
    })
    .await;
    router.route("a.example.com", backend.address);
    let mut client = router.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
        .await;
    assert!(client.head().await.contains("200 OK"));
    let event = client
        .read_until(|read| {
            read.windows(8)
                .position(|at| at == b"data: 1\n")
                .map(|at| at + 8)
        })
        .await;
    assert!(!event.is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_at_the_instance() {
    let router = TestRouter::start().await;
    let (told, gone) = tokio::sync::mpsc::channel::<&str>(4);
    let mut gone = gone;
    let backend = Backend::start(move |mut peer, _| {
        let told = told.clone();
        async move {
            peer.head().await;
            told.send("asked").await.unwrap();
            while peer.more().await {}
            told.send("left").await.unwrap();
        }
    })
    .await;
    router.route("a.example.com", backend.address);
    let mut client = router.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
        .await;
    assert_eq!(
        tokio::time::timeout(SOON, gone.recv()).await.unwrap(),
        Some("asked")
    );
    drop(client);
    assert_eq!(
        tokio::time::timeout(SOON, gone.recv()).await.unwrap(),
        Some("left")
    );
    assert!(
        router.access_log(1).await[0].contains("\" 499 "),
        "noted as left"
    );
}

#[tokio::test]
async fn unknown_and_empty_routes_have_their_own_answers() {
    let (router, backend) = (TestRouter::start().await, Backend::echo().await);
    let answer = router.get("none.example.com:8080", "/").await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.body,
        "404 Not Found: Requested route ('none.example.com') does not exist.\n"
    );
    assert_eq!(answer.header("x-cf-routererror"), Some("unknown_route"));
    assert_eq!(answer.header("cache-control"), Some("no-cache, no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(answer.header("x-vcap-request-id").is_some());

    router.route("a.example.com", backend.address);
    router.registry.lock().unwrap().prune(u64::MAX / 2, 1);
    router.worker.table.store(std::sync::Arc::new(
        router.registry.lock().unwrap().snapshot(),
    ));
    let answer = router.get("a.example.com", "/").await;
    assert_eq!(
        (answer.status, answer.header("x-cf-routererror")),
        (503, Some("no_endpoints"))
    );
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_dead_instance_is_set_aside_and_another_is_tried_for_any_method() {
    let (router, backend) = (TestRouter::start().await, Backend::echo().await);
    router.route("a.example.com", dead_address());
    router.route("a.example.com", dead_address());
    router.route("a.example.com", backend.address);
    for _ in 0..20 {
        let answer = router
            .ask("POST / HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 4\r\n\r\nbody")
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.ends_with("body"));
    }
    let retried = router
        .access_log(20)
        .await
        .iter()
        .filter(|line| line.contains("failed_attempts:"))
        .count();
    assert!(
        retried <= 2,
        "each dead one is met once, then set aside: {retried}"
    );
}

#[tokio::test]
async fn nobody_reachable_is_a_bad_gateway() {
    let router = TestRouter::start().await;
    router.route("a.example.com", dead_address());
    for _ in 0..3 {
        let answer = router.get("a.example.com", "/").await;
        assert_eq!(answer.status, 502);
        assert!(
            answer
                .header("x-cf-routererror")
                .unwrap()
                .starts_with("endpoint_failure (cannot connect"),
            "{answer:?}"
        );
        assert_eq!(
            answer.body,
            "502 Bad Gateway: Registered endpoint failed to handle the request.\n"
        );
    }
}

#[tokio::test]
async fn a_kept_connection_that_died_costs_nobody_a_request() {
    let router = TestRouter::start().await;
    // Answers once per connection, then hangs up without saying so.
    let backend = Backend::start(|mut peer, number| async move {
        peer.request().await;
        peer.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}",
            number % 10
        ))
        .await;
    })
    .await;
    router.route("a.example.com", backend.address);
    for method in ["GET", "POST", "GET", "DELETE", "GET"] {
        let mut client = router.connect().await;
        client
            .send(format!(
                "{method} / HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
        assert_eq!(client.answer().await.status, 200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_instance_that_breaks_before_it_answers_is_retried_only_if_that_is_safe() {
    let router = TestRouter::start().await;
    let broken = Backend::start(|mut peer, _| async move {
        peer.request().await;
    })
    .await;
    let good = Backend::saying("good").await;
    router.route("a.example.com", broken.address);
    router.route("a.example.com", good.address);
    let mut failed = 0;
    for _ in 0..12 {
        let answer = router.get("a.example.com", "/").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for member in &router
            .worker
            .table
            .load()
            .lookup("a.example.com", "")
            .unwrap()
            .members
        {
            member.endpoint.set_aside(0);
        }
        let answer = router
            .ask("POST / HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 1\r\n\r\nx")
            .await;
        assert!(matches!(answer.status, 200 | 502), "{answer:?}");
        failed += usize::from(answer.status == 502);
    }
    assert!(
        failed > 0,
        "a POST that an instance may have seen is not repeated"
    );
}

#[tokio::test]
async fn half_an_answer_is_an_answer_and_nobody_else_is_asked() {
    let router = TestRouter::start().await;
    let half = Backend::start(|mut peer, _| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Le").await;
    })
    .await;
    let good = Backend::saying("good").await;
    router.route("a.example.com", half.address);
    router.route("a.example.com", good.address);
    let mut refused = 0;
    for _ in 0..20 {
        let answer = router.get("a.example.com", "/").await;
        assert!(matches!(answer.status, 200 | 502), "{answer:?}");
        refused += usize::from(answer.status == 502);
    }
    assert_eq!(
        refused,
        half.count(),
        "each of its answers was the last word"
    );
    assert!(refused > 0);
}

#[tokio::test]
async fn a_request_that_kills_whoever_takes_it_reaches_no_more_than_three() {
    let router = TestRouter::start().await;
    let deaths = Arc::new(AtomicUsize::new(0));
    let mut backends = Vec::new();
    for _ in 0..6 {
        let deaths = deaths.clone();
        let backend = Backend::start(move |mut peer, _| {
            let deaths = deaths.clone();
            async move {
                while let Some(request) = peer.request().await {
                    if request.head.starts_with("GET /poison") {
                        deaths.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .await;
                }
            }
        })
        .await;
        router.route("a.example.com", backend.address);
        backends.push(backend);
    }
    // On new connections, then on kept ones, which are tried anew on the same instance.
    for kept in [false, true] {
        if kept {
            eventually(SOON, async || {
                for member in &router
                    .worker
                    .table
                    .load()
                    .lookup("a.example.com", "")
                    .unwrap()
                    .members
                {
                    member.endpoint.set_aside(0);
                }
                router.get("a.example.com", "/").await;
                match router.worker.backends.idle_count() {
                    6.. => Ok(()),
                    idle => Err(format!("{idle} kept")),
                }
            })
            .await;
        }
        deaths.store(0, Ordering::SeqCst);
        let answer = router.get("a.example.com", "/poison").await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_eq!(deaths.load(Ordering::SeqCst), 3, "kept connections: {kept}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, _| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            .await;
    })
    .await;
    router.route("a.example.com", backend.address);
    let mut client = router.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
        .await;
    client.head().await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(SOON, client.socket.read_to_end(&mut rest))
        .await
        .expect("the connection ends");
    assert!(client.read.len() + rest.len() < 100);
}

#[tokio::test]
async fn a_slow_instance_is_a_timeout() {
    let router =
        TestRouter::with(|policy| policy.response_timeout = Duration::from_millis(100)).await;
    let backend = Backend::start(|mut peer, _| async move { while peer.more().await {} }).await;
    router.route("a.example.com", backend.address);
    let answer = router.get("a.example.com", "/").await;
    assert_eq!(answer.status, 504);
    assert_eq!(
        backend.count(),
        1,
        "an instance that is slow is not asked twice"
    );
}

#[tokio::test]
async fn a_full_instance_is_not_asked() {
    let router = TestRouter::with(|policy| policy.max_per_endpoint = 1).await;
    let backend = Backend::start(|mut peer, _| async move { while peer.more().await {} }).await;
    router.route("a.example.com", backend.address);
    let mut first = router.connect().await;
    first
        .send("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
        .await;
    let answer = eventually(SOON, async || {
        let mut client = router.connect().await;
        client
            .send("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
            .await;
        tokio::time::timeout(Duration::from_millis(200), client.answer())
            .await
            .map_err(|_| "no answer".to_string())
    })
    .await;
    assert_eq!(
        (answer.status, answer.header("x-cf-routererror")),
        (503, Some("Connection Limit Reached"))
    );
}

#[tokio::test]
async fn a_client_may_wait_for_the_instance_to_want_its_body() {
    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, number| async move {
        let head = peer.head().await.unwrap();
        assert!(
            head.to_ascii_lowercase().contains("expect: 100-continue"),
            "{head}"
        );
        if number == 0 {
            peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            while peer.read.len() < 5 && peer.more().await {}
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        } else {
            peer.send("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\n\r\n")
                .await;
            while peer.more().await {}
        }
    })
    .await;
    router.route("a.example.com", backend.address);
    let request = "POST / HTTP/1.1\r\nHost: a.example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut client = router.connect().await;
    client.send(request).await;
    assert!(client.head().await.starts_with("HTTP/1.1 100"));
    client.send("hello").await;
    assert_eq!(client.answer().await.status, 200);

    let begun = Instant::now();
    router.worker.backends.sweep(&Default::default());
    let answer = router.ask(request).await;
    assert_eq!(
        answer.status, 413,
        "a refusal comes without the body being asked for"
    );
    assert!(begun.elapsed() < Duration::from_millis(900));
}

#[tokio::test]
async fn a_websocket_is_a_tunnel() {
    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, _| async move {
        let head = peer.head().await.unwrap().to_ascii_lowercase();
        assert!(head.contains("connection: upgrade") && head.contains("upgrade: websocket"), "{head}");
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n").await;
        loop {
            let said: Vec<u8> = peer.read.drain(..).collect();
            peer.send(said).await;
            if !peer.more().await {
                return;
            }
        }
    })
    .await;
    router.route("a.example.com", backend.address);
    let mut client = router.connect().await;
    // Frames sent before the answer belong to the tunnel.
    client.send("GET /ws HTTP/1.1\r\nHost: a.example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nearly\n").await;
    let head = client.head().await.to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 101")
            && head.contains("upgrade: websocket")
            && head.contains("connection: upgrade"),
        "{head}"
    );
    assert_eq!(
        client
            .read_until(|read| (read.len() >= 6).then_some(6))
            .await,
        b"early\n"
    );
    for round in 0..100 {
        // Not HTTP, and full of what the front would refuse.
        let said = format!("\n\nGET nonsense {round}\r\n\r\n");
        client.send(&said).await;
        assert_eq!(
            client
                .read_until(|read| (read.len() >= said.len()).then_some(said.len()))
                .await,
            said.as_bytes()
        );
    }
    drop(client);
    assert!(router.access_log(1).await[0].contains("\" 101 "));
}

#[tokio::test]
async fn an_upgrade_that_is_refused_leaves_an_ordinary_connection() {
    let router = TestRouter::start().await;
    let backend = Backend::saying("no").await;
    router.route("a.example.com", backend.address);
    let mut client = router.connect().await;
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for _ in 0..3 {
        client.send(upgrade).await;
        assert_eq!(client.answer().await.body, "no");
        client
            .send("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
            .await;
        assert_eq!(client.answer().await.body, "no");
    }
    // For a route that is not there, too.
    client.send(upgrade.replace("a.example", "b.example")).await;
    assert_eq!(client.answer().await.status, 404);
    client
        .send("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.body, "no");
}

#[tokio::test]
async fn sessions_stay_with_their_instance() {
    let router = TestRouter::start().await;
    let mut backends = Vec::new();
    for _ in 0..4 {
        let backend = Backend::start(|mut peer, _| async move {
            while let Some(request) = peer.request().await {
                let who = request
                    .head
                    .to_ascii_lowercase()
                    .lines()
                    .find_map(|line| line.strip_prefix("x-cf-instanceid: ").map(str::to_string))
                    .unwrap();
                let cookie = if request.head.starts_with("GET /login") {
                    "Set-Cookie: JSESSIONID=s; Secure\r\n"
                } else {
                    ""
                };
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\n{cookie}Content-Length: {}\r\n\r\n{who}",
                    who.len()
                ))
                .await;
            }
        })
        .await;
        router.route("a.example.com", backend.address);
        backends.push(backend);
    }
    let login = router.get("a.example.com", "/login").await;
    let cookie = login
        .head
        .lines()
        .find(|line| line.contains("__VCAP_ID__"))
        .unwrap()
        .to_string();
    assert!(
        cookie.contains("Secure") && cookie.contains("HttpOnly"),
        "{cookie}"
    );
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a.example.com\r\nCookie: JSESSIONID=s; __VCAP_ID__={}\r\n\r\n",
        login.body
    );
    for _ in 0..10 {
        assert_eq!(router.ask(&request).await.body, login.body);
    }
    // The instance is gone: another one takes the session.
    let gone = backends
        .iter()
        .find(|backend| login.body.ends_with(&backend.address.port().to_string()))
        .unwrap();
    gone.stop();
    eventually(SOON, async || {
        let answer = router.ask(&request).await;
        if answer.status == 200 && answer.body != login.body {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn an_instance_can_be_asked_for_by_index() {
    let router = TestRouter::start().await;
    let (zero, one) = (Backend::saying("zero").await, Backend::saying("one").await);
    router.route("a.example.com", zero.address);
    router.register(&proto::bus::router::Registration {
        private_instance_index: Some("1".into()),
        ..registration("a.example.com", one.address)
    });
    let ask = async |value: &str| {
        router
            .ask(&format!(
                "GET / HTTP/1.1\r\nHost: a.example.com\r\nX-Cf-App-Instance: {value}\r\n\r\n"
            ))
            .await
    };
    for _ in 0..5 {
        assert_eq!(ask("app-guid:1").await.body, "one");
        assert_eq!(ask("app-guid:0").await.body, "zero");
    }
    let answer = ask("app-guid:9").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains(
        "Requested instance ('9') with guid ('app-guid') does not exist for route ('a.example.com')"
    ));
    let answer = ask("app-guid").await;
    assert_eq!(
        (answer.status, answer.header("x-cf-routererror")),
        (400, Some("invalid_cf_app_instance_header"))
    );
}

#[tokio::test]
async fn the_end_waits_for_requests_under_way() {
    let router = TestRouter::start().await;
    let (release, released) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |mut peer, _| {
        let mut released = released.clone();
        async move {
            peer.request().await;
            released.wait_for(|now| *now).await.unwrap();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
                .await;
        }
    })
    .await;
    router.route("a.example.com", backend.address);
    let mut idle = router.connect().await;
    let mut busy = router.connect().await;
    busy.send("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
        .await;
    eventually(SOON, async || {
        if backend.count() == 1 {
            Ok(())
        } else {
            Err("not asked".into())
        }
    })
    .await;
    let tasks = router.tasks.clone();
    let ending = tokio::spawn(async move { tasks.stop(Duration::from_secs(10)).await });
    assert!(idle.is_closed().await, "an idle client is let go");
    eventually(SOON, async || {
        match tokio::net::TcpStream::connect(router.address).await {
            Err(_) => Ok(()),
            Ok(_) => Err("still accepting".into()),
        }
    })
    .await;
    release.send(true).unwrap();
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
    assert!(busy.is_closed().await);
    tokio::time::timeout(Duration::from_secs(8), ending)
        .await
        .expect("the end does not wait for the deadline")
        .unwrap();
}

#[tokio::test]
async fn heads_and_answers_of_http_1_0_work() {
    let (router, backend) = (TestRouter::start().await, Backend::saying("old").await);
    router.route("a.example.com", backend.address);
    let mut client = router.connect().await;
    client
        .send("GET / HTTP/1.0\r\nHost: a.example.com\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.body, "old");
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn head_and_empty_answers_have_no_body() {
    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            let answer = match request.head.split(' ').nth(1) {
                Some("/none") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("/same") => {
                    "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: \"x\"\r\n\r\n"
                }
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            };
            peer.send(answer).await;
        }
    })
    .await;
    router.route("a.example.com", backend.address);
    let mut client = router.connect().await;
    for (request, status) in [
        ("HEAD /", "200"),
        ("GET /none", "204"),
        ("GET /same", "304"),
        ("HEAD /", "200"),
    ] {
        client
            .send(format!("{request} HTTP/1.1\r\nHost: a.example.com\r\n\r\n"))
            .await;
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        assert!(client.read.is_empty());
    }
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn the_path_of_a_route_and_the_target_of_a_redirect_stay_as_they_are() {
    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            let path = request.head.split(' ').nth(1).unwrap().to_string();
            peer.send(format!(
                "HTTP/1.1 302 Found\r\nLocation: http://elsewhere:1{path}?a=%2F\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
        }
    })
    .await;
    router.route("a.example.com/api/v1", backend.address);
    let answer = router.get("a.example.com", "/Api/v1/Things").await;
    assert_eq!(answer.status, 302);
    assert_eq!(
        answer.header("location"),
        Some("http://elsewhere:1/Api/v1/Things?a=%2F")
    );
    assert_eq!(router.get("a.example.com", "/api").await.status, 404);
}
