//! Sessions beside an application, in real sandboxes: what they are, what they may, and what ends them.

#![allow(clippy::unwrap_used)]

mod yard;

use std::time::Duration;

use dea::sandbox::session::{FromSession, Opening, Size, ToSession};
use dea::sandbox::{ExitStatus, Sandbox, Splitter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use yard::{Yard, collect, next_line, shell};

/// On a busy machine too.
const WITHIN: Duration = Duration::from_secs(60);

struct Session {
    stream: UnixStream,
    splitter: Splitter,
}

/// What a session says until its end.
#[derive(Debug, Default)]
struct Heard {
    output: String,
    errors: String,
    status: Option<ExitStatus>,
    refused: Option<String>,
}

fn run(script: &str, terminal: Option<Size>) -> Opening {
    Opening::Run {
        argv: ["/bin/bash", "-c", script].map(str::to_owned).to_vec(),
        env: vec!["BROUGHT=yes".to_owned()],
        terminal,
    }
}

impl Session {
    async fn open(sandbox: &Sandbox, opening: Opening) -> Session {
        let mut session = Session {
            stream: sandbox.enter().await.unwrap(),
            splitter: Splitter::default(),
        };
        // One that is refused hangs up without hearing this; why is there to be read.
        let opening = ToSession::Open(opening).encode();
        let _ = session.stream.write_all(&opening).await;
        session
    }

    async fn tell(&mut self, message: ToSession) {
        self.stream.write_all(&message.encode()).await.unwrap();
    }

    /// The next message; None: it was killed without a last word.
    async fn next(&mut self) -> Option<FromSession> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = FromSession::next(&mut self.splitter).unwrap() {
                return Some(message);
            }
            let read = tokio::time::timeout(WITHIN, self.stream.read(&mut buffer));
            match read.await.expect("a message in time") {
                Ok(length) if length > 0 => self.splitter.push(&buffer[..length]),
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// What is said until these words.
    async fn says(&mut self, words: &str) -> String {
        let mut output = String::new();
        while !output.contains(words) {
            match self.next().await {
                Some(FromSession::Output(bytes)) => output += &String::from_utf8_lossy(&bytes),
                Some(FromSession::Opened) => {}
                other => panic!("{other:?} after {output:?}"),
            }
        }
        output
    }

    async fn hear(&mut self) -> Heard {
        let mut heard = Heard::default();
        while let Some(message) = self.next().await {
            match message {
                FromSession::Opened | FromSession::OutputEnded => {}
                FromSession::Output(bytes) => heard.output += &String::from_utf8_lossy(&bytes),
                FromSession::Errors(bytes) => heard.errors += &String::from_utf8_lossy(&bytes),
                FromSession::Refused { problem } => heard.refused = Some(problem),
                FromSession::Ended { status } => heard.status = Some(status),
            }
        }
        heard
    }
}

async fn heard(sandbox: &Sandbox, script: &str) -> Heard {
    Session::open(sandbox, run(script, None)).await.hear().await
}

/// Waits until no process of the sandbox has this in its command line.
async fn gone(sandbox: &Sandbox, words: &str) {
    let begin = std::time::Instant::now();
    loop {
        let seen = heard(sandbox, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await;
        if !seen.output.contains(words) {
            return;
        }
        assert!(begin.elapsed() < WITHIN, "it goes on: {}", seen.output);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_session_is_confined_as_the_application_is() {
    let Some(yard) = Yard::start("confined").await else {
        return;
    };
    let sandbox = yard.prepare("one").await;
    let early = heard(&sandbox, "true").await;
    let refused = early.refused.unwrap();
    assert!(refused.contains("nothing was started"), "{refused}");
    let mut events = sandbox.events().await.unwrap();
    sandbox
        .order(shell("echo ready; exec -a the-application sleep 1000"))
        .await
        .unwrap();
    assert_eq!(next_line(&mut events).await, "ready");
    let facts = "for what in Uid Gid Groups NoNewPrivs Seccomp CapEff CapBnd; do \
                 grep ^$what: /proc/$1/status; done; readlink /proc/$1/ns/{net,mnt,pid,ipc,uts,user}; \
                 cut -d: -f2- /proc/$1/cgroup; cat /proc/$1/limits; cat /proc/$1/oom_score_adj";
    let script = format!(
        "facts() {{ {facts}; }}; \
         for process in /proc/[0-9]*; do \
         case $(tr '\\0' ' ' < $process/cmdline) in the-application*) app=${{process#/proc/}};; esac; done; \
         diff <(facts $app) <(facts $$) && id -u && pwd && echo $HOME $BROUGHT; echo aside >&2; exit 7"
    );
    let seen = heard(&sandbox, &script).await;
    assert_eq!(
        seen.output, "2000\n/home/vcap\n/home/vcap yes\n",
        "{seen:?}"
    );
    assert_eq!(seen.errors, "aside\n");
    assert_eq!(seen.status, Some(ExitStatus::Code(7)));
    let missing = Opening::Run {
        argv: vec!["/no/such/program".into()],
        env: Vec::new(),
        terminal: None,
    };
    let seen = Session::open(&sandbox, missing).await.hear().await;
    assert!(seen.refused.unwrap().contains("/no/such/program"));
    yard.finish().await;
}

#[tokio::test]
async fn input_and_output_do_not_wait_for_each_other() {
    let Some(yard) = Yard::start("streams").await else {
        return;
    };
    let sandbox = yard.prepare("one").await;
    sandbox.order(shell("sleep 1000")).await.unwrap();
    let mut session = Session::open(&sandbox, run("cat; echo done >&2", None)).await;
    let piece = vec![b'x'; 64 * 1024];
    let pieces = 64;
    let (mut reading, mut writing) = session.stream.into_split();
    let feeding = async {
        for _ in 0..pieces {
            let message = ToSession::Input(piece.clone());
            writing.write_all(&message.encode()).await.unwrap();
        }
        let ended = ToSession::InputEnded.encode();
        writing.write_all(&ended).await.unwrap();
    };
    let hearing = async {
        let (mut output, mut errors, mut buffer) = (0, Vec::new(), vec![0; 32 * 1024]);
        loop {
            while let Some(message) = FromSession::next(&mut session.splitter).unwrap() {
                match message {
                    FromSession::Output(bytes) => output += bytes.len(),
                    FromSession::Errors(bytes) => errors.extend(bytes),
                    FromSession::Ended { status } => return (output, errors, status),
                    FromSession::Opened | FromSession::OutputEnded => {}
                    FromSession::Refused { problem } => panic!("{problem}"),
                }
            }
            let length = reading.read(&mut buffer).await.unwrap();
            assert!(length > 0, "it broke off after {output} bytes");
            session.splitter.push(&buffer[..length]);
        }
    };
    let both = async { tokio::join!(feeding, hearing).1 };
    let (output, errors, status) = tokio::time::timeout(WITHIN, both).await.unwrap();
    assert_eq!(output, pieces * piece.len());
    assert_eq!(errors, b"done\n");
    assert_eq!(status, ExitStatus::Code(0));
    yard.finish().await;
}

#[tokio::test]
async fn a_terminal_has_a_size_and_passes_keys_on() {
    let Some(yard) = Yard::start("terminal").await else {
        return;
    };
    let sandbox = yard.prepare("one").await;
    sandbox.order(shell("sleep 1000")).await.unwrap();
    let size = |columns, rows| Size { columns, rows };
    let script = "stty size; tty; trap 'stty size' WINCH; trap 'echo int; exit 4' INT; \
                  echo waits; while :; do sleep 0.1; done";
    let mut session = Session::open(&sandbox, run(script, Some(size(81, 25)))).await;
    let begin = session.says("waits").await;
    assert!(begin.contains("25 81\r\n/dev/pts/"), "{begin}");
    session.tell(ToSession::Resize(size(100, 30))).await;
    session.says("30 100").await;
    const INTERRUPT: u8 = 3;
    session.tell(ToSession::Input(vec![INTERRUPT])).await;
    let seen = session.hear().await;
    assert!(seen.output.contains("int"), "{seen:?}");
    assert_eq!(seen.status, Some(ExitStatus::Code(4)));
    yard.finish().await;
}

#[tokio::test]
async fn whatever_a_session_started_ends_with_it() {
    let Some(yard) = Yard::start("ends").await else {
        return;
    };
    let sandbox = yard.prepare("one").await;
    let mut events = sandbox.events().await.unwrap();
    let waits = "echo ready; while [ ! -e /tmp/end ]; do sleep 0.1; done; exit 3";
    sandbox.order(shell(waits)).await.unwrap();
    assert_eq!(next_line(&mut events).await, "ready");
    let script = "setsid sleep 4711 & setsid setsid sleep 4712 & exit 0";
    let seen = heard(&sandbox, script).await;
    assert_eq!(seen.status, Some(ExitStatus::Code(0)));
    gone(&sandbox, "sleep 471").await;
    // The other end is closed: nobody is left to hear of it.
    let mut session =
        Session::open(&sandbox, run("setsid sleep 4713 & echo runs; wait", None)).await;
    session.says("runs").await;
    drop(session);
    gone(&sandbox, "sleep 4713").await;
    let mut session = Session::open(&sandbox, run("echo runs; exec sleep 1000", None)).await;
    session.says("runs").await;
    const TERMINATE: i32 = 15;
    session.tell(ToSession::Signal(TERMINATE)).await;
    let seen = session.hear().await;
    assert_eq!(seen.status, Some(ExitStatus::Signal(TERMINATE)));
    // With the application its sessions end, without a last word; what it left can be looked at.
    let mut session =
        Session::open(&sandbox, run("echo kept > /tmp/kept; echo runs; cat", None)).await;
    session.says("runs").await;
    heard(&sandbox, "touch /tmp/end").await;
    assert_eq!(session.hear().await.status, None);
    let seen = collect(&mut events).await;
    let code = ExitStatus::Code(3);
    assert!(format!("{:?}", seen.last()).contains(&format!("{code:?}")));
    let seen = heard(&sandbox, "cat /tmp/kept; ls /proc | grep -c '^[0-9]'").await;
    // The init, the session, its shell and the two programs of the pipe, at most.
    let (kept, processes) = seen.output.split_once('\n').unwrap();
    let processes: u32 = processes.trim().parse().unwrap();
    assert!(kept == "kept" && processes <= 5, "{seen:?}");
    yard.finish().await;
}

#[tokio::test]
async fn a_connection_begins_in_the_network_of_the_sandbox() {
    let Some(yard) = Yard::start("connection").await else {
        return;
    };
    let sandbox = yard.prepare("one").await;
    let mut events = sandbox.events().await.unwrap();
    let server = "python3 -c \"
import socket
listener = socket.create_server(('127.0.0.1', 4000))
print('ready', flush=True)
while True:
    stream, _ = listener.accept()
    stream.sendall(b'you said ' + stream.makefile('rb').read())
    stream.close()\"";
    sandbox.order(shell(server)).await.unwrap();
    assert_eq!(next_line(&mut events).await, "ready");
    let to = |port: u16| Opening::Connect {
        to: ([127, 0, 0, 1], port).into(),
    };
    let mut session = Session::open(&sandbox, to(4000)).await;
    session.tell(ToSession::Input(b"a word".to_vec())).await;
    session.tell(ToSession::InputEnded).await;
    let seen = session.hear().await;
    assert_eq!(seen.output, "you said a word", "{seen:?}");
    let seen = Session::open(&sandbox, to(4001)).await.hear().await;
    let refused = seen.refused.unwrap();
    assert!(refused.contains("connect to 127.0.0.1:4001"), "{refused}");
    yard.finish().await;
}
