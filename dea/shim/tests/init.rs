//! The init as process 1 of a pid namespace, without a container around it. Needs root and
//! `unshare` of util-linux.

#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dea_shim::protocol::{ExitStatus, FromInit, Orders, Splitter, ToInit, frame_json, kind};

const INIT: &str = env!("CARGO_BIN_EXE_stackyard-init");

struct Init {
    child: Child,
    connection: UnixStream,
    splitter: Splitter,
}

impl Init {
    fn start(name: &str) -> Option<Init> {
        if !nix::unistd::geteuid().is_root() || Command::new("unshare").arg("-V").output().is_err()
        {
            // Not by the macro, whose output the test harness hides.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("SKIPPED {name}: needs root and unshare\n"),
            );
            return None;
        }
        let (connection, theirs) = UnixStream::pair().unwrap();
        connection
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", INIT])
            .stdout(Stdio::piped());
        sys::process::pass_descriptor(&mut command, theirs.into(), 3).unwrap();
        let child = command.spawn().unwrap();
        let mut init = Init {
            child,
            connection,
            splitter: Splitter::default(),
        };
        assert_eq!(init.hear(), Some(FromInit::Ready));
        Some(init)
    }

    fn tell(&mut self, message: &ToInit) {
        let bytes = frame_json(kind::INIT, message);
        self.connection.write_all(&bytes).unwrap();
    }

    /// The next report; None at the end of the connection.
    fn hear(&mut self) -> Option<FromInit> {
        let mut buffer = [0; 1024];
        loop {
            if let Some(report) = self.splitter.next_json(kind::INIT).unwrap() {
                return Some(report);
            }
            match self.connection.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => self.splitter.push(&buffer[..length]),
                // With a timeout the kernel does not restart the call.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}"),
            }
        }
    }

    fn order(&mut self, script: &str) -> FromInit {
        self.tell(&ToInit::Order(orders(&["sh", "-c", script])));
        self.hear().unwrap()
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn orders(argv: &[&str]) -> Orders {
    Orders {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        env: vec!["PATH=/usr/bin:/bin".to_owned()],
        cwd: "/".to_owned(),
        uid: 65_534,
        gid: 65_534,
        fds: 64,
    }
}

#[test]
fn outside_a_namespace_it_refuses_to_run() {
    let output = Command::new(INIT).output().unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("process 1"), "{words}");
}

#[test]
fn it_reports_the_true_exit_status_and_stays() {
    let Some(mut init) = Init::start("exit-status") else {
        return;
    };
    assert!(matches!(init.order("exit 9"), FromInit::Started { .. }));
    let status = ExitStatus::Code(9);
    assert_eq!(init.hear(), Some(FromInit::Exited { status }));
    assert!(init.child.try_wait().unwrap().is_none());
    init.tell(&ToInit::Exit);
    assert_eq!(init.hear(), None);
    assert!(init.child.wait().unwrap().success());
}

#[test]
fn an_orphans_end_is_not_taken_for_the_programs() {
    let Some(mut init) = Init::start("orphans") else {
        return;
    };
    init.order("(sh -c 'exit 1' & ) ; sleep 0.3; kill -SEGV $$");
    let status = ExitStatus::Signal(11);
    assert_eq!(init.hear(), Some(FromInit::Exited { status }));
}

#[test]
fn a_term_signal_reaches_the_group_and_the_rest_dies_with_the_program() {
    let Some(mut init) = Init::start("group") else {
        return;
    };
    init.order("setsid sleep 1000 & trap 'exit 6' TERM; echo ready; sleep 1000 & wait");
    let mut ready = [0; 6];
    init.child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    let (number, everyone) = (15, false);
    init.tell(&ToInit::Signal { number, everyone });
    let status = ExitStatus::Code(6);
    assert_eq!(init.hear(), Some(FromInit::Exited { status }));
    // Only the init is left: were another alive, the pipe would still be open.
    init.tell(&ToInit::Exit);
    let mut rest = String::new();
    init.child
        .stdout
        .as_mut()
        .unwrap()
        .read_to_string(&mut rest)
        .unwrap();
    assert_eq!(rest, "");
}

#[test]
fn a_program_that_cannot_start_is_refused_and_another_may_follow() {
    let Some(mut init) = Init::start("refusal") else {
        return;
    };
    for argv in [vec!["no-such-program"], vec!["/etc/passwd"], vec![]] {
        init.tell(&ToInit::Order(orders(&argv)));
        let report = init.hear();
        assert!(
            matches!(report, Some(FromInit::Refused { .. })),
            "{report:?}"
        );
    }
    assert!(matches!(init.order("true"), FromInit::Started { .. }));
    let status = ExitStatus::Code(0);
    assert_eq!(init.hear(), Some(FromInit::Exited { status }));
    let report = init.order("true");
    assert!(matches!(report, FromInit::Refused { .. }), "{report:?}");
}

#[test]
fn without_its_supervisor_it_ends() {
    let Some(mut init) = Init::start("alone") else {
        return;
    };
    init.order("sleep 1000");
    init.connection.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(init.child.wait().unwrap().success());
}
