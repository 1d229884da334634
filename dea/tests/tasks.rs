//! One-off tasks on a whole agent: real bus, real containers, a blob store; the test plays the controller.

#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use proto::bus::catalogue;
use proto::bus::stream::{
    RunTask, RunTaskReply, StopTask, TaskDroplet, TaskEnd, TaskInput, TaskOutput, task_input,
};
use proto::ids::DeaId;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use world::{Seen, World};

async fn run_task(world: &World, task: &RunTask) -> RunTaskReply {
    let topic = catalogue::dea_task_run(&DeaId::new("dea-1").unwrap());
    world
        .bus
        .request(&topic, task, Duration::from_secs(5))
        .await
        .unwrap()
}

fn input(path: &str, source: task_input::Source) -> TaskInput {
    TaskInput {
        path: path.into(),
        source: Some(source),
        ..TaskInput::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_gets_its_inputs_and_gives_its_outputs() {
    let Some(world) = World::start("tasks").await else {
        return;
    };
    world
        .blobs
        .lock()
        .unwrap()
        .insert("package".into(), b"the package".to_vec());
    let url = |name: &str| task_input::Source::Url(format!("{}/{name}", world.blob_url));
    let mut optional = input("/yard/cache.tgz", url("nothing"));
    optional.optional = true;
    let task = RunTask {
        task: "t1".into(),
        kind: "staging".into(),
        app: "app-1".into(),
        app_name: "shop".into(),
        stack: "host".into(),
        command: ["bash", "-c", "id -u; cat /yard/package.zip; echo; /yard/builder x; ls /yard/buildpacks; getent hosts api.yard.internal; \
            cp /yard/package.zip /yard/out/droplet.tgz; printf '%s' \"$MODE\" > /yard/out/result.json"].map(String::from).to_vec(),
        environment: vec!["MODE=fast".into()],
        memory_mb: 128,
        disk_mb: 64,
        timeout_seconds: 30,
        inputs: vec![
            input("/yard/package.zip", url("package")),
            optional,
            input("/yard/builder", task_input::Source::Builtin("builder".into())),
            input("/yard/buildpacks", task_input::Source::Builtin("buildpacks".into())),
        ],
        outputs: vec![
            TaskOutput { path: "/yard/out/droplet.tgz".into(), url: format!("{}/droplet", world.blob_url), required: true },
            TaskOutput { path: "/yard/out/cache.tgz".into(), url: format!("{}/cache", world.blob_url), required: false },
        ],
        log_source_type: "STG".into(),
        context: b"ctx".to_vec(),
        result_file: "/yard/out/result.json".into(),
        ..RunTask::default()
    };
    let begun = Instant::now();
    assert_eq!(
        run_task(&world, &task).await,
        RunTaskReply {
            accepted: true,
            reason: String::new()
        }
    );
    let Seen::Task(exited) = world
        .eventually("its end", |seen| matches!(seen, Seen::Task(_)))
        .await
    else {
        panic!()
    };
    eprintln!("task to its end told: {:?}", begun.elapsed());
    assert_eq!(
        (exited.end(), exited.exit_status),
        (TaskEnd::Exited, 0),
        "{exited:?}"
    );
    assert_eq!(
        (exited.result.as_slice(), exited.context.as_slice()),
        (&b"fast"[..], &b"ctx"[..])
    );
    assert_eq!(exited.uploaded.len(), 1);
    assert_eq!(exited.uploaded[0].size_bytes, 11);
    assert_eq!(world.blobs.lock().unwrap()["droplet"], b"the package");
    let gateway = world.gateway.to_string();
    for line in ["2000", "the package", "building x", "static"] {
        assert!(
            exited.last_lines.iter().any(|seen| seen == line),
            "{line}: {:?}",
            exited.last_lines
        );
    }
    assert!(
        exited
            .last_lines
            .iter()
            .any(|line| line.starts_with(&gateway)),
        "names: {:?}",
        exited.last_lines
    );
    let last = world.position(|seen| {
        matches!(seen, Seen::Line(kind, text) if kind == "STG" && text.starts_with(&gateway))
    });
    assert!(
        last < world.position(|seen| matches!(seen, Seen::Task(_))),
        "its end overtook its lines"
    );

    let failing = |id: &str, command: &str| RunTask {
        task: id.into(),
        command: vec!["bash".into(), "-c".into(), command.into()],
        inputs: vec![],
        outputs: vec![],
        ..task.clone()
    };
    let slow = RunTask {
        timeout_seconds: 1,
        ..failing("t2", "trap '' TERM; while :; do sleep 1; done")
    };
    let hungry = failing("t3", "python3 -c 'x = bytearray(900 << 20)'");
    let full = failing("t5", "head -c 200M /dev/zero > /home/vcap/x");
    let broken = failing("t4", "echo broken >&2; exit 4");
    for (task, end) in [
        (slow, TaskEnd::Timeout),
        (hungry, TaskEnd::OutOfMemory),
        (full, TaskEnd::DiskFull),
        (broken, TaskEnd::Exited),
    ] {
        assert!(run_task(&world, &task).await.accepted);
        let Seen::Task(exited) = world
            .eventually(
                "its end",
                |seen| matches!(seen, Seen::Task(it) if it.task == task.task),
            )
            .await
        else {
            panic!()
        };
        assert_eq!(exited.end(), end, "{exited:?}");
        assert!(exited.uploaded.is_empty());
    }
    // Two subjects have no order between them: the word to stop may come first.
    let stopped = StopTask {
        task: "t7".into(),
        reason: "nobody waits for it".into(),
    };
    let stop = catalogue::dea_task_stop(&DeaId::new("dea-1").unwrap());
    world.bus.publish(&stop, &stopped).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    run_task(&world, &failing("t7", "echo in vain")).await;
    assert!(run_task(&world, &failing("t8", "true")).await.accepted);
    world
        .eventually(
            "the next one's end",
            |seen| matches!(seen, Seen::Task(it) if it.task == "t8"),
        )
        .await;
    assert!(!world.all_seen().iter().any(|seen| match seen {
        Seen::Task(it) => it.task == "t7",
        Seen::Line(_, text) => text == "in vain",
        _ => false,
    }));
    let huge = RunTask {
        memory_mb: 1 << 20,
        ..failing("t6", "true")
    };
    let refused = run_task(&world, &huge).await;
    assert!(
        !refused.accepted && refused.reason.contains("memory"),
        "{refused:?}"
    );
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_an_app_runs_where_instances_do_and_outlives_its_agent() {
    let Some(mut world) = World::start("tasks of apps").await else {
        return;
    };
    let sha1 = world.droplet(&[
        ("app/words.txt", "from the droplet"),
        ("profile.d/a.sh", "export GREETING=\"$GREETING there\"\n"),
    ]);
    let blobs = world.blob_url.clone();
    let task = |id: &str, line: &str| RunTask {
        task: id.into(),
        kind: "app".into(),
        app: "app-1".into(),
        app_name: "shop".into(),
        stack: "host".into(),
        command: vec![line.into()],
        environment: vec!["GREETING=hello".into()],
        memory_mb: 128,
        disk_mb: 64,
        log_source_type: "APP/TASK/migrate".into(),
        log_instance: "3".into(),
        droplet: Some(TaskDroplet {
            url: format!("{blobs}/{sha1}"),
            sha1: sha1.clone(),
            sha256: String::new(),
        }),
        ..RunTask::default()
    };
    let printing = task(
        "t1",
        "cat words.txt; echo; echo \"$GREETING $PWD $CF_INSTANCE_GUID ${PORT-none}\"; exit 3",
    );
    assert!(run_task(&world, &printing).await.accepted);
    let of = |id: &'static str| move |seen: &Seen| matches!(seen, Seen::Task(it) if it.task == id);
    let Seen::Task(exited) = world.eventually("its end", of("t1")).await else {
        panic!()
    };
    assert_eq!(
        (exited.end(), exited.exit_status),
        (TaskEnd::Exited, 3),
        "{exited:?}"
    );
    assert_eq!(
        (exited.kind.as_str(), exited.dea.as_str()),
        ("app", "dea-1")
    );
    for line in ["from the droplet", "hello there /home/vcap/app t1 none"] {
        world
            .eventually(
                "its line",
                |seen| matches!(seen, Seen::Line(kind, text) if kind == "APP/TASK/migrate" && text == line),
            )
            .await;
    }

    // It runs while its agent is away, and the next agent names it and tells its end.
    let patient = task("t2", "until [ -e /tmp/go ]; do sleep 0.1; done; exit 5");
    assert!(run_task(&world, &patient).await.accepted);
    let names = |id: &'static str| {
        move |seen: &Seen| match seen {
            Seen::Beat(beat) => beat
                .yard_tasks
                .as_ref()
                .is_some_and(|tasks| tasks.iter().any(|task| task.as_str() == id)),
            _ => false,
        }
    };
    world
        .eventually("its name in a heartbeat", names("t2"))
        .await;
    world.agent_breaks().await;
    world.forget_seen();
    world.start_agent().await;
    world
        .eventually("its name in a heartbeat", names("t2"))
        .await;
    assert!(run_task(&world, &patient).await.accepted, "it is known");

    // Its end is told until it is acknowledged, and so long it is named and not begun again.
    world.acknowledge.store(false, Ordering::SeqCst);
    let stop = StopTask {
        task: "t2".into(),
        reason: "enough".into(),
    };
    let topic = catalogue::dea_task_stop(&DeaId::new("dea-1").unwrap());
    world.bus.publish(&topic, &stop).await.unwrap();
    world.eventually("its end", of("t2")).await;
    world.agent_breaks().await;
    world.forget_seen();
    world.start_agent().await;
    world
        .eventually("its name in a heartbeat", names("t2"))
        .await;
    assert!(run_task(&world, &patient).await.accepted, "it is over");
    world.acknowledge.store(true, Ordering::SeqCst);
    let Seen::Task(exited) = world.eventually("its end", of("t2")).await else {
        panic!()
    };
    assert_eq!(exited.end(), TaskEnd::Stopped, "{exited:?}");
    assert!(exited.description.contains("enough"));
    world
        .eventually("a heartbeat without it", |seen| match seen {
            Seen::Beat(beat) => beat.yard_tasks.as_ref().is_some_and(Vec::is_empty),
            _ => false,
        })
        .await;

    let words = RunTask {
        command: ["echo", "hello"].map(String::from).to_vec(),
        ..task("t4", "")
    };
    let refused = run_task(&world, &words).await;
    assert!(refused.reason.contains("single word"), "{refused:?}");
    let nowhere = RunTask {
        droplet: Some(TaskDroplet {
            url: format!("{blobs}/nothing"),
            sha1: "0".repeat(40),
            sha256: String::new(),
        }),
        ..task("t5", "true")
    };
    assert!(run_task(&world, &nowhere).await.accepted);
    let Seen::Task(exited) = world.eventually("its end", of("t5")).await else {
        panic!()
    };
    assert_eq!(exited.end(), TaskEnd::NotStarted, "{exited:?}");
    world.finish().await;
}
