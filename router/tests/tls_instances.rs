//! Instances over TLS: only who proves to be the one that was registered gets a request.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto::bus::router::Registration;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::authority::{Authority, Papers};
use support::streaming::{connect, full, post};
use support::*;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// An instance over TLS that says its name and by which HTTP it was asked.
struct Instance {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Instance {
    async fn start(name: &'static str, papers: &Papers, clients: Option<&Authority>) -> Instance {
        Instance::at("127.0.0.1:0".parse().unwrap(), name, papers, clients).await
    }

    async fn at(
        address: SocketAddr,
        name: &'static str,
        papers: &Papers,
        clients: Option<&Authority>,
    ) -> Instance {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            Some(authority) => {
                let roots = Arc::new(authority.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        let chain = CertificateDer::from_pem_slice(papers.chain.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(papers.key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(vec![chain], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let task = tokio::spawn(async move {
            let mut served = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, counted) = (acceptor.clone(), counted.clone());
                served.spawn(async move {
                    let Ok(socket) = acceptor.accept(socket).await else {
                        return;
                    };
                    let service = service_fn(move |request: http::Request<_>| {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let text = format!("{name} {:?}", request.version());
                        async move {
                            Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(text))))
                        }
                    });
                    let http2 = socket.get_ref().1.alpn_protocol() == Some(b"h2");
                    let socket = TokioIo::new(socket);
                    if http2 {
                        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(socket, service)
                            .await;
                    } else {
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(socket, service)
                            .await;
                    }
                });
            }
        });
        Instance {
            address,
            asked,
            task,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// As an instance over TLS that must prove to be this one.
fn proving(uri: &str, address: SocketAddr, san: &str) -> Registration {
    Registration {
        port: None,
        tls_port: Some(address.port()),
        server_cert_domain_san: Some(san.to_string()),
        ..registration(uri, address)
    }
}

/// What is left of a name's endpoints.
async fn left(router: &TestRouter, host: &str, wanted: usize) {
    eventually(SOON, async || {
        let table = router.worker.table.load();
        let found = table.lookup(host, "").map_or(0, |pool| pool.members.len());
        (found == wanted)
            .then_some(())
            .ok_or(format!("{found} instead of {wanted}"))
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_proves_who_it_is_gets_requests_by_either_http() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.is_trusted_in(folder.path());
    let router = TestRouter::trusting(folder.path()).await;
    let instance = Instance::start("a", &authority.papers("guid-a"), None).await;
    router.register(&proving("a", instance.address, "guid-a"));
    assert_eq!(router.get("a", "/").await.body, "a HTTP/1.1");
    let two = Registration {
        protocol: Some("http2".into()),
        ..proving("b", instance.address, "guid-a")
    };
    router.register(&two);
    assert_eq!(router.get("b", "/").await.body, "a HTTP/2.0");
    let mut client = connect(router.address).await;
    let answer = client.send_request(post("b", full("x"))).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "a HTTP/2.0");
    // Without a name of its own its address is what it has to prove.
    let by_address = Registration {
        server_cert_domain_san: None,
        ..proving("c", instance.address, "")
    };
    router.register(&by_address);
    assert_eq!(router.get("c", "/").await.status, 503);
    let papers = authority.papers("127.0.0.1");
    let instance = Instance::start("c", &papers, None).await;
    router.register(&Registration {
        server_cert_domain_san: None,
        ..proving("d", instance.address, "")
    });
    assert_eq!(router.get("d", "/").await.body, "c HTTP/1.1");
}

#[tokio::test]
async fn an_address_that_another_app_got_never_gets_the_first_ones_requests() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.is_trusted_in(folder.path());
    let router = TestRouter::trusting(folder.path()).await;
    let first = Instance::start("first", &authority.papers("guid-first"), None).await;
    let address = first.address;
    router.register(&proving("a", address, "guid-first"));
    assert_eq!(router.get("a", "/").await.body, "first HTTP/1.1");
    // It ends, and another app gets its port; nobody tells the router.
    first.task.abort();
    drop(first);
    let other = eventually(SOON, async || match std::net::TcpListener::bind(address) {
        Ok(free) => {
            drop(free);
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    });
    other.await;
    let other = Instance::at(address, "other", &authority.papers("guid-other"), None).await;
    let right = Instance::start("right", &authority.papers("guid-first"), None).await;
    router.register(&proving("a", right.address, "guid-first"));
    // Another is tried, whatever the method, and the wrong one is forgotten.
    for _ in 0..10 {
        let answer = router
            .ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        assert_eq!(answer.body, "right HTTP/1.1");
    }
    eventually(SOON, async || {
        router.get("a", "/").await;
        let table = router.worker.table.load();
        let members = table.lookup("a", "").map_or(0, |pool| pool.members.len());
        (members == 1)
            .then_some(())
            .ok_or(format!("{members} left"))
    })
    .await;
    assert_eq!(other.asked(), 0);
    // Nobody but the wrong one: it is said so, and it goes.
    router.register(&proving("b", address, "guid-first"));
    let answer = router.get("b", "/").await;
    assert_eq!(answer.status, 503);
    let code = answer.header("x-cf-routererror").unwrap();
    assert!(
        code.starts_with("endpoint_failure (cannot speak TLS"),
        "{code}"
    );
    left(&router, "b", 0).await;
    let answer = router.get("b", "/").await;
    assert_eq!(answer.header("x-cf-routererror"), Some("no_endpoints"));
    // Registered again it gets another chance, and loses it again.
    router.register(&proving("b", address, "guid-first"));
    left(&router, "b", 1).await;
    assert_eq!(router.get("b", "/").await.status, 503);
    left(&router, "b", 0).await;
    assert_eq!(other.asked(), 0);
}

#[tokio::test]
async fn what_is_wrong_with_an_instance_is_told() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.is_trusted_in(folder.path());
    let router = TestRouter::trusting(folder.path()).await;
    let stranger = Authority::new();
    let untrusted = Instance::start("x", &stranger.papers("guid"), None).await;
    router.register(&proving("untrusted", untrusted.address, "guid"));
    let answer = router.get("untrusted", "/").await;
    assert_eq!(answer.status, 526, "{answer:?}");
    assert!(answer.body.starts_with("526 Invalid SSL Certificate: "));
    assert_eq!(untrusted.asked(), 0);

    let plain = Backend::start(|mut peer, _| async move {
        peer.more().await;
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    router.register(&proving("plain", plain.address, "guid"));
    let answer = router.get("plain", "/").await;
    assert_eq!(answer.status, 525, "{answer:?}");
    left(&router, "plain", 0).await;

    router.register(&proving("dead", dead_address(), "guid"));
    assert_eq!(router.get("dead", "/").await.status, 502);
    left(&router, "dead", 0).await;
}

#[tokio::test]
async fn the_router_says_who_it_is_to_instances_that_ask() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.is_trusted_in(folder.path());
    let router = TestRouter::trusting(folder.path()).await;
    let papers = authority.papers("guid");
    let instance = Instance::start("a", &papers, Some(&authority)).await;
    router.register(&proving("a", instance.address, "guid"));
    let answer = router.get("a", "/").await;
    // (Whether its alert or the end of the connection is seen first is a race that TLS 1.3 has.)
    assert!(matches!(answer.status, 496 | 502), "{answer:?}");
    assert_eq!(instance.asked(), 0);

    let own = authority.papers("router");
    std::fs::write(folder.path().join("client.pem"), own.text()).unwrap();
    router.trust.look();
    router.register(&proving("a", instance.address, "guid"));
    assert_eq!(router.get("a", "/").await.body, "a HTTP/1.1");
}

#[tokio::test]
async fn without_anybody_to_trust_instances_are_reached_in_the_plain() {
    let folder = tempfile::tempdir().unwrap();
    let router = TestRouter::trusting(folder.path()).await;
    let (plain, authority) = (Backend::saying("plain").await, Authority::new());
    let secure = Instance::start("a", &authority.papers("guid"), None).await;
    let both = Registration {
        port: Some(plain.address.port()),
        ..proving("a", secure.address, "guid")
    };
    router.register(&both);
    assert_eq!(router.get("a", "/").await.body, "plain");
    let only =
        router::domain::announcement::Announcement::read(&proving("a", secure.address, "g"), false);
    assert!(only.is_err());
    // From the moment somebody is trusted TLS is preferred; a bad file changes nothing.
    authority.is_trusted_in(folder.path());
    router.trust.look();
    router.register(&Registration {
        uris: vec!["b".into()],
        ..both.clone()
    });
    assert_eq!(router.get("b", "/").await.body, "a HTTP/1.1");
    std::fs::write(
        folder.path().join("bad.pem"),
        "-----BEGIN CERTIFICATE-----\nx",
    )
    .unwrap();
    router.trust.look();
    assert!(router.trust.is_there());
    assert_eq!(router.get("b", "/").await.body, "a HTTP/1.1");
}
