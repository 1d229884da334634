//! One-off tasks: how they ended, in the words of their result.
//!
//! A task ends exactly once, in one of the ways of `TaskEnd`; what is told (status, description,
//! last lines) follows from it here, so that stagers and people read the same for the same end.

use super::crash::{Exit, signal_name};
use proto::bus::stream::{RunTask, TaskEnd, TaskExited, UploadedOutput};
use std::collections::VecDeque;
use std::time::Duration;

/// The kind of a task that a user asked for.
pub const APP: &str = "app";
/// Most lines given back with a result.
pub const LAST_LINES: usize = 50;
/// Longest of them.
const LINE_BYTES: usize = 2000;
/// Of a request that names none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(900);
/// Largest file given back with a result.
pub const RESULT_BYTES: u64 = 256 << 10;

/// What came of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Exited(Exit),
    OutOfMemory { exit: Exit, memory_mb: u64 },
    DiskFull { exit: Exit, disk_mb: u64 },
    TimedOut { after: Duration },
    Stopped { reason: String },
    NotStarted { why: String },
    UploadFailed { why: String },
    AgentLostIt,
}

impl Outcome {
    /// How an exit is to be understood, given what the sandbox says about its limits.
    pub fn of_exit(
        exit: Exit,
        out_of_memory: bool,
        disk_full: bool,
        memory_mb: u64,
        disk_mb: u64,
    ) -> Outcome {
        if exit == Exit::Status(0) {
            Outcome::Exited(exit)
        } else if out_of_memory {
            Outcome::OutOfMemory { exit, memory_mb }
        } else if disk_full {
            Outcome::DiskFull { exit, disk_mb }
        } else {
            Outcome::Exited(exit)
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Outcome::Exited(exit)
            | Outcome::OutOfMemory { exit, .. }
            | Outcome::DiskFull { exit, .. } => *exit,
            Outcome::UploadFailed { .. } => Exit::Status(0),
            Outcome::TimedOut { .. } | Outcome::Stopped { .. } => Exit::Signal(9),
            Outcome::NotStarted { .. } | Outcome::AgentLostIt => Exit::Unknown,
        }
    }

    fn end(&self) -> TaskEnd {
        match self {
            Outcome::Exited(_) => TaskEnd::Exited,
            Outcome::OutOfMemory { .. } => TaskEnd::OutOfMemory,
            Outcome::DiskFull { .. } => TaskEnd::DiskFull,
            Outcome::TimedOut { .. } => TaskEnd::Timeout,
            Outcome::Stopped { .. } => TaskEnd::Stopped,
            Outcome::NotStarted { .. } => TaskEnd::NotStarted,
            Outcome::UploadFailed { .. } => TaskEnd::UploadFailed,
            Outcome::AgentLostIt => TaskEnd::AgentLostIt,
        }
    }

    pub fn describe(&self) -> String {
        match self {
            Outcome::Exited(Exit::Status(status)) => format!("exited with status {status}"),
            Outcome::Exited(Exit::Signal(signal)) => {
                format!("was ended by signal {}", signal_name(*signal))
            }
            Outcome::Exited(Exit::Unknown) => "ended; how cannot be determined".to_string(),
            Outcome::OutOfMemory { memory_mb, .. } => {
                format!("out of memory: it used all of its {memory_mb} MB and was killed")
            }
            Outcome::DiskFull { disk_mb, .. } => format!("its disk of {disk_mb} MB is full"),
            Outcome::TimedOut { after } => {
                format!("did not end within {} s and was killed", after.as_secs())
            }
            Outcome::Stopped { reason } if reason.is_empty() => "was stopped".to_string(),
            Outcome::Stopped { reason } => format!("was stopped: {reason}"),
            Outcome::NotStarted { why } => format!("could not be started: {why}"),
            Outcome::UploadFailed { why } => {
                format!("ended well, but its result could not be stored: {why}")
            }
            Outcome::AgentLostIt => "the agent that ran it was restarted and lost it".to_string(),
        }
    }
}

/// The result to send. `result` and `uploaded` are what could be had.
pub fn exited(
    request: &RunTask,
    dea: &str,
    outcome: &Outcome,
    result: Vec<u8>,
    uploaded: Vec<UploadedOutput>,
    last_lines: Vec<String>,
) -> TaskExited {
    let exit = outcome.exit();
    TaskExited {
        task: request.task.clone(),
        kind: request.kind.clone(),
        dea: dea.to_string(),
        app: request.app.clone(),
        end: outcome.end().into(),
        exit_status: exit.status(),
        signal: exit.signal().unwrap_or_default(),
        description: outcome.describe(),
        result,
        context: request.context.clone(),
        uploaded,
        last_lines,
    }
}

/// The last lines a task printed.
#[derive(Debug, Clone, Default)]
pub struct Tail(VecDeque<String>);

impl Tail {
    pub fn push(&mut self, line: &[u8]) {
        let end = line.len().min(LINE_BYTES);
        if self.0.len() == LAST_LINES {
            self.0.pop_front();
        }
        self.0
            .push_back(String::from_utf8_lossy(&line[..end]).into_owned());
    }

    pub fn into_lines(self) -> Vec<String> {
        self.0.into()
    }
}

/// How long a task may take; `None`: as long as it likes.
pub fn timeout(request: &RunTask) -> Option<Duration> {
    match (request.timeout_seconds, request.kind.as_str()) {
        (0, APP) => None,
        (0, _) => Some(DEFAULT_TIMEOUT),
        (seconds, _) => Some(Duration::from_secs(u64::from(seconds))),
    }
}

/// Why a request cannot be run, before anything is tried.
pub fn refuse(request: &RunTask) -> Option<String> {
    let absolute = |path: &str| path.starts_with('/') && !path.split('/').any(|part| part == "..");
    if !matches!(request.kind.as_str(), "staging" | APP | "pack") {
        return Some(format!(
            "tasks of kind {:?} are unknown to this agent",
            request.kind
        ));
    }
    if request.command.is_empty() {
        return Some("the task has no command".to_string());
    }
    if request.droplet.is_some() && request.command.len() != 1 {
        return Some("the command line of an app is a single word".to_string());
    }
    if request.memory_mb == 0 || request.disk_mb == 0 {
        return Some("the task names no memory or disk".to_string());
    }
    let inputs = request.inputs.iter().map(|input| input.path.as_str());
    let outputs = request.outputs.iter().map(|output| output.path.as_str());
    let result = Some(request.result_file.as_str()).filter(|path| !path.is_empty());
    inputs
        .chain(outputs)
        .chain(result)
        .find(|path| !absolute(path))
        .map(|path| format!("{path:?} is no absolute path in the sandbox"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::bus::stream::{TaskDroplet, TaskInput};

    #[test]
    fn an_end_is_told_by_its_cause() {
        let of = |exit, memory, disk| Outcome::of_exit(exit, memory, disk, 64, 128);
        assert_eq!(
            of(Exit::Status(0), true, true),
            Outcome::Exited(Exit::Status(0)),
            "it made it"
        );
        assert!(of(Exit::Signal(9), true, true).describe().contains("64 MB"));
        assert!(
            of(Exit::Status(1), false, true)
                .describe()
                .contains("128 MB")
        );
        assert_eq!(
            of(Exit::Status(4), false, false).describe(),
            "exited with status 4"
        );
    }

    #[test]
    fn a_result_carries_what_the_request_brought() {
        let request = RunTask {
            task: "t".into(),
            kind: "staging".into(),
            context: vec![1, 2],
            ..RunTask::default()
        };
        let outcome = Outcome::TimedOut {
            after: Duration::from_secs(9),
        };
        let result = exited(
            &request,
            "dea-1",
            &outcome,
            vec![],
            vec![],
            vec!["x".into()],
        );
        assert_eq!(result.end(), TaskEnd::Timeout);
        assert_eq!(
            (result.context, result.exit_status, result.signal.as_str()),
            (vec![1, 2], 137, "SIGKILL")
        );
        assert!(result.description.contains("9 s"));
    }

    #[test]
    fn only_tasks_of_apps_may_take_for_ever() {
        let of = |kind: &str, timeout_seconds| {
            timeout(&RunTask {
                kind: kind.into(),
                timeout_seconds,
                ..RunTask::default()
            })
        };
        assert_eq!(of(APP, 0), None);
        assert_eq!(of(APP, 7), Some(Duration::from_secs(7)));
        assert_eq!(of("staging", 0), Some(DEFAULT_TIMEOUT));
    }

    #[test]
    fn only_the_last_lines_are_kept_and_none_is_long() {
        let mut tail = Tail::default();
        for number in 0..80 {
            tail.push(format!("line {number}").as_bytes());
        }
        tail.push(&vec![b'x'; 100_000]);
        let lines = tail.into_lines();
        assert_eq!(lines.len(), LAST_LINES);
        assert_eq!(lines[0], "line 31");
        assert_eq!(lines[49].len(), LINE_BYTES);
    }

    #[test]
    fn a_request_that_reaches_out_of_its_sandbox_is_refused() {
        let fine = RunTask {
            kind: "staging".into(),
            command: vec!["true".into()],
            memory_mb: 1,
            disk_mb: 1,
            ..RunTask::default()
        };
        assert_eq!(refuse(&fine), None);
        let input = |path: &str| TaskInput {
            path: path.into(),
            ..TaskInput::default()
        };
        for request in [
            RunTask {
                command: vec![],
                ..fine.clone()
            },
            RunTask {
                kind: "../x".into(),
                ..fine.clone()
            },
            RunTask {
                memory_mb: 0,
                ..fine.clone()
            },
            RunTask {
                inputs: vec![input("relative")],
                ..fine.clone()
            },
            RunTask {
                inputs: vec![input("/a/../../etc")],
                ..fine.clone()
            },
            RunTask {
                result_file: "x".into(),
                ..fine.clone()
            },
            RunTask {
                droplet: Some(TaskDroplet::default()),
                command: vec!["echo".into(), "hello".into()],
                ..fine.clone()
            },
        ] {
            assert!(refuse(&request).is_some(), "{request:?}");
        }
    }
}
