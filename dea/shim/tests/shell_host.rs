//! The host of shell actions as a whole program, over its socket. What needs root says so.

#![allow(clippy::unwrap_used)]

use dea_shim::frames::{Decoder, frame};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stackyard-init");
const WITHIN: Duration = Duration::from_secs(60);

struct Host {
    process: Child,
    folder: PathBuf,
}

struct Client {
    stream: UnixStream,
    decoder: Decoder,
}

impl Host {
    fn start(name: &str, companion: &[&str]) -> Host {
        let folder = std::env::temp_dir().join(format!("shell-host-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .arg("pack-host")
            .arg(folder.join("socket"))
            .args(["2", "8"]);
        let process = command.args(companion).spawn().unwrap();
        Host { process, folder }
    }

    fn connect(&self) -> Client {
        let path = self.folder.join("socket");
        let stream = eventually("it listens", || UnixStream::connect(&path).ok());
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        Client {
            stream,
            decoder: Decoder::default(),
        }
    }

    fn status(&mut self) -> Option<i32> {
        let process = &mut self.process;
        eventually("it ends", || process.try_wait().unwrap()).code()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < WITHIN, "never: {what}");
        #[expect(
            clippy::disallowed_methods,
            reason = "a test of programs without a runtime"
        )]
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Client {
    fn ask(&mut self, request: Value) {
        self.stream.write_all(&frame(&request)).unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut buffer = vec![0; 64 << 10];
        loop {
            if let Some(body) = self.decoder.next_body().unwrap() {
                return Value::Object(body);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the host ended the connection"),
                Ok(length) => self.decoder.push(&buffer[..length]),
                // With a timeout the kernel does not restart the call.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}"),
            }
        }
    }

    fn until(&mut self, event: &str) -> Value {
        loop {
            let heard = self.hear();
            if heard["event"] == event {
                return heard;
            }
        }
    }

    fn run(&mut self, id: &str, more: Value) {
        let mut request = json!({"request": "run", "kind": "shell", "id": id});
        for (name, value) in more.as_object().unwrap() {
            request[name] = value.clone();
        }
        self.ask(request);
    }

    /// Runs it to its end: the last event, standard output and standard error.
    fn result(&mut self, id: &str, more: Value) -> (Value, String, String) {
        self.run(id, more);
        self.end(id)
    }

    fn end(&mut self, id: &str) -> (Value, String, String) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        loop {
            let event = self.hear();
            if event["id"] != id {
                continue;
            }
            match event["event"].as_str().unwrap() {
                "output" if event["stream"] == "stdout" => {
                    stdout += event["data"].as_str().unwrap()
                }
                "output" => stderr += event["data"].as_str().unwrap(),
                "exited" => return (event, stdout, stderr),
                "refused" => panic!("{event}"),
                _ => {}
            }
        }
    }

    fn prints(&mut self, id: &str, words: &str) {
        let mut text = String::new();
        while !text.contains(words) {
            let event = self.hear();
            if event["id"] == id && event["event"] == "output" {
                text += event["data"].as_str().unwrap();
            }
        }
    }
}

fn is_there(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn one_slot_starts_one_program_after_the_other_and_nothing_of_one_meets_the_next() {
    let host = Host::start("reuse", &[]);
    let mut client = host.connect();
    let hello = client.hear();
    assert_eq!(
        (&hello["event"], &hello["version"]),
        (&json!("hello"), &json!(1))
    );
    let worker = match hello["idle"].as_array().unwrap().first() {
        Some(worker) => worker.clone(),
        None => client.until("worker")["pid"].clone(),
    };
    let script = "echo $A $0; pwd; ulimit -n; echo err >&2; umask 077; exit 7";
    let (exited, stdout, stderr) = client.result(
        "a",
        json!({"command": script, "env": {"A": "1", "PATH": "/usr/bin:/bin"}, "cwd": "/usr", "worker": worker,
               "limits": {"open_files": 77}}),
    );
    assert_eq!(
        (stdout.as_str(), stderr.as_str()),
        ("1 /bin/sh\n/usr\n77\n", "err\n")
    );
    assert_eq!(
        (&exited["status"], &exited["signal"], &exited["reusable"]),
        (&json!(7), &Value::Null, &json!(true))
    );
    assert!(
        exited["max_rss_bytes"].as_u64().unwrap() > 100_000,
        "{exited}"
    );
    // A process that leaves its session holds the output open, and does not outlive the action.
    let escape = "setsid sh -c 'echo $$; exec sleep 1000' & sleep 0.2; exit 0";
    let (exited, stdout, _) = client.result("b", json!({"command": escape, "worker": worker}));
    assert_eq!(exited["status"], 0);
    let pid: i32 = stdout.trim().parse().unwrap();
    assert!(!is_there(pid), "{pid} outlived its action");
    let (exited, stdout, _) = client.result(
        "c",
        json!({"argv": ["sh", "-c", "echo $A; pwd; umask; test $(ulimit -n) -gt 77 && echo free"],
               "env": {"PATH": "/usr/bin:/bin"}, "worker": worker}),
    );
    assert_eq!(
        (stdout.as_str(), &exited["pid"]),
        ("\n/\n0022\nfree\n", &worker)
    );
    let (exited, _, stderr) =
        client.result("d", json!({"argv": ["no-such-program"], "worker": worker}));
    assert_eq!(
        (&exited["status"], stderr.as_str()),
        (&json!(127), "no-such-program: No such file or directory\n")
    );
    let (exited, _, stderr) = client.result(
        "e",
        json!({"command": "true", "cwd": "/no/such", "worker": worker}),
    );
    assert_eq!(exited["status"], 1);
    assert!(stderr.contains("working directory /no/such"), "{stderr}");
    let (exited, _, stderr) = client.result(
        "f",
        json!({"command": "true", "user": "no-such", "worker": worker}),
    );
    assert_eq!(
        (&exited["status"], stderr.as_str()),
        (&json!(1), "there is no user no-such\n")
    );
    client.ask(json!({"request": "retire", "worker": worker}));
    assert_eq!(client.until("worker_lost")["pid"], worker);
    client.run("g", json!({"command": "true", "worker": worker}));
    assert_eq!(client.until("refused")["code"], "no_such_worker");
    let pid = i32::try_from(worker.as_i64().unwrap()).unwrap();
    eventually("the slot ends", || (!is_there(pid)).then_some(()));
}

/// The shell that waits in a slot.
fn waiting_shell(slot: &Value) -> i32 {
    let path = format!("/proc/{slot}/task/{slot}/children");
    eventually("a shell waits", || {
        std::fs::read_to_string(&path).ok()?.trim().parse().ok()
    })
}

#[test]
fn a_shell_that_waited_for_its_command_is_like_any_other() {
    let host = Host::start("ahead", &[]);
    let mut client = host.connect();
    client.hear();
    let script = "echo $0 $# $- ${yard_gate-unset} $A; pwd; ulimit -n; umask; set; env | sort; ls /proc/self/fd; \
        readlink /proc/self/fd/0; echo err >&2; nonsense; cat; exit 7";
    let order = |value: &str| {
        json!({"command": script, "cwd": "/usr", "env": {
            "A": value, "PATH": "/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8"}})
    };
    let (first, stdout, stderr) = client.result("a", order("it's $HOME"));
    let slot = first["pid"].clone();
    waiting_shell(&slot);
    let mut again = order("it's $HOME");
    again["worker"] = slot.clone();
    let (second, same_stdout, same_stderr) = client.result("b", again);
    assert_eq!(
        (&second["status"], &first["status"]),
        (&json!(7), &json!(7))
    );
    assert_eq!((&same_stdout, &same_stderr), (&stdout, &stderr));
    assert!(
        stdout.starts_with("/bin/sh 0 unset it's $HOME\n/usr\n"),
        "{stdout}"
    );
    // Each has its own: nothing of the one before is left, and it was the shell that waited.
    let shell = waiting_shell(&slot);
    let own = json!({"command": "echo $$ $A $B", "cwd": "/usr", "env": {"B": "2"}, "worker": slot});
    let (_, stdout, _) = client.result("c", own);
    assert_eq!(stdout, format!("{shell} 2\n"));
    // What it does not fit, and what became of it, is nobody's matter.
    let shell = waiting_shell(&slot);
    let other = json!({"command": "echo $$; pwd", "cwd": "/tmp", "env": {}, "worker": slot});
    let (_, stdout, _) = client.result("d", other.clone());
    assert!(stdout.ends_with("\n/tmp\n") && stdout != format!("{shell}\n/tmp\n"));
    assert!(!is_there(shell));
    let shell = waiting_shell(&slot);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(shell),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    eventually("it is dead", || {
        let status = std::fs::read_to_string(format!("/proc/{shell}/stat")).ok()?;
        status.contains(") Z ").then_some(())
    });
    let (exited, stdout, _) = client.result("e", other);
    assert_eq!(
        (&exited["status"], stdout.lines().count()),
        (&json!(0), 2),
        "{exited}"
    );
    // A slot that goes takes it along.
    let shell = waiting_shell(&slot);
    client.ask(json!({"request": "retire", "worker": slot}));
    eventually("the shell ends", || (!is_there(shell)).then_some(()));
}

#[test]
fn a_program_runs_as_the_user_it_was_ordered_to() {
    if !nix::unistd::geteuid().is_root() {
        // Not by the macro, whose output the test harness hides.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED a_program_runs_as_the_user: needs root\n"),
        );
        return;
    }
    let host = Host::start("user", &[]);
    let mut client = host.connect();
    let script =
        "id -un; id -gn; kill -9 $PPID 2>&1 | grep -c -i 'not permitted'; env | grep -c HOME";
    let order = json!({"command": script, "user": "nobody", "env": {"PATH": "/usr/bin:/bin"}});
    let (exited, stdout, _) = client.result("a", order);
    assert_eq!(
        (stdout.as_str(), &exited["status"]),
        ("nobody\nnogroup\n1\n0\n", &json!(1))
    );
    let (_, stdout, _) = client.result("b", json!({"command": "id -un"}));
    assert_eq!(
        stdout, "root\n",
        "the user of the one before is not that of the next"
    );
}

#[test]
fn what_ignores_term_forks_and_leaves_is_ended_by_order_and_by_time() {
    let host = Host::start("stop", &[]);
    let mut client = host.connect();
    let stubborn = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & echo deep; wait; sleep 1000";
    client.run("a", json!({"command": stubborn}));
    client.prints("a", "deep");
    client.ask(json!({"request": "stop", "id": "a", "grace_ms": 100}));
    let (exited, _, _) = client.end("a");
    assert_eq!(
        (&exited["stopped"], &exited["signal"], &exited["timed_out"]),
        (&json!(true), &json!(9), &json!(false))
    );
    let gentle = "trap 'echo going; exit 3' TERM; echo deep; while :; do sleep 0.05; done";
    client.run("b", json!({"command": gentle}));
    client.prints("b", "deep");
    client.ask(json!({"request": "stop", "id": "b", "grace_ms": 60_000}));
    let (exited, stdout, _) = client.end("b");
    assert_eq!((&exited["status"], stdout.as_str()), (&json!(3), "going\n"));
    let (exited, _, _) = client.result(
        "c",
        json!({"command": stubborn, "timeout_ms": 300, "grace_ms": 50}),
    );
    assert_eq!(
        (&exited["timed_out"], &exited["signal"]),
        (&json!(true), &json!(9))
    );
    assert!(exited["wall_ms"].as_u64().unwrap() >= 350, "{exited}");
    let bomb = "bomb() { bomb | bomb & }; bomb; exit 0";
    let (exited, _, _) = client.result("d", json!({"command": bomb, "limits": {"processes": 300}, "timeout_ms": 500,
                                                 "grace_ms": 50, "user": if nix::unistd::geteuid().is_root() { json!("nobody") } else { Value::Null }}));
    assert_eq!(exited["reusable"], true, "nothing is left of it: {exited}");
    client.ask(json!({"request": "stop", "id": "a"}));
    assert_eq!(client.until("refused")["code"], "unknown_execution");
}

#[test]
fn orders_that_cannot_be_followed_are_refused_and_secrets_are_on_no_command_line() {
    let host = Host::start("refusals", &[]);
    let mut client = host.connect();
    client.run("a", json!({"command": "x", "argv": ["x"], "timeout": 5}));
    let refused = client.until("refused");
    assert_eq!(
        (
            &refused["code"],
            refused["problems"].as_array().unwrap().len()
        ),
        (&json!("invalid"), 2),
        "{refused}"
    );
    for wrong in [
        json!({"request": "nonsense"}),
        json!({"request": "ping", "x": 1}),
        json!({"request": "prefork", "count": 65}),
    ] {
        client.ask(wrong);
        assert_eq!(client.until("refused")["code"], "invalid");
    }
    let script = "hunter2=1; for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $file; done 2>/dev/null | grep -c hunter[2]; ls /proc/self/fd | grep -c 9";
    let (_, stdout, _) = client.result("b", json!({"command": script}));
    assert_eq!(stdout, "0\n0\n");
    client.run("b", json!({"command": "true"}));
    assert_eq!(client.until("refused")["code"], "duplicate");
    client.ask(json!({"request": "forget", "id": "b"}));
    let (exited, _, _) = client.result("b", json!({"command": "true"}));
    assert_eq!(exited["status"], 0);
    for number in 0..9 {
        client.run(&format!("full-{number}"), json!({"command": "sleep 1000"}));
    }
    let refused = client.until("refused");
    assert_eq!(
        (&refused["id"], &refused["code"]),
        (&json!("full-8"), &json!("full"))
    );
    client.ask(json!({"request": "ping", "nonce": [5]}));
    let pong = client.until("pong");
    assert_eq!((&pong["nonce"], &pong["running"]), (&json!([5]), &json!(8)));
}

#[test]
fn executions_go_on_without_a_client_and_a_flood_is_bounded() {
    let host = Host::start("away", &[]);
    let mut client = host.connect();
    client.run(
        "a",
        json!({"command": "echo before; sleep 0.3; echo after"}),
    );
    client.prints("a", "before");
    client.run("b", json!({"command": "sleep 1000"}));
    client.ask(json!({"request": "ping"}));
    client.until("pong");
    drop(client);
    let mut client = host.connect();
    let hello = client.until("hello");
    let running: Vec<&str> = hello["running"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert!(running.contains(&"b"), "{hello}");
    let (_, stdout, _) = client.end("a");
    assert!(stdout.ends_with("after\n"), "{stdout}");
    drop(client);
    let mut client = host.connect();
    assert_eq!(client.until("exited")["id"], "a", "it was not forgotten");
    // More than the host keeps waiting for a client that reads nothing: the program waits.
    client.run("c", json!({"command": "yes 0123456789 | head -c 30000000; echo end >&2", "output_limit": 20_000_000}));
    eventually("output waits", || {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", host.process.id())).unwrap();
        let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
        (pages * 4096 > 3 << 20).then_some(())
    });
    let (exited, stdout, stderr) = client.end("c");
    assert_eq!((stdout.len(), stderr.as_str()), (20_000_000, "end\n"));
    assert_eq!(exited["truncated"], json!(["stdout"]));
    let text = std::fs::read_to_string(format!("/proc/{}/status", host.process.id())).unwrap();
    let most = text
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let most: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(most < 40 << 10, "{most} kB");
}

#[test]
fn a_slot_that_dies_takes_its_program_with_it_and_is_replaced() {
    let host = Host::start("lost", &[]);
    let mut client = host.connect();
    client.run("a", json!({"command": "setsid sleep 1000 & echo $!; wait"}));
    let started = client.until("started");
    let output = client.until("output");
    let left: i32 = output["data"].as_str().unwrap().trim().parse().unwrap();
    let slot = i32::try_from(started["pid"].as_i64().unwrap()).unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(slot),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let (exited, _, _) = client.end("a");
    assert_eq!(
        (&exited["signal"], &exited["reusable"]),
        (&json!(9), &json!(false))
    );
    eventually("what it left is killed", || (!is_there(left)).then_some(()));
    let (exited, _, _) = client.result("b", json!({"command": "exit 4"}));
    assert_eq!(exited["status"], 4);
}

#[test]
fn it_ends_with_its_companion_and_on_term() {
    let mut host = Host::start(
        "companion",
        &["/bin/sh", "-c", "read line < $0; exit 5", "/dev/null"],
    );
    assert_eq!(host.status(), Some(5));
    let mut host = Host::start("term", &["/bin/sleep", "1000"]);
    let mut client = host.connect();
    client.run(
        "a",
        json!({"command": "trap 'exit 6' TERM; echo up; while :; do sleep 0.05; done"}),
    );
    client.prints("a", "up");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(host.process.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(client.end("a").0["status"], 6);
    assert_eq!(host.status(), Some(0));
    assert!(!host.folder.join("socket").exists());
}
