//! Why an instance ended, in the words its owner reads.
//!
//! Cloud Foundry's clients show `exit_description` as it is, and scripts match its beginning, so
//! each text starts with the words known from there (contract §5.4) and goes on with what helps:
//! the status, the signal, the limit, the port nobody listened on. "Out of memory" is said only if
//! the sandbox says so: a KILL alone may come from anybody.

use proto::bus::health::{ExitReason, Exited};
use proto::ids::{DeaId, InstanceId, ProcessGuid, Version};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How the main process of a sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    Status(i32),
    Signal(i32),
    /// The sandbox is gone and nobody saw how.
    Unknown,
}

impl Exit {
    /// As a shell would tell it: 128 + signal; -1 where nothing is known.
    pub fn status(self) -> i32 {
        match self {
            Exit::Status(status) => status,
            Exit::Signal(signal) => 128 + signal,
            Exit::Unknown => -1,
        }
    }

    pub fn signal(self) -> Option<String> {
        match self {
            Exit::Signal(signal) => Some(signal_name(signal)),
            Exit::Status(_) | Exit::Unknown => None,
        }
    }
}

/// What made an instance crash.
#[derive(Debug, Clone, PartialEq)]
pub enum CrashCause {
    /// No room, or it came when the agent took no more work. The text is complete.
    Refused(String),
    /// The sandbox, the droplet or the orders failed.
    NotStarted(String),
    /// It never became healthy.
    StartTimeout {
        within: Duration,
        check: &'static str,
        last: Option<String>,
    },
    /// It ran, then stopped answering.
    Unhealthy { failures: u32, last: String },
    /// Its process ended by itself.
    Ended {
        exit: Exit,
        out_of_memory: bool,
        memory_mb: u64,
    },
}

/// How an instance ended: everything `droplet.exited` and the crashed state in beats say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    pub reason: ExitReason,
    pub description: String,
    pub exit_status: i32,
    #[serde(default)]
    pub signal: Option<String>,
    #[serde(default)]
    pub out_of_memory: bool,
    /// `starting` or `running`.
    #[serde(default)]
    pub phase: Option<String>,
    /// Unix seconds.
    pub at: f64,
}

impl CrashCause {
    pub fn describe(&self) -> String {
        match self {
            CrashCause::Refused(text) => text.clone(),
            CrashCause::NotStarted(why) => format!("failed to start: {why}"),
            CrashCause::StartTimeout {
                within,
                check,
                last,
            } => {
                let seconds = within.as_secs_f64();
                let detail = last
                    .as_deref()
                    .map(|last| format!(": {last}"))
                    .unwrap_or_default();
                match *check {
                    "port" => format!(
                        "failed to accept connections within health check timeout ({seconds} s){detail}; \
                         the app must listen on 0.0.0.0 and the port in $PORT"
                    ),
                    _ => format!(
                        "failed to pass its {check} health check within health check timeout ({seconds} s){detail}"
                    ),
                }
            }
            CrashCause::Unhealthy { failures, last } => {
                format!(
                    "failed health check: {failures} checks in a row failed, the last one: {last}"
                )
            }
            CrashCause::Ended {
                out_of_memory: true,
                memory_mb,
                ..
            } => {
                format!("out of memory: the instance used all of its {memory_mb} MB and was killed")
            }
            CrashCause::Ended {
                exit,
                out_of_memory: false,
                ..
            } => match exit {
                Exit::Status(126) => {
                    "app instance exited with status 126 (the start command is not executable)"
                        .to_string()
                }
                Exit::Status(127) => {
                    "app instance exited with status 127 (the start command was not found)"
                        .to_string()
                }
                Exit::Status(status) => format!("app instance exited with status {status}"),
                Exit::Signal(signal) => {
                    format!("app instance was ended by signal {}", signal_name(*signal))
                }
                Exit::Unknown => "app instance ended; how cannot be determined".to_string(),
            },
        }
    }

    /// The ending, given how the process finally went away (it may have been killed *because* of
    /// the cause, then the cause is what counts).
    pub fn ending(&self, exit: Exit, phase: &str, at: f64) -> Ending {
        let out_of_memory = matches!(
            self,
            CrashCause::Ended {
                out_of_memory: true,
                ..
            }
        );
        Ending {
            reason: ExitReason::Crashed,
            description: self.describe(),
            exit_status: exit.status(),
            signal: exit.signal(),
            out_of_memory,
            phase: Some(phase.to_string()),
            at,
        }
    }
}

/// Whose ending it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Whose {
    pub dea: DeaId,
    pub droplet: ProcessGuid,
    pub version: Version,
    pub instance: InstanceId,
    pub index: u32,
    pub cc_partition: Option<String>,
}

/// `droplet.exited`.
pub fn fact(ending: &Ending, whose: Whose) -> Exited {
    let crashed = ending.reason == ExitReason::Crashed;
    Exited {
        droplet: whose.droplet,
        version: whose.version,
        instance: whose.instance,
        index: whose.index,
        reason: ending.reason,
        crash_timestamp: crashed.then_some(ending.at),
        exit_status: ending.exit_status,
        exit_description: ending.description.clone(),
        cc_partition: whose.cc_partition,
        yard_dea: Some(whose.dea),
        yard_signal: ending.signal.clone(),
        yard_out_of_memory: crashed.then_some(ending.out_of_memory),
        yard_phase: ending.phase.clone(),
    }
}

/// `SIGTERM` for 15.
pub fn signal_name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match usize::try_from(signal)
        .ok()
        .and_then(|number| NAMES.get(number.wrapping_sub(1)))
    {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit: Exit, out_of_memory: bool) -> String {
        CrashCause::Ended {
            exit,
            out_of_memory,
            memory_mb: 64,
        }
        .describe()
    }

    #[test]
    fn each_end_reads_differently() {
        assert_eq!(
            ended(Exit::Status(3), false),
            "app instance exited with status 3"
        );
        assert_eq!(
            ended(Exit::Status(0), false),
            "app instance exited with status 0"
        );
        assert!(ended(Exit::Status(127), false).contains("not found"));
        assert_eq!(
            ended(Exit::Signal(11), false),
            "app instance was ended by signal SIGSEGV"
        );
        assert!(ended(Exit::Signal(9), true).starts_with("out of memory: "));
        assert!(ended(Exit::Signal(9), true).contains("64 MB"));
        assert!(ended(Exit::Unknown, false).contains("cannot be determined"));
    }

    #[test]
    fn a_start_timeout_says_what_was_looked_for() {
        let cause = CrashCause::StartTimeout {
            within: Duration::from_secs(60),
            check: "port",
            last: Some("port 8080: connection refused".into()),
        };
        let text = cause.describe();
        assert!(
            text.starts_with("failed to accept connections within health check timeout"),
            "{text}"
        );
        assert!(
            text.contains("60 s") && text.contains("connection refused") && text.contains("$PORT"),
            "{text}"
        );
        let http = CrashCause::StartTimeout {
            within: Duration::from_secs(5),
            check: "http",
            last: None,
        }
        .describe();
        assert!(http.contains("http health check"), "{http}");
    }

    #[test]
    fn what_was_killed_for_its_health_tells_the_health_not_the_kill() {
        let cause = CrashCause::Unhealthy {
            failures: 3,
            last: "timed out".into(),
        };
        let ending = cause.ending(Exit::Signal(9), "running", 12.0);
        assert!(ending.description.starts_with("failed health check"));
        assert_eq!(ending.exit_status, 137);
        assert_eq!(ending.signal.as_deref(), Some("SIGKILL"));
        assert!(!ending.out_of_memory);
    }

    #[test]
    fn signals_have_their_names() {
        assert_eq!(signal_name(15), "SIGTERM");
        assert_eq!(signal_name(31), "SIGSYS");
        assert_eq!(signal_name(0), "signal 0");
        assert_eq!(signal_name(64), "signal 64");
        assert_eq!(signal_name(-5), "signal -5");
    }
}
