//! One execution of an action on this agent: what is written down of it, what the host in its
//! sandbox is told, and how its end is understood.
//!
//! Each accepted execution ends exactly once. "Not started" is said only when it is certain that
//! nothing of it ran, because such an execution is placed anew; whatever is doubtful is "lost".

use super::action_output::Output;
use super::environment::{self, HOME};
use super::pack::{self, PackKey};
use super::pack_host::{self, Stream};
use proto::bus::automation::{ActionEnd, ActionExited, RunAction};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Whom actions run as, in their sandbox.
const USER: &str = "vcap";
/// How long the host may take to end an execution whose time is over.
pub const GUARD: Duration = Duration::from_secs(30);
/// Fields of the orders that are the agent's.
const OURS: [&str; 4] = ["request", "id", "worker", "user"];

/// What an agent writes down of an execution when it accepts it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionRecord {
    pub execution: String,
    pub attempt: u32,
    pub action: String,
    /// Id of its sandbox.
    pub sandbox: String,
    pub timeout_ms: u64,
    pub memory_mb: u64,
    pub output_limit: u64,
    pub result_url: String,
    pub inline_limit: u64,
    /// Unix seconds.
    pub accepted_at: f64,
    /// It is for the host of shell actions.
    #[serde(default)]
    pub shell: bool,
}

/// The name of an execution in files and for its host.
pub fn id(execution: &str, attempt: u32) -> String {
    format!("{execution}-{attempt}")
}

impl ActionRecord {
    pub fn of(request: &RunAction, shell: bool, sandbox: &str, accepted_at: f64) -> ActionRecord {
        ActionRecord {
            shell,
            execution: request.execution.clone(),
            attempt: request.attempt,
            action: request.action.clone(),
            sandbox: sandbox.to_string(),
            timeout_ms: request.timeout_ms,
            memory_mb: request.memory_mb,
            output_limit: request.output_limit,
            result_url: request.result_url.clone(),
            inline_limit: request.inline_limit,
            accepted_at,
        }
    }

    pub fn id(&self) -> String {
        id(&self.execution, self.attempt)
    }

    /// When the agent itself ends it, after its start. `None`: it has no time limit.
    pub fn guard(&self) -> Option<Duration> {
        (self.timeout_ms > 0).then(|| Duration::from_millis(self.timeout_ms) + GUARD)
    }
}

/// What an accepted request means: the sandbox, and the orders for its host.
pub fn understand(request: &RunAction) -> Result<(PackKey, Map<String, Value>), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if request.execution.is_empty()
        || request.execution.len() > 64
        || !request.execution.bytes().all(plain)
    {
        return Err(
            "the execution has no id, or one that could not be in a file's name".to_string(),
        );
    }
    let content = request
        .content
        .as_ref()
        .ok_or("the request names no pack")?;
    if let Some(problem) = pack::problem(content) {
        return Err(problem);
    }
    let key = PackKey::of(content);
    let orders = serde_json::from_slice::<Value>(&request.orders)
        .map_err(|error| format!("the orders are not JSON: {error}"))?;
    let Value::Object(mut orders) = orders else {
        return Err("the orders are no object".to_string());
    };
    if let Some(ours) = OURS.iter().find(|name| orders.contains_key(**name)) {
        return Err(format!(
            "the orders hold {ours}, which is the agent's to say"
        ));
    }
    orders.insert("request".into(), json!("run"));
    orders.insert("id".into(), json!(id(&request.execution, request.attempt)));
    orders.insert("user".into(), json!(USER));
    // Else it would be that of the host, which is somebody else.
    orders.entry("env").or_insert_with(default_environment);
    for (name, value) in [
        ("timeout_ms", request.timeout_ms),
        ("output_limit", request.output_limit),
    ] {
        if value > 0 {
            orders.insert(name.into(), json!(value));
        }
    }
    Ok((key, orders))
}

fn default_environment() -> Value {
    let mut variables = environment::defaults(HOME);
    variables.remove("DEPS_DIR");
    variables.insert("TMPDIR".to_string(), "/tmp".to_string());
    json!(variables)
}

/// Whether orders are those of a shell action.
pub fn is_shell(orders: &Map<String, Value>) -> bool {
    orders.get("kind").and_then(Value::as_str) == Some("shell")
}

/// The `run` frame, for this worker or any.
pub fn run_frame(mut orders: Map<String, Value>, worker: Option<i32>) -> Vec<u8> {
    if let Some(pid) = worker {
        orders.insert("worker".into(), json!(pid));
    }
    pack_host::frame(&Value::Object(orders))
}

/// What came of an execution.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Its host told its end. `memory_killed`: the kernel has killed for want of memory in it.
    Ended {
        report: Map<String, Value>,
        memory_killed: bool,
    },
    /// The host does not understand its orders, and no other would.
    Refused {
        problems: Vec<String>,
    },
    /// Certainly nothing of it ran.
    NotStarted {
        why: String,
    },
    /// Told to end before it began.
    Canceled {
        reason: String,
    },
    /// Its sandbox was killed for want of memory.
    SandboxOutOfMemory {
        memory_mb: u64,
    },
    Lost {
        why: String,
    },
}

/// What is known besides the outcome.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    pub dea: &'a str,
    /// Why it was told to end, if it was.
    pub stop_reason: Option<&'a str>,
    /// Unix microseconds; 0: it did not.
    pub started_at: i64,
    pub now_us: i64,
}

/// The report of an end, without its result document.
pub fn exited(record: &ActionRecord, outcome: &Outcome, about: Circumstances<'_>) -> ActionExited {
    let (end, status, signal, description) = understood(record, outcome, about.stop_reason);
    let ended = match outcome {
        Outcome::Ended { report, .. } => Some(report),
        _ => None,
    };
    let ended_at = ended.and_then(|report| number(report, "at"));
    // Its start may have been told to an earlier agent.
    let started_at = match (about.started_at, ended_at) {
        (0, Some(at)) => {
            let ran_for = ended.and_then(|report| number(report, "wall_ms"));
            (at - ran_for.unwrap_or_default()).saturating_mul(1000)
        }
        (known, _) => known,
    };
    ActionExited {
        execution: record.execution.clone(),
        attempt: record.attempt,
        dea: about.dea.to_string(),
        end: end.into(),
        exit_status: status,
        signal,
        description,
        started_at: match end {
            ActionEnd::NotStarted => 0,
            _ => started_at,
        },
        ended_at: ended_at.map_or(about.now_us, |at| at.saturating_mul(1000)),
        ..ActionExited::default()
    }
}

fn understood(
    record: &ActionRecord,
    outcome: &Outcome,
    stop_reason: Option<&str>,
) -> (ActionEnd, i32, i32, String) {
    let stopped = |reason: &str| match reason {
        "" => "was stopped".to_string(),
        reason => format!("was stopped: {reason}"),
    };
    match outcome {
        Outcome::Ended {
            report,
            memory_killed,
        } => {
            let small =
                |name: &str| number(report, name).and_then(|value| i32::try_from(value).ok());
            let is = |name: &str| report.get(name) == Some(&Value::Bool(true));
            let signal = small("signal").unwrap_or_default();
            let status = small("status").unwrap_or(128 + signal);
            let (end, description) = if is("timed_out") {
                let seconds = record.timeout_ms.div_ceil(1000);
                let text = format!("did not end within {seconds} s and was killed");
                (ActionEnd::Timeout, text)
            } else if is("stopped") {
                (ActionEnd::Stopped, stopped(stop_reason.unwrap_or_default()))
            } else if *memory_killed && status != 0 {
                let text = format!(
                    "out of memory: it used all of its {} MB and was killed",
                    record.memory_mb
                );
                (ActionEnd::OutOfMemory, text)
            } else if signal != 0 {
                (ActionEnd::Exited, format!("was ended by signal {signal}"))
            } else {
                (ActionEnd::Exited, format!("exited with status {status}"))
            };
            (end, status, signal, description)
        }
        Outcome::Refused { problems } => (
            ActionEnd::Exited,
            1,
            0,
            format!("its orders cannot be followed: {}", problems.join("; ")),
        ),
        Outcome::NotStarted { why } => (
            ActionEnd::NotStarted,
            -1,
            0,
            format!("could not be started: {why}"),
        ),
        Outcome::Canceled { reason } => (ActionEnd::Stopped, -1, 0, stopped(reason)),
        Outcome::SandboxOutOfMemory { memory_mb } => {
            let text = format!(
                "out of memory: the actions of its pack used all of their {memory_mb} MB together"
            );
            (ActionEnd::OutOfMemory, 137, 9, text)
        }
        Outcome::Lost { why } => (ActionEnd::Lost, -1, 0, format!("was lost: {why}")),
    }
}

fn number(report: &Map<String, Value>, name: &str) -> Option<i64> {
    report.get(name).and_then(Value::as_i64)
}

/// The result document: what the host told, with both streams. Empty if there is nothing to tell.
pub fn document(outcome: &Outcome, output: &mut Output) -> Vec<u8> {
    let mut document = match outcome {
        Outcome::Ended { report, .. } => report.clone(),
        Outcome::SandboxOutOfMemory { .. } => Map::new(),
        Outcome::Refused { problems } => Map::from_iter([
            ("status".to_string(), json!(1)),
            ("stdout".to_string(), json!("")),
            ("stderr".to_string(), json!(problems.join("\n"))),
        ]),
        Outcome::NotStarted { .. } | Outcome::Canceled { .. } | Outcome::Lost { .. } => {
            return vec![];
        }
    };
    let streams = [Stream::Stdout, Stream::Stderr];
    for stream in streams {
        document
            .entry(stream.name())
            .or_insert_with(|| Value::String(output.take_text(stream)));
    }
    if output.is_incomplete() {
        let names = streams.map(Stream::name);
        document.insert("truncated".into(), json!(names));
    }
    serde_json::to_vec(&document).expect("a map of JSON values has text keys only")
}

/// The document without what is large: for when it could be put nowhere.
pub fn stripped(document: &[u8]) -> Vec<u8> {
    let Ok(Value::Object(mut map)) = serde_json::from_slice::<Value>(document) else {
        return vec![];
    };
    map.insert("result".into(), Value::Null);
    for stream in [Stream::Stdout, Stream::Stderr] {
        map.insert(stream.name().into(), json!(""));
    }
    map.insert(
        "truncated".into(),
        json!([Stream::Stdout.name(), Stream::Stderr.name()]),
    );
    map.insert("result_over_limit".into(), json!(true));
    serde_json::to_vec(&map).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::action_output::Printed;
    use super::*;
    use proto::bus::automation::PackContent;

    fn request() -> RunAction {
        RunAction {
            execution: "0123456789abcdef01234567".into(),
            attempt: 2,
            action: "core.local".into(),
            content: Some(PackContent {
                pack: "core".into(),
                ..PackContent::default()
            }),
            orders: br#"{"kind": "shell", "command": "true"}"#.to_vec(),
            timeout_ms: 1500,
            memory_mb: 64,
            output_limit: 100,
            ..RunAction::default()
        }
    }

    fn record() -> ActionRecord {
        ActionRecord::of(&request(), true, "pack-1", 5.0)
    }

    fn about() -> Circumstances<'static> {
        Circumstances {
            dea: "dea-1",
            stop_reason: None,
            started_at: 3,
            now_us: 9,
        }
    }

    fn ended(report: Value, memory_killed: bool) -> Outcome {
        let Value::Object(report) = report else {
            panic!("an object")
        };
        Outcome::Ended {
            report,
            memory_killed,
        }
    }

    #[test]
    fn orders_are_completed_with_what_is_the_agents() {
        let (key, orders) = understand(&request()).expect("fine");
        assert_eq!((key.pack.as_str(), key.content.as_str()), ("core", ""));
        let mut orders = orders;
        let environment = orders.remove("env").expect("one");
        assert_eq!(environment["HOME"], "/home/vcap");
        assert_eq!(
            Value::Object(orders.clone()),
            json!({"request": "run", "id": "0123456789abcdef01234567-2", "kind": "shell", "command": "true",
                   "user": "vcap", "timeout_ms": 1500, "output_limit": 100})
        );
        let mut splitter = run_frame(orders, Some(7));
        let body: Value = serde_json::from_slice(&splitter.split_off(4)).expect("JSON");
        assert_eq!(body["worker"], 7);
    }

    #[test]
    fn what_cannot_be_run_is_refused_at_the_door() {
        let change = |change: fn(&mut RunAction)| {
            let mut request = request();
            change(&mut request);
            understand(&request).err()
        };
        for refused in [
            change(|it| it.execution = "../x".into()),
            change(|it| it.execution.clear()),
            change(|it| it.content = None),
            change(|it| it.orders = b"[]".to_vec()),
            change(|it| it.orders = b"{".to_vec()),
            change(|it| it.orders = br#"{"user": "root"}"#.to_vec()),
        ] {
            assert!(refused.is_some());
        }
    }

    #[test]
    fn an_end_is_told_by_its_cause() {
        for (outcome, end, status, signal) in [
            (
                ended(json!({"status": 0, "at": 7}), true),
                ActionEnd::Exited,
                0,
                0,
            ),
            (ended(json!({"status": 3}), false), ActionEnd::Exited, 3, 0),
            (
                ended(json!({"signal": 9, "status": null}), false),
                ActionEnd::Exited,
                137,
                9,
            ),
            (
                ended(json!({"signal": 9}), true),
                ActionEnd::OutOfMemory,
                137,
                9,
            ),
            (
                ended(json!({"status": 1}), true),
                ActionEnd::OutOfMemory,
                1,
                0,
            ),
            (
                ended(json!({"signal": 9, "timed_out": true}), true),
                ActionEnd::Timeout,
                137,
                9,
            ),
            (
                ended(json!({"signal": 15, "stopped": true}), false),
                ActionEnd::Stopped,
                143,
                15,
            ),
            (
                Outcome::Refused {
                    problems: vec!["x".into()],
                },
                ActionEnd::Exited,
                1,
                0,
            ),
            (
                Outcome::Canceled {
                    reason: String::new(),
                },
                ActionEnd::Stopped,
                -1,
                0,
            ),
            (
                Outcome::SandboxOutOfMemory { memory_mb: 1 },
                ActionEnd::OutOfMemory,
                137,
                9,
            ),
            (Outcome::Lost { why: "x".into() }, ActionEnd::Lost, -1, 0),
        ] {
            let told = exited(&record(), &outcome, about());
            assert_eq!(
                (told.end(), told.exit_status, told.signal),
                (end, status, signal),
                "{outcome:?}"
            );
            assert_eq!(
                (told.attempt, told.dea.as_str(), told.started_at),
                (2, "dea-1", 3)
            );
        }
        let told = exited(&record(), &Outcome::NotStarted { why: "x".into() }, about());
        assert_eq!((told.end(), told.started_at), (ActionEnd::NotStarted, 0));
        let told = exited(
            &record(),
            &ended(json!({"status": 0, "at": 7}), false),
            about(),
        );
        assert_eq!(told.ended_at, 7000);
        let unheard = Circumstances {
            started_at: 0,
            ..about()
        };
        let outcome = ended(json!({"status": 0, "at": 7, "wall_ms": 2}), false);
        assert_eq!(exited(&record(), &outcome, unheard).started_at, 5000);
    }

    #[test]
    fn a_document_holds_both_streams_and_says_what_is_missing() {
        let mut output = Output::new(100);
        let piece = |stream, seq, data: &str| Printed {
            stream,
            seq,
            data: data.into(),
        };
        output.push(piece(Stream::Stdout, 0, "hi"), Duration::ZERO, 0);
        let outcome = ended(json!({"status": 0, "result": "{}", "truncated": []}), false);
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON");
        let told = document(&outcome, &mut output);
        assert_eq!(
            read(&told),
            json!({"status": 0, "result": "{}", "truncated": [], "stdout": "hi", "stderr": ""})
        );
        assert_eq!(read(&stripped(&told))["stdout"], "");
        output.push(piece(Stream::Stderr, 2, "e"), Duration::ZERO, 0);
        let told = read(&document(&outcome, &mut output));
        assert_eq!(told["truncated"], json!(["stdout", "stderr"]));
        assert!(document(&Outcome::Lost { why: String::new() }, &mut output).is_empty());
        let refused = Outcome::Refused {
            problems: vec!["a".into(), "b".into()],
        };
        assert_eq!(
            read(&document(&refused, &mut Output::new(1)))["stderr"],
            "a\nb"
        );
    }
}
