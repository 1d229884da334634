//! Actions of packs on a whole agent: real bus, real containers, the real host of packs; the test
//! plays the controller.

#![allow(clippy::unwrap_used, reason = "a test")]

mod sensors;
#[path = "../world/mod.rs"]
mod world;

use proto::bus::automation::{
    ActionEnd, ActionExited, PackContent, RunAction, RunActionReply, StopAction,
};
use proto::bus::catalogue;
use proto::ids::DeaId;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use world::{Seen, World};

const HELLO: &str = r#"
import os
from st2common.runners.base_action import Action

class Hello(Action):
    def run(self, name):
        print("about to greet")
        self.logger.info("greeting")
        return {"greeting": "hello " + name, "user": os.getuid(), "cwd": os.getcwd()}
"#;
const HUNGRY: &str = r#"
from st2common.runners.base_action import Action

class Hungry(Action):
    def run(self):
        data = []
        while True:
            data.append(bytearray(8 << 20))
"#;

fn dea() -> DeaId {
    DeaId::new("dea-1").unwrap()
}

fn core() -> PackContent {
    PackContent {
        pack: "core".into(),
        ..PackContent::default()
    }
}

fn action(execution: &str, content: PackContent, orders: Value) -> RunAction {
    RunAction {
        execution: execution.into(),
        attempt: 1,
        action: "test.action".into(),
        content: Some(content),
        orders: orders.to_string().into_bytes(),
        timeout_ms: 30_000,
        memory_mb: 128,
        output_limit: 1 << 20,
        inline_limit: 64 << 10,
        epoch: 5,
        ..RunAction::default()
    }
}

fn shell(execution: &str, command: &str) -> RunAction {
    let env = json!({"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/vcap"});
    action(
        execution,
        core(),
        json!({"kind": "shell", "command": command, "env": env, "cwd": "/home/vcap"}),
    )
}

fn python(execution: &str, content: &PackContent, file: &str, parameters: Value) -> RunAction {
    let orders = json!({
        "kind": "python", "file": format!("/opt/stackyard/pack/content/actions/{file}"),
        "pack": content.pack, "parameters": parameters, "cwd": "/opt/stackyard/pack/content",
    });
    action(execution, content.clone(), orders)
}

async fn ask(world: &World, action: &RunAction) -> RunActionReply {
    let topic = catalogue::dea_action_run(&dea());
    let asked = world.bus.request(&topic, action, Duration::from_secs(5));
    asked.await.unwrap()
}

async fn run(world: &World, action: &RunAction) {
    let reply = ask(world, action).await;
    assert!(reply.accepted, "{reply:?}");
}

async fn stop(world: &World, execution: &str, grace_ms: u64) {
    let message = StopAction {
        execution: execution.into(),
        attempt: 1,
        reason: "nobody waits for it".into(),
        grace_ms,
    };
    let topic = catalogue::dea_action_stop(&dea());
    world.bus.publish(&topic, &message).await.unwrap();
}

async fn ended(world: &World, execution: &str) -> (ActionExited, Value) {
    let is_it = |seen: &Seen| matches!(seen, Seen::Action(exited) if exited.execution == execution);
    let Seen::Action(exited) = world
        .eventually(&format!("the end of {execution}"), is_it)
        .await
    else {
        panic!("an end")
    };
    let report = match exited.result.as_slice() {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes).unwrap(),
    };
    (exited, report)
}

/// What was told of the output of an execution: its text and the bytes lost.
fn printed(world: &World, execution: &str) -> (String, u64) {
    let (mut text, mut lost) = (String::new(), 0);
    for seen in world.all_seen() {
        if let Seen::Printed(output) = seen
            && output.execution == execution
        {
            for piece in output.pieces {
                lost += piece.lost;
                text += std::str::from_utf8(&piece.data).unwrap();
            }
        }
    }
    (text, lost)
}

async fn prints(world: &World, execution: &str, what: &str) {
    world
        .eventually(&format!("{what} of {execution}"), |_| {
            printed(world, execution).0.contains(what)
        })
        .await;
}

async fn reported(world: &World, what: &str, is_it: impl Fn(&[String]) -> bool) {
    world
        .eventually(what, |seen| match seen {
            Seen::Report(report) => {
                let actions: Vec<String> = report
                    .actions
                    .iter()
                    .map(|action| action.execution.clone())
                    .collect();
                is_it(&actions)
            }
            _ => false,
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_run_in_the_warm_sandbox_of_their_pack_and_tell_their_ends() {
    let Some(world) = World::start("actions").await else {
        return;
    };
    let pack = world.pack(
        "test",
        &[("actions/hello.py", HELLO), ("actions/hungry.py", HUNGRY)],
    );
    let begun = Instant::now();
    let hello = python("a1", &pack, "hello.py", json!({"name": "you"}));
    run(&world, &hello).await;
    let (exited, report) = ended(&world, "a1").await;
    eprintln!(
        "cold, from the request to the end told: {:?}",
        begun.elapsed()
    );
    assert_eq!(
        (exited.end(), exited.exit_status),
        (ActionEnd::Exited, 0),
        "{exited:?} {report}"
    );
    let result: Value = serde_json::from_str(report["result"].as_str().unwrap()).unwrap();
    assert_eq!(
        result["result"],
        json!({"greeting": "hello you", "user": 2000, "cwd": "/opt/stackyard/pack/content"})
    );
    assert!(
        report["stdout"]
            .as_str()
            .unwrap()
            .contains("about to greet")
    );
    assert_eq!(printed(&world, "a1").0.matches("about to greet").count(), 1);
    assert!(exited.started_at > 0 && exited.ended_at >= exited.started_at);
    // The same attempt again runs nothing, and is told nothing of again.
    run(&world, &hello).await;

    let warm = Instant::now();
    run(
        &world,
        &python("a2", &pack, "hello.py", json!({"name": "me"})),
    )
    .await;
    let (exited, _) = ended(&world, "a2").await;
    eprintln!(
        "warm, from the request to the end told: {:?}",
        warm.elapsed()
    );
    assert_eq!(exited.end(), ActionEnd::Exited);

    let bad = python("a3", &pack, "missing.py", json!({}));
    run(&world, &bad).await;
    let (exited, report) = ended(&world, "a3").await;
    assert_eq!((exited.end(), exited.exit_status), (ActionEnd::Exited, 1));
    assert!(
        report["stderr"].as_str().unwrap().contains("missing.py"),
        "{report}"
    );
    run(
        &world,
        &action("a4", pack.clone(), json!({"kind": "nonsense"})),
    )
    .await;
    let (exited, report) = ended(&world, "a4").await;
    assert_eq!((exited.end(), exited.exit_status), (ActionEnd::Exited, 1));
    assert!(
        report["stderr"].as_str().unwrap().contains("kind"),
        "{report}"
    );

    run(&world, &python("a5", &pack, "hungry.py", json!({}))).await;
    let (exited, _) = ended(&world, "a5").await;
    assert_eq!(exited.end(), ActionEnd::OutOfMemory, "{exited:?}");
    run(
        &world,
        &python("a6", &pack, "hello.py", json!({"name": "x"})),
    )
    .await;
    assert_eq!(
        ended(&world, "a6").await.0.exit_status,
        0,
        "the others do not mind"
    );

    let absent = PackContent {
        url: format!("{}/nothing", world.blob_url),
        sha256: "0a".repeat(32),
        pack: "absent".into(),
        ..PackContent::default()
    };
    run(
        &world,
        &action("a7", absent, json!({"kind": "shell", "command": "true"})),
    )
    .await;
    let (exited, _) = ended(&world, "a7").await;
    assert_eq!(
        (exited.end(), exited.started_at),
        (ActionEnd::NotStarted, 0),
        "{exited:?}"
    );
    for refused in [
        RunAction {
            epoch: 4,
            ..shell("a8", "true")
        },
        RunAction {
            orders: b"{".to_vec(),
            ..shell("a8", "true")
        },
        RunAction {
            content: None,
            ..shell("a8", "true")
        },
    ] {
        let reply = ask(&world, &refused).await;
        assert!(!reply.accepted && !reply.reason.is_empty(), "{reply:?}");
    }
    let warm = |seen: &Seen| matches!(seen, Seen::Report(report) if report.packs.iter().any(|warm| warm.sha256 == pack.sha256));
    world.eventually("the warm pack told", warm).await;
    let ends = world
        .all_seen()
        .iter()
        .filter(|seen| matches!(seen, Seen::Action(exited) if exited.execution == "a1"))
        .count();
    assert_eq!(ends, 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shell_actions_end_by_themselves_by_time_or_by_order() {
    let Some(world) = World::start("shell actions").await else {
        return;
    };
    run(
        &world,
        &shell("s1", "echo out; echo err >&2; id -un; exit 7"),
    )
    .await;
    let (exited, report) = ended(&world, "s1").await;
    assert_eq!((exited.end(), exited.exit_status), (ActionEnd::Exited, 7));
    assert_eq!(
        (&report["stdout"], &report["stderr"]),
        (&json!("out\nvcap\n"), &json!("err\n"))
    );

    let mut slow = shell("s2", "trap '' TERM; sleep 1000 & while :; do sleep 1; done");
    slow.timeout_ms = 500;
    run(&world, &slow).await;
    let (exited, _) = ended(&world, "s2").await;
    assert_eq!(
        (exited.end(), exited.signal),
        (ActionEnd::Timeout, 9),
        "{exited:?}"
    );

    // Nothing of a tree that ignores TERM and leaves its session survives a stop.
    let stubborn =
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo deep; sleep 1000' & wait; sleep 1000";
    run(&world, &shell("s3", stubborn)).await;
    prints(&world, "s3", "deep").await;
    reported(&world, "s3 reported", |actions| {
        actions.contains(&"s3".to_string())
    })
    .await;
    let begun = Instant::now();
    stop(&world, "s3", 300).await;
    let (exited, _) = ended(&world, "s3").await;
    assert_eq!(
        (exited.end(), exited.signal),
        (ActionEnd::Stopped, 9),
        "{exited:?}"
    );
    assert!(
        exited.description.contains("nobody waits"),
        "{}",
        exited.description
    );
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    run(
        &world,
        &shell("s4", "ps -eo args | grep -c '[s]leep 1000'; true"),
    )
    .await;
    assert_eq!(ended(&world, "s4").await.1["stdout"], "0\n");

    // A stop that overtakes its order.
    stop(&world, "s5", 300).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!ask(&world, &shell("s5", "echo in vain")).await.accepted);

    // A newer attempt ends the older one.
    run(&world, &shell("s6", "echo first; sleep 1000")).await;
    prints(&world, "s6", "first").await;
    let second = RunAction {
        attempt: 2,
        ..shell("s6", "echo second")
    };
    run(&world, &second).await;
    for (attempt, end) in [(1, ActionEnd::Stopped), (2, ActionEnd::Exited)] {
        world.eventually("both attempts", |seen| matches!(seen, Seen::Action(it) if it.execution == "s6" && it.attempt == attempt && it.end() == end)).await;
    }
    let old = ask(&world, &shell("s6", "echo first")).await;
    assert!(old.accepted, "it is known, and runs no second time");

    // No action sees or stops the host, or the socket to it.
    let nosy = "ls /run/yard; kill -9 -1; kill -9 $(pgrep -f yard_host); exit 3";
    run(&world, &shell("s7", nosy)).await;
    assert_ne!(ended(&world, "s7").await.0.end(), ActionEnd::Lost);
    run(&world, &shell("s8", "echo alive")).await;
    assert_eq!(ended(&world, "s8").await.1["stdout"], "alive\n");
    world.forget_seen();
    reported(&world, "nothing runs", |actions| actions.is_empty()).await;
    world.finish().await;
}

/// The control group of an action, as it sees it itself.
const OWN_GROUP: &str = "sed -n 's/.*:pids://p' /proc/self/cgroup";

/// Groups of the workers of this agent's only sandbox.
fn worker_groups(world: &World) -> Vec<String> {
    let parent = format!("/sys/fs/cgroup/pids{}", world.told("cgroup_parent"));
    let sandboxes = std::fs::read_dir(parent).unwrap().flatten();
    let folders =
        sandboxes.flat_map(|sandbox| std::fs::read_dir(sandbox.path()).into_iter().flatten());
    let names = folders
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("worker-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_group_is_used_again_only_when_nothing_is_left_in_it_and_limits_each_action() {
    let Some(world) = World::start("groups used again").await else {
        return;
    };
    run(&world, &shell("u1", OWN_GROUP)).await;
    let (exited, report) = ended(&world, "u1").await;
    assert_eq!(exited.exit_status, 0, "{report}");
    let group = report["stdout"].as_str().unwrap().trim().to_string();
    if !group.contains("worker-") {
        // Not by the macro, whose output the test harness hides.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!(
                "SKIPPED groups used again: this machine's control groups are of version 2\n"
            ),
        );
        return world.finish().await;
    }
    // What the first one leaves behind, out of its session too, is gone before the second begins.
    let escape =
        format!("{OWN_GROUP}; setsid sleep 1000 & setsid -f sleep 1000; cd /tmp; ulimit -n 50");
    run(&world, &shell("u2", &escape)).await;
    let (_, report) = ended(&world, "u2").await;
    assert_eq!(
        report["stdout"].as_str().unwrap().trim(),
        group,
        "the same group"
    );
    let look = format!("{OWN_GROUP}; pgrep -c sleep; pwd; test $(ulimit -n) -gt 50 && echo free");
    run(&world, &shell("u3", &look)).await;
    let (_, report) = ended(&world, "u3").await;
    assert_eq!(
        report["stdout"].as_str().unwrap(),
        format!("{group}\n0\n/home/vcap\nfree\n")
    );

    // The limits are those of each action, higher and lower than that of the one before.
    let hungry = |execution: &str, memory_mb| RunAction {
        memory_mb,
        ..shell(
            execution,
            &format!("{OWN_GROUP}; head -c 100000000 /dev/zero | tail -c 99000000 | wc -c"),
        )
    };
    for (execution, memory_mb, fits) in [
        ("u4", 200, true),
        ("u5", 64, false),
        ("u6", 220, true),
        ("u7", 64, false),
    ] {
        run(&world, &hungry(execution, memory_mb)).await;
        let (exited, report) = ended(&world, execution).await;
        let printed = report["stdout"].as_str().unwrap();
        assert_eq!(
            printed.contains("99000000"),
            fits,
            "{memory_mb} MB: {exited:?} {report}"
        );
    }
    for execution in ["u8", "u9"] {
        let forks = "for number in $(seq 600); do sleep 3 & done; wait";
        let action = RunAction {
            memory_mb: 0,
            ..shell(execution, forks)
        };
        run(&world, &action).await;
        let (_, report) = ended(&world, execution).await;
        assert!(
            report["stderr"].as_str().unwrap().contains("fork"),
            "{report}"
        );
    }

    // Files in memory stay on the account of the group: the next action gets another.
    run(
        &world,
        &shell(
            "u10",
            &format!("{OWN_GROUP}; head -c 20000000 /dev/zero > /dev/shm/left"),
        ),
    )
    .await;
    let (_, report) = ended(&world, "u10").await;
    let full = report["stdout"]
        .as_str()
        .unwrap()
        .trim()
        .trim_start_matches('/')
        .to_string();
    run(&world, &shell("u11", OWN_GROUP)).await;
    let (_, report) = ended(&world, "u11").await;
    assert_ne!(
        report["stdout"]
            .as_str()
            .unwrap()
            .trim()
            .trim_start_matches('/'),
        full
    );
    let begun = Instant::now();
    while worker_groups(&world).contains(&full) {
        assert!(begun.elapsed() < Duration::from_secs(30), "{full} stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_cut_counted_and_its_result_stored() {
    let Some(world) = World::start("floods").await else {
        return;
    };
    let mut flood = shell("f1", "yes 0123456789 | head -c 3000000");
    flood.result_url = format!("{}/result", world.blob_url);
    run(&world, &flood).await;
    let (exited, _) = ended(&world, "f1").await;
    assert_eq!(
        (exited.end(), exited.exit_status),
        (ActionEnd::Exited, 0),
        "{exited:?}"
    );
    assert!(exited.result.is_empty() && exited.result_size > 1 << 20);
    let stored = world.blobs.lock().unwrap()["result"].clone();
    let digest = dea::adapters::transfer::hex(&<sha2::Sha256 as sha2::Digest>::digest(&stored));
    assert_eq!(
        (stored.len() as u64, digest),
        (exited.result_size, exited.result_sha256)
    );
    let report: Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(report["stdout"].as_str().unwrap().len(), 1 << 20);
    assert_eq!(report["truncated"], json!(["stdout"]));
    let (text, lost) = printed(&world, "f1");
    assert_eq!(
        text.len() as u64 + lost,
        1 << 20,
        "every byte is passed on or counted"
    );

    flood.execution = "f2".into();
    flood.result_url = format!("{}/no/such/place", world.blob_url);
    run(&world, &flood).await;
    let (exited, report) = ended(&world, "f2").await;
    assert_eq!(
        (exited.end(), report["stdout"].as_str()),
        (ActionEnd::Exited, Some(""))
    );
    assert!(
        exited.description.contains("could not be stored"),
        "{}",
        exited.description
    );

    // Many at once, and how long the first instruction of one takes.
    let begun = Instant::now();
    let names: Vec<String> = (0..100).map(|number| format!("m{number}")).collect();
    for name in &names {
        run(&world, &shell(name, "true")).await;
    }
    for name in &names {
        assert_eq!(ended(&world, name).await.0.exit_status, 0);
    }
    eprintln!("100 shell actions: {:?}", begun.elapsed());
    let (mut waits, mut starts) = (Vec::new(), Vec::new());
    for number in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let asked = std::time::SystemTime::now();
        let name = format!("l{number}");
        run(&world, &shell(&name, "date +%s%N")).await;
        let (exited, report) = ended(&world, &name).await;
        let at: u128 = report["stdout"].as_str().unwrap().trim().parse().unwrap();
        let asked = asked
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos();
        waits.push(at.saturating_sub(asked) as f64 / 1e6);
        starts.push(exited.started_at as f64 / 1e3 - asked as f64 / 1e6);
    }
    for (what, mut times) in [
        ("its start (to the millisecond)", starts),
        ("an instruction of its program", waits),
    ] {
        times.sort_by(f64::total_cmp);
        eprintln!(
            "warm, from the request to {what}: median {:.1} ms, worst {:.1} ms",
            times[10], times[19]
        );
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_back_goes_on_with_its_actions() {
    let Some(mut world) = World::start("actions adopted").await else {
        return;
    };
    run(
        &world,
        &shell("b1", "echo before; sleep 4; echo after; exit 5"),
    )
    .await;
    run(
        &world,
        &shell("b2", "echo before; sleep 1; echo after; exit 6"),
    )
    .await;
    prints(&world, "b1", "before").await;
    prints(&world, "b2", "before").await;
    world.acknowledge.store(false, Ordering::SeqCst);
    run(&world, &shell("b3", "exit 3")).await;
    ended(&world, "b3").await;
    world.agent_breaks().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // As an agent leaves it that dies between accepting an action and giving it to its host, and one
    // whose sandbox went meanwhile.
    let note = |execution: &str, state: &str| {
        let record = json!({"execution": execution, "attempt": 1, "action": "core.local", "sandbox": "pack-gone",
            "timeout_ms": 0, "memory_mb": 64, "output_limit": 1000, "result_url": "", "inline_limit": 0, "accepted_at": 1.0});
        let path = world
            .agent_folder()
            .join(format!("actions/{execution}-1.{state}"));
        std::fs::write(path, record.to_string()).unwrap();
    };
    note("b4", "waiting");
    note("b5", "given");
    world.forget_seen();
    world.acknowledge.store(true, Ordering::SeqCst);
    world.start_agent().await;
    for (execution, status) in [("b1", 5), ("b2", 6), ("b3", 3)] {
        let (exited, report) = ended(&world, execution).await;
        assert_eq!(
            (exited.end(), exited.exit_status),
            (ActionEnd::Exited, status),
            "{exited:?}"
        );
        if status > 3 {
            assert_eq!(
                (&report["stdout"], &report["truncated"]),
                (&json!("before\nafter\n"), &json!([]))
            );
            assert!(exited.started_at > 0);
        }
    }
    assert_eq!(ended(&world, "b4").await.0.end(), ActionEnd::NotStarted);
    assert_eq!(ended(&world, "b5").await.0.end(), ActionEnd::Lost);
    run(&world, &shell("b6", "echo still warm")).await;
    assert_eq!(ended(&world, "b6").await.1["stdout"], "still warm\n");
    world.forget_seen();
    reported(&world, "nothing runs", |actions| actions.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let again = world
        .all_seen()
        .iter()
        .filter(|seen| matches!(seen, Seen::Action(_)))
        .count();
    assert_eq!(again, 0, "each end is told once");
    let left: Vec<_> = std::fs::read_dir(world.agent_folder().join("actions"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        // One that begins so holds nothing and is kept for the next notes.
        .filter(|path| std::fs::read(path).unwrap().first() != Some(&0))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_takes_everything_ends_and_the_others_do_not() {
    let Some(world) = World::start("greedy actions").await else {
        return;
    };
    let pack = world.pack("test", &[("actions/hungry.py", HUNGRY)]);
    let quiet = |execution: &str| {
        action(
            execution,
            pack.clone(),
            json!({"kind": "shell", "command": "echo begun; sleep 6; echo fine"}),
        )
    };
    run(&world, &quiet("g1")).await;
    prints(&world, "g1", "begun").await;
    // With no limit of its own it meets that of the sandbox.
    let mut hungry = python("g2", &pack, "hungry.py", json!({}));
    hungry.memory_mb = 0;
    run(&world, &hungry).await;
    assert_eq!(ended(&world, "g2").await.0.end(), ActionEnd::OutOfMemory);
    let bomb = "bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done";
    let mut bomb = action(
        "g3",
        pack.clone(),
        json!({"kind": "shell", "command": bomb}),
    );
    bomb.timeout_ms = 1500;
    run(&world, &bomb).await;
    // It meets the limit of processes and then its time, or that of memory, or its shell gives up because it
    // cannot fork: each is an end of its own only.
    let (exited, _) = ended(&world, "g3").await;
    assert!(
        match exited.end() {
            ActionEnd::Timeout | ActionEnd::OutOfMemory => true,
            ActionEnd::Exited => exited.exit_status != 0,
            _ => false,
        },
        "{exited:?}"
    );
    let (exited, report) = ended(&world, "g1").await;
    assert_eq!(
        (exited.end(), &report["stdout"]),
        (ActionEnd::Exited, &json!("begun\nfine\n"))
    );
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_content_of_a_pack_takes_the_place_of_the_older() {
    let Some(world) = World::start("contents of packs").await else {
        return;
    };
    let show = json!({"kind": "shell", "command": "cat /opt/stackyard/pack/content/version"});
    let (old, new) = (
        world.pack("test", &[("version", "old")]),
        world.pack("test", &[("version", "new")]),
    );
    for (execution, content, text) in [("v1", &old, "old"), ("v2", &new, "new")] {
        run(&world, &action(execution, content.clone(), show.clone())).await;
        assert_eq!(ended(&world, execution).await.1["stdout"], text);
    }
    world.forget_seen();
    let only_new = |seen: &Seen| matches!(seen, Seen::Report(report) if report.packs.len() == 1 && report.packs[0].sha256 == new.sha256);
    world.eventually("only the newer one", only_new).await;
    assert_eq!(hosts(&world).len(), 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_dies_takes_its_actions_with_it_and_the_next_gets_another() {
    let Some(world) = World::start("sandbox killed").await else {
        return;
    };
    run(&world, &shell("k1", "echo here; sleep 1000")).await;
    prints(&world, "k1", "here").await;
    let host = hosts(&world);
    assert_eq!(host.len(), 1, "one sandbox");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(host[0]),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let (exited, _) = ended(&world, "k1").await;
    assert_eq!(exited.end(), ActionEnd::Lost, "{exited:?}");
    run(&world, &shell("k2", "echo again")).await;
    assert_eq!(ended(&world, "k2").await.1["stdout"], "again\n");
    // The memory of the dead one is free again.
    world
        .eventually(
            "one sandbox's memory",
            |seen| matches!(seen, Seen::Advertised(ad) if ad.available_memory == 2048),
        )
        .await;
    // An instance is worth more than a sandbox in which nothing runs.
    let sha1 = world.droplet(&[("app/x", "")]);
    let mut start = world.start_message("i1", &sha1, "exec sleep 1000");
    start.limits.mem = 1500;
    start.uris.clear();
    world.order(&start).await;
    world
        .state("i1", proto::bus::health::InstanceState::Running)
        .await;
    world
        .eventually(
            "no warm pack",
            |seen| matches!(seen, Seen::Report(report) if report.packs.is_empty()),
        )
        .await;
    let refused = ask(&world, &shell("k3", "true")).await;
    assert!(
        !refused.accepted && refused.reason.contains("memory"),
        "{refused:?}"
    );
    world.finish().await;
}

const WHICH: &str = r#"
import library, common
from st2common.runners.base_action import Action

class Which(Action):
    def run(self):
        return [library.OF, common.OF]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pack_requires_itself_comes_before_the_libraries_of_all_packs() {
    let Some(world) = World::start("requirements").await else {
        return;
    };
    let site = |name: &str| format!("virtualenv/lib/python3.11/site-packages/{name}");
    let (library, common, shim) = (
        site("library.py"),
        site("common.py"),
        site("st2common/__init__.py"),
    );
    let (url, sha256) = world.blob(&[
        ("content/actions/which.py", WHICH),
        (&library, "OF = 'the pack'"),
        (&shim, "raise Exception('not this one')"),
    ]);
    let (base_url, base_sha256) = world.blob(&[
        (&library, "OF = 'all packs'"),
        (&common, "OF = 'all packs'"),
    ]);
    let pack = PackContent {
        pack: "test".into(),
        url,
        sha256,
        base_url,
        base_sha256,
    };
    run(&world, &python("r1", &pack, "which.py", json!({}))).await;
    let (_, report) = ended(&world, "r1").await;
    let answer: Value = serde_json::from_str(report["result"].as_str().unwrap()).unwrap();
    assert_eq!(
        answer["result"],
        json!(["the pack", "all packs"]),
        "{report}"
    );
    world.finish().await;
}

/// Numbers of the processes that are the hosts of packs of this agent.
fn hosts(world: &World) -> Vec<i32> {
    let is_host = |pid: i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("yard_host")
    };
    let parent = |pid: i32| -> i32 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        line.and_then(|pid| pid.trim().parse().ok()).unwrap_or(0)
    };
    let group = format!("/sys/fs/cgroup/pids{}", world.told("cgroup_parent"));
    let mut found = Vec::new();
    for sandbox in std::fs::read_dir(group).unwrap().flatten() {
        let members = std::fs::read_to_string(sandbox.path().join("cgroup.procs"));
        let members = members.unwrap_or_default();
        let pids = members.lines().map(|line| line.parse().unwrap());
        found.extend(pids.filter(|pid| is_host(*pid) && !is_host(parent(*pid))));
    }
    found
}
