//! A whole daemon's foundation against real servers.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "servers/auth.rs"]
mod auth;
mod servers;

use std::time::Duration;

use auth::enable_auth;
use daemon::{Deps, LogSender, Role, Sockets};
use proto::bus::Payload;
use proto::bus::component::Component;
use proto::bus::stream::{LogBatch, LogLine};
use servers::{Etcd, Nats, bootstrap, eventually, has};

const SOON: Duration = Duration::from_secs(15);

/// The client's own flush ends when its bytes are on their way; an answer of the server tells that it has
/// taken what this connection subscribed to before.
async fn listening(client: &async_nats::Client) {
    let refused = client.request("nobody.is.there", "".into()).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        async_nats::RequestErrorKind::NoResponders
    );
}

#[tokio::test]
async fn a_daemon_introduces_itself_shows_its_state_and_sends_its_lines() {
    use futures_util::StreamExt;
    let test = "a_daemon_introduces_itself_shows_its_state_and_sends_its_lines";
    if !has(test, "nats-server") || !has(test, "etcd") {
        return;
    }
    let (nats, etcd) = (Nats::start(&[(Role::Dea, "dea-1")]), Etcd::start());
    enable_auth(&etcd).await;
    let folder = tempfile::tempdir().unwrap();
    let bootstrap = bootstrap(&nats, &etcd, folder.path());
    let admin = format!("http://{}", bootstrap.admin.address);
    let deps = Deps::build(bootstrap, Sockets::none()).await.unwrap();
    deps.varz(|| serde_json::json!({"instances": 3}));
    deps.admin_route("/table", || serde_json::json!(["a"]));

    let http = reqwest::Client::new();
    eventually(SOON, async || {
        let answer = http
            .get(format!("{admin}/readyz"))
            .send()
            .await
            .map_err(|error| error.to_string())?;
        if answer.status() == 200 {
            Ok(())
        } else {
            Err(answer.text().await.unwrap_or_default())
        }
    })
    .await;
    deps.readiness()
        .set("table", false, "waiting for the first registration");
    let unready = http.get(format!("{admin}/readyz")).send().await.unwrap();
    assert_eq!(unready.status(), 503);
    assert!(unready.text().await.unwrap().contains("first registration"));

    assert_eq!(
        http.get(format!("{admin}/healthz"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "ok\n"
    );
    assert_eq!(
        http.get(format!("{admin}/varz"))
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
    let varz: serde_json::Value = http
        .get(format!("{admin}/varz"))
        .basic_auth("status", Some("secret"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(varz["type"], "DEA");
    assert_eq!(varz["instances"], 3);
    assert!(varz["mem"].as_u64().unwrap() > 0);
    assert_eq!(
        http.get(format!("{admin}/table"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "[\"a\"]"
    );
    assert!(
        http.get(format!("{admin}/metrics"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("bus_connected")
    );

    let tool = async_nats::ConnectOptions::with_user_and_password(
        "tool".to_string(),
        "secret".to_string(),
    )
    .connect(format!("127.0.0.1:{}", nats.port))
    .await
    .unwrap();
    let answer = tool
        .request("vcap.component.discover", "".into())
        .await
        .unwrap();
    assert_eq!(
        Component::decode(&answer.payload)
            .unwrap()
            .yard_id
            .as_deref(),
        Some("dea-1")
    );

    let mut batches = tool.subscribe("yard.log.dea-1").await.unwrap();
    listening(&tool).await;
    let logs = LogSender::start(&deps);
    for number in 0..3 {
        logs.send(LogLine {
            source: "app".to_string(),
            payload: format!("line {number}").into_bytes(),
            ..LogLine::default()
        });
    }
    logs.lost("app", 7);
    let mut lines = 0;
    let mut lost = 0;
    while lines < 3 || lost < 7 {
        let message = tokio::time::timeout(SOON, batches.next())
            .await
            .unwrap()
            .unwrap();
        let batch = LogBatch::decode(&message.payload).unwrap();
        lines += batch.lines.len();
        lost += batch.losses.iter().map(|loss| loss.lines).sum::<u64>();
    }
    assert_eq!((lines, lost), (3, 7));

    // What another connection sends after a flush is delivered after the lines before it.
    let other = async_nats::ConnectOptions::with_user_and_password(
        "tool".to_string(),
        "secret".to_string(),
    )
    .connect(format!("127.0.0.1:{}", nats.port))
    .await
    .unwrap();
    let mut all = tool.subscribe("yard.log.>").await.unwrap();
    listening(&tool).await;
    for round in 0..20 {
        logs.send(LogLine {
            source: "app".to_string(),
            payload: format!("before {round}").into_bytes(),
            ..LogLine::default()
        });
        logs.flush().await;
        other
            .publish("yard.log.other", "after".into())
            .await
            .unwrap();
        other.flush().await.unwrap();
        let mut order = Vec::new();
        for _ in 0..2 {
            let message = tokio::time::timeout(SOON, all.next())
                .await
                .unwrap()
                .unwrap();
            order.push(message.subject.to_string());
        }
        assert_eq!(order, ["yard.log.dea-1", "yard.log.other"]);
    }
    drop(logs);
    let stopping = std::time::Instant::now();
    deps.tasks.stop(Duration::from_secs(5)).await;
    assert!(
        stopping.elapsed() < Duration::from_secs(1),
        "nothing was left to do: {:?}",
        stopping.elapsed()
    );
}
