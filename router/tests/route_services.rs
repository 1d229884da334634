//! Route services: requests go there first, and to the app only with the router's seal of having been there.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use proto::bus::router::Registration;
use router::domain::policy::Policy;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use support::authority::{Authority, Papers};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const GUARD: &str = "https://guard.example.com/in?key=1";

fn guarded(uri: &str, url: &str, app: SocketAddr) -> Registration {
    Registration {
        route_service_url: Some(url.into()),
        ..registration(uri, app)
    }
}

struct World {
    router: TestRouter,
    app: Backend,
    /// Says what it was sent.
    guard: Backend,
}

/// An app behind a service that is itself an app of the cluster.
async fn world(change: impl FnOnce(&mut Policy)) -> World {
    let router = TestRouter::with(change).await;
    let (app, guard) = (Backend::echo().await, Backend::echo().await);
    router.route("guard.example.com", guard.address);
    router.register(&guarded("a.example.com", GUARD, app.address));
    World { router, app, guard }
}

/// The headers by which the service sends a request back, as it was sent them.
fn seal(sent: &Answer) -> String {
    let of_service = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("x-cf-proxy-") || line.starts_with("x-cf-forwarded-url")
    };
    sent.body
        .lines()
        .filter(of_service)
        .map(|line| format!("{line}\r\n"))
        .collect()
}

async fn with_headers(router: &TestRouter, host: &str, headers: &str) -> Answer {
    let request = format!("GET /back HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    router.ask(&request).await
}

fn refusal(answer: &Answer) -> (u16, Option<&str>) {
    (answer.status, answer.header("x-cf-routererror"))
}

#[tokio::test]
async fn a_request_goes_to_the_service_and_with_its_seal_to_the_app() {
    let world = world(|_| {}).await;
    let sent = world.router.get("a.example.com", "/x?y=z").await;
    assert_eq!(sent.status, 200);
    assert_eq!((world.guard.count(), world.app.count()), (1, 0));
    let head = sent.body.to_ascii_lowercase();
    assert!(head.starts_with("get /in?key=1 http/1.1"), "{head}");
    assert!(head.contains("host: guard.example.com\r\n"), "{head}");
    assert!(
        head.contains("x-cf-forwarded-url: http://a.example.com/x?y=z\r\n"),
        "{head}"
    );
    let back = with_headers(&world.router, "a.example.com", &seal(&sent)).await;
    assert_eq!(back.status, 200);
    assert_eq!(world.app.count(), 1);
    let head = back.body.to_ascii_lowercase();
    assert!(head.starts_with("get /back http/1.1"), "{head}");
    assert!(!head.contains("x-cf-proxy-"), "{head}");
    assert!(!head.contains("x-cf-forwarded-url"), "{head}");
}

#[tokio::test]
async fn no_seal_but_the_routers_own_for_this_route_leads_past_the_service() {
    let world = world(|_| {}).await;
    let other = Backend::echo().await;
    let router = &world.router;
    router.register(&guarded("b.example.com", GUARD, other.address));
    router.register(&guarded(
        "c.example.com",
        "https://guard.example.com/other",
        other.address,
    ));
    let sealed = seal(&router.get("a.example.com", "/").await);
    const INVALID: (u16, Option<&str>) = (400, Some("invalid_route_service_signature"));
    let forged = "X-CF-Proxy-Signature: c2Vzc2Ft\r\nX-CF-Proxy-Metadata: e30=\r\n";
    let half: String = sealed
        .lines()
        .filter(|line| !line.to_ascii_lowercase().starts_with("x-cf-proxy-metadata"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    for (host, headers) in [
        ("a.example.com", forged),
        ("a.example.com", half.as_str()),
        // What was sealed for another route, or another service of the same app.
        ("b.example.com", sealed.as_str()),
        ("c.example.com", sealed.as_str()),
    ] {
        let answer = with_headers(router, host, headers).await;
        assert_eq!(refusal(&answer), INVALID, "{host} {headers}");
    }
    assert_eq!((world.app.count(), other.count()), (0, 0));
}

#[tokio::test]
async fn a_seal_that_is_too_old_is_of_no_use() {
    let world = world(|policy| policy.route_services.valid_for = Duration::ZERO).await;
    let sealed = seal(&world.router.get("a.example.com", "/").await);
    // In the same millisecond it is good.
    eventually(SOON, async || {
        let answer = with_headers(&world.router, "a.example.com", &sealed).await;
        match refusal(&answer) {
            (504, Some("expired_route_service_signature")) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_service_cannot_do_is_refused_and_nobody_gets_past_it() {
    let world = world(|_| {}).await;
    let router = &world.router;
    let upgrade = router
        .ask("GET / HTTP/1.1\r\nHost: a.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(refusal(&upgrade), (503, Some("route_service_unsupported")));
    // A service that has one itself would be let past its own.
    router.register(&guarded(
        "guard.example.com",
        "https://elsewhere.example.com",
        world.guard.address,
    ));
    let chained = router.get("a.example.com", "/").await;
    assert_eq!(refusal(&chained), (502, Some("route_service_unsupported")));
    assert_eq!((world.guard.count(), world.app.count()), (0, 0));
}

#[tokio::test]
async fn services_are_a_setting_and_a_slow_one_is_a_timeout() {
    let off = world(|policy| policy.route_services.enabled = false).await;
    let answer = off.router.get("a.example.com", "/").await;
    assert_eq!(refusal(&answer), (502, Some("route_service_unsupported")));
    assert_eq!((off.guard.count(), off.app.count()), (0, 0));

    let router =
        TestRouter::with(|policy| policy.route_services.timeout = Duration::from_millis(100)).await;
    let (app, silent) = (
        Backend::echo().await,
        Backend::start(|mut peer, _| async move { while peer.more().await {} }).await,
    );
    router.route("guard.example.com", silent.address);
    router.register(&guarded("a.example.com", GUARD, app.address));
    assert_eq!(router.get("a.example.com", "/").await.status, 504);
    assert_eq!(app.count(), 0);
}

/// A service outside the cluster: says over TLS what it was sent.
async fn outside(papers: &Papers) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_slice_iter(papers.chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(papers.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut socket) = acceptor.accept(socket).await else {
                continue;
            };
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\n") {
                let mut piece = [0; 4096];
                match socket.read(&mut piece).await {
                    Ok(count) if count > 0 => read.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                read.len()
            );
            let _ = socket.write_all(head.as_bytes()).await;
            let _ = socket.write_all(&read).await;
            let _ = socket.shutdown().await;
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_service_outside_is_asked_over_tls_and_has_to_prove_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (known, stranger) = (Authority::new(), Authority::new());
    known.is_trusted_in(folder.path());
    let router = TestRouter::believing(folder.path(), |policy| {
        policy.route_services.loopback = true
    })
    .await;
    let app = Backend::echo().await;
    let (good, _task) = outside(&known.papers("localhost")).await;
    let (bad, _other) = outside(&stranger.papers("localhost")).await;
    let url = |address: SocketAddr| format!("https://localhost:{}/in", address.port());
    router.register(&guarded("a.example.com", &url(good), app.address));
    router.register(&guarded("b.example.com", &url(bad), app.address));
    // More than once: a service that fails stays the route's service.
    for _ in 0..3 {
        assert_eq!(router.get("b.example.com", "/").await.status, 526);
        let sent = router.get("a.example.com", "/").await;
        assert_eq!(sent.status, 200);
        assert!(sent.body.starts_with("GET /in HTTP/1.1"), "{}", sent.body);
        let host = format!("host: localhost:{}", good.port());
        assert!(
            sent.body.to_ascii_lowercase().contains(&host),
            "{}",
            sent.body
        );
    }
    assert_eq!(app.count(), 0);
    let back = seal(&router.get("a.example.com", "/").await);
    assert_eq!(
        with_headers(&router, "a.example.com", &back).await.status,
        200
    );
    assert_eq!(app.count(), 1);
}

#[tokio::test]
async fn the_routers_own_machine_is_no_route_service_unless_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.is_trusted_in(folder.path());
    let router = TestRouter::believing(folder.path(), |_| {}).await;
    let app = Backend::echo().await;
    let (service, _task) = outside(&authority.papers("localhost")).await;
    let url = format!("https://localhost:{}", service.port());
    router.register(&guarded("a.example.com", &url, app.address));
    let answer = router.get("a.example.com", "/").await;
    assert_eq!(answer.status, 502);
    assert!(
        answer
            .header("x-cf-routererror")
            .is_some_and(|code| code.contains("own machine")),
        "{}",
        answer.head
    );
    assert_eq!(app.count(), 0);
}
