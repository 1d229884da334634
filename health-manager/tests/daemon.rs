//! The whole daemon with a real nats-server and etcd, a bulk API in this process and agents played by the test.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

#[path = "../../daemon/tests/servers/mod.rs"]
mod servers;

use axum::extract::Query;
use daemon::{Bootstrap, Bus, Cluster, ComponentId, Deps, Role, Running, Sockets, Subscription};
use proto::bus::catalogue;
use proto::bus::health::*;
use proto::ids::{DeaId, InstanceId, ProcessGuid, Version};
use servers::{Etcd, Nats, eventually, free_port, has};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SOON: Duration = Duration::from_secs(15);

/// The cluster around the health manager.
struct Around {
    folder: tempfile::TempDir,
    bus: Bus,
    cluster: Cluster,
    nats: Nats,
    etcd: Etcd,
    desired: Arc<Mutex<BTreeMap<i64, DesiredProcess>>>,
    crashes: Arc<Mutex<Vec<RecordedCrash>>>,
    running: Arc<Mutex<BTreeMap<String, Vec<Beat>>>>,
    requests: Subscription<HealthRequest>,
}

fn unix() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

fn beat(id: &str, index: u32, state: InstanceState) -> Beat {
    Beat {
        droplet: ProcessGuid::new("p").unwrap(),
        version: Version::new("v1").unwrap(),
        instance: InstanceId::new(id).unwrap(),
        index,
        state,
        state_timestamp: unix(),
        cc_partition: None,
        yard_stats: None,
        yard_details: None,
    }
}

impl Around {
    async fn start() -> Around {
        let folder = tempfile::tempdir().unwrap();
        let nats = Nats::start(&[
            (Role::HealthManager, "health-manager-1"),
            (Role::HealthManager, "health-manager-2"),
        ]);
        let etcd = Etcd::start();
        let bus = Bus::connect(&nats.config("tool"), &ComponentId::new("tool").unwrap())
            .await
            .unwrap();
        let mut status = bus.status();
        tokio::time::timeout(SOON, status.wait_for(|status| status.connected))
            .await
            .unwrap()
            .unwrap();
        let cluster = Cluster::connect(&etcd.config("")).await.unwrap();
        for (key, value) in [
            ("health-manager/agent/lost_after", "\"1s\""),
            ("health-manager/missing/grace", "\"1s\""),
            ("health-manager/crash/immediate_restarts", "2"),
        ] {
            eventually(SOON, async || {
                let key = format!("{}{key}", proto::config::PREFIX);
                cluster
                    .compare_and_set(&key, None, value)
                    .await
                    .map_err(|error| error.to_string())
            })
            .await
            .unwrap();
        }
        let desired: Arc<Mutex<BTreeMap<i64, DesiredProcess>>> = Arc::default();
        let crashes: Arc<Mutex<Vec<RecordedCrash>>> = Arc::default();
        let bulk = serve_bulk(desired.clone(), crashes.clone()).await;
        let running: Arc<Mutex<BTreeMap<String, Vec<Beat>>>> = Arc::default();
        let mut credentials = bus
            .subscribe(&catalogue::bulk_credentials().filter())
            .await
            .unwrap();
        tokio::spawn(async move {
            while let Some(question) = credentials.next().await {
                let answer = BulkCredentials {
                    user: "bulk".into(),
                    password: "secret".into(),
                    yard_url: Some(format!("http://{bulk}")),
                };
                question.respond(&answer).await.unwrap();
            }
        });
        let (agents, voice) = (running.clone(), bus.clone());
        tokio::spawn(async move {
            loop {
                let beats: Vec<Heartbeat> = agents
                    .lock()
                    .unwrap()
                    .iter()
                    .map(|(dea, droplets)| Heartbeat {
                        dea: DeaId::new(dea.as_str()).unwrap(),
                        droplets: droplets.clone(),
                        yard_complete: Some(true),
                        yard_period: None,
                        yard_zone: None,
                        yard_tasks: None,
                    })
                    .collect();
                for beat in beats {
                    let _ = voice.publish(&catalogue::dea_heartbeat(), &beat).await;
                }
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        });
        let requests = bus
            .subscribe(&catalogue::hm_requests().filter())
            .await
            .unwrap();
        bus.flush().await.unwrap();
        Around {
            folder,
            bus,
            cluster,
            nats,
            etcd,
            desired,
            crashes,
            running,
            requests,
        }
    }

    async fn health_manager(&self) -> Running {
        self.health_manager_number(1).await.0
    }

    /// With the address of its status server.
    async fn health_manager_number(&self, number: u32) -> (Running, SocketAddr) {
        let component = format!("health-manager-{number}");
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let bootstrap: Bootstrap = serde_json::from_value(serde_json::json!({
            "role": "health-manager", "component": component, "index": number,
            "cluster": {"id": "c0ffee12", "domain": "yard.internal"},
            "home": self.folder.path(), "folder": self.folder.path(), "run": self.folder.path(),
            "bus": self.nats.config(&component), "store": self.etcd.config(""),
            "admin": {"address": admin, "user": "status", "password": "secret"},
            "settings": {},
        }))
        .unwrap();
        let deps = Deps::build(bootstrap, Sockets::none()).await.unwrap();
        let running = health_manager::start(health_manager::Config::default(), deps)
            .await
            .unwrap();
        (running, admin)
    }

    fn want(&self, instances: u32, state: &str) {
        let process = DesiredProcess {
            id: ProcessGuid::new("p").unwrap(),
            instances,
            state: state.into(),
            memory: 64,
            package_state: "STAGED".into(),
            version: Version::new("v1").unwrap(),
            updated_at: unix(),
        };
        // Rows around it make several pages and an order that texts and numbers see differently.
        let mut desired = self.desired.lock().unwrap();
        for row in [2, 10, 30] {
            let other = DesiredProcess {
                id: ProcessGuid::new(format!("other-{row}")).unwrap(),
                state: "STOPPED".into(),
                ..process.clone()
            };
            desired.insert(row, other);
        }
        desired.insert(9, process);
    }

    fn runs(&self, dea: &str, beats: &[Beat]) {
        self.running
            .lock()
            .unwrap()
            .insert(dea.to_string(), beats.to_vec());
    }

    async fn updated(&self) {
        let updated = Updated {
            droplet: ProcessGuid::new("p").unwrap(),
            cc_partition: None,
        };
        self.bus
            .publish(&catalogue::droplet_updated(), &updated)
            .await
            .unwrap();
    }

    async fn exited(&self, id: &str, index: u32, reason: ExitReason) {
        let exited = Exited {
            droplet: ProcessGuid::new("p").unwrap(),
            version: Version::new("v1").unwrap(),
            instance: InstanceId::new(id).unwrap(),
            index,
            reason,
            crash_timestamp: Some(unix()),
            exit_status: 1,
            exit_description: "app instance exited".into(),
            cc_partition: None,
            yard_dea: None,
            yard_signal: None,
            yard_out_of_memory: None,
            yard_phase: None,
        };
        self.bus
            .publish(&catalogue::droplet_exited(), &exited)
            .await
            .unwrap();
    }

    async fn request(&mut self) -> HealthRequest {
        tokio::time::timeout(SOON, self.requests.next())
            .await
            .expect("a request in time")
            .unwrap()
            .message
    }

    async fn silent_for(&mut self, time: Duration) {
        if let Ok(request) = tokio::time::timeout(time, self.requests.next()).await {
            panic!("nothing should be asked: {:?}", request.unwrap().message);
        }
    }
}

async fn serve_bulk(
    desired: Arc<Mutex<BTreeMap<i64, DesiredProcess>>>,
    crashes: Arc<Mutex<Vec<RecordedCrash>>>,
) -> SocketAddr {
    let recorded = move |headers: axum::http::HeaderMap,
                         Query(query): Query<HashMap<String, String>>| async move {
        assert_eq!(headers["authorization"], "Basic YnVsazpzZWNyZXQ=");
        let since: i64 = query["since"].parse().unwrap();
        let mut crashes = crashes.lock().unwrap().clone();
        crashes.retain(|crash| crash.at >= since as f64);
        crashes.reverse();
        axum::Json(BulkCrashes { crashes })
    };
    let app = axum::Router::new()
        .route("/bulk/crashes", axum::routing::get(recorded))
        .route(
            "/bulk/apps",
            axum::routing::get(
                move |headers: axum::http::HeaderMap,
                      Query(query): Query<HashMap<String, String>>| async move {
                    assert_eq!(headers["authorization"], "Basic YnVsazpzZWNyZXQ=");
                    let token: BulkToken = serde_json::from_str(&query["bulk_token"]).unwrap();
                    // Small pages whatever was asked for.
                    let batch = query["batch_size"].parse::<usize>().unwrap().min(2);
                    let rows: Vec<(i64, DesiredProcess)> = desired
                        .lock()
                        .unwrap()
                        .range(token.id + 1..)
                        .take(batch)
                        .map(|(row, process)| (*row, process.clone()))
                        .collect();
                    let last = rows.last().map_or(token.id, |(row, _)| *row);
                    axum::Json(BulkPage {
                        results: rows
                            .into_iter()
                            .map(|(row, process)| (row.to_string(), process))
                            .collect(),
                        bulk_token: BulkToken { id: last },
                    })
                },
            ),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

use InstanceState::Running as RUNNING;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dies_comes_back_and_what_is_too_much_goes() {
    let test = "what_dies_comes_back_and_what_is_too_much_goes";
    if !has(test, "nats-server") || !has(test, "etcd") {
        return;
    }
    let mut around = Around::start().await;
    around.want(2, "STARTED");
    around.runs("d1", &[beat("i0", 0, RUNNING)]);
    around.runs("d2", &[beat("i1", 1, RUNNING)]);
    let running = around.health_manager().await;

    // It knows what is desired and what runs.
    let question = HealthQuery {
        droplets: vec![HealthQueryItem {
            droplet: ProcessGuid::new("p").unwrap(),
            version: Version::new("v1").unwrap(),
        }],
    };
    eventually(SOON, async || {
        let answer = around
            .bus
            .request::<_, Health>(
                &catalogue::healthmanager_health(),
                &question,
                Duration::from_millis(300),
            )
            .await;
        match answer {
            Ok(answer) if answer.healthy == 2 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    around.silent_for(Duration::from_millis(1500)).await;

    // A crash is answered at once.
    around.runs("d2", &[]);
    around.exited("i1", 1, ExitReason::Crashed).await;
    let begun = Instant::now();
    let request = around.request().await;
    assert!(
        begun.elapsed() < Duration::from_millis(200),
        "no tick, no grace: {:?}",
        begun.elapsed()
    );
    assert_eq!(
        (
            request.op,
            request.indices.as_slice(),
            request.version.as_ref().unwrap().as_str()
        ),
        (HealthOperation::Start, &[1][..], "v1")
    );
    assert!(request.yard_reason.unwrap().contains("crashed"));
    around.runs("d2", &[beat("i2", 1, RUNNING)]);
    tokio::time::sleep(Duration::from_millis(300)).await;

    // An agent that falls silent is lost, and its instance started elsewhere.
    around.running.lock().unwrap().remove("d1");
    let request = around.request().await;
    assert_eq!(
        (request.op, request.indices.as_slice()),
        (HealthOperation::Start, &[0][..])
    );
    assert!(request.yard_reason.unwrap().contains("lost"));
    around.runs("d2", &[beat("i2", 1, RUNNING), beat("i3", 0, RUNNING)]);
    tokio::time::sleep(Duration::from_millis(300)).await;

    // It returns: the newest of the two goes, if the older runs.
    let mut old = beat("i0", 0, RUNNING);
    old.state_timestamp -= 1000.0;
    around.runs("d1", &[old.clone()]);
    let request = around.request().await;
    assert_eq!(
        (request.op, request.instances.as_slice()),
        (HealthOperation::Stop, &[InstanceId::new("i3").unwrap()][..])
    );
    around.runs("d2", &[beat("i2", 1, RUNNING)]);

    // Scaled in: told by the controller, read at once, stopped because the rest runs.
    around.want(1, "STARTED");
    around.updated().await;
    let begun = Instant::now();
    let request = around.request().await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(
        (request.op, request.instances.as_slice()),
        (HealthOperation::Stop, &[InstanceId::new("i2").unwrap()][..])
    );
    around.runs("d2", &[]);

    // Deleted: a row that is gone.
    around.desired.lock().unwrap().remove(&9);
    around.updated().await;
    // Only a complete set proves that nobody wants it: that of the next minute.
    around.silent_for(Duration::from_millis(1500)).await;
    let key = format!("{}health-manager/desired/refresh", proto::config::PREFIX);
    around
        .cluster
        .compare_and_set(&key, None, "\"1s\"")
        .await
        .unwrap()
        .unwrap();
    running.stop(Duration::from_secs(5)).await;
    // Another one takes over, with the same knowledge within seconds.
    let running = around.health_manager().await;
    let request = around.request().await;
    assert_eq!(
        (request.op, request.instances.as_slice()),
        (HealthOperation::Stop, &[InstanceId::new("i0").unwrap()][..])
    );
    running.stop(Duration::from_secs(5)).await;
}

/// `/varz` of a health manager.
async fn varz(admin: SocketAddr) -> Result<serde_json::Value, String> {
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .get(format!("http://{admin}/varz"))
        .basic_auth("status", Some("secret"))
        .send()
        .await
        .map_err(|error| error.to_string())?;
    answer.json().await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_asks_and_an_absent_bus_is_no_news() {
    let test = "one_of_several_asks_and_an_absent_bus_is_no_news";
    if !has(test, "nats-server") || !has(test, "etcd") {
        return;
    }
    let mut around = Around::start().await;
    around.want(1, "STARTED");
    around.runs("d1", &[beat("i0", 0, RUNNING)]);
    let (first, first_status) = around.health_manager_number(1).await;
    let knows = async |admin, leads: bool| {
        eventually(SOON, async || {
            let varz = varz(admin).await?;
            let knows = varz["running_instances"] == 1
                && varz["desired_instances"] == 1
                && varz["warm"] == true
                && varz["leads"] == leads;
            if knows { Ok(()) } else { Err(varz.to_string()) }
        })
        .await
    };
    knows(first_status, true).await;
    let (second, second_status) = around.health_manager_number(2).await;
    knows(second_status, false).await;

    // Longer away than an agent may be silent, and than the grace.
    around.nats.down();
    eventually(SOON, async || {
        let varz = varz(first_status).await?;
        match varz["held"]["the bus is away"].as_u64() {
            Some(_) => Ok(()),
            None => Err(varz.to_string()),
        }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    around.nats.up();
    knows(first_status, true).await;
    around.silent_for(Duration::from_millis(1500)).await;

    around.runs("d1", &[]);
    around.exited("i0", 0, ExitReason::Crashed).await;
    let request = around.request().await;
    assert_eq!(request.indices, [0]);
    around.runs("d1", &[beat("i1", 0, RUNNING)]);
    around.silent_for(Duration::from_millis(1500)).await;

    // The other one knows as much.
    first.stop(Duration::from_secs(5)).await;
    knows(second_status, true).await;
    around.runs("d1", &[]);
    around.exited("i1", 0, ExitReason::DeaShutdown).await;
    let request = around.request().await;
    assert_eq!(request.indices, [0]);
    second.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_one_goes_on_with_the_back_off() {
    let test = "a_restarted_one_goes_on_with_the_back_off";
    if !has(test, "nats-server") || !has(test, "etcd") {
        return;
    }
    let mut around = Around::start().await;
    let key = format!("{}health-manager/crash/first_delay", proto::config::PREFIX);
    let set = around.cluster.compare_and_set(&key, None, "\"6s\"").await;
    set.unwrap().unwrap();
    around.want(1, "STARTED");
    around.runs("d1", &[]);
    // Two are answered at once, the third after six seconds; all were before this one began.
    let begun = unix();
    let crash = |number: u32| RecordedCrash {
        droplet: ProcessGuid::new("p").unwrap(),
        version: Version::new("v1").unwrap(),
        instance: InstanceId::new(format!("i{number}")).unwrap(),
        index: 0,
        at: begun - 2.0 + f64::from(number) / 2.0,
        ran: Some(0.4),
    };
    *around.crashes.lock().unwrap() = (0..3).map(crash).collect();
    let running = around.health_manager().await;
    let request = around.request().await;
    let waited = unix() - crash(2).at;
    assert_eq!(
        (request.op, request.indices.as_slice(), request.flapping),
        (HealthOperation::Start, &[0][..], Some(true))
    );
    assert_eq!(request.yard_reason.unwrap(), "it crashed (3 in a row)");
    assert!((6.0..9.0).contains(&waited), "{waited}");
    running.stop(Duration::from_secs(5)).await;
}
