//! Runs one script of a buildpack: its output goes on line by line, its last lines are kept for the
//! report, and it ends at its deadline with everything it started.
//!
//! What a newcomer gets wrong: a script may leave a process behind that holds the pipes open. The
//! end of the script is therefore the exit of its process, never the end of its output; whatever is
//! left of its process group is killed then.

use super::console::Console;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

const LAST_LINES: usize = 20;
const LONGEST_LINE: usize = 64 * 1024;
const MOST_CAPTURED: usize = 256 * 1024;
/// Between TERM and KILL, and for output still in the pipes after the exit.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub struct Script<'a> {
    pub program: PathBuf,
    pub arguments: Vec<PathBuf>,
    pub environment: &'a BTreeMap<String, String>,
    pub directory: &'a Path,
    pub deadline: Instant,
    /// Keep the output instead of showing it.
    pub quiet: bool,
}

/// How a script ended.
#[derive(Debug, Default)]
pub struct Finished {
    /// None: ended at the deadline.
    pub status: Option<ExitStatus>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub last_lines: Vec<String>,
}

impl Finished {
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// "exit status 1", "signal SIGKILL", "the end of its time".
    pub fn describe(&self) -> String {
        match self.status {
            None => "the end of its time".to_string(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, Some(number)) => match Signal::try_from(number) {
                    Ok(signal) => format!("signal {signal}"),
                    Err(_) => format!("signal {number}"),
                },
                (None, None) => "an unknown status".to_string(),
            },
        }
    }
}

enum Event {
    Line { stderr: bool, bytes: Vec<u8> },
    EndOfOutput,
    Exited(std::io::Result<ExitStatus>),
}

/// Runs it to its end. An error means that it could not be started or watched.
pub fn run(script: &Script<'_>, console: &mut Console) -> std::io::Result<Finished> {
    let mut child = Command::new(&script.program)
        .args(&script.arguments)
        .env_clear()
        .envs(script.environment)
        .current_dir(script.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let group = Pid::from_raw(i32::try_from(child.id()).expect("a process id fits"));
    let (events, received) = sync_channel(256);
    if let Some(pipe) = child.stdout.take() {
        read_in_background(pipe, false, events.clone());
    }
    if let Some(pipe) = child.stderr.take() {
        read_in_background(pipe, true, events.clone());
    }
    std::thread::spawn(move || {
        let _ = events.send(Event::Exited(child.wait()));
    });
    watch(script, group, &received, console)
}

fn watch(
    script: &Script<'_>,
    group: Pid,
    received: &Receiver<Event>,
    console: &mut Console,
) -> std::io::Result<Finished> {
    let mut finished = Finished::default();
    let mut tail = VecDeque::new();
    let mut open = 2;
    let mut exited = false;
    let mut timed_out = false;
    let mut until = script.deadline;
    while !(exited && open == 0) {
        match received.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Line { stderr, bytes }) => {
                keep(&mut tail, &bytes);
                let kept = if stderr {
                    &mut finished.stderr
                } else {
                    &mut finished.stdout
                };
                if kept.len() + bytes.len() < MOST_CAPTURED {
                    kept.extend_from_slice(&bytes);
                    kept.push(b'\n');
                }
                match (script.quiet, stderr) {
                    (true, _) => {}
                    (false, false) => console.stdout(&bytes),
                    (false, true) => console.stderr(&bytes),
                }
            }
            Ok(Event::EndOfOutput) => open -= 1,
            Ok(Event::Exited(status)) => {
                let status = status?;
                exited = true;
                if !timed_out {
                    finished.status = Some(status);
                }
                // What it left behind would keep the pipes open and outlive its step.
                let _ = killpg(group, Signal::SIGKILL);
                until = Instant::now() + GRACE;
            }
            Err(RecvTimeoutError::Timeout) if exited => break,
            Err(RecvTimeoutError::Timeout) if timed_out => {
                let _ = killpg(group, Signal::SIGKILL);
                until = Instant::now() + GRACE;
            }
            Err(RecvTimeoutError::Timeout) => {
                timed_out = true;
                let _ = killpg(group, Signal::SIGTERM);
                until = Instant::now() + GRACE;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    finished.last_lines = tail.into();
    Ok(finished)
}

fn keep(tail: &mut VecDeque<String>, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if text.trim().is_empty() {
        return;
    }
    if tail.len() == LAST_LINES {
        tail.pop_front();
    }
    tail.push_back(text.chars().take(500).collect());
}

fn read_in_background(pipe: impl Read + Send + 'static, stderr: bool, events: SyncSender<Event>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        while let Ok(Some(bytes)) = next_line(&mut reader) {
            if events.send(Event::Line { stderr, bytes }).is_err() {
                return;
            }
        }
        let _ = events.send(Event::EndOfOutput);
    });
}

/// One line without its break; a line that is too long comes in pieces. None at the end.
fn next_line(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let count = reader
        .take(LONGEST_LINE as u64)
        .read_until(b'\n', &mut line)?;
    if count == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str, within: Duration) -> Finished {
        let environment = BTreeMap::from([("PATH".to_string(), "/usr/bin:/bin".to_string())]);
        let script = Script {
            program: "/bin/bash".into(),
            arguments: vec!["-c".into(), text.into()],
            environment: &environment,
            directory: Path::new("/"),
            deadline: Instant::now() + within,
            quiet: true,
        };
        let mut console = Console::new(Box::new(std::io::sink()), Box::new(std::io::sink()));
        run(&script, &mut console).expect("bash starts")
    }

    #[test]
    fn both_streams_and_the_status_come_back() {
        let finished = shell("echo out; echo err >&2; exit 3", Duration::from_secs(10));
        assert_eq!(
            (finished.stdout.as_slice(), finished.stderr.as_slice()),
            (b"out\n".as_slice(), b"err\n".as_slice())
        );
        assert_eq!(finished.describe(), "exit status 3");
        assert!(!finished.success());
    }

    #[test]
    fn a_script_that_hangs_ends_at_its_deadline_even_if_it_ignores_term() {
        let begun = Instant::now();
        let finished = shell(
            "trap '' TERM; echo begun; sleep 60 & while true; do sleep 1; done",
            Duration::from_millis(300),
        );
        assert_eq!(finished.status, None);
        assert_eq!(finished.last_lines, ["begun"]);
        assert!(
            begun.elapsed() < Duration::from_secs(8),
            "{:?}",
            begun.elapsed()
        );
    }

    #[test]
    fn what_a_script_leaves_behind_does_not_hold_the_build() {
        let begun = Instant::now();
        assert!(shell("sleep 60 & echo done", Duration::from_secs(30)).success());
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }

    #[test]
    fn a_signal_is_named_and_only_the_last_lines_are_kept() {
        let finished = shell("seq 1 100; kill -KILL $$", Duration::from_secs(10));
        assert_eq!(finished.describe(), "signal SIGKILL");
        assert_eq!(finished.last_lines.len(), LAST_LINES);
        assert_eq!(finished.last_lines.last().map(String::as_str), Some("100"));
    }
}
