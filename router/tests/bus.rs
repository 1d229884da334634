//! The whole daemon with a real nats-server: registrations, pruning, the bus away, settings from defaults.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

#[path = "../../daemon/tests/servers/mod.rs"]
mod servers;
mod support;

use daemon::{Bootstrap, Bus, Cluster, ComponentId, Deps, Role, Running, Sockets};
use proto::bus::catalogue;
use proto::bus::router::{Registration, RouterStart};
use servers::{Etcd, Nats, has};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use support::*;
use tokio::net::TcpStream;

fn nats() -> Nats {
    Nats::start(&[(Role::Router, "router-1")])
}

async fn tool(nats: &Nats) -> Bus {
    let bus = Bus::connect(&nats.config("tool"), &ComponentId::new("tool").unwrap())
        .await
        .unwrap();
    connected(&bus).await;
    bus
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
    router_with(nats, folder, &format!("http://{}", dead_address())).await
}

async fn router_with(nats: &Nats, folder: &Path, store: &str) -> Daemon {
    router_on(&nats.config("router-1"), folder, store).await
}

async fn router_on(bus: &daemon::BusConfig, folder: &Path, store: &str) -> Daemon {
    let (address, admin) = (dead_address(), dead_address());
    let bootstrap: Bootstrap = serde_json::from_value(serde_json::json!({
        "role": "router", "component": "router-1", "index": 1,
        "cluster": {"id": "c0ffee12", "domain": "yard.internal"},
        "home": folder, "folder": folder, "run": folder,
        "bus": bus,
        "store": {"endpoints": [store], "user": "", "password": ""},
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

/// Sets a value of the cluster's configuration, as JSON.
async fn set(cluster: &Cluster, path: &str, value: &str) {
    let key = format!("{}{path}", proto::config::PREFIX);
    eventually(SOON, async || {
        let set = cluster.compare_and_set(&key, None, value).await;
        set.map_err(|error| error.to_string())
    })
    .await
    .unwrap();
}

impl Daemon {
    /// Registers a backend under this name until it answers.
    async fn registers(&self, tool: &Bus, host: &str, backend: SocketAddr) {
        let message = registration(host, backend);
        eventually(SOON, async || {
            let _ = tool.publish(&catalogue::router_register(), &message).await;
            let answer = self.get(host).await;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(format!("{answer:?}"))
            }
        })
        .await;
    }

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
    let (mut nats, folder) = (nats(), tempfile::tempdir().unwrap());
    let tool = tool(&nats).await;
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
    let told = daemon.admin("/table?host=a.example.com&most=5").await;
    assert!(
        told.body
            .contains("\"route\":\"a.example.com\",\"state\":\"serving\"")
            && !told.body.contains("short.example.com"),
        "{told:?}"
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
    let told = daemon.admin("/table?host=short.example.com").await;
    assert!(told.body.contains("it was unregistered"), "{told:?}");

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
    daemon
        .registers(&tool, "b.example.com", backend.address)
        .await;

    daemon.running.stop(Duration::from_secs(5)).await;
    // The next router knows the routes before the bus tells it.
    nats.down();
    let daemon = router(&nats, folder.path()).await;
    assert_eq!(daemon.get("a.example.com").await.status, 200);
    assert_eq!(daemon.get("b.example.com").await.status, 200);
    daemon.running.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_bus_servers_is_enough() {
    if !has("one_of_several_bus_servers_is_enough", "nats-server") {
        return;
    }
    let (mut first, mut second) = (nats(), nats());
    let folder = tempfile::tempdir().unwrap();
    let mut bus = first.config("router-1");
    bus.servers.extend(second.config("router-1").servers);
    let store = format!("http://{}", dead_address());
    let daemon = router_on(&bus, folder.path(), &store).await;
    let (here, there) = (tool(&first).await, tool(&second).await);
    let backend = Backend::saying("hello").await;
    // It is at one of them, no matter which: then each goes once.
    let both = |host: &'static str| registration(host, backend.address);
    eventually(SOON, async || {
        for tool in [&here, &there] {
            let message = both("a.example.com");
            let _ = tool.publish(&catalogue::router_register(), &message).await;
        }
        match daemon.get("a.example.com").await.status {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    first.down();
    daemon
        .registers(&there, "b.example.com", backend.address)
        .await;
    first.up();
    second.down();
    daemon
        .registers(&here, "c.example.com", backend.address)
        .await;
    assert_eq!(daemon.get("a.example.com").await.status, 200);
    daemon.running.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_pruned_while_the_bus_is_away() {
    let test = "nobody_is_pruned_while_the_bus_is_away";
    if !has(test, "nats-server") || !has(test, "etcd") {
        return;
    }
    let (mut nats, folder) = (nats(), tempfile::tempdir().unwrap());
    let etcd = Etcd::start();
    let cluster = Cluster::connect(&etcd.config("")).await.unwrap();
    for (key, value) in [("sweep", "\"100ms\""), ("stale_after", "\"1s\"")] {
        set(&cluster, &format!("router/prune/{key}"), value).await;
    }
    let daemon = router_with(&nats, folder.path(), &etcd.endpoint()).await;
    let tool = tool(&nats).await;
    let backend = Backend::saying("hello").await;
    daemon
        .registers(&tool, "a.example.com", backend.address)
        .await;
    nats.down();
    // Three times as long as it may be silent otherwise, over thirty sweeps.
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(daemon.get("a.example.com").await.status, 200);
    }
    // With the bus back it has its time to register, and is pruned if it does not.
    nats.up();
    daemon.until("a.example.com", 503).await;
    daemon.until("a.example.com", 404).await;
    daemon.running.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_instances_of_a_silent_agent_come_last() {
    let test = "the_instances_of_a_silent_agent_come_last";
    if !has(test, "nats-server") || !has(test, "etcd") {
        return;
    }
    let (nats, folder) = (nats(), tempfile::tempdir().unwrap());
    let etcd = Etcd::start();
    let cluster = Cluster::connect(&etcd.config("")).await.unwrap();
    // Overdue after a quarter of it.
    set(&cluster, "router/prune/stale_after", "\"8s\"").await;
    let daemon = router_with(&nats, folder.path(), &etcd.endpoint()).await;
    let tool = tool(&nats).await;
    let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
    let host = "a.example.com";
    let who = async || {
        let mut said = BTreeSet::new();
        for _ in 0..8 {
            said.insert(daemon.get(host).await.body);
        }
        Vec::from_iter(said)
    };
    let both = async || {
        eventually(SOON, async || match who().await {
            said if said == ["one", "two"] => Ok(()),
            said => Err(format!("{said:?}")),
        })
        .await;
    };
    daemon.registers(&tool, host, one.address).await;
    daemon.registers(&tool, host, two.address).await;
    both().await;
    let silent = Instant::now();
    while silent.elapsed() < Duration::from_millis(2500) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        daemon.registers(&tool, host, two.address).await;
    }
    assert_eq!(
        who().await,
        ["two"],
        "the other was not registered for 2.5 s"
    );
    daemon.registers(&tool, host, one.address).await;
    both().await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(
        who().await,
        ["one", "two"],
        "if all are silent nobody is avoided"
    );
    daemon.running.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_told_each_period_and_the_end_too() {
    let test = "what_was_answered_is_told_each_period_and_the_end_too";
    if !has(test, "nats-server") || !has(test, "etcd") {
        return;
    }
    let (nats, folder) = (nats(), tempfile::tempdir().unwrap());
    let etcd = Etcd::start();
    let cluster = Cluster::connect(&etcd.config("")).await.unwrap();
    set(&cluster, "router/traffic/period", "\"500ms\"").await;
    let tool = tool(&nats).await;
    let mut reports = tool
        .subscribe(&catalogue::router_traffic().filter())
        .await
        .unwrap();
    tool.flush().await.unwrap();
    let daemon = router_with(&nats, folder.path(), &etcd.endpoint()).await;
    let mut next = async || {
        let report = tokio::time::timeout(SOON, reports.next()).await;
        report.expect("a report in time").unwrap().message
    };
    let first = next().await;
    assert_eq!((first.router.as_str(), first.last), ("router-1", false));
    assert_eq!(first.routes, [], "silence would mean something else");

    let backend = Backend::saying("hello").await;
    daemon
        .registers(&tool, "a.example.com", backend.address)
        .await;
    let mut number = first.number;
    let told = loop {
        let report = next().await;
        assert_eq!((&report.run, report.number), (&first.run, number + 1));
        number = report.number;
        if let [route] = report.routes.as_slice() {
            break route.clone();
        }
        assert_eq!(report.routes, []);
    };
    assert_eq!(
        (told.route.as_str(), told.app.as_str()),
        ("a.example.com", "app-guid")
    );
    assert_eq!((told.requests, told.errors), (1, 0));
    daemon.running.stop(Duration::from_secs(5)).await;
    loop {
        let report = next().await;
        if report.last {
            break;
        }
    }
}
