//! Sandboxes that wait prepared, on a whole agent: real bus, real containers.

#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use proto::bus::automation::{PackContent, RunAction, RunActionReply};
use proto::bus::catalogue;
use proto::bus::dea::StartInstance;
use proto::bus::health::InstanceState;
use proto::ids::DeaId;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use world::{Seen, World};

const WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// What the agent tells of itself at `path`.
async fn shown(world: &World, path: &str) -> Value {
    let admin = &world.bootstrap()["admin"];
    let text = |name: &str| admin[name].as_str().unwrap().to_string();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked = client
        .get(format!("http://{}{path}", text("address")))
        .basic_auth(text("user"), Some(text("password")))
        .send();
    let answer = asked.await.unwrap().text().await.unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"))
}

async fn pool(world: &World) -> Value {
    shown(world, "/varz").await["pool"].clone()
}

/// Waits until the pool is so, and gives what it showed.
async fn until(world: &World, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let pool = pool(world).await;
        if is_so(&pool) {
            return pool;
        }
        assert!(begun.elapsed() < WITHIN, "{what}: {pool}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The sandbox that an instance has.
async fn sandbox_of(world: &World, instance: &str) -> String {
    let shown = shown(world, "/instances").await;
    let instances = shown["instances"].as_array().unwrap().iter();
    let found = instances.filter(|one| one["instance"] == instance);
    let names: Vec<&str> = found.filter_map(|one| one["sandbox"].as_str()).collect();
    names
        .first()
        .unwrap_or_else(|| panic!("{shown}"))
        .to_string()
}

/// An instance without a port, on a disk that the pool does not expect by itself.
fn worker(world: &World, instance: &str, sha1: &str, command: &str) -> StartInstance {
    let mut start = world.start_message(instance, sha1, command);
    start.uris.clear();
    start
}

fn says(world: &World, words: &str) -> bool {
    let seen = world.all_seen();
    seen.iter()
        .any(|seen| matches!(seen, Seen::Line(_, text) if text == words))
}

fn folders(world: &World, stem: &str) -> usize {
    let sandboxes = std::fs::read_dir(world.agent_folder().join("sandboxes")).unwrap();
    let names = sandboxes.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(stem)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_takes_a_waiting_sandbox_that_becomes_its_own_and_another_is_prepared() {
    let Some(mut world) = World::start("pool").await else {
        return;
    };
    let pool = until(&world, "two wait", |pool| {
        pool["instances"]["prepared"] == 2
    })
    .await;
    assert_eq!(
        pool["instances"]["disks_mb"],
        json!([1024, 1024]),
        "the usual"
    );

    let sha1 = world.droplet(&[("app/file", "the droplet\n")]);
    world
        .order(&worker(&world, "first", &sha1, "exec sleep 1000"))
        .await;
    world.state("first", InstanceState::Running).await;
    assert_eq!(
        sandbox_of(&world, "first").await,
        "first",
        "nobody expected this disk"
    );
    until(&world, "the pool follows the demand", |pool| {
        pool["instances"]["disks_mb"] == json!([64, 64])
    })
    .await;

    let script = "hostname; cat /etc/hostname; grep -c second /etc/hosts; cat file; ulimit -n; \
                  python3 -c 'bytearray(200 << 20)'; echo left $?; exec sleep 1000";
    world.order(&worker(&world, "second", &sha1, script)).await;
    world.state("second", InstanceState::Running).await;
    let sandbox = sandbox_of(&world, "second").await;
    assert!(sandbox.starts_with("ready-"), "{sandbox}");
    // Its limit is 96 MB: the interpreter does not survive this.
    world
        .eventually("its last word", |_| says(&world, "left 137"))
        .await;
    let lines: Vec<String> = world
        .all_seen()
        .into_iter()
        .filter_map(|seen| match seen {
            Seen::Line(_, text) => Some(text),
            _ => None,
        })
        .collect();
    for words in ["second", "1", "the droplet", "1024"] {
        assert!(
            lines.iter().any(|line| line == words),
            "{words}: {lines:#?}"
        );
    }
    assert_eq!(
        lines.iter().filter(|line| *line == "second").count(),
        2,
        "{lines:#?}"
    );
    let pool = until(&world, "two wait again", |pool| {
        pool["instances"]["prepared"] == 2
    })
    .await;
    assert_eq!(
        (&pool["instances"]["taken"], &pool["instances"]["missed"]),
        (&json!(1), &json!(1))
    );

    // The next agent knows whose it is, and removes what was nobody's.
    let before = folders(&world, "ready-");
    assert_eq!(before, 3);
    world.agent_breaks().await;
    world.forget_seen();
    world.start_agent().await;
    assert_eq!(sandbox_of(&world, "second").await, sandbox);
    world.order_stop("second").await;
    world.exited("second").await;
    until(&world, "two wait", |pool| {
        pool["instances"]["prepared"] == 2
    })
    .await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_gives_way_to_what_needs_its_room_and_comes_back_after() {
    let Some(world) = World::start("room").await else {
        return;
    };
    until(&world, "two wait", |pool| {
        pool["instances"]["prepared"] == 2
    })
    .await;
    let sha1 = world.droplet(&[("app/file", "")]);
    // All of what the agent offers: 2,048 MB.
    let mut whole = worker(&world, "whole", &sha1, "exec sleep 1000");
    whole.limits.mem = 2048;
    world.order(&whole).await;
    world.state("whole", InstanceState::Running).await;
    until(&world, "none waits, for want of room", |pool| {
        pool["instances"]["prepared"] == 0 && pool["waits"] == "all room is taken"
    })
    .await;
    world.order_stop("whole").await;
    world.exited("whole").await;
    until(&world, "two wait", |pool| {
        pool["instances"]["prepared"] == 2
    })
    .await;
    world.finish().await;
}

const WHO: &str = r#"
import os
import socket
import sys

import library
from st2common.runners.base_action import Action


class Who(Action):
    def run(self):
        return [library.OF, socket.gethostname(), os.getuid(), sys.prefix, sorted(os.listdir("/opt/stackyard/pack"))]
"#;

/// Runs a Python action of this pack and gives what it returned.
async fn who(world: &World, execution: &str, content: &PackContent) -> Value {
    let orders = json!({
        "kind": "python", "pack": content.pack, "file": "/opt/stackyard/pack/content/actions/who.py",
        "parameters": {},
    });
    let action = RunAction {
        execution: execution.into(),
        attempt: 1,
        action: "test.who".into(),
        content: Some(content.clone()),
        orders: orders.to_string().into_bytes(),
        timeout_ms: 60_000,
        memory_mb: 128,
        output_limit: 1 << 20,
        ..RunAction::default()
    };
    let topic = catalogue::dea_action_run(&DeaId::new("dea-1").unwrap());
    let reply: RunActionReply = world.bus.request(&topic, &action, WITHIN).await.unwrap();
    assert!(reply.accepted, "{reply:?}");
    let end = world
        .eventually(
            "its end",
            |seen| matches!(seen, Seen::Action(end) if end.execution == execution),
        )
        .await;
    let Seen::Action(end) = end else {
        panic!("{end:?}")
    };
    let report: Value = serde_json::from_slice(&end.result).unwrap();
    let answer = report["result"]
        .as_str()
        .unwrap_or_else(|| panic!("{report}"));
    serde_json::from_str::<Value>(answer).unwrap()["result"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_takes_a_waiting_sandbox_with_its_own_files_and_libraries_in_it() {
    // Room for three packs, 1,024 MB each, and for what waits.
    let started = World::with("pool of packs", |bootstrap| {
        bootstrap["settings"]["memory_mb"] = 4096.into();
    });
    let Some(world) = started.await else { return };
    let library = "virtualenv/lib/python3.11/site-packages/library.py";
    let (base_url, base_sha256) = world.blob(&[(library, "OF = 'all packs'")]);
    let pack = |name: &str, files: &[(&str, &str)]| {
        let mut all = vec![("content/actions/who.py", WHO)];
        all.extend(files);
        let (url, sha256) = world.blob(&all);
        PackContent {
            pack: name.into(),
            url,
            sha256,
            base_url: base_url.clone(),
            base_sha256: base_sha256.clone(),
        }
    };
    let first = pack("first", &[("content/first", "")]);
    let second = pack("second", &[("content/second", "")]);
    let third = pack("third", &[(library, "OF = 'the third'")]);
    let none_waits = pool(&world).await;
    assert_eq!(none_waits["packs"]["prepared"], 0, "nobody asked for one");

    let seen = who(&world, "w1", &first).await;
    assert_eq!(seen[0], "all packs");
    assert!(seen[1].as_str().unwrap().starts_with("pack-"), "{seen}");
    let mut sandboxes = vec![seen[1].clone()];
    for (number, (content, library)) in [(&second, "all packs"), (&third, "the third")]
        .into_iter()
        .enumerate()
    {
        until(&world, "one waits", |pool| pool["packs"]["prepared"] == 1).await;
        let seen = who(&world, &format!("w{}", number + 2), content).await;
        assert_eq!(seen[0], library, "{seen}");
        assert!(seen[1].as_str().unwrap().starts_with("ready-"), "{seen}");
        assert_eq!(seen[2], 2000, "{seen}");
        assert!(!sandboxes.contains(&seen[1]), "a sandbox is of one pack");
        sandboxes.push(seen[1].clone());
        let pool = pool(&world).await;
        assert_eq!(pool["packs"]["taken"], number + 1);
        // The second action of the pack: its worker may be one of before or one of after.
        let again = who(&world, &format!("again{number}"), content).await;
        assert_eq!((&again[0], &again[1]), (&seen[0], &seen[1]));
    }
    world.finish().await;
}
