//! A sensor on a whole agent: kept going, told of its triggers, given another token, stopped.

use crate::dea;
use crate::world::{Seen, World};
use proto::bus::automation::{
    PackContent, RunSensor, SensorReport, SensorToken, SensorTokenReply, SensorTrigger, StopSensor,
};
use proto::bus::catalogue;
use serde_json::json;
use std::time::{Duration, Instant};

const SENSOR: &str = r#"
import os, threading
from st2reactor.sensor.base import Sensor

class Watcher(Sensor):
    def setup(self):
        print("set up", self.config["name"])
    def run(self):
        threading.Event().wait()
    def cleanup(self):
        print("cleaned up")
    def add_trigger(self, trigger):
        print("added", trigger["id"], "with", os.environ["ST2_AUTH_TOKEN"])
    def update_trigger(self, trigger):
        print("cannot bear it", file=__import__("sys").stderr)
        os._exit(3)
    def remove_trigger(self, trigger):
        print("removed", trigger["id"])
"#;

async fn run_sensor(world: &World, content: &PackContent, generation: i64, name: &str) {
    let orders = json!({
        "pack": "test", "file": "/opt/stackyard/pack/content/sensors/watcher.py",
        "class_name": "Watcher", "config": {"name": name}, "triggers": [{"id": "t0"}],
        "api_url": "http://127.0.0.1:9", "token": "secret",
    });
    let order = RunSensor {
        sensor: "test.Watcher".into(),
        generation,
        content: Some(content.clone()),
        orders: orders.to_string().into_bytes(),
        memory_mb: 100,
        epoch: 5,
    };
    let topic = catalogue::dea_sensor_run(&dea());
    world.bus.publish(&topic, &order).await.unwrap();
}

async fn tell_sensor(world: &World, change: &str, id: &str) {
    let trigger = SensorTrigger {
        sensor: "test.Watcher".into(),
        change: change.into(),
        trigger: json!({ "id": id }).to_string().into_bytes(),
    };
    let topic = catalogue::dea_sensor_trigger(&dea());
    world.bus.publish(&topic, &trigger).await.unwrap();
}

async fn renew_sensor_token(world: &World, generation: i64, token: &str) -> SensorTokenReply {
    let message = SensorToken {
        sensor: "test.Watcher".into(),
        generation,
        token: token.into(),
    };
    let topic = catalogue::dea_sensor_token(&dea());
    let within = Duration::from_secs(20);
    world.bus.request(&topic, &message, within).await.unwrap()
}

async fn says(world: &World, words: &str) {
    let is_it = |seen: &Seen| matches!(seen, Seen::Line(kind, text) if kind == "SENSOR" && text.contains(words));
    world.eventually(words, is_it).await;
}

async fn sensor(world: &World, what: &str, is_it: impl Fn(&SensorReport) -> bool) -> SensorReport {
    let found = |seen: &Seen| match seen {
        Seen::Report(report) => report.sensors.iter().find(|sensor| is_it(sensor)).cloned(),
        _ => None,
    };
    let seen = world.eventually(what, |seen| found(seen).is_some()).await;
    found(&seen).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_is_kept_going_over_its_own_ends_and_the_agents() {
    let Some(mut world) = World::start("sensors").await else {
        return;
    };
    let pack = world.pack("test", &[("sensors/watcher.py", SENSOR)]);
    run_sensor(&world, &pack, 7, "first").await;
    says(&world, "set up first").await;
    says(&world, "added t0 with secret").await;
    let memory =
        |seen: &Seen| matches!(seen, Seen::Advertised(ad) if ad.available_memory == 2048 - 100);
    world.eventually("its memory counted", memory).await;
    let reply = renew_sensor_token(&world, 7, "another").await;
    assert!(reply.accepted, "{reply:?}");
    let reply = renew_sensor_token(&world, 6, "of an older one").await;
    assert!(!reply.accepted && !reply.reason.is_empty(), "{reply:?}");
    tell_sensor(&world, "create", "t1").await;
    says(&world, "added t1 with another").await;
    tell_sensor(&world, "delete", "t0").await;
    says(&world, "removed t0").await;

    world.forget_seen();
    let begun = Instant::now();
    tell_sensor(&world, "update", "t1").await;
    let report = sensor(&world, "it waits", |it| it.state == "waiting").await;
    assert!(
        report.last_exit.contains("exit status 3") && report.last_exit.contains("cannot bear it"),
        "{report:?}"
    );
    says(&world, "set up first").await;
    says(&world, "added t1 with another").await;
    assert!(
        begun.elapsed() > Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
    let before = sensor(&world, "it runs again", |it| {
        it.state == "running" && it.restarts == 1
    })
    .await;
    assert!(before.pid > 0);
    let again = world.all_seen();
    assert!(
        !again
            .iter()
            .any(|seen| matches!(seen, Seen::Line(_, text) if text.contains("added t0"))),
        "it was deleted"
    );

    world.agent_breaks().await;
    world.forget_seen();
    world.start_agent().await;
    let after = sensor(&world, "it goes on", |it| it.state == "running").await;
    assert_eq!(
        (after.pid, after.restarts, after.generation),
        (before.pid, 1, 7),
        "the same one"
    );
    tell_sensor(&world, "create", "t2").await;
    says(&world, "added t2").await;
    let starts = world
        .all_seen()
        .iter()
        .filter(|seen| matches!(seen, Seen::Line(_, text) if text.contains("set up")))
        .count();
    assert_eq!(starts, 0);

    world.forget_seen();
    run_sensor(&world, &pack, 6, "older").await;
    run_sensor(&world, &pack, 8, "second").await;
    says(&world, "cleaned up").await;
    says(&world, "set up second").await;
    let report = sensor(&world, "the newer one", |it| {
        it.generation == 8 && it.state == "running"
    })
    .await;
    assert_ne!(report.pid, before.pid);
    let stop = |generation| StopSensor {
        sensor: "test.Watcher".into(),
        generation,
    };
    let topic = catalogue::dea_sensor_stop(&dea());
    world.forget_seen();
    world.bus.publish(&topic, &stop(7)).await.unwrap();
    world.bus.publish(&topic, &stop(8)).await.unwrap();
    says(&world, "cleaned up").await;
    world
        .eventually(
            "no sensor",
            |seen| matches!(seen, Seen::Report(report) if report.sensors.is_empty()),
        )
        .await;
    world.forget_seen();
    run_sensor(&world, &pack, 8, "overtaken by its stop").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(
        world
            .all_seen()
            .iter()
            .all(|seen| !matches!(seen, Seen::Line(..))),
        "{:#?}",
        world.all_seen()
    );
    world.finish().await;
}
