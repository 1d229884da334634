//! An index of packs behind TLS. `tls/` holds an authority of a test and the certificate and key that it
//! gave a server on 127.0.0.1; they protect nothing.

use crate::world::World;
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/packs/tls")
        .join(name)
}

/// Answers every request with the same.
async fn serve(answer: String) -> SocketAddr {
    let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who does not trust the certificate ends it here.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read_buf(&mut request).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            stream.write_all(answer.as_bytes()).await.ok();
            stream.shutdown().await.ok();
        }
    });
    address
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_behind_tls_is_read_when_its_authority_is_trusted() {
    let Some(world) = World::start("an_index_behind_tls_is_read").await else {
        return;
    };
    let packs = json!({"packs": {"hello": {"name": "hello", "description": "greets"}}});
    let address = serve(ok(&packs.to_string())).await;
    let place = format!("https://{address}/v1/index.json");
    world.set("automation/pack/index", json!(place)).await;
    let asked = json!({"pack": "hello"});
    let search = async || world.post("/v1/packs/index/search", asked.clone()).await;
    let text = search().await.refused(503);
    assert!(
        text.contains("UnknownIssuer") && text.contains(&place),
        "{text}"
    );

    let own = file("authority.pem").display().to_string();
    world.set("automation/pack/index_ca", json!(own)).await;
    assert_eq!(search().await.expect(200)["description"], "greets");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_behind_tls_does_not_lead_to_one_without() {
    let Some(world) = World::start("an_index_behind_tls_does_not_lead").await else {
        return;
    };
    let own = file("authority.pem").display().to_string();
    world.set("automation/pack/index_ca", json!(own)).await;
    let away = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/index.json\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let address = serve(away.to_string()).await;
    let place = format!("https://{address}/index.json");
    world.set("automation/pack/index", json!(place)).await;
    let asked = json!({"pack": "hello"});
    let text = world
        .post("/v1/packs/index/search", asked)
        .await
        .refused(503);
    assert!(text.contains("from https to http"), "{text}");
}
