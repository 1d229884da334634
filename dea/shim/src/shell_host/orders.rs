//! What a `run` request may contain, with every problem named at once. Unknown fields are problems: a
//! misspelt limit must not be a limit that silently does not hold.

use super::slot::Order;
use super::users;
use nix::libc;
use serde_json::{Map, Value};
use std::time::Duration;

const OUTPUT_LIMIT: u64 = 16 << 20;
const LARGEST_RESULT_LIMIT: u64 = 24 << 20;
pub const GRACE: Duration = Duration::from_millis(2000);

/// Limits by their names in a request.
pub const LIMITS: [(&str, u32); 5] = [
    ("memory_bytes", libc::RLIMIT_AS),
    ("processes", libc::RLIMIT_NPROC),
    ("open_files", libc::RLIMIT_NOFILE),
    ("file_bytes", libc::RLIMIT_FSIZE),
    ("cpu_seconds", libc::RLIMIT_CPU),
];

const FIELDS: [&str; 14] = [
    "request",
    "id",
    "kind",
    "worker",
    "env",
    "cwd",
    "user",
    "timeout_ms",
    "grace_ms",
    "output_limit",
    "result_limit",
    "limits",
    "command",
    "argv",
];

/// A request that can be followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub id: String,
    /// The slot to use; `None`: any.
    pub worker: Option<i32>,
    pub timeout: Option<Duration>,
    pub grace: Duration,
    /// Bytes kept of each stream.
    pub output_limit: usize,
    /// Text for the shell.
    pub command: Option<String>,
    pub order: Order,
}

/// Reads the fields of a request and collects what is wrong with them.
struct Reader<'a> {
    body: &'a Map<String, Value>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.body.get(name).filter(|value| !value.is_null())
    }

    fn read<T>(
        &mut self,
        name: &str,
        wanted: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(name)?;
        let found = read(value);
        if found.is_none() {
            self.problems.push(format!("{name} must be {wanted}"));
        }
        found
    }

    fn filled(&mut self, name: &str) -> Option<String> {
        let read = |value: &Value| {
            value
                .as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_string)
        };
        self.read(name, "a text that is not empty", read)
    }

    fn integer(&mut self, name: &str) -> Option<u64> {
        self.read(name, "an integer from 0", Value::as_u64)
    }

    fn milliseconds(&mut self, name: &str) -> Option<Duration> {
        self.integer(name).map(Duration::from_millis)
    }

    fn limits(&mut self) -> Vec<(String, u64)> {
        let Some(limits) = self.read("limits", "an object", Value::as_object) else {
            return vec![];
        };
        let mut read = Vec::new();
        for (name, value) in limits.iter().filter(|(_, value)| !value.is_null()) {
            if !LIMITS.iter().any(|(known, _)| known == name) {
                let known: Vec<&str> = LIMITS.iter().map(|(name, _)| *name).collect();
                self.problems
                    .push(format!("limits.{name} is not one of {}", known.join(", ")));
            } else if let Some(limit) = value.as_u64() {
                read.push((name.clone(), limit));
            } else {
                self.problems
                    .push(format!("limits.{name} must be an integer from 0"));
            }
        }
        read
    }

    /// The command, or program and arguments.
    fn program(&mut self) -> (Option<String>, Option<Vec<String>>) {
        if self.get("command").is_some() == self.get("argv").is_some() {
            self.problems
                .push("exactly one of command and argv must be given".to_string());
        }
        let command = self.read("command", "a text", |value| {
            value.as_str().map(str::to_string)
        });
        let arguments = self.read("argv", "a list of texts", |value| {
            let words = value
                .as_array()?
                .iter()
                .map(|word| word.as_str().map(str::to_string));
            words.collect::<Option<Vec<String>>>()
        });
        if arguments.as_ref().is_some_and(Vec::is_empty) {
            self.problems.push("argv must name a program".to_string());
        }
        (command, arguments)
    }
}

/// What a request means, or everything that is wrong with it.
pub fn understand(body: &Map<String, Value>) -> Result<Run, Vec<String>> {
    let mut reader = Reader {
        body,
        problems: vec![],
    };
    if body.get("kind").and_then(Value::as_str) != Some("shell") {
        let kind = body.get("kind").unwrap_or(&Value::Null);
        reader
            .problems
            .push(format!("kind must be shell here, not {kind}"));
    }
    let unknown = body.keys().filter(|name| !FIELDS.contains(&name.as_str()));
    for name in unknown {
        reader
            .problems
            .push(format!("{name} is not a field of a run of kind shell"));
    }
    let id = reader.filled("id");
    if reader.get("id").is_none() {
        reader.problems.push("id is missing".to_string());
    }
    if reader
        .integer("result_limit")
        .is_some_and(|limit| limit > LARGEST_RESULT_LIMIT)
    {
        reader.problems.push(format!(
            "result_limit must be at most {LARGEST_RESULT_LIMIT}"
        ));
    }
    let environment = reader.read("env", "an object of texts", |value| {
        let entries = value.as_object()?.iter();
        let entries = entries.map(|(name, value)| Some(format!("{name}={}", value.as_str()?)));
        entries.collect::<Option<Vec<String>>>()
    });
    let (command, arguments) = reader.program();
    let run = Run {
        worker: reader.read("worker", "an integer from 0", |value| {
            i32::try_from(value.as_u64()?).ok()
        }),
        timeout: reader.milliseconds("timeout_ms"),
        grace: reader.milliseconds("grace_ms").unwrap_or(GRACE),
        output_limit: usize::try_from(reader.integer("output_limit").unwrap_or(OUTPUT_LIMIT))
            .unwrap_or(usize::MAX),
        order: Order {
            environment,
            folder: reader.filled("cwd").unwrap_or_else(|| "/".to_string()),
            user: reader
                .filled("user")
                .map(|name| users::find(&name).ok_or(name)),
            limits: reader.limits(),
            arguments,
        },
        command,
        id: id.unwrap_or_default(),
    };
    if reader.problems.is_empty() {
        Ok(run)
    } else {
        Err(reader.problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(body: Value) -> Result<Run, Vec<String>> {
        let Value::Object(body) = body else {
            panic!("an object")
        };
        understand(&body)
    }

    #[test]
    fn a_request_is_understood_with_its_defaults() {
        let run = check(
            json!({"request": "run", "kind": "shell", "id": "a", "command": "true", "cwd": null,
            "env": {"A": "1"}, "worker": 7, "timeout_ms": 5, "limits": {"open_files": 9, "processes": null}}),
        );
        let run = run.unwrap();
        assert_eq!(
            (run.worker, run.timeout, run.grace),
            (Some(7), Some(Duration::from_millis(5)), GRACE)
        );
        assert_eq!(run.output_limit as u64, OUTPUT_LIMIT);
        let expected = Order {
            environment: Some(vec!["A=1".into()]),
            folder: "/".into(),
            user: None,
            limits: vec![("open_files".into(), 9)],
            arguments: None,
        };
        assert_eq!(
            (run.order, run.command.as_deref()),
            (expected, Some("true"))
        );
        let nobody =
            check(json!({"kind": "shell", "id": "a", "argv": ["x"], "user": "no such user"}))
                .unwrap();
        assert_eq!(
            nobody.order.user,
            Some(Err("no such user".into())),
            "told when it is run"
        );
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let wrong = json!({"kind": "python", "id": "", "argv": [], "env": {"A": 1}, "timeout_ms": -1, "cwd": 5,
            "limits": {"memory": 1, "processes": "x"}, "worker": 1e12, "result_limit": 1u64 << 40, "file": "x"});
        let problems = check(wrong).unwrap_err();
        for expected in [
            "kind must be shell here, not \"python\"",
            "file is not a field of a run of kind shell",
            "id must be a text that is not empty",
            "env must be an object of texts",
            "timeout_ms must be an integer from 0",
            "cwd must be a text that is not empty",
            "worker must be an integer from 0",
            "limits.memory is not one of memory_bytes, processes, open_files, file_bytes, cpu_seconds",
            "limits.processes must be an integer from 0",
            "argv must name a program",
            "result_limit must be at most 25165824",
        ] {
            assert!(
                problems.iter().any(|problem| problem == expected),
                "{expected}: {problems:#?}"
            );
        }
        assert_eq!(problems.len(), 11, "{problems:#?}");
        for both in [json!({"command": "x", "argv": ["x"]}), json!({})] {
            let mut body = both;
            body["kind"] = json!("shell");
            body["id"] = json!("a");
            assert_eq!(
                check(body).unwrap_err(),
                ["exactly one of command and argv must be given"]
            );
        }
        assert_eq!(
            check(json!({"kind": "shell", "command": "x"})).unwrap_err(),
            ["id is missing"]
        );
    }
}
