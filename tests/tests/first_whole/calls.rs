//! Apps that are called in HTTP/2, as gRPC is: the route says so, agent and router act on it.

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::time::Duration;
use tests::{Cluster, eventually};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// It speaks nothing but HTTP/2, gives back what it gets, and ends with trailers.
const SERVER: &str = r"
const http2 = require('node:http2');
const server = http2.createServer();
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  stream.respond({ ':status': 200, 'content-type': headers['content-type'] ?? 'text/plain' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.pipe(stream);
});
server.listen(Number(process.env.PORT));
process.on('SIGTERM', () => process.exit(0));
";

type Pieces = mpsc::Sender<Result<Frame<Bytes>, Infallible>>;

/// A call whose request goes on: its answer, and the way to say more.
#[expect(
    clippy::disallowed_methods,
    reason = "the connection of a client that a test drops"
)]
async fn call(cluster: &Cluster, host: &str) -> anyhow::Result<(Response<Incoming>, Pieces)> {
    let socket = TcpStream::connect(("127.0.0.1", cluster.port)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let (pieces, given) = mpsc::channel(4);
    let body = futures_util::stream::unfold(given, |mut given| async move {
        given.recv().await.map(|piece| (piece, given))
    });
    let request = Request::post(format!("http://{host}/echo"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(Box::pin(body)))?;
    let answer = timeout(Duration::from_secs(30), sender.send_request(request))
        .await
        .context("no answer came")??;
    Ok((answer, pieces))
}

async fn holds_a_conversation(cluster: &Cluster, host: &str) -> anyhow::Result<()> {
    let (mut answer, pieces) = call(cluster, host).await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    for word in ["one", "two", "three"] {
        pieces.send(Ok(Frame::data(Bytes::from(word)))).await?;
        let mut heard = Vec::new();
        while heard.len() < word.len() {
            let frame = timeout(Duration::from_secs(30), answer.frame())
                .await
                .context("no piece came back")?
                .context("the answer ended")??;
            heard.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
        ensure!(heard == word.as_bytes(), "{heard:?}");
    }
    drop(pieces);
    let rest = timeout(Duration::from_secs(30), answer.collect()).await??;
    let status = rest
        .trailers()
        .and_then(|trailers| trailers.get("grpc-status"));
    ensure!(
        status.is_some_and(|status| status == "0"),
        "{:?}",
        rest.trailers()
    );
    Ok(())
}

pub async fn an_app_is_called_in_http2_where_its_route_says_so(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    cluster
        .ok(["config", "set", "router/http2/plain", "true"])
        .await?;
    let host = cluster.host("calls");
    let manifest = format!(
        "applications:\n- name: calls\n  memory: 128M\n  routes:\n  - route: {host}\n    protocol: http2\n"
    );
    let folder = tests::apps::app(
        cluster,
        "calls",
        &[
            ("server.js", SERVER),
            (
                "package.json",
                r#"{"name": "calls", "version": "1.0.0", "scripts": {"start": "node server.js"}}"#,
            ),
            ("manifest.yml", &manifest),
        ],
    );
    cluster.yard_in(&folder, ["push"]).await?.success()?;
    eventually("a call", Duration::from_secs(30), || {
        holds_a_conversation(cluster, &host)
    })
    .await?;
    // The same app by a route of HTTP/1.1 is not understood; by one that was made for HTTP/2 it is.
    let second = [
        "map-route",
        "calls",
        &cluster.domain,
        "--hostname",
        "second-calls",
    ];
    let second_host = cluster.host("second-calls");
    cluster.ok(second).await?;
    eventually("no answer by HTTP/1.1", Duration::from_secs(30), || async {
        let (answer, _) = call(cluster, &second_host).await?;
        match answer.status().as_u16() {
            502 => Ok(()),
            status => bail!("{status}"),
        }
    })
    .await?;
    cluster
        .ok(second.into_iter().chain(["--protocol", "http2"]))
        .await?;
    eventually(
        "a call by the second route",
        Duration::from_secs(60),
        || holds_a_conversation(cluster, &second_host),
    )
    .await?;
    cluster.ok(["delete", "calls", "--force"]).await?;
    cluster
        .ok(["config", "unset", "router/http2/plain"])
        .await
        .map(drop)
}
