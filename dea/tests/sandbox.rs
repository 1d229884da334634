//! The container engine against the real runtime, as root: life and death of a sandbox.
//!
//! Each test has an engine of its own (subnet, table, interface names, folders), so that they run
//! side by side, and checks at its end that nothing is left.

#![allow(clippy::unwrap_used)]

mod yard;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use dea::sandbox::{ExitStatus, SandboxError, SandboxEvent, SandboxLimits, Signal, Source};
use yard::{Yard, collect, limits, next_line, shell, text};

fn status(seen: &[SandboxEvent]) -> (ExitStatus, bool) {
    match seen.last() {
        Some(SandboxEvent::Exited {
            status,
            out_of_memory,
            ..
        }) => (*status, *out_of_memory),
        _ => panic!("no exit in {seen:?}"),
    }
}

#[tokio::test]
async fn a_sandbox_says_hello_and_its_exit_status() {
    let Some(yard) = Yard::start("hello").await else {
        return;
    };
    yard.prepare("first").await;
    let begin = Instant::now();
    let sandbox = yard.prepare("second").await;
    let prepared = begin.elapsed();
    let mut events = sandbox.events().await.unwrap();
    let script = "echo hello; echo trouble >&2; id -un; hostname; echo again > /dev/stdout; printf unfinished; exit 7";
    let begin = Instant::now();
    sandbox.order(shell(script)).await.unwrap();
    let seen = collect(&mut events).await;
    eprintln!("prepare {prepared:?}, orders to exit {:?}", begin.elapsed());
    assert_eq!(
        text(&seen, false),
        ["hello", "vcap", "second", "again", "unfinished"]
    );
    assert_eq!(text(&seen, true), ["trouble"]);
    assert_eq!(status(&seen), (ExitStatus::Code(7), false));

    let begin = Instant::now();
    sandbox.destroy().await.unwrap();
    eprintln!("destroy {:?}", begin.elapsed());
    sandbox.destroy().await.unwrap();
    assert!(matches!(
        sandbox.order(shell("true")).await,
        Err(SandboxError::Gone { .. })
    ));
    yard.finish().await;
}

#[tokio::test]
async fn interpreters_of_the_host_run() {
    let Some(yard) = Yard::start("interpreters").await else {
        return;
    };
    let sandbox = yard.prepare("one").await;
    let mut events = sandbox.events().await.unwrap();
    let script = "/usr/bin/python3 -c 'import ssl, socket; print(socket.gethostname())' && \
                  /usr/bin/node -e 'console.log(process.getuid())' && echo x | awk '{print $1}' && ls /etc/ssl/certs >/dev/null";
    sandbox.order(shell(script)).await.unwrap();
    let seen = collect(&mut events).await;
    assert_eq!(text(&seen, false), ["one", "2000", "x"], "{seen:?}");
    assert_eq!(status(&seen), (ExitStatus::Code(0), false));
    yard.finish().await;
}

#[tokio::test]
async fn what_cannot_be_started_is_refused_with_a_reason() {
    let Some(yard) = Yard::start("refused").await else {
        return;
    };
    let sandbox = yard.prepare("one").await;
    let mut orders = shell("true");
    orders.argv[0] = "no-such-program".to_owned();
    let error = sandbox.order(orders).await.unwrap_err().to_string();
    assert!(error.contains("no-such-program"), "{error}");
    let mut orders = shell("true");
    orders.cwd = "/nowhere".to_owned();
    let error = sandbox.order(orders).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere"), "{error}");
    // It still waits for orders that can be carried out, and takes them once.
    sandbox.order(shell("sleep 60")).await.unwrap();
    assert!(sandbox.order(shell("true")).await.is_err());

    let error = yard
        .engine
        .prepare(yard.request("one"))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, SandboxError::Exists(_)), "{error}");
    let mut request = yard.request("two");
    request.stack = "moon".to_owned();
    assert!(yard.engine.prepare(request).await.is_err());
    yard.finish().await;
}

#[tokio::test]
async fn a_failed_preparation_leaves_nothing() {
    let Some(mut yard) = Yard::start("failed-preparation").await else {
        return;
    };
    let mut broken = yard.config.clone();
    // An executable that is no init.
    broken.init = "/bin/true".into();
    let engine = dea::sandbox::Engine::start(broken).await.unwrap();
    assert!(engine.prepare(yard.request("one")).await.is_err());
    assert!(!yard.config.run_folder.join("one").exists());
    assert!(yard.restart().await.is_empty());
    yard.finish().await;
}

#[tokio::test]
async fn a_dropped_preparation_is_removed_later() {
    let Some(yard) = Yard::start("dropped-preparation").await else {
        return;
    };
    for after in [1, 5, 10, 15, 20, 25, 30] {
        let preparing = yard.engine.prepare(yard.request("dropped"));
        let prepared = tokio::time::timeout(Duration::from_millis(after), preparing).await;
        if let Ok(in_time) = prepared {
            in_time.unwrap().destroy().await.unwrap();
        }
        yard.engine.sweep().await;
        // Nothing holds its id any more.
        let sandbox = yard.prepare("dropped").await;
        sandbox.destroy().await.unwrap();
    }
    yard.finish().await;
}

#[tokio::test]
async fn a_sandbox_that_does_not_go_is_tried_again_and_holds_up_nobody() {
    let Some(yard) = Yard::start("stubborn").await else {
        return;
    };
    let stubborn = yard.prepare("stubborn").await;
    // A mount keeps the sandbox's folder from being erased.
    let place = yard.config.folder.join("sandboxes/stubborn/bundle");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(&place)
        .status();
    assert!(mounted.unwrap().success());
    assert!(stubborn.destroy().await.is_err());
    let began = std::time::Instant::now();
    let other = yard.prepare("other").await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert_ne!(
        other.address(),
        stubborn.address(),
        "what is not removed keeps its address"
    );
    assert!(
        yard.engine.prepare(yard.request("stubborn")).await.is_err(),
        "and its id"
    );
    assert!(
        Command::new("umount")
            .arg(&place)
            .status()
            .unwrap()
            .success()
    );
    yard.engine.sweep().await;
    assert!(!place.exists());
    yard.prepare("stubborn").await.destroy().await.unwrap();
    yard.finish().await;
}

#[tokio::test]
async fn term_reaches_the_program_and_kill_reaches_all() {
    let Some(yard) = Yard::start("signals").await else {
        return;
    };
    let sandbox = yard.prepare("polite").await;
    let mut events = sandbox.events().await.unwrap();
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    sandbox.order(shell(script)).await.unwrap();
    assert_eq!(next_line(&mut events).await, "ready");
    sandbox.signal(Signal::Terminate).await.unwrap();
    let seen = collect(&mut events).await;
    assert_eq!(text(&seen, false), ["bye"]);
    assert_eq!(status(&seen), (ExitStatus::Code(3), false));

    let sandbox = yard.prepare("stubborn").await;
    let mut events = sandbox.events().await.unwrap();
    let script = "trap '' TERM; setsid sleep 1000 & echo ready; while :; do sleep 0.05; done";
    sandbox.order(shell(script)).await.unwrap();
    assert_eq!(next_line(&mut events).await, "ready");
    sandbox.signal(Signal::Terminate).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    sandbox.signal(Signal::Kill).await.unwrap();
    let seen = collect(&mut events).await;
    assert_eq!(status(&seen), (ExitStatus::Signal(9), false));
    assert_eq!(sandbox.usage().await.unwrap().pids, 0);
    yard.finish().await;
}

#[tokio::test]
async fn out_of_memory_is_told_from_a_kill() {
    let Some(yard) = Yard::start("memory").await else {
        return;
    };
    let sandbox = yard.prepare("greedy").await;
    let mut events = sandbox.events().await.unwrap();
    let script = "exec /usr/bin/python3 -c 'x = bytearray(500 << 20)'";
    sandbox.order(shell(script)).await.unwrap();
    let seen = collect(&mut events).await;
    assert_eq!(status(&seen), (ExitStatus::Signal(9), true));
    let Some(SandboxEvent::Exited { peak_memory, .. }) = seen.last() else {
        panic!("{seen:?}")
    };
    assert!((50 << 20..=64 << 20).contains(peak_memory), "{peak_memory}");
    yard.finish().await;
}

#[tokio::test]
async fn the_disk_stops_at_its_size_and_its_use_is_told() {
    let Some(yard) = Yard::start("disk").await else {
        return;
    };
    let sandbox = yard.prepare("writer").await;
    let mut events = sandbox.events().await.unwrap();
    let script = "dd if=/dev/zero of=/tmp/some bs=1M count=10 2>/dev/null && sync && echo some; read -t 0.3 < <(sleep 1); \
                  dd if=/dev/zero of=/home/vcap/all bs=1M count=1000 2>&1 | grep -o 'No space left on device'; rm /home/vcap/all; echo end; sleep 60";
    sandbox.order(shell(script)).await.unwrap();
    assert_eq!(next_line(&mut events).await, "some");
    let used = sandbox.usage().await.unwrap().disk_bytes;
    assert!((10 << 20..12 << 20).contains(&used), "{used}");
    assert_eq!(next_line(&mut events).await, "No space left on device");
    assert_eq!(next_line(&mut events).await, "end");
    yard.finish().await;
}

#[tokio::test]
async fn a_fork_bomb_is_contained_and_killed() {
    let Some(yard) = Yard::start("bomb").await else {
        return;
    };
    let sandbox = yard.prepare("bomb").await;
    let mut events = sandbox.events().await.unwrap();
    let script = "echo lit; bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 60";
    sandbox.order(shell(script)).await.unwrap();
    assert_eq!(next_line(&mut events).await, "lit");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(sandbox.usage().await.unwrap().pids <= limits().pids);
    sandbox.signal(Signal::Kill).await.unwrap();
    let seen = collect(&mut events).await;
    assert_eq!(status(&seen).0, ExitStatus::Signal(9));
    assert_eq!(sandbox.usage().await.unwrap().pids, 0);
    yard.finish().await;
}

#[tokio::test]
async fn another_agent_continues_where_the_first_was() {
    let Some(mut yard) = Yard::start("adoption").await else {
        return;
    };
    let sandbox = yard.prepare("durable").await;
    sandbox.set_label(r#"{"app":"x"}"#).await.unwrap();
    let (address, port) = (sandbox.address(), sandbox.host_port());
    let mut events = sandbox.events().await.unwrap();
    let script = "for n in 1 2 3 4 5 6; do echo $n; sleep 0.1; done; exit 4";
    sandbox.order(shell(script)).await.unwrap();
    assert_eq!(next_line(&mut events).await, "1");
    assert_eq!(next_line(&mut events).await, "2");
    drop((events, sandbox));

    let adopted = yard.restart().await;
    assert_eq!(adopted.len(), 1);
    let sandbox = &adopted[0];
    assert_eq!(sandbox.id(), "durable");
    assert_eq!((sandbox.address(), sandbox.host_port()), (address, port));
    assert_eq!(sandbox.label().as_deref(), Some(r#"{"app":"x"}"#));
    let mut events = sandbox.events().await.unwrap();
    let seen = collect(&mut events).await;
    // The second line was handed out but never acknowledged by asking for a third.
    assert_eq!(text(&seen, false), ["2", "3", "4", "5", "6"]);
    assert_eq!(status(&seen), (ExitStatus::Code(4), false));

    // The exit is told to the next one as well, the lines are not.
    let mut again = sandbox.events().await.unwrap();
    assert_eq!(collect(&mut again).await.len(), 1);
    yard.finish().await;
}

#[tokio::test]
async fn a_sandbox_prepared_for_anybody_becomes_somebodys() {
    let Some(mut yard) = Yard::start("assign").await else {
        return;
    };
    let ready = yard.prepare("ready").await;
    let other_disk = SandboxLimits {
        disk_mb: 33,
        ..limits()
    };
    let more_files = SandboxLimits {
        fds: 1025,
        ..limits()
    };
    for impossible in [other_disk, more_files] {
        let refused = ready.clone().assign("web-7", impossible).await;
        assert!(matches!(refused, Err(SandboxError::Refused { .. })));
    }
    let wanted = SandboxLimits {
        memory_mb: 40,
        pids: 50,
        cpu_shares: 77,
        fds: 512,
        ..limits()
    };
    let sandbox = ready.assign("web-7", wanted).await.unwrap();
    assert_eq!((sandbox.id(), sandbox.limits()), ("ready", wanted));
    let mut events = sandbox.events().await.unwrap();
    let script = "hostname; cat /etc/hostname; grep web-7 /etc/hosts | wc -l; \
                  python3 -c 'bytearray(60 << 20)'; echo $?";
    sandbox.order(shell(script)).await.unwrap();
    let seen = collect(&mut events).await;
    assert_eq!(
        text(&seen, false),
        ["web-7", "web-7", "1", "137"],
        "{seen:?}"
    );
    let late = sandbox.clone().assign("web-8", wanted).await;
    assert!(matches!(late, Err(SandboxError::Refused { .. })));
    let more = SandboxLimits {
        memory_mb: 41,
        ..wanted
    };
    let late = sandbox.clone().begin_assign("web-8", more).await;
    let late = late
        .unwrap()
        .finish_with_droplet(yard.folder(), "/home/vcap");
    assert!(matches!(late.await, Err(SandboxError::Refused { .. })));
    drop((events, sandbox));
    let adopted = yard.restart().await;
    assert_eq!(adopted[0].limits(), wanted, "the next agent knows");
    yard.finish().await;
}

#[tokio::test]
async fn a_prepared_sandbox_gets_its_name_and_its_droplet_in_one_go() {
    let Some(yard) = Yard::start("one go").await else {
        return;
    };
    let folder = yard.folder().join("droplet");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("word"), "seen\n").unwrap();
    for (name, ahead) in [("connected", true), ("unconnected", false)] {
        let ready = yard.prepare(name).await;
        if ahead {
            ready.keep_connected().await.unwrap();
        }
        let assigning = ready.begin_assign("web-7", limits()).await.unwrap();
        let given = assigning.finish_with_droplet(&folder, "/home/vcap").await;
        let (sandbox, mounted) = given.unwrap();
        mounted.unwrap();
        sandbox.order(shell("hostname; cat word")).await.unwrap();
        let mut events = sandbox.events().await.unwrap();
        let seen = collect(&mut events).await;
        assert_eq!(text(&seen, false), ["web-7", "seen"], "{seen:?}");
        sandbox.destroy().await.unwrap();
    }
    // What cannot be mounted is told apart from what cannot be given away.
    let ready = yard.prepare("nothing").await;
    let assigning = ready.begin_assign("web-8", limits()).await.unwrap();
    let gone = folder.join("gone");
    let given = assigning.finish_with_droplet(&gone, "/home/vcap").await;
    assert!(given.unwrap().1.is_err());
    yard.finish().await;
}

#[tokio::test]
async fn mounts_are_made_beside_a_program_of_ours_until_the_sandbox_is_sealed() {
    let Some(yard) = Yard::start("sealed").await else {
        return;
    };
    let folder = yard.folder().join("shown");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("word"), "seen\n").unwrap();
    let sandbox = yard.prepare("one").await;
    let mut events = sandbox.events().await.unwrap();
    let waits = "echo runs; until [ -e /opt/late/word ]; do sleep 0.02; done; cat /opt/late/word; exec sleep 1000";
    sandbox.order_unsealed(shell(waits)).await.unwrap();
    assert_eq!(next_line(&mut events).await, "runs");
    let bind = || Source::ReadOnlyBind(folder.clone());
    sandbox.put("/opt/late", bind(), 0o755).await.unwrap();
    assert_eq!(next_line(&mut events).await, "seen");
    sandbox.seal().await.unwrap();
    for refused in [
        sandbox.put("/opt/later", bind(), 0o755).await,
        sandbox.mount_droplet(&folder, "/opt/later").await,
        sandbox.order(shell("true")).await,
        sandbox.clone().assign("other", limits()).await.map(drop),
    ] {
        assert!(
            matches!(refused, Err(SandboxError::Refused { .. })),
            "{refused:?}"
        );
    }
    yard.finish().await;
}

#[tokio::test]
async fn output_nobody_takes_is_bounded_and_counted() {
    let Some(yard) = Yard::start("backlog").await else {
        return;
    };
    let sandbox = yard.prepare("noisy").await;
    sandbox
        .order(shell("seq 1 200000; echo done"))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut events = sandbox.events().await.unwrap();
    let seen = collect(&mut events).await;
    let lost: u64 = seen
        .iter()
        .map(|event| match event {
            SandboxEvent::LinesLost { count } => *count,
            _ => 0,
        })
        .sum();
    let lines = text(&seen, false);
    assert_eq!(lines.len() as u64 + lost, 200_001);
    assert!(lost > 100_000, "{lost}");
    assert_eq!(lines.last().unwrap(), "done");
    yard.finish().await;
}

#[tokio::test]
async fn without_its_supervisor_a_sandbox_ends_and_is_cleared() {
    let Some(mut yard) = Yard::start("orphan").await else {
        return;
    };
    let sandbox = yard.prepare("orphan").await;
    sandbox.order(shell("sleep 1000")).await.unwrap();
    let lock = yard.config.run_folder.join("orphan/lock");
    let supervisor: i32 = std::fs::read_to_string(lock).unwrap().parse().unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(supervisor),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(matches!(
        sandbox.signal(Signal::Terminate).await,
        Err(SandboxError::Gone { .. })
    ));
    drop(sandbox);
    assert!(yard.restart().await.is_empty());
    assert!(!yard.config.run_folder.join("orphan").exists());
    yard.finish().await;
}

#[tokio::test]
async fn a_droplet_is_shared_and_written_to_by_each_alone() {
    let Some(yard) = Yard::start("droplet").await else {
        return;
    };
    let droplet = yard.folder().join("droplet");
    std::fs::create_dir_all(droplet.join("app")).unwrap();
    std::fs::write(droplet.join("app/file"), "original").unwrap();
    std::fs::set_permissions(droplet.join("app/file"), PermissionsExt::from_mode(0o600)).unwrap();
    let owned = Command::new("chown")
        .args(["-R", "2000:2000"])
        .arg(&droplet)
        .status();
    assert!(owned.unwrap().success());

    let script = "cd /home/vcap/app && stat -c %U:%a file && cat file && echo && echo $HOSTNAME > file && mkdir ../new && touch ../new/x && cat file; sleep 0.2";
    let mut sandboxes = Vec::new();
    for id in ["one", "two"] {
        let sandbox = yard.prepare(id).await;
        let begin = Instant::now();
        sandbox.mount_droplet(&droplet, "/home/vcap").await.unwrap();
        eprintln!("mount droplet {:?}", begin.elapsed());
        let events = sandbox.events().await.unwrap();
        sandbox.order(shell(script)).await.unwrap();
        sandboxes.push((id, sandbox, events));
    }
    for (id, sandbox, mut events) in sandboxes {
        let seen = collect(&mut events).await;
        assert_eq!(text(&seen, false), ["vcap:600", "original", id], "{seen:?}");
        let mut content = String::new();
        let mut file = sandbox.open_output("/home/vcap/app/file").await.unwrap();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content.trim(), id);
        assert!(sandbox.mount_droplet(&droplet, "/home/vcap").await.is_err());
    }
    assert_eq!(
        std::fs::read_to_string(droplet.join("app/file")).unwrap(),
        "original"
    );
    yard.finish().await;
}

#[tokio::test]
async fn inputs_are_put_and_outputs_are_opened_safely() {
    let Some(yard) = Yard::start("inputs").await else {
        return;
    };
    let sandbox = yard.prepare("task").await;
    let tool = yard.folder().join("tool");
    std::fs::write(&tool, "#!/bin/sh\necho tool of $(id -un)\n").unwrap();
    std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).unwrap();
    let bytes = Source::Bytes(b"{}".to_vec());
    sandbox
        .put("/yard/in/request.json", bytes, 0o600)
        .await
        .unwrap();
    let file = Source::File("/etc/hostname".into());
    sandbox.put("/yard/name", file, 0o644).await.unwrap();
    let bind = Source::ReadOnlyBind(tool);
    sandbox.put("/yard/bin/tool", bind, 0).await.unwrap();
    let folder = Source::ReadOnlyBind(yard.folder().to_owned());
    std::fs::set_permissions(yard.folder(), PermissionsExt::from_mode(0o755)).unwrap();
    sandbox.put("/yard/folder", folder, 0).await.unwrap();
    let bytes = Source::Bytes(Vec::new());
    assert!(sandbox.put("/yard/../x", bytes, 0o600).await.is_err());

    let mut events = sandbox.events().await.unwrap();
    let script = "/yard/bin/tool && stat -c '%U %a' /yard/in /yard/in/request.json && ls /yard/folder/tool \
        && ! touch /yard/folder/new 2>/dev/null && ! touch /usr/new 2>/dev/null && mkdir /yard/out && echo made > /yard/out/result \
        && ln -s /etc/shadow /yard/out/escape && ln -s /proc/1/root/etc/passwd /yard/out/magic && mkfifo /yard/out/pipe";
    sandbox.order(shell(script)).await.unwrap();
    let seen = collect(&mut events).await;
    assert_eq!(status(&seen).0, ExitStatus::Code(0), "{seen:?}");
    assert_eq!(
        text(&seen, false),
        ["tool of vcap", "vcap 755", "vcap 600", "/yard/folder/tool"]
    );
    let mut content = String::new();
    let mut file = sandbox.open_output("/yard/out/result").await.unwrap();
    file.read_to_string(&mut content).unwrap();
    assert_eq!(content, "made\n");
    // An open file would hold the disk.
    drop(file);
    for name in ["escape", "magic", "pipe", "missing"] {
        let path = format!("/yard/out/{name}");
        assert!(sandbox.open_output(&path).await.is_err(), "{name}");
    }
    yard.finish().await;
}

#[tokio::test]
async fn a_command_runs_beside_the_application_and_after_its_end() {
    let Some(yard) = Yard::start("exec").await else {
        return;
    };
    let sandbox = yard.prepare("one").await;
    let mut events = sandbox.events().await.unwrap();
    sandbox.order(shell("echo up; exit 1")).await.unwrap();
    collect(&mut events).await;
    let within = Duration::from_secs(10);
    let outcome = sandbox
        .exec(shell("id -un; echo no >&2; exit 5"), within)
        .await
        .unwrap();
    assert_eq!(outcome.status, ExitStatus::Code(5));
    assert_eq!(outcome.stdout, b"vcap\n");
    assert_eq!(outcome.stderr, b"no\n");
    let within = Duration::from_millis(300);
    let slow = sandbox.exec(shell("exec sleep 1000"), within).await;
    assert!(
        matches!(slow, Err(SandboxError::Timeout { .. })),
        "{slow:?}"
    );
    yard.finish().await;
}

/// `cargo test -p dea --test sandbox -- --ignored --nocapture measure`
#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn measure_a_cold_start_and_its_end() {
    let Some(yard) = Yard::start("measure").await else {
        return;
    };
    let droplet = yard.folder().join("droplet");
    std::fs::create_dir_all(droplet.join("app")).unwrap();
    yard.prepare("warm-up").await;
    let mut parts: [Vec<Duration>; 6] = Default::default();
    for number in 0..60 {
        let begin = Instant::now();
        let sandbox = yard.prepare(&format!("s{number}")).await;
        parts[0].push(begin.elapsed());
        let assigning = Instant::now();
        let sandbox = sandbox.assign("somebody", limits()).await.unwrap();
        parts[5].push(assigning.elapsed());
        let mounting = Instant::now();
        sandbox.mount_droplet(&droplet, "/home/vcap").await.unwrap();
        parts[1].push(mounting.elapsed());
        let mut events = sandbox.events().await.unwrap();
        let ordering = Instant::now();
        let mut orders = shell("");
        orders.argv = vec!["/bin/true".into()];
        sandbox.order(orders).await.unwrap();
        collect(&mut events).await;
        parts[2].push(ordering.elapsed());
        parts[3].push(begin.elapsed());
        drop(events);
        let destroying = Instant::now();
        sandbox.destroy().await.unwrap();
        parts[4].push(destroying.elapsed());
    }
    let names = [
        "prepare",
        "mount droplet",
        "orders to exit",
        "cold start to exit",
        "destroy",
        "assign",
    ];
    for (name, mut times) in names.into_iter().zip(parts) {
        times.sort();
        println!(
            "{name}: least {:?}, p50 {:?}, p95 {:?}",
            times[0], times[30], times[57]
        );
    }
    let begin = Instant::now();
    let ids: Vec<String> = (0..40).map(|number| format!("p{number}")).collect();
    let preparing = ids.iter().map(|id| yard.prepare(id));
    let sandboxes = futures_util::future::join_all(preparing).await;
    println!("{} at once: {:?}", sandboxes.len(), begin.elapsed());
    let supervisor = std::fs::read_to_string(yard.config.run_folder.join("p0/lock")).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{supervisor}/status")).unwrap();
    let size = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    println!("a supervisor's memory: {size}");
    println!(
        "a waiting sandbox: {:?}",
        sandboxes[0].usage().await.unwrap()
    );
    let begin = Instant::now();
    yard.finish().await;
    println!("all gone, one after the other: {:?}", begin.elapsed());
}
