//! The whole daemon with a real nats-server: registrations, pruning, the bus away, settings from defaults.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use daemon::{Bootstrap, Bus, BusConfig, ComponentId, Deps, Role, Running, Sockets};
use proto::bus::catalogue;
use proto::bus::router::{Registration, RouterStart};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::*;
use tokio::net::TcpStream;

fn has(test: &str, program: &str) -> bool {
    let found = std::env::var("PATH")
        .unwrap_or_default()
        .split(':')
        .any(|folder| Path::new(folder).join(program).exists());
    if !found {
        eprintln!("SKIPPED {test}: {program} is not installed");
    }
    found
}

struct Nats {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Nats {
    fn start() -> Nats {
        let folder = tempfile::tempdir().unwrap();
        let port = dead_address().port();
        let id = ComponentId::new("router-1").unwrap();
        let allowed = catalogue::permissions(Role::Router, &id);
        let allowed = serde_json::json!({
            "publish": allowed.publish, "subscribe": allowed.subscribe,
            "allow_responses": {"max": 1000, "expires": "1m"},
        });
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nauthorization {{ users = [ {{user: tool, password: secret}}, {{user: router-1, password: secret, permissions: {allowed}}} ] }}\n"
        );
        std::fs::write(folder.path().join("nats.conf"), text).unwrap();
        let mut nats = Nats {
            folder,
            port,
            child: None,
        };
        nats.up();
        nats
    }

    fn up(&mut self) {
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(self.folder.path().join("nats.conf"));
        self.child = Some(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
    }

    fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn config(&self, user: &str) -> BusConfig {
        BusConfig {
            servers: vec![format!("nats://127.0.0.1:{}", self.port)],
            user: user.into(),
            password: "secret".into(),
        }
    }

    async fn tool(&self) -> Bus {
        let bus = Bus::connect(&self.config("tool"), &ComponentId::new("tool").unwrap())
            .await
            .unwrap();
        connected(&bus).await;
        bus
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.down();
    }
}

async fn connected(bus: &Bus) {
    let mut status = bus.status();
    tokio::time::timeout(SOON, status.wait_for(|status| status.connected))
        .await
        .expect("the bus in time")
        .unwrap();
}

struct Daemon {
    running: Running,
    address: SocketAddr,
    admin: SocketAddr,
}

async fn router(nats: &Nats, folder: &Path) -> Daemon {
    let (address, admin) = (dead_address(), dead_address());
    let bootstrap: Bootstrap = serde_json::from_value(serde_json::json!({
        "role": "router", "component": "router-1", "index": 1,
        "cluster": {"id": "c0ffee12", "domain": "yard.internal"},
        "home": folder, "folder": folder, "run": folder,
        "bus": nats.config("router-1"),
        "store": {"endpoints": [format!("http://{}", dead_address())], "user": "", "password": ""},
        "admin": {"address": admin, "user": "status", "password": "secret"},
        "settings": {},
    }))
    .unwrap();
    let deps = Deps::build(bootstrap, Sockets::none()).await.unwrap();
    let config = serde_json::from_value(
        serde_json::json!({"http_socket": "router-http", "address": address}),
    )
    .unwrap();
    let running = router::start(config, deps).await.unwrap();
    Daemon {
        running,
        address,
        admin,
    }
}

impl Daemon {
    async fn get(&self, host: &str) -> Answer {
        let mut client = Client {
            socket: TcpStream::connect(self.address).await.unwrap(),
            read: Vec::new(),
        };
        client
            .send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        client.answer().await
    }

    async fn admin(&self, path: &str) -> Answer {
        let mut client = Client {
            socket: TcpStream::connect(self.admin).await.unwrap(),
            read: Vec::new(),
        };
        let login = "c3RhdHVzOnNlY3JldA==";
        client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\nConnection: close\r\n\r\n")).await;
        client.answer().await
    }

    async fn until(&self, host: &str, status: u16) {
        eventually(SOON, async || {
            let answer = self.get(host).await;
            if answer.status == status {
                Ok(())
            } else {
                Err(format!("{answer:?}"))
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_come_and_go_over_the_bus() {
    if !has("routes_come_and_go_over_the_bus", "nats-server") {
        return;
    }
    let (mut nats, folder) = (Nats::start(), tempfile::tempdir().unwrap());
    let tool = nats.tool().await;
    let mut starts = tool
        .subscribe::<RouterStart>(&catalogue::router_start().filter())
        .await
        .unwrap();
    tool.flush().await.unwrap();
    let daemon = router(&nats, folder.path()).await;
    let start = tokio::time::timeout(SOON, starts.next())
        .await
        .expect("router.start at boot")
        .unwrap()
        .message;
    assert_eq!(
        (
            start.minimum_register_interval_in_seconds,
            start.prune_threshold_in_seconds
        ),
        (5, 120)
    );
    let greeting: RouterStart = eventually(SOON, async || {
        tool.request(
            &catalogue::router_greet(),
            &proto::bus::Empty,
            Duration::from_secs(2),
        )
        .await
        .map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(greeting.id, "router-1");

    let backend = Backend::saying("hello").await;
    let register = async |message: &Registration| {
        tool.publish(&catalogue::router_register(), message)
            .await
            .unwrap()
    };
    register(&registration("a.example.com", backend.address)).await;
    register(&Registration {
        stale_threshold_in_seconds: Some(1),
        ..registration("short.example.com", backend.address)
    })
    .await;
    daemon.until("a.example.com", 200).await;
    daemon.until("short.example.com", 200).await;
    let routes = daemon.admin("/routes").await;
    assert!(
        routes.body.contains("\"a.example.com\":[{")
            && routes.body.contains(&backend.address.to_string()),
        "{routes:?}"
    );
    let varz = daemon.admin("/varz").await;
    assert!(
        varz.body.contains("\"urls\":2") && varz.body.contains("\"responses_2xx\":"),
        "{varz:?}"
    );

    tool.publish(
        &catalogue::router_unregister(),
        &registration("short.example.com", backend.address),
    )
    .await
    .unwrap();
    daemon.until("short.example.com", 404).await;

    // The bus goes: routes stay. It comes back: the router says so, routes still stay.
    nats.down();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(daemon.get("a.example.com").await.status, 200);
    nats.up();
    tokio::time::timeout(SOON, starts.next())
        .await
        .expect("router.start on return")
        .unwrap();
    assert_eq!(daemon.get("a.example.com").await.status, 200);
    eventually(SOON, async || {
        let _ = tool
            .publish(
                &catalogue::router_register(),
                &registration("b.example.com", backend.address),
            )
            .await;
        let answer = daemon.get("b.example.com").await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await;

    daemon.running.stop(Duration::from_secs(5)).await;
    // The next router knows the routes before the bus tells it.
    nats.down();
    let daemon = router(&nats, folder.path()).await;
    assert_eq!(daemon.get("a.example.com").await.status, 200);
    assert_eq!(daemon.get("b.example.com").await.status, 200);
    daemon.running.stop(Duration::from_secs(5)).await;
}
