//! Sensors on played agents, over a real bus.

use crate::automation_client;
use crate::cluster::{World, eventually, has_servers};
use crate::databases::Database;
use crate::site;
use controller::automation::engine::agents::Agents;
use controller::automation::{Automation, engine, ids};
use controller::store::Json;
use controller::store::automation::sensor_types::SensorType;
use controller::store::automation::tokens::{self, Token};
use controller::store::automation::trigger_instances::TriggerInstance;
use controller::store::query::Filter;
use daemon::Bus;
use http::Method;
use proto::bus::automation::{
    AutomationReport, RunSensor, SensorReport, SensorToken, SensorTokenReply, SensorTrigger,
    StopSensor,
};
use proto::bus::catalogue;
use proto::ids::DeaId;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// An agent that keeps sensors as it is told, and reports.
struct Agent {
    orders: Arc<Mutex<Vec<RunSensor>>>,
    stops: Arc<Mutex<Vec<StopSensor>>>,
    triggers: Arc<Mutex<Vec<SensorTrigger>>>,
    tokens: Arc<Mutex<Vec<SensorToken>>>,
    sensors: Arc<Mutex<Vec<SensorReport>>>,
    report: tokio::task::JoinHandle<()>,
}

impl Agent {
    async fn start(world: &World, name: &str) -> Agent {
        let bus: Bus = world.connect(name).await;
        let id = DeaId::new(name).unwrap();
        let agent = Agent {
            orders: Arc::default(),
            stops: Arc::default(),
            triggers: Arc::default(),
            tokens: Arc::default(),
            sensors: Arc::default(),
            report: {
                let bus = bus.clone();
                tokio::spawn(async move { drop(bus) })
            },
        };
        let mut runs = bus
            .subscribe(&catalogue::dea_sensor_run(&id).filter())
            .await
            .unwrap();
        let mut stops = bus
            .subscribe(&catalogue::dea_sensor_stop(&id).filter())
            .await
            .unwrap();
        let mut triggers = bus
            .subscribe(&catalogue::dea_sensor_trigger(&id).filter())
            .await
            .unwrap();
        let mut renewals = bus
            .subscribe(&catalogue::dea_sensor_token(&id).filter())
            .await
            .unwrap();
        let (orders, stopped, told, tokens, sensors) = (
            agent.orders.clone(),
            agent.stops.clone(),
            agent.triggers.clone(),
            agent.tokens.clone(),
            agent.sensors.clone(),
        );
        let name = name.to_string();
        let report = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            loop {
                tokio::select! {
                    _ = tick.tick() => {
                        let report = AutomationReport {
                            dea: name.clone(),
                            sensors: sensors.lock().unwrap().clone(),
                            ..AutomationReport::default()
                        };
                        bus.publish(&catalogue::automation_report(), &report).await.ok();
                    }
                    Some(run) = runs.next() => {
                        let run = run.message;
                        let mut sensors = sensors.lock().unwrap();
                        sensors.retain(|one| one.sensor != run.sensor);
                        sensors.push(SensorReport {
                            sensor: run.sensor.clone(),
                            generation: run.generation,
                            state: "running".into(),
                            restarts: 0,
                            last_exit: String::new(),
                            pid: 7,
                        });
                        orders.lock().unwrap().push(run);
                    }
                    Some(stop) = stops.next() => {
                        let stop = stop.message;
                        sensors.lock().unwrap().retain(|one| one.sensor != stop.sensor || one.generation > stop.generation);
                        stopped.lock().unwrap().push(stop);
                    }
                    Some(change) = triggers.next() => told.lock().unwrap().push(change.message),
                    Some(renewal) = renewals.next() => {
                        let reply = SensorTokenReply { accepted: true, reason: String::new() };
                        renewal.respond(&reply).await.unwrap();
                        tokens.lock().unwrap().push(renewal.message);
                    }
                }
            }
        });
        Agent { report, ..agent }
    }

    fn orders(&self) -> Vec<RunSensor> {
        self.orders.lock().unwrap().clone()
    }
}

async fn sensor(automation: &Automation) -> SensorType {
    let mut reader = automation.ops.store.read().await.unwrap();
    SensorType::find(&mut reader, "test.Watcher")
        .await
        .unwrap()
        .unwrap()
}

async fn install(automation: &Automation) {
    let mut tx = automation.ops.store.write("test").await.unwrap();
    automation_client::pack("test")
        .insert(&mut tx)
        .await
        .unwrap();
    SensorType {
        reference: "test.Watcher".into(),
        id: ids::new_id(),
        pack: "test".into(),
        name: "Watcher".into(),
        enabled: true,
        document: Json(json!({
            "class_name": "Watcher", "entry_point": "watcher.py", "poll_interval": 5,
            "trigger_types": ["test.seen"],
        })),
        dea: None,
        generation: 1,
        created_at: 1,
        updated_at: 1,
        row_version: 1,
    }
    .insert(&mut tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

fn parsed(order: &RunSensor) -> Value {
    serde_json::from_slice(&order.orders).unwrap()
}

async fn fired(automation: &Automation, trigger: &str) -> Vec<TriggerInstance> {
    let mut reader = automation.ops.store.read().await.unwrap();
    let filter = Filter::new().equals("trigger_ref", trigger);
    TriggerInstance::fetch(&mut reader, filter, "test")
        .await
        .unwrap()
}

/// A leader with the pack of the sensor.
struct Led {
    world: World,
    automation: Automation,
    face: site::Face,
    _database: Database,
    _runtime: controller::runtime::Runtime,
    _deps: daemon::Deps,
    _settings: tokio::sync::watch::Sender<Arc<proto::config::Settings>>,
}

/// None, and a word about it, where the servers are not installed.
async fn led(test: &str) -> Option<Led> {
    if !has_servers(test) {
        return None;
    }
    let database = Database::sqlite().await;
    let world = World::with_store(database.store.clone()).await;
    let (runtime, deps) = world.controller("controller-1").await;
    let (settings, follow) = tokio::sync::watch::channel(Arc::new(site::settings(&[(
        "health-manager/agent/lost_after",
        &json!("2s"),
    )])));
    let mut ops = world.ops(&runtime, &deps);
    ops.settings = follow;
    ops.prepare(site::PASSWORD, "yard.internal").await.unwrap();
    let packs = world.folder.path().join("packs");
    std::fs::create_dir_all(&packs).unwrap();
    let automation = Automation {
        ops,
        key: Arc::new(::automation::datastore::SymmetricKey::generate(&[7; 64])),
        expressions: ::automation::expressions::Engine::default(),
        agents: Agents::default(),
        stream: Automation::stream_channel(),
        wake: Arc::new(Notify::new()),
        epoch: runtime.epoch(),
        bus: Some(deps.bus.clone()),
        public_url: "http://st2.yard.internal".into(),
        pack_folders: Arc::from([]),
        builtin_packs: Arc::from(packs.as_path()),
        peers: None,
        acceptance: Default::default(),
        intake: Default::default(),
        ends: Default::default(),
        packs_at_work: Default::default(),
    };
    install(&automation).await;
    engine::start(&automation, &deps).await;
    let face = site::Face::of(&automation).await;
    face.post(
        "/v1/triggertypes",
        json!({
            "pack": "test", "name": "seen",
            "parameters_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
        }),
    )
    .await
    .expect(201);
    Some(Led {
        world,
        automation,
        face,
        _database: database,
        _runtime: runtime,
        _deps: deps,
        _settings: settings,
    })
}

impl Agent {
    async fn first_order(&self) -> RunSensor {
        eventually("the sensor is ordered", async || {
            self.orders().pop().ok_or_else(|| "no order".to_string())
        })
        .await
    }
}

fn watch(name: &str, path: &str) -> Value {
    json!({
        "name": name, "pack": "test", "enabled": true, "action": {"ref": "core.noop"},
        "trigger": {"type": "test.seen", "parameters": {"path": path}},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_of_a_sensor_is_good_for_what_its_service_does() {
    let Some(led) = led("the_token_of_a_sensor_is_good_for_what_its_service_does").await else {
        return;
    };
    led.face
        .post("/v1/triggertypes", json!({"pack": "other", "name": "seen"}))
        .await
        .expect(201);
    let agent = Agent::start(&led.world, "dea-1").await;
    let orders = parsed(&agent.first_order().await);
    let sensor = led.face.with_token(orders["token"].as_str().unwrap());

    let event = |trigger: &str| json!({"trigger": trigger, "payload": {}});
    let text = sensor
        .post("/v1/webhooks/st2", event("other.seen"))
        .await
        .refused(403);
    assert_eq!(
        text,
        "The sensor \"test.Watcher\" may fire triggers of its own pack, not \"other.seen\"."
    );
    sensor
        .post("/v1/webhooks/st2", event("test.seen"))
        .await
        .expect(202);
    let key = "/v1/keys/test.Watcher:at";
    let written = json!({"name": "test.Watcher:at", "value": "1", "secret": true});
    sensor.put(key, written).await.expect(200);
    let read = sensor.get(&format!("{key}?decrypt=true")).await;
    assert_eq!(read["value"], "1");
    sensor.get("/v1/keys?prefix=test.Watcher:").await;
    assert_eq!(sensor.get("/v1/user").await["username"], "sensor_service");
    sensor.call(Method::DELETE, key, None).await.expect(204);

    let lacks = |permission: &str| {
        format!("User \"sensor_service\" doesn't have required permission \"{permission}\"")
    };
    for (method, path, body, permission) in [
        (
            Method::POST,
            "/v1/executions",
            json!({"action": "core.noop"}),
            "action_execute",
        ),
        (Method::GET, "/v1/executions", Value::Null, "execution_list"),
        (Method::GET, "/v1/actions", Value::Null, "action_list"),
        (Method::GET, "/v1/configs/test", Value::Null, "config_view"),
        (Method::POST, "/v1/rules", watch("two", "/b"), "rule_create"),
        (
            Method::POST,
            "/v1/webhooks/deploy",
            json!({}),
            "webhook_send",
        ),
        (Method::POST, "/v1/apikeys", json!({}), "api_key_create"),
        (
            Method::PUT,
            "/v1/keys/mine",
            json!({"name": "mine", "value": "1", "scope": "user"}),
            "key_value_pair_set",
        ),
    ] {
        let body = Some(body).filter(|body| !body.is_null());
        let text = sensor.call(method, path, body).await.refused(403);
        assert_eq!(text, lacks(permission), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sensor_gets_another_token_while_it_runs() {
    let Some(led) = led("a_sensor_gets_another_token_while_it_runs").await else {
        return;
    };
    let agent = Agent::start(&led.world, "dea-1").await;
    let order = agent.first_order().await;
    let before = parsed(&order)["token"].as_str().unwrap().to_string();
    assert!(agent.tokens.lock().unwrap().is_empty());

    // Twenty hours are left of what it has.
    let owner = Filter::new().equals("execution_id", "sensor:test.Watcher:2");
    let end = controller::ops::now() + 20 * 3_600_000_000;
    let mut tx = led.automation.ops.store.write("test").await.unwrap();
    for token in Token::fetch(&mut tx, owner.clone(), "test").await.unwrap() {
        tokens::extend(&mut tx, &token.token_hash, end)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    let renewed = eventually("it is given another token", async || {
        let seen = agent.tokens.lock().unwrap().clone();
        seen.into_iter().next().ok_or_else(|| "none".to_string())
    })
    .await;
    assert_eq!(
        (renewed.sensor.as_str(), renewed.generation),
        ("test.Watcher", 2)
    );
    assert_ne!(renewed.token, before);
    eventually("it is good for a week", async || {
        let mut reader = led.automation.ops.store.read().await.unwrap();
        let found = Token::fetch(&mut reader, owner.clone(), "test")
            .await
            .unwrap();
        let longest = found.iter().map(|token| token.expires_at).max().unwrap();
        if longest - controller::ops::now() > 6 * 86_400_000_000 {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
    let event = json!({"trigger": "test.seen", "payload": {}});
    for token in [&before, &renewed.token] {
        led.face
            .with_token(token)
            .post("/v1/webhooks/st2", event.clone())
            .await
            .expect(202);
    }
    // It goes on where it is.
    assert_eq!(agent.orders().len(), 1);
    assert_eq!(sensor(&led.automation).await.generation, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sensor_runs_on_one_agent_and_moves_when_it_is_lost() {
    let Some(led) = led("a_sensor_runs_on_one_agent_and_moves_when_it_is_lost").await else {
        return;
    };
    let Led {
        world,
        automation,
        face,
        ..
    } = &led;
    face.post("/v1/rules", watch("one", "/a")).await.expect(201);

    let first = Agent::start(world, "dea-1").await;
    let order = first.first_order().await;
    let orders = parsed(&order);
    assert_eq!(order.generation, 2);
    assert_eq!(order.content.unwrap().sha256, "1".repeat(64));
    assert_eq!(
        orders["file"],
        "/opt/stackyard/pack/content/sensors/watcher.py"
    );
    assert_eq!(orders["triggers"][0]["parameters"]["path"], "/a");
    assert_eq!(orders["api_url"], "http://st2.yard.internal/api/v1");

    let as_sensor = face.with_token(orders["token"].as_str().unwrap());
    let seen = json!({"trigger": {"type": "test.seen", "parameters": {"path": "/a"}}, "payload": {"n": 1}});
    as_sensor.post("/v1/webhooks/st2", seen).await.expect(202);

    // It hears of triggers that come and go.
    face.post("/v1/rules", watch("two", "/b")).await.expect(201);
    face.call(Method::DELETE, "/v1/rules/test.one", None)
        .await
        .expect(204);
    eventually("it is told of triggers", async || {
        let told: Vec<(String, Value)> = first
            .triggers
            .lock()
            .unwrap()
            .iter()
            .map(|one| {
                (
                    one.change.clone(),
                    serde_json::from_slice(&one.trigger).unwrap(),
                )
            })
            .collect();
        let has = |change: &str, path: &str| {
            told.iter()
                .any(|(found, trigger)| found == change && trigger["parameters"]["path"] == path)
        };
        if has("create", "/b") && has("delete", "/a") {
            Ok(())
        } else {
            Err(format!("{told:?}"))
        }
    })
    .await;

    // A restart is seen.
    eventually("its begin is told", async || {
        let told = fired(automation, "core.st2.sensor.process_spawn").await;
        if told.len() == 1 {
            Ok(())
        } else {
            Err(format!("{told:?}"))
        }
    })
    .await;
    {
        let mut sensors = first.sensors.lock().unwrap();
        sensors[0].restarts = 1;
        sensors[0].pid = 8;
        sensors[0].last_exit = "exited with status 3\nTraceback".into();
    }
    let exits = eventually("its end is told", async || {
        let told = fired(automation, "core.st2.sensor.process_exit").await;
        if told.len() == 1 {
            Ok(told)
        } else {
            Err(format!("{told:?}"))
        }
    })
    .await;
    assert_eq!(exits[0].payload["pid"], 7);
    assert_eq!(exits[0].payload["exit_code"], 3);

    // Its agent falls silent: another gets it, and the first stops it when it comes back.
    let second = Agent::start(world, "dea-2").await;
    first.report.abort();
    let moved = eventually("the sensor moves", async || {
        second.orders().pop().ok_or_else(|| "no order".to_string())
    })
    .await;
    assert_eq!(moved.generation, 3);
    assert_eq!(parsed(&moved)["triggers"][0]["parameters"]["path"], "/b");
    as_sensor
        .call(Method::GET, "/v1/keys/test.Watcher:at", None)
        .await
        .refused(401);
    let stray = AutomationReport {
        dea: "dea-1".into(),
        sensors: first.sensors.lock().unwrap().clone(),
        ..AutomationReport::default()
    };
    let bus = world.connect("dea-1").await;
    let mut stops = bus
        .subscribe(&catalogue::dea_sensor_stop(&DeaId::new("dea-1").unwrap()).filter())
        .await
        .unwrap();
    bus.publish(&catalogue::automation_report(), &stray)
        .await
        .unwrap();
    let stop = tokio::time::timeout(Duration::from_secs(10), stops.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (stop.message.sensor.as_str(), stop.message.generation),
        ("test.Watcher", 2)
    );

    // Switched off, it ends.
    let mut row = sensor(automation).await;
    row.enabled = false;
    let mut tx = automation.ops.store.write("test").await.unwrap();
    row.update(&mut tx, controller::ops::now()).await.unwrap();
    tx.commit().await.unwrap();
    eventually("it is stopped", async || {
        let row = sensor(automation).await;
        if row.dea.is_none() && !second.stops.lock().unwrap().is_empty() {
            Ok(())
        } else {
            Err(format!("{row:?}"))
        }
    })
    .await;
}
