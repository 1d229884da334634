//! A WebSocket of a client that speaks HTTP/2 (RFC 8441), to instances that speak HTTP/1.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::time::Duration;
use support::streaming::{Body, connect, empty, full, post};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn plain() -> TestRouter {
    TestRouter::with(|policy| policy.http2.plain = true).await
}

/// What a server answers to a key (RFC 6455 §4.2.2).
fn accept_of(key: &str) -> String {
    use base64::Engine;
    let hash = digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    );
    base64::engine::general_purpose::STANDARD.encode(hash)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// An instance that switches and says everything again, after `telling` of the head it got.
async fn echo(lines: fn(&str) -> String) -> Backend {
    Backend::start(move |mut peer, _| async move {
        let head = peer.head().await.unwrap();
        peer.send(lines(&head)).await;
        loop {
            let said: Vec<u8> = peer.read.drain(..).collect();
            peer.send(said).await;
            if !peer.more().await {
                return;
            }
        }
    })
    .await
}

fn switching(head: &str) -> String {
    let accept = accept_of(header(head, "sec-websocket-key").unwrap_or_default());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: {accept}\r\n\r\n{head}END"
    )
}

fn asking(host: &str, protocol: &'static str) -> Request<Body> {
    Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri(format!("http://{host}/chat?room=1"))
        .header("sec-websocket-protocol", "chat")
        .header("sec-websocket-version", "13")
        .header("origin", "http://b.example.com")
        .extension(Protocol::from_static(protocol))
        .body(empty())
        .unwrap()
}

async fn ask(client: &mut SendRequest<Body>, host: &str) -> Response<Incoming> {
    // Whether the router takes it is known with its settings.
    tokio::time::timeout(SOON, client.ready())
        .await
        .unwrap()
        .unwrap();
    let answer = tokio::time::timeout(SOON, client.send_request(asking(host, "websocket")));
    answer.await.expect("an answer in time").unwrap()
}

async fn tunnel(answer: Response<Incoming>) -> TokioIo<Upgraded> {
    assert_eq!(answer.status(), 200);
    TokioIo::new(hyper::upgrade::on(answer).await.unwrap())
}

async fn read_until(tunnel: &mut TokioIo<Upgraded>, end: &str) -> String {
    let mut read = Vec::new();
    let reading = async {
        while !read.ends_with(end.as_bytes()) {
            let mut piece = [0; 4096];
            let count = tunnel.read(&mut piece).await.unwrap();
            assert!(count > 0, "it ended: {:?}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&piece[..count]);
        }
    };
    tokio::time::timeout(SOON, reading)
        .await
        .expect("the text in time");
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn a_websocket_over_http2_reaches_its_instance_as_an_upgrade() {
    let (router, backend) = (plain().await, echo(switching).await);
    router.route("a.example.com", backend.address);
    let mut client = connect(router.address).await;
    let answer = ask(&mut client, "a.example.com").await;
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    for name in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!answer.headers().contains_key(name), "{name}: {answer:?}");
    }
    let mut first = tunnel(answer).await;
    let head = read_until(&mut first, "END").await.to_ascii_lowercase();
    assert!(head.starts_with("get /chat?room=1 http/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some("a.example.com"));
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    assert_eq!(header(&head, "connection"), Some("upgrade"));
    assert_eq!(header(&head, "origin"), Some("http://b.example.com"));
    assert_eq!(header(&head, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(
        header(&head, "content-length").or(header(&head, "transfer-encoding")),
        None
    );

    // Others share the connection: a second tunnel, and a request.
    let mut second = tunnel(ask(&mut client, "a.example.com").await).await;
    read_until(&mut second, "END").await;
    let other = Backend::saying("an answer").await;
    router.route("b.example.com", other.address);
    let answer = client
        .send_request(post("b.example.com", full("x")))
        .await
        .unwrap();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, Bytes::from("an answer"));
    for round in 0..500 {
        for (tunnel, who) in [(&mut first, "first"), (&mut second, "second")] {
            let said = format!("{who} says\r\n\r\n{round};");
            tunnel.write_all(said.as_bytes()).await.unwrap();
            assert_eq!(read_until(tunnel, ";").await, said);
        }
    }
    // One ends, the other goes on.
    first.shutdown().await.unwrap();
    second.write_all(b"still here;").await.unwrap();
    assert_eq!(read_until(&mut second, ";").await, "still here;");
    drop((first, second, client));
    let lines = router.access_log(3).await;
    let line = lines.iter().find(|line| line.contains("/chat"));
    assert!(
        line.unwrap().contains("/chat?room=1 HTTP/2.0\" 101 "),
        "{lines:?}"
    );
}

#[tokio::test]
async fn much_goes_through_a_websocket_over_http2_and_stays_in_order() {
    let (router, backend) = (plain().await, echo(switching).await);
    router.route("a.example.com", backend.address);
    let mut client = connect(router.address).await;
    let mut through = tunnel(ask(&mut client, "a.example.com").await).await;
    read_until(&mut through, "END").await;
    let (mut read, mut write) = tokio::io::split(through);
    let said: Vec<u8> = (0..4 << 20).map(|n: u32| (n % 251) as u8).collect();
    let sent = said.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write
    });
    let mut heard = vec![0; said.len()];
    let reading = tokio::time::timeout(SOON, read.read_exact(&mut heard));
    reading.await.expect("all of it in time").unwrap();
    assert!(heard == said);
    writing.await.unwrap();
}

#[tokio::test]
async fn an_instance_that_does_not_mean_a_websocket_opens_no_tunnel() {
    let router = plain().await;
    let mut client = connect(router.address).await;
    // It knows no WebSocket: its 200 would be a tunnel to the client.
    let ignorant = Backend::saying("a page").await;
    router.route("ignorant.example.com", ignorant.address);
    // It repeats a key of its own.
    let wrong = echo(|_| {
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            .to_string()
    })
    .await;
    router.route("wrong.example.com", wrong.address);
    for (host, why) in [
        ("ignorant.example.com", "did not switch"),
        ("wrong.example.com", "another key"),
    ] {
        let answer = ask(&mut client, host).await;
        assert_eq!(answer.status(), 502, "{host}");
        let told = answer.headers()["x-cf-routererror"].to_str().unwrap();
        assert!(told.contains(why), "{told}");
    }
    // It says no, in its own words.
    let refusing = Backend::start(|mut peer, _| async move {
        while peer.request().await.is_some() {
            peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nmembers")
                .await;
        }
    })
    .await;
    router.route("refusing.example.com", refusing.address);
    let answer = ask(&mut client, "refusing.example.com").await;
    assert_eq!(answer.status(), 403);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, Bytes::from("members"));
    // Nobody has the name.
    let answer = ask(&mut client, "nobody.example.com").await;
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn other_tunnels_than_websockets_are_refused() {
    let (router, backend) = (plain().await, Backend::saying("a page").await);
    router.route("a.example.com", backend.address);
    let mut client = connect(router.address).await;
    client.ready().await.unwrap();
    let answer = client
        .send_request(asking("a.example.com", "connect-udp"))
        .await
        .unwrap();
    assert_eq!(answer.status(), 405);
    let mut through = Request::new(empty());
    *through.method_mut() = Method::CONNECT;
    *through.uri_mut() = "a.example.com:443".parse().unwrap();
    let answer = client.send_request(through).await.unwrap();
    assert_eq!(answer.status(), 405);
}

#[tokio::test]
async fn a_quiet_websocket_over_http2_is_not_let_go() {
    let router = TestRouter::with(|policy| {
        policy.http2.plain = true;
        policy.idle_timeout = Duration::from_secs(1);
        policy.body_timeout = Duration::from_millis(200);
        policy.send_timeout = Duration::from_millis(200);
        policy.header_timeout = Duration::from_millis(200);
    })
    .await;
    let backend = echo(switching).await;
    router.route("a.example.com", backend.address);
    let mut client = connect(router.address).await;
    let mut through = tunnel(ask(&mut client, "a.example.com").await).await;
    read_until(&mut through, "END").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    through.write_all(b"hello;").await.unwrap();
    assert_eq!(read_until(&mut through, ";").await, "hello;");
}
