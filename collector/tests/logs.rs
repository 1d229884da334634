//! The collector on a real bus, with an agent, a router and a controller played by the test.

#[path = "../../daemon/tests/servers/mod.rs"]
mod servers;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use collector::Config;
use daemon::{Bootstrap, Bus, ComponentId, Deps, Role, Running, Sockets, Subscription, Supervisor};
use futures_util::StreamExt;
use proto::bus::catalogue;
use proto::bus::router::{Registration, RouterStart};
use proto::bus::stream::{LogBatch, LogLine, LogLoss};
use serde_json::{Value, json};
use servers::{Nats, eventually, free_port, has};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SOON: Duration = Duration::from_secs(10);

struct World {
    _nats: Nats,
    _folder: tempfile::TempDir,
    _others: Supervisor,
    dea: Bus,
    router: Bus,
    registered: Subscription<Registration>,
    unregistered: Subscription<Registration>,
    base: String,
    questions: Arc<AtomicUsize>,
    client: reqwest::Client,
    running: Running,
}

/// The controller's answer: bearer `good` may read `app-1` and `app-2`.
async fn log_access(
    State(questions): State<Arc<AtomicUsize>>,
    Path(app): Path<String>,
    headers: HeaderMap,
) -> StatusCode {
    questions.fetch_add(1, Ordering::SeqCst);
    match headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
    {
        Some("bearer good") if app == "app-1" || app == "app-2" => StatusCode::OK,
        Some("bearer good") => StatusCode::NOT_FOUND,
        _ => StatusCode::UNAUTHORIZED,
    }
}

async fn world() -> World {
    let nats = Nats::start(&[
        (Role::Dea, "dea-1"),
        (Role::Router, "router-1"),
        (Role::Collector, "collector-1"),
    ]);
    let folder = tempfile::tempdir().expect("temporary folder");
    let connect = async |user: &str| {
        let bus = Bus::connect(&nats.config(user), &ComponentId::new(user).expect("id"))
            .await
            .expect("an address");
        eventually(SOON, async || {
            if bus.status().borrow().connected {
                Ok(())
            } else {
                Err(format!("{user} is not connected"))
            }
        })
        .await;
        bus
    };
    let (dea, router) = (connect("dea-1").await, connect("router-1").await);
    let registered = router
        .subscribe(&catalogue::router_register().filter())
        .await
        .expect("subscribed");
    let unregistered = router
        .subscribe(&catalogue::router_unregister().filter())
        .await
        .expect("subscribed");
    router.flush().await.expect("flushed");

    let bootstrap: Bootstrap = serde_json::from_value(json!({
        "role": "collector", "component": "collector-1", "index": 1,
        "cluster": {"id": "c0ffee12", "domain": "yard.internal"},
        "home": folder.path(), "folder": folder.path(), "run": folder.path(),
        "bus": nats.config("collector-1"),
        "store": {"endpoints": [format!("http://127.0.0.1:{}", free_port())], "user": "", "password": ""},
        "admin": {"address": format!("127.0.0.1:{}", free_port()), "user": "status", "password": "secret"},
        "settings": {},
    }))
    .expect("a bootstrap");
    let deps = Deps::build(bootstrap, Sockets::none())
        .await
        .expect("built");

    let questions = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let controller_url = format!("http://{}/", listener.local_addr().expect("an address"));
    let controller = axum::Router::new()
        .route("/internal/log_access/{app}", get(log_access))
        .with_state(questions.clone());
    let others = Supervisor::new();
    others.spawn_once("controller", async move {
        let _ = axum::serve(listener, controller).await;
    });

    let readiness = deps.readiness();
    let address = format!("127.0.0.1:{}", free_port());
    let config = Config {
        address: address.parse().expect("an address"),
        socket: "collector".into(),
        controller_url,
    };
    let running = collector::start(config, deps).await.expect("started");
    eventually(SOON, async || match readiness.waiting() {
        waiting if waiting.keys().all(|part| *part == "store") => Ok(()),
        waiting => Err(format!("{waiting:?}")),
    })
    .await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let world = World {
        _nats: nats,
        _folder: folder,
        _others: others,
        dea,
        router,
        registered,
        unregistered,
        base: format!("http://{address}"),
        questions,
        client,
        running,
    };
    // The subscription to the log lines is on its way: a line of another app shows when it is there.
    eventually(SOON, async || {
        world.send("app-2", &["there?"], &[]).await;
        match world.read("app-2", "").await {
            (StatusCode::OK, body) if body["envelopes"]["batch"][0].is_object() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    world
}

impl World {
    async fn send(&self, app: &str, lines: &[&str], lost: &[u64]) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_nanos() as i64;
        let line = |text: &&str| LogLine {
            timestamp: now,
            source: app.into(),
            instance: "1".into(),
            source_type: "APP/PROC/WEB".into(),
            stderr: text.starts_with('!'),
            payload: text.as_bytes().to_vec(),
            tags: Default::default(),
        };
        let losses = lost
            .iter()
            .map(|lines| LogLoss {
                source: app.into(),
                lines: *lines,
                place: "agent".into(),
            })
            .collect();
        let batch = LogBatch {
            lines: lines.iter().map(line).collect(),
            losses,
        };
        self.dea
            .publish(
                &catalogue::log_of(&ComponentId::new("dea-1").expect("id")),
                &batch,
            )
            .await
            .expect("published");
        self.dea.flush().await.expect("flushed");
    }

    async fn get(&self, path: &str, token: &str) -> reqwest::Response {
        self.client
            .get(format!("{}{path}", self.base))
            .header("authorization", token)
            .send()
            .await
            .expect("an answer")
    }

    async fn read(&self, app: &str, query: &str) -> (StatusCode, Value) {
        let answer = self
            .get(&format!("/api/v1/read/{app}{query}"), "bearer good")
            .await;
        (answer.status(), answer.json().await.expect("JSON"))
    }
}

fn payloads(body: &Value) -> Vec<String> {
    use base64::Engine;
    let batch = body["envelopes"]["batch"].as_array().expect("a batch");
    let decode = |payload: &Value| {
        base64::engine::general_purpose::STANDARD
            .decode(payload.as_str().expect("text"))
            .expect("base64")
    };
    batch
        .iter()
        .map(|envelope| String::from_utf8(decode(&envelope["log"]["payload"])).expect("text"))
        .collect()
}

#[tokio::test]
async fn recent_lines_are_read_as_cloud_foundrys_clients_do() {
    if !has(
        "recent_lines_are_read_as_cloud_foundrys_clients_do",
        "nats-server",
    ) {
        return;
    }
    let world = world().await;
    let info: Value = world
        .get("/api/v1/info", "")
        .await
        .json()
        .await
        .expect("JSON");
    assert!(
        info["version"]
            .as_str()
            .is_some_and(|version| version.starts_with("2.")),
        "{info}"
    );

    assert_eq!(
        payloads(&world.read("app-1", "").await.1),
        Vec::<String>::new()
    );
    world.send("app-1", &["one", "!two"], &[3]).await;
    let query = "?start_time=-6795364578871345152&envelope_types=LOG&limit=1000&descending=true";
    let body = eventually(SOON, async || match world.read("app-1", query).await {
        (StatusCode::OK, body) if payloads(&body).len() == 3 => Ok(body),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(
        payloads(&body),
        ["!two", "one", "3 log lines were lost (agent)"]
    );
    let first = &body["envelopes"]["batch"][0];
    assert_eq!(
        (&first["instance_id"], &first["log"]["type"]),
        (&json!("1"), &json!("ERR"))
    );
    let stamp = first["timestamp"].as_str().expect("a text");
    let after: i64 = stamp.parse::<i64>().expect("a number") + 1;
    assert!(payloads(&world.read("app-1", &format!("?start_time={after}")).await.1).is_empty());

    assert_eq!(
        world.read("app-1", "?limit=1001").await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(world.read("app-9", "").await.0, StatusCode::NOT_FOUND);
    for token in ["bearer bad", "", "basic good"] {
        assert_eq!(
            world.get("/api/v1/read/app-1", token).await.status(),
            StatusCode::NOT_FOUND,
            "{token}"
        );
    }
    let asked = world.questions.load(Ordering::SeqCst);
    for _ in 0..5 {
        world.read("app-1", "").await;
    }
    assert_eq!(
        world.questions.load(Ordering::SeqCst),
        asked,
        "the answer is remembered"
    );
    world.running.stop(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn a_stream_begins_with_recent_lines_goes_on_live_and_says_what_is_missing() {
    if !has(
        "a_stream_begins_with_recent_lines_goes_on_live_and_says_what_is_missing",
        "nats-server",
    ) {
        return;
    }
    let world = world().await;
    world.send("app-1", &["one", "two", "three"], &[]).await;
    eventually(SOON, async || {
        match payloads(&world.read("app-1", "").await.1).len() {
            3 => Ok(()),
            other => Err(format!("{other} lines")),
        }
    })
    .await;
    assert_eq!(
        world
            .get("/yard/v1/logs/app-1/stream", "bearer bad")
            .await
            .status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        world
            .get("/yard/v1/logs/app-9/stream", "bearer good")
            .await
            .status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        world
            .get("/yard/v1/logs/app-1/stream?recent=many", "bearer good")
            .await
            .status(),
        StatusCode::BAD_REQUEST
    );

    let answer = world
        .get("/yard/v1/logs/app-1/stream?recent=2", "bearer good")
        .await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut bytes = answer.bytes_stream();
    let mut text = String::new();
    let mut until = async |part: &str| {
        while !text.contains(part) {
            let more = tokio::time::timeout(SOON, bytes.next())
                .await
                .unwrap_or_else(|_| panic!("no {part:?} in {text}"));
            text.push_str(&String::from_utf8_lossy(
                &more.expect("more").expect("bytes"),
            ));
        }
        text.clone()
    };
    let begun = until("three").await;
    assert!(
        begun.contains("\"text\":\"two\"") && !begun.contains("\"text\":\"one\""),
        "{begun}"
    );
    world.send("app-1", &["!four"], &[7]).await;
    let all = until("four").await;
    assert!(
        all.contains("event: lost\ndata: {\"lines\":7,\"place\":\"agent\"}")
            || all.contains("data: {\"lines\":7,\"place\":\"agent\"}\nevent: lost"),
        "{all}"
    );
    assert!(all.contains("\"stderr\":true"), "{all}");
    // An open stream does not hold the daemon's end.
    let begun = std::time::Instant::now();
    world.running.stop(Duration::from_secs(5)).await;
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn the_routers_know_its_name_as_long_as_it_lives() {
    if !has(
        "the_routers_know_its_name_as_long_as_it_lives",
        "nats-server",
    ) {
        return;
    }
    let mut world = world().await;
    let first = tokio::time::timeout(SOON, world.registered.next())
        .await
        .expect("soon")
        .expect("registered")
        .message;
    assert_eq!(first.uris, ["log-cache.yard.internal"]);
    assert_eq!(
        world.base,
        format!("http://{}:{}", first.host, first.port.expect("a port"))
    );
    // What was registered on the way is read; then only a router's start brings another one soon.
    while tokio::time::timeout(Duration::from_millis(200), world.registered.next())
        .await
        .is_ok()
    {}
    let hello: RouterStart = serde_json::from_value(json!({"id": "router-1"})).expect("a start");
    world
        .router
        .publish(&catalogue::router_start(), &hello)
        .await
        .expect("published");
    tokio::time::timeout(SOON, world.registered.next())
        .await
        .expect("soon")
        .expect("registered");
    world.running.stop(Duration::from_secs(2)).await;
    let last = tokio::time::timeout(SOON, world.unregistered.next())
        .await
        .expect("soon")
        .expect("unregistered")
        .message;
    assert_eq!(last.uris, first.uris);
}
