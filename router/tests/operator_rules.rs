//! What operators and owners of routes may set: headers, traces, logs, pages, health, zones, hashes, sessions.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use http::{HeaderName, HeaderValue};
use proto::bus::router::{Registration, RouteOptions};
use router::adapters::certificates::Certificates;
use router::adapters::client_authorities::ClientAuthorities;
use router::adapters::server::Tls;
use router::domain::header_rules::{ForwardedCertificate, ForwardedProto};
use router::domain::log_rules::Query;
use router::domain::policy::{ClientCertificates, Policy};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use support::authority::{Authority, Papers};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

async fn echo(change: impl FnOnce(&mut Policy)) -> (TestRouter, Backend) {
    let router = TestRouter::with(change).await;
    let backend = Backend::echo().await;
    router.route("a.example.com", backend.address);
    (router, backend)
}

fn request(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.example.com\r\n{headers}\r\n")
}

#[tokio::test]
async fn apps_are_told_a_forced_protocol_and_a_trace() {
    let (router, _backend) = echo(|policy| {
        policy.headers.touch_requests = true;
        policy.headers.forwarded_proto = ForwardedProto::Https;
        policy.headers.b3 = true;
        policy.headers.w3c = true;
    })
    .await;
    let answer = router.ask(&request("X-Forwarded-Proto: http\r\n")).await;
    let head = answer.body.to_ascii_lowercase();
    assert!(head.contains("x-forwarded-proto: https\r\n"), "{head}");
    let id = answer.header("x-vcap-request-id").unwrap().replace('-', "");
    assert!(head.contains(&format!("x-b3-traceid: {id}\r\n")), "{head}");
    assert!(head.contains(&format!("traceparent: 00-{id}-")), "{head}");
    assert!(head.contains("tracestate: gorouter="), "{head}");

    let known = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("traceparent: 00-{known}-00f067aa0ba902b7-00\r\n");
    let head = router.ask(&request(&parent)).await.body;
    assert!(
        head.contains(&format!("traceparent: 00-{known}-")),
        "{head}"
    );
    assert!(!head.contains("00f067aa0ba902b7"), "{head}");
}

#[tokio::test]
async fn traces_pass_as_they_come_unless_they_are_wanted() {
    let (router, _backend) = echo(|_| {}).await;
    let head = router.ask(&request("b3: own\r\n")).await.body;
    assert!(head.contains("b3: own\r\n"), "{head}");
    assert!(!head.contains("traceparent") && !head.contains("x-b3-traceid"));
}

#[tokio::test]
async fn who_knows_the_key_is_told_who_answered_and_answers_are_rewritten() {
    let (router, backend) = echo(|policy| {
        policy.headers.trace_key = Some("sesame".into());
        policy.headers.add = vec![(
            HeaderName::from_static("x-frame-options"),
            HeaderValue::from_static("DENY"),
        )];
        policy.headers.remove = vec![HeaderName::from_static("content-language")];
    })
    .await;
    let answer = router.ask(&request("X-Vcap-Trace: sesame\r\n")).await;
    let address = backend.address.to_string();
    assert_eq!(answer.header("x-vcap-backend"), Some(address.as_str()));
    assert_eq!(answer.header("x-cf-routeendpoint"), Some(address.as_str()));
    assert_eq!(answer.header("x-vcap-router"), Some("10.0.0.9"));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    for guess in ["", "X-Vcap-Trace: guess\r\n"] {
        let answer = router.ask(&request(guess)).await;
        assert_eq!(answer.header("x-vcap-backend"), None, "{guess}");
    }
    let french = Backend::start(|mut peer, _| async move {
        while peer.request().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Language: fr\r\nX-Frame-Options: SAMEORIGIN\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    router.route("b.example.com", french.address);
    let answer = router.get("b.example.com", "/").await;
    assert_eq!(answer.header("content-language"), None);
    assert_eq!(answer.header("x-frame-options"), Some("SAMEORIGIN"));
}

#[tokio::test]
async fn a_load_balancer_asks_for_health_at_the_entrance() {
    let (router, backend) = echo(|_| {}).await;
    let asking = |host: &str| {
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: HTTP-Monitor/1.1\r\n\r\n")
    };
    let answer = router.ask(&asking("10.0.0.9")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    assert_eq!(router.get("10.0.0.9", "/").await.status, 404);
    // A route is a route, whoever asks.
    assert_eq!(router.ask(&asking("a.example.com")).await.status, 200);
    assert_eq!(backend.count(), 1);
    let mut kept = router.connect().await;
    kept.send(asking("10.0.0.9")).await;
    assert_eq!(kept.answer().await.status, 200);
}

#[tokio::test]
async fn people_get_a_page_and_programs_get_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("error.html");
    std::fs::write(&file, "<h1>{{ .Status }}</h1><p>{{ .Message }}</p>").unwrap();
    let path = file.display().to_string();
    let (router, _backend) = echo(|policy| policy.error_page = Some(path.into())).await;
    let ask = |accept: &str| {
        format!("GET / HTTP/1.1\r\nHost: none.example.com\r\nAccept: {accept}\r\n\r\n")
    };
    let page = router.ask(&ask("text/html,application/xhtml+xml")).await;
    assert_eq!(page.status, 404);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(page.header("x-cf-routererror"), Some("unknown_route"));
    assert_eq!(
        page.body,
        "<h1>404</h1><p>Requested route (&#39;none.example.com&#39;) does not exist.</p>"
    );
    let text = router.ask(&ask("application/json")).await;
    assert!(text.body.starts_with("404 Not Found: "), "{}", text.body);
    // Answers of apps are theirs.
    let own = router.ask(&request("Accept: text/html\r\n")).await;
    assert!(own.body.starts_with("GET / "), "{}", own.body);
}

#[tokio::test]
async fn the_access_log_keeps_what_it_is_to_keep_to_itself() {
    let (router, _backend) = echo(|policy| {
        policy.log.json = true;
        policy.log.query = Query::Drop;
        policy.log.source_address = false;
        policy.log.forwarded_for = false;
        policy.log.headers = vec![HeaderName::from_static("x-user")];
    })
    .await;
    router
        .ask("GET /x?token=sesame HTTP/1.1\r\nHost: a.example.com\r\nReferer: http://r/?token=sesame\r\nX-User: dora\r\n\r\n")
        .await;
    let line = router.access_log(1).await.remove(0);
    assert!(
        !line.contains("sesame") && !line.contains("127.0.0.1:0"),
        "{line}"
    );
    let read: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(read["uri"], "/x");
    assert_eq!(read["referer"], "http://r/");
    assert_eq!(read["x_user"], "dora");
    assert_eq!(read["status"], 200);
    assert_eq!(read["remote_address"], serde_json::Value::Null);
    assert_eq!(read["x_forwarded_for"], serde_json::Value::Null);
}

fn in_zone(backend: &Backend, zone: &str) -> Registration {
    Registration {
        availability_zone: Some(zone.into()),
        ..registration("z.example.com", backend.address)
    }
}

#[tokio::test]
async fn instances_nearby_are_asked_first_and_others_when_those_fail() {
    let router = TestRouter::with(|policy| policy.zone = Some("here".into())).await;
    let (near, far) = (Backend::saying("near").await, Backend::saying("far").await);
    router.register(&in_zone(&near, "here"));
    router.register(&in_zone(&far, "there"));
    for _ in 0..20 {
        assert_eq!(router.get("z.example.com", "/").await.body, "near");
    }
    near.stop();
    let address = near.address;
    drop(near);
    eventually(SOON, async || match TcpStream::connect(address).await {
        Ok(_) => Err("it is still there".to_string()),
        Err(_) => Ok(()),
    })
    .await;
    for _ in 0..5 {
        assert_eq!(router.get("z.example.com", "/").await.body, "far");
    }
}

#[tokio::test]
async fn a_route_may_choose_its_instance_by_a_header() {
    let router = TestRouter::start().await;
    let mut backends = Vec::new();
    for text in ["0", "1", "2", "3"] {
        let backend = Backend::saying(text).await;
        router.register(&Registration {
            options: Some(RouteOptions {
                loadbalancing: Some("hash".into()),
                hash_header: Some("X-User".into()),
                ..RouteOptions::default()
            }),
            ..registration("a.example.com", backend.address)
        });
        backends.push(backend);
    }
    let mut seen = BTreeSet::new();
    for user in 0..40 {
        let asking = request(&format!("X-User: user-{user}\r\n"));
        let home = router.ask(&asking).await.body;
        for _ in 0..3 {
            assert_eq!(router.ask(&asking).await.body, home);
        }
        seen.insert(home);
    }
    assert_eq!(seen.len(), 4, "users are spread");
    let mut without = BTreeSet::new();
    for _ in 0..60 {
        without.insert(router.ask(&request("")).await.body);
    }
    assert!(without.len() > 1, "who has no such header goes anywhere");
}

#[tokio::test]
async fn a_session_whose_instance_is_gone_is_told_the_next_one() {
    let (router, backend) = echo(|policy| policy.sticky.cookies = vec!["sid".into()]).await;
    let cookies = "Cookie: sid=1; __VCAP_ID__=gone; __VCAP_ID_META__=Secure\r\n";
    let answer = router.ask(&request(cookies)).await;
    let set: Vec<&str> = answer
        .head
        .lines()
        .filter_map(|line| line.strip_prefix("set-cookie: "))
        .collect();
    let instance = format!("instance-{}", backend.address.port());
    assert_eq!(
        set,
        [
            format!("__VCAP_ID__={instance}; Path=/; HttpOnly; Secure"),
            "__VCAP_ID_META__=Secure; Path=/; HttpOnly; Secure".to_string()
        ]
    );
    let here = format!("Cookie: sid=1; __VCAP_ID__={instance}\r\n");
    assert!(
        !router
            .ask(&request(&here))
            .await
            .head
            .contains("set-cookie")
    );
}

/// Asks over TLS, perhaps showing a certificate; the answer's text, or why there was none.
async fn ask(
    address: SocketAddr,
    trusted: &Authority,
    shown: Option<&Papers>,
    text: &str,
) -> std::io::Result<String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted.roots());
    let config = match shown {
        Some(papers) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(papers.chain.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(papers.key.as_bytes()).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from("a.example.com").unwrap();
    let exchange = async {
        let connector = TlsConnector::from(Arc::new(config));
        let mut socket = connector.connect(name, socket).await?;
        socket.write_all(text.as_bytes()).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(SOON, exchange).await.expect("in time")
}

const FORGED: &str = "GET / HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\nX-Forwarded-Client-Cert: forged\r\n\r\n";

#[tokio::test]
async fn clients_show_certificates_and_apps_are_told_which() {
    let (certificates, authorities) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (site, known, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let own = site.papers("a.example.com");
    std::fs::write(certificates.path().join("own.pem"), own.text()).unwrap();
    let (router, _backend) = echo(|policy| {
        policy.header_timeout = Duration::from_secs(5);
        policy.client_certificates = ClientCertificates::Request;
        policy.headers.touch_requests = true;
        policy.headers.forwarded_certificate = ForwardedCertificate::Own;
    })
    .await;
    let certificates = Certificates::new(certificates.path().to_path_buf());
    let clients = ClientAuthorities::new(authorities.path().to_path_buf(), certificates.clone());
    let tls = Tls::new(certificates, Some(clients.clone())).unwrap();
    let address = router.enter(Some(tls));
    let set = |mode| {
        let mut policy = Policy::clone(&router.worker.policy.load());
        policy.client_certificates = mode;
        router.worker.policy.store(Arc::new(policy));
    };
    // Required, and nobody could vouch for anybody: nobody is let in.
    set(ClientCertificates::Require);
    assert!(ask(address, &site, None, FORGED).await.is_err());

    known.is_trusted_in(authorities.path());
    clients.look();
    let (dora, mallory) = (known.papers("dora"), stranger.papers("dora"));
    let der = CertificateDer::from_pem_slice(dora.chain.as_bytes()).unwrap();
    let shown = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der);
    let told = format!("x-forwarded-client-cert: {shown}\r\n");
    for mode in [ClientCertificates::Request, ClientCertificates::Require] {
        set(mode);
        let answer = ask(address, &site, Some(&dora), FORGED).await.unwrap();
        assert!(answer.contains(&told), "{answer}");
        assert!(!answer.contains("forged"), "{answer}");
        let refused = ask(address, &site, Some(&mallory), FORGED).await;
        assert!(refused.is_err(), "{refused:?}");
        let silent = ask(address, &site, None, FORGED).await;
        match mode {
            ClientCertificates::Request => {
                let answer = silent.unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                assert!(!answer.contains("x-forwarded-client-cert"), "{answer}");
            }
            ClientCertificates::Require | ClientCertificates::None => {
                assert!(silent.is_err(), "{silent:?}");
            }
        }
    }
    // Not asked, it is not shown.
    set(ClientCertificates::None);
    let answer = ask(address, &site, Some(&dora), FORGED).await.unwrap();
    assert!(!answer.contains("x-forwarded-client-cert"), "{answer}");
}
