//! What a raw outcome means: the status of the execution and its result document.
//!
//! The documents are part of the contract with packs, whose workflows read `result.stdout` and the like.
//! Output that was cut off says so in its last line and is never decoded: half a JSON document could
//! happen to be one.

use super::http::HttpOutcome;
use super::python::{INVALID_STATUS, PythonAnswer};
use super::runner::Runner;
use crate::execution::Status;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is left when the work of a runner has ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    /// A command or script in a sandbox.
    Shell(Process),
    /// A command or script on other hosts.
    Remote {
        /// By host, as named in the parameters.
        hosts: BTreeMap<String, HostOutcome>,
        /// Whether one success is enough.
        allow_partial_failure: bool,
    },
    /// A Python action.
    Python {
        /// Its process; the answer is not in its output any more.
        process: Process,
        /// Its answer, if it gave one.
        answer: Option<PythonAnswer>,
    },
    /// An HTTP request.
    Http(HttpOutcome),
    /// Nothing was done, which is what was asked for.
    Noop,
}

/// A process that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// How.
    pub exit: Exit,
    /// The limit in seconds, if it was killed for running longer.
    pub timed_out: Option<u64>,
    /// Whether it was killed for using too much memory.
    pub out_of_memory: bool,
    /// What it printed.
    pub stdout: Output,
    /// What it complained about.
    pub stderr: Output,
    /// Whether it was given a password for sudo: only then sudo's complaint is looked for.
    pub sudo_password: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl Exit {
    /// As Python counts: the negative signal.
    fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => -signal,
        }
    }
}

/// Output of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// What was kept.
    pub text: String,
    /// How many bytes were not.
    pub omitted: u64,
}

/// What became of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostOutcome {
    /// The command ran and ended.
    Ran(Process),
    /// It did not run: no connection, no login, no copy of the script.
    Failed {
        /// Why.
        error: String,
    },
}

/// The end of an execution.
#[derive(Debug, Clone, PartialEq)]
pub struct Conclusion {
    /// Its status.
    pub status: Status,
    /// Its result.
    pub result: Value,
}

const KILLED: i32 = -9;
const TERMINATED: i32 = -15;

/// What the outcome means.
pub fn conclude(raw: Raw) -> Conclusion {
    match raw {
        Raw::Shell(process) => shell(&process),
        Raw::Remote {
            hosts,
            allow_partial_failure,
        } => remote(&hosts, allow_partial_failure),
        Raw::Python { process, answer } => python(&process, answer),
        Raw::Http(outcome) => outcome.conclusion(),
        Raw::Noop => Conclusion {
            status: Status::Succeeded,
            result: json!({"failed": false, "succeeded": true, "return_code": 0}),
        },
    }
}

/// The result of work of which nothing came back but an error, in the shape of its runner.
pub fn without_outcome(runner: Runner, error: &str) -> Value {
    match runner {
        Runner::LocalShellCmd | Runner::LocalShellScript => json!({
            "failed": true, "succeeded": false, "return_code": KILLED,
            "stdout": "", "stderr": "", "error": error,
        }),
        Runner::PythonScript => json!({
            "stdout": "", "stderr": "", "exit_code": KILLED, "result": "None", "error": error,
        }),
        Runner::Orquesta => json!({
            "output": Value::Null, "errors": [{"type": "error", "message": error}],
        }),
        Runner::RemoteShellCmd
        | Runner::RemoteShellScript
        | Runner::HttpRequest
        | Runner::ActionChain
        | Runner::Announcement
        | Runner::Noop
        | Runner::Inquirer
        | Runner::WinrmCmd
        | Runner::WinrmPsCmd
        | Runner::WinrmPsScript
        | Runner::MistralV2 => json!({"error": error}),
    }
}

fn late(seconds: u64) -> String {
    format!("Action failed to complete in {seconds} seconds")
}

/// What is wrong with a process beyond its exit status, and the exit status that says so.
fn trouble(process: &Process) -> Option<(i32, String)> {
    if let Some(seconds) = process.timed_out {
        return Some((KILLED, late(seconds)));
    }
    if process.out_of_memory {
        let error = "Action was stopped because it used more memory than it may";
        return Some((process.exit.code(), error.to_owned()));
    }
    if process.sudo_password {
        return sudo_complaint(&process.stderr.text).map(|error| (-1, error));
    }
    None
}

/// sudo's complaint about a wrong password.
fn sudo_complaint(stderr: &str) -> Option<String> {
    let complains = stderr.lines().any(|line| {
        line.split_once("sudo: ")
            .and_then(|(_, rest)| rest.split_once(' '))
            .is_some_and(|(count, rest)| {
                count.parse::<u32>().is_ok() && rest.starts_with("incorrect password attempt")
            })
    });
    let user = stderr
        .split_once("[sudo] password for ")
        .and_then(|(_, rest)| rest.split_once(':'))
        .map_or("unknown", |(user, _)| user);
    complains.then(|| {
        format!("Invalid sudo password provided or sudo is not configured for this user ({user})")
    })
}

fn shell(process: &Process) -> Conclusion {
    let trouble = trouble(process);
    let code = trouble
        .as_ref()
        .map_or(process.exit.code(), |(code, _)| *code);
    let succeeded = code == 0 && trouble.is_none();
    let status = if succeeded {
        Status::Succeeded
    } else if process.timed_out.is_some() {
        Status::Timeout
    } else if code == TERMINATED {
        Status::Abandoned
    } else {
        Status::Failed
    };
    let mut result = shell_document(process, code, succeeded);
    if let Some((_, error)) = trouble {
        result.insert("error".to_owned(), Value::from(error));
    }
    Conclusion {
        status,
        result: Value::Object(result),
    }
}

fn shell_document(process: &Process, code: i32, succeeded: bool) -> Map<String, Value> {
    Map::from_iter([
        ("failed".to_owned(), Value::Bool(!succeeded)),
        ("succeeded".to_owned(), Value::Bool(succeeded)),
        ("return_code".to_owned(), Value::from(code)),
        ("stdout".to_owned(), decoded(&process.stdout)),
        ("stderr".to_owned(), decoded(&process.stderr)),
    ])
}

/// Output without its last line end; if the whole of it is JSON, what that means.
fn decoded(output: &Output) -> Value {
    if output.omitted > 0 {
        return Value::from(cut_off(output));
    }
    let text = output.text.strip_suffix('\n').unwrap_or(&output.text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

fn cut_off(output: &Output) -> String {
    if output.omitted == 0 {
        return output.text.clone();
    }
    let gap = if output.text.is_empty() || output.text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!(
        "{}{gap}[{} bytes of output omitted]",
        output.text, output.omitted
    )
}

fn remote(hosts: &BTreeMap<String, HostOutcome>, allow_partial_failure: bool) -> Conclusion {
    let mut documents = Map::new();
    let mut successes = 0;
    let mut timeouts = 0;
    for (host, outcome) in hosts {
        let document = match outcome {
            HostOutcome::Ran(process) => {
                let trouble = trouble(process);
                let code = trouble
                    .as_ref()
                    .map_or(process.exit.code(), |(code, _)| *code);
                let succeeded = code == 0 && trouble.is_none();
                successes += usize::from(succeeded);
                let mut document = shell_document(process, code, succeeded);
                if let Some((_, error)) = trouble {
                    let timed_out = process.timed_out.is_some();
                    timeouts += usize::from(timed_out);
                    document.insert("timeout".to_owned(), Value::Bool(timed_out));
                    document.insert("error".to_owned(), Value::from(error));
                }
                Value::Object(document)
            }
            HostOutcome::Failed { error } => json!({
                "failed": true, "succeeded": false, "timeout": false, "return_code": 255,
                "stdout": "", "stderr": "", "error": error,
            }),
        };
        documents.insert(host.clone(), document);
    }
    let enough = if allow_partial_failure {
        successes > 0
    } else {
        !hosts.is_empty() && successes == hosts.len()
    };
    let status = if enough {
        Status::Succeeded
    } else if !hosts.is_empty() && timeouts == hosts.len() {
        Status::Timeout
    } else {
        Status::Failed
    };
    Conclusion {
        status,
        result: Value::Object(documents),
    }
}

fn python(process: &Process, answer: Option<PythonAnswer>) -> Conclusion {
    let trouble = trouble(process);
    let code = match (&trouble, process.timed_out) {
        (Some((code, _)), Some(_)) => *code,
        _ => process.exit.code(),
    };
    let said = answer.as_ref().and_then(|answer| answer.status);
    let status = if process.timed_out.is_some() {
        Status::Timeout
    } else if code == 0 && said != Some(false) && !process.out_of_memory {
        Status::Succeeded
    } else {
        Status::Failed
    };
    let result = match answer {
        Some(answer) => answer.result,
        None => Value::from("None"),
    };
    let mut document = json!({
        "stdout": cut_off(&process.stdout),
        "stderr": cut_off(&process.stderr),
        "exit_code": code,
        "result": result,
    });
    if let Some((_, error)) = trouble {
        document["error"] = Value::from(error);
    } else if code == INVALID_STATUS {
        document["error"] = Value::from(process.stderr.text.trim());
    }
    Conclusion {
        status,
        result: document,
    }
}

#[cfg(test)]
mod tests;
