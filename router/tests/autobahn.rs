//! The WebSocket suite of Autobahn against an instance: what fails through the router must fail without it too
//! (see docs/router.md).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use support::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/autobahn");

/// How a case went, in the suite's words: of the messages, and of the end of the connection.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
struct Outcome {
    behavior: String,
    close: String,
    why: String,
}

impl Outcome {
    fn passed(&self) -> bool {
        [&self.behavior, &self.close]
            .iter()
            .all(|word| ["OK", "NON-STRICT", "INFORMATIONAL"].contains(&word.as_str()))
    }
}

type Outcomes = BTreeMap<String, Outcome>;

/// The Python that has the suite.
struct Suite {
    python: String,
}

impl Suite {
    /// Nothing, and that is said, where it cannot be installed.
    async fn prepare() -> Option<Suite> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/python-environment");
        let made = Command::new(script)
            .arg(format!("{HERE}/requirements.txt"))
            .output()
            .await
            .unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
        if made.status.success() {
            let python = said(&made.stdout);
            return Some(Suite { python });
        }
        // (Past the test harness, which keeps to itself what tests print that pass.)
        let errors = said(&made.stderr);
        let why = errors.lines().last().unwrap_or("no reason is known");
        let _ = writeln!(std::io::stderr(), "SKIPPED autobahn: {why}");
        None
    }

    fn command(&self, file: &str) -> Command {
        let mut command = Command::new(&self.python);
        command
            .arg(format!("{HERE}/{file}"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn echo(&self) -> Echo {
        let mut process = self.command("echo.py").spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let reading = tokio::time::timeout(Duration::from_secs(60), said.read_line(&mut line));
        reading.await.expect("its port in time").unwrap();
        let port: u16 = line.trim().parse().expect("its port");
        Echo {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            _process: process,
        }
    }

    async fn run(&self, server: SocketAddr, arguments: &[&str]) -> Outcomes {
        let run = self
            .command("fuzz.py")
            .arg(server.port().to_string())
            .args(arguments)
            .output();
        let run = tokio::time::timeout(Duration::from_secs(600), run).await;
        let output = run.expect("an end in time").unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", output.status);
        let outcomes: Outcomes = serde_json::from_slice(&output.stdout).unwrap();
        let broken = outcomes
            .iter()
            .find(|case| case.1.behavior == "THE SUITE BROKE");
        assert!(broken.is_none(), "{broken:?}");
        outcomes
    }
}

/// An instance that says everything again. It ends with whoever holds its standard input.
struct Echo {
    address: SocketAddr,
    _process: Child,
}

/// Which cases pass directly and not so.
fn worse(so: &Outcomes, directly: &Outcomes) -> Vec<String> {
    assert!(so.keys().eq(directly.keys()), "other cases");
    so.iter()
        .filter(|(name, outcome)| !outcome.passed() && directly[*name].passed())
        .map(|(name, outcome)| format!("{name}: {outcome:?}"))
        .collect()
}

/// How many cases went how.
fn tally(outcomes: &Outcomes) -> BTreeMap<(&str, &str), usize> {
    let mut tally = BTreeMap::new();
    for outcome in outcomes.values() {
        let words = (outcome.behavior.as_str(), outcome.close.as_str());
        *tally.entry(words).or_default() += 1;
    }
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_case_fails_through_the_router_that_passes_without_it() {
    let Some(suite) = Suite::prepare().await else {
        return;
    };
    let (router, echo) = (TestRouter::start().await, suite.echo().await);
    router.route("127.0.0.1", echo.address);
    let (directly, through) =
        tokio::join!(suite.run(echo.address, &[]), suite.run(router.address, &[]));
    let tallies = format!(
        "{} cases: directly {:?}, through the router {:?}",
        directly.len(),
        tally(&directly),
        tally(&through)
    );
    let _ = writeln!(std::io::stderr(), "{tallies}");
    assert!(directly.len() >= 517, "{tallies}");
    // The instance is one that knows what it does: what the suite says means something.
    let passed = directly.values().filter(|case| case.passed()).count();
    assert!(passed >= 510, "{tallies}");
    let worse = worse(&through, &directly);
    assert!(worse.is_empty(), "{tallies}: {worse:#?}");
    // They did go through it.
    let lines = router.access_log(through.len()).await;
    let switched = lines.iter().filter(|line| line.contains("\" 101 ")).count();
    assert_eq!(switched, through.len());
}

/// Between a client and `server`, which it does not quite carry.
async fn relay(server: SocketAddr, spoil: fn(&mut Vec<u8>)) -> Backend {
    Backend::start(move |peer, _| async move {
        let (mut client, mut to_client) = peer.socket.into_split();
        let (mut server, mut to_server) = TcpStream::connect(server).await.unwrap().into_split();
        let asking = async {
            let _ = tokio::io::copy(&mut client, &mut to_server).await;
            let _ = to_server.shutdown().await;
        };
        let answering = async {
            let mut piece = vec![0; 65536];
            while let Ok(count @ 1..) = server.read(&mut piece).await {
                let mut said = piece[..count].to_vec();
                spoil(&mut said);
                if to_client.write_all(&said).await.is_err() {
                    return;
                }
            }
            let _ = to_client.shutdown().await;
        };
        tokio::join!(asking, answering);
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_or_changed_on_the_way_is_found() {
    let Some(suite) = Suite::prepare().await else {
        return;
    };
    let echo = suite.echo().await;
    let arguments = ["--patience", "2", "1"];
    let directly = suite.run(echo.address, &arguments).await;
    // The last byte of what is long; the frame that closes (it comes alone, after the client's).
    let changing = relay(echo.address, |said| {
        if said.len() > 1000 {
            *said.last_mut().unwrap() ^= 1;
        }
    });
    let losing = relay(echo.address, |said| {
        if said[0] == 0x88 {
            said.clear();
        }
    });
    let (changing, losing) = tokio::join!(changing, losing);
    let (changed, lost) = tokio::join!(
        suite.run(changing.address, &arguments),
        suite.run(losing.address, &arguments)
    );
    let failed = |outcomes: &Outcomes| -> Vec<String> {
        let worse = worse(outcomes, &directly);
        let names = worse.iter().filter_map(|line| line.split(':').next());
        names.map(str::to_string).collect()
    };
    assert!(worse(&directly, &directly).is_empty());
    let long = ["1.1.6", "1.1.7", "1.1.8", "1.2.6", "1.2.7", "1.2.8"];
    assert_eq!(failed(&changed), long, "{changed:#?}");
    assert_eq!(failed(&lost).len(), 16, "{lost:#?}");
}
