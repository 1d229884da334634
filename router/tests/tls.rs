//! The entrance for TLS: certificates by name, replaced while it runs, and what instances are told.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use proto::bus::router::Registration;
use router::adapters::certificates::Certificates;
use router::adapters::server::Tls;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::frames::{END_STREAM, End, FrameClient, get};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A certificate that signs itself, as a file of key and chain; gives what a client must trust.
fn certificate(file: &Path, names: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    // Put in place whole, as whoever renews certificates does.
    let draft = file.with_extension("new");
    std::fs::write(
        &draft,
        format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem()),
    )
    .unwrap();
    std::fs::rename(draft, file).unwrap();
    made.cert.der().clone()
}

/// Asks over TLS, trusting only this certificate. The answer's text, or why there was none.
async fn ask(
    address: SocketAddr,
    name: &str,
    trusted: &CertificateDer<'static>,
    request: &str,
) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_string()).unwrap();
    let mut socket = TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await?;
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Connects over TLS and offers these protocols.
async fn offering(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocols: &[&str],
) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let name = ServerName::try_from("a.example.com").unwrap();
    let socket = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, socket).await.unwrap()
}

const ASK: &str = "GET / HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n";

struct Secured {
    router: TestRouter,
    _backend: Backend,
    folder: tempfile::TempDir,
    certificates: Arc<Certificates>,
    address: SocketAddr,
}

async fn secured(prepare: impl FnOnce(&Path)) -> Secured {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let router = TestRouter::with(|policy| policy.header_timeout = Duration::from_secs(2)).await;
    let backend = Backend::echo().await;
    router.route("*.example.com", backend.address);
    let certificates = Certificates::new(folder.path().to_path_buf());
    let address = router.enter(Some(Tls::new(certificates.clone(), None).unwrap()));
    Secured {
        router,
        _backend: backend,
        folder,
        certificates,
        address,
    }
}

#[tokio::test]
async fn a_request_over_tls_reaches_its_instance_which_is_told() {
    let mut trusted = None;
    let secured = secured(|folder| {
        trusted = Some(certificate(&folder.join("all.pem"), &["*.example.com"]));
    })
    .await;
    let answer = ask(secured.address, "a.example.com", &trusted.unwrap(), ASK)
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("x-forwarded-proto: https"), "{answer}");
}

#[tokio::test]
async fn a_client_chooses_http2_by_alpn_while_it_is_offered() {
    let mut trusted = None;
    let secured = secured(|folder| {
        trusted = Some(certificate(&folder.join("a.pem"), &["a.example.com"]));
    })
    .await;
    let trusted = trusted.unwrap();
    let socket = offering(secured.address, &trusted, &["h2", "http/1.1"]).await;
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = FrameClient::on(socket, &[]).await;
    let mut headers = get("a.example.com");
    headers[1].1 = "https";
    client.headers(1, END_STREAM, &headers).await;
    let End::Answered { status: 200, body } = client.end(1).await else {
        panic!("no answer");
    };
    assert!(body.contains("x-forwarded-proto: https"), "{body}");
    // Others go on with what they know.
    let socket = offering(secured.address, &trusted, &["http/1.1"]).await;
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));

    let mut policy = (**secured.router.worker.policy.load()).clone();
    policy.http2.enabled = false;
    secured.router.worker.policy.store(Arc::new(policy));
    let socket = offering(secured.address, &trusted, &["h2", "http/1.1"]).await;
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn each_name_gets_its_certificate_and_unknown_ones_the_default() {
    let mut trusted = Vec::new();
    let secured = secured(|folder| {
        trusted = vec![
            certificate(&folder.join("a.pem"), &["a.example.com"]),
            certificate(&folder.join("wild.pem"), &["*.example.com"]),
            certificate(&folder.join("default.pem"), &["nobody.test"]),
        ];
    })
    .await;
    for (name, at) in [("a.example.com", 0), ("b.example.com", 1)] {
        let answer = ask(secured.address, name, &trusted[at], ASK).await;
        assert!(answer.unwrap().starts_with("HTTP/1.1 200"), "{name}");
    }
    // The default certificate is offered, which is not valid for this name.
    let error = ask(secured.address, "other.org", &trusted[2], ASK)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn certificates_are_replaced_while_it_runs_and_a_bad_file_keeps_the_old_one() {
    let mut old = None;
    let secured = secured(|folder| {
        old = Some(certificate(&folder.join("a.pem"), &["a.example.com"]));
    })
    .await;
    let (old, file) = (old.unwrap(), secured.folder.path().join("a.pem"));
    std::fs::write(&file, "no certificate at all").unwrap();
    secured.certificates.look();
    let shown = secured.certificates.shown().remove("a.pem").unwrap();
    assert_eq!(shown.problem.as_deref(), Some("it holds no certificate"));
    assert_eq!(shown.names, ["a.example.com"]);
    assert!(
        ask(secured.address, "a.example.com", &old, ASK)
            .await
            .is_ok()
    );

    let new = certificate(&file, &["a.example.com", "b.example.com"]);
    secured.certificates.look();
    for name in ["a.example.com", "b.example.com"] {
        assert!(
            ask(secured.address, name, &new, ASK).await.is_ok(),
            "{name}"
        );
    }
    assert!(
        ask(secured.address, "a.example.com", &old, ASK)
            .await
            .is_err()
    );
    assert_eq!(secured.certificates.shown()["a.pem"].problem, None);
}

#[tokio::test]
async fn who_does_not_speak_tls_is_let_go_in_time() {
    let secured = secured(|folder| {
        certificate(&folder.join("a.pem"), &["a.example.com"]);
    })
    .await;
    let mut silent = Client {
        socket: TcpStream::connect(secured.address).await.unwrap(),
        read: Vec::new(),
    };
    assert!(silent.is_closed().await);
    eventually(SOON, async || {
        let present = secured.router.worker.crowd.present();
        (present == 0)
            .then_some(())
            .ok_or(format!("{present} here"))
    })
    .await;
}

#[tokio::test]
async fn plain_requests_are_sent_to_tls_if_the_operator_says_so() {
    let router = TestRouter::beside(Some(8443), |policy| policy.tls_redirect = true).await;
    let backend = Backend::saying("ok").await;
    router.route("a.example.com", backend.address);
    let answer = router.get("a.example.com:8080", "/x?y=1").await;
    assert_eq!(answer.status, 308);
    assert_eq!(
        answer.header("location"),
        Some("https://a.example.com:8443/x?y=1")
    );
    router.register(&Registration {
        app: None,
        ..registration("api.example.com", backend.address)
    });
    assert_eq!(router.get("api.example.com", "/").await.body, "ok");
    let challenge = "/.well-known/acme-challenge/token";
    assert_eq!(router.get("a.example.com", challenge).await.body, "ok");
}
