//! Clients that abuse HTTP, and what the router has to let through nevertheless.

use crate::support::{Yard, resident_megabytes};
use anyhow::{Context, ensure};
use futures_util::StreamExt;
use rand::RngCore;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[expect(
    clippy::nonminimal_bool,
    reason = "a 400, or else a 501 where that is right: it reads as it is meant"
)]
pub async fn ambiguous_framing_is_refused(yard: &Yard) -> anyhow::Result<()> {
    let host = yard.cluster.host("neighbour");
    let mut faults = Vec::new();
    for (what, request) in [
        (
            "both lengths",
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "two lengths",
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"
            ),
        ),
        (
            "a signed length",
            format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: +4\r\n\r\nabcd"),
        ),
        (
            "an unknown coding",
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "a folded header",
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-A: b\r\n c\r\n\r\n"),
        ),
        (
            "a space before the colon",
            format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length : 4\r\n\r\nabcd"),
        ),
        (
            "two hosts",
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: other\r\n\r\n"),
        ),
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_string()),
    ] {
        let line = yard.raw_status(&request).await?;
        if !line.starts_with("HTTP/1.1 400")
            && !(what == "an unknown coding" && line.starts_with("HTTP/1.1 501"))
        {
            faults.push(format!("{what}: {line}"));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    // Who sends a header byte by byte is not waited for.
    yard.cluster
        .ok(["config", "set", "router/timeouts/request_header", "1s"])
        .await?;
    let slow = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut stream = yard.raw("GET / HTTP/1.1\r\nHost: ").await?;
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest))
            .await
            .context("a client that sends half a header is let wait")??;
        anyhow::Ok(())
    }
    .await;
    yard.cluster
        .ok(["config", "unset", "router/timeouts/request_header"])
        .await?;
    slow?;
    yard.neighbour_is_well().await
}

pub async fn large_bodies_sockets_and_kept_connections_pass(yard: &Yard) -> anyhow::Result<()> {
    yard.server("pipe", &[]).await?;
    let host = yard.cluster.host("pipe");
    // Two requests on one connection.
    let mut stream = yard
        .raw(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await?;
    for round in 0..2 {
        let mut buffer = vec![0; 4096];
        let mut text = String::new();
        while !text.ends_with("hello\n") {
            let count = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer))
                .await
                .with_context(|| format!("round {round}: {text}"))??;
            ensure!(count > 0, "round {round}: closed after {text:?}");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        ensure!(text.starts_with("HTTP/1.1 200"), "{text}");
        if round == 0 {
            stream
                .write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
                .await?;
        }
    }
    // A WebSocket.
    let mut stream = yard
        .raw(&format!(
            "GET /socket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(Duration::from_secs(5), stream.read_u8())
            .await
            .context("no handshake")??;
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    ensure!(
        head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{head}"
    );
    for word in ["first", "second"] {
        let mask = [1_u8, 2, 3, 4];
        let mut frame = vec![0x81, 0x80 | word.len() as u8];
        frame.extend(mask);
        frame.extend(
            word.bytes()
                .enumerate()
                .map(|(at, byte)| byte ^ mask[at % 4]),
        );
        stream.write_all(&frame).await?;
        let mut answer = vec![0; 2 + word.len()];
        tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer))
            .await
            .context("no echo")??;
        ensure!(&answer[2..] == word.as_bytes(), "{answer:?}");
    }
    drop(stream);
    // 50 MB there and back: the router never holds them. What its allocator keeps of passing pieces counts too.
    let router = yard.cluster.pid("router-1")?;
    let before = resident_megabytes(router)?;
    let mut body = vec![0; 50 << 20];
    rand::rng().fill_bytes(&mut body);
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> = body
        .chunks(256 << 10)
        .map(|chunk| Ok(chunk.to_vec()))
        .collect();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let response = client
        .post(format!("http://127.0.0.1:{}/echo", yard.cluster.port))
        .header("Host", &host)
        .header("Content-Length", body.len().to_string())
        .timeout(Duration::from_secs(60))
        .body(reqwest::Body::wrap_stream(futures_util::stream::iter(
            chunks,
        )))
        .send()
        .await?;
    ensure!(response.status() == 200, "{}", response.status());
    let mut received = response.bytes_stream();
    let (mut at, mut most) = (0, before);
    while let Some(part) = received.next().await {
        let part = part?;
        ensure!(
            body.get(at..at + part.len()) == Some(&part[..]),
            "the bytes after {at} differ"
        );
        at += part.len();
        most = most.max(resident_megabytes(router)?);
    }
    ensure!(at == body.len(), "{at} bytes came back");
    ensure!(
        most < before + 50,
        "the router grew from {before} to {most} MB"
    );
    yard.neighbour_is_well().await?;
    yard.delete("pipe").await
}
