//! When an instance is checked, and how.
//!
//! While it starts, checks follow each other closely: every millisecond between "the app listens"
//! and "the router knows" is time somebody waits. Once it runs, they become rare, and one failure
//! means little (a busy app misses a connect): only several in a row, asked a little faster, end
//! it.

use proto::bus::dea::{HealthCheckKind, StartInstance};
use std::time::Duration;

/// Port an app listens on inside its sandbox: `$PORT`.
pub const APP_PORT: u16 = 8080;

/// Failures in a row after which a running instance counts as dead.
pub const FAILURES: u32 = 3;

const INTERVAL: Duration = Duration::from_secs(30);
const RECHECK: Duration = Duration::from_secs(5);
const INVOCATION_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// Something accepts connections on [`APP_PORT`].
    Port,
    /// `GET path` is answered with 200.
    Http { path: String },
    /// The process lives.
    Process,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub kind: CheckKind,
    /// How long one check may take.
    pub invocation_timeout: Duration,
    /// Between two checks of a running instance.
    pub interval: Duration,
}

impl Check {
    /// What the start command asks for. Without a word about it: the port if the instance has
    /// names it must answer to, else nothing (a worker), as agents always did.
    pub fn of(start: &StartInstance) -> Check {
        let asked = start.yard_health_check.as_ref();
        let kind = match asked.map(|check| check.kind) {
            Some(HealthCheckKind::Port) => CheckKind::Port,
            Some(HealthCheckKind::Http) => CheckKind::Http {
                path: path_of(asked.and_then(|check| check.endpoint.as_deref())),
            },
            Some(HealthCheckKind::Process) => CheckKind::Process,
            None if start.uris.is_empty() => CheckKind::Process,
            None => CheckKind::Port,
        };
        let seconds = |value: Option<u64>, default: Duration| {
            value
                .filter(|seconds| *seconds > 0)
                .map_or(default, |seconds| Duration::from_secs(seconds.min(3600)))
        };
        Check {
            kind,
            invocation_timeout: seconds(
                asked.and_then(|check| check.invocation_timeout),
                INVOCATION_TIMEOUT,
            ),
            interval: seconds(asked.and_then(|check| check.interval), INTERVAL),
        }
    }

    pub fn name(&self) -> &'static str {
        match self.kind {
            CheckKind::Port => "port",
            CheckKind::Http { .. } => "http",
            CheckKind::Process => "process",
        }
    }

    /// Delay until the next check of an instance that got its orders `since` ago.
    pub fn starting_delay(&self, since: Duration) -> Duration {
        let fast = match since.as_millis() {
            0..3_000 => 20,
            3_000..15_000 => 100,
            _ => 500,
        };
        Duration::from_millis(match self.kind {
            CheckKind::Port | CheckKind::Process => fast,
            // A request costs the app more than a connection.
            CheckKind::Http { .. } => fast.max(50),
        })
    }

    /// Delay until the next check of a running instance whose last `failures` checks failed.
    pub fn running_delay(&self, failures: u32) -> Duration {
        if failures == 0 {
            self.interval
        } else {
            self.interval.min(RECHECK)
        }
    }
}

/// A path that can stand in a request line; whatever else was given is `/`.
fn path_of(endpoint: Option<&str>) -> String {
    match endpoint {
        Some(path) if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) => {
            path.to_string()
        }
        Some(_) | None => "/".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::tests::start;
    use proto::bus::dea::HealthCheck;

    #[test]
    fn without_a_word_names_decide() {
        let mut message = start();
        message.yard_health_check = None;
        assert_eq!(Check::of(&message).kind, CheckKind::Port);
        message.uris.clear();
        assert_eq!(Check::of(&message).kind, CheckKind::Process);
    }

    #[test]
    fn an_endpoint_cannot_smuggle_a_second_header() {
        let mut message = start();
        for (given, used) in [
            (Some("/health"), "/health"),
            (Some("/a b"), "/"),
            (Some("/a\r\nX: y"), "/"),
            (Some("health"), "/"),
            (None, "/"),
        ] {
            message.yard_health_check = Some(HealthCheck {
                kind: HealthCheckKind::Http,
                endpoint: given.map(str::to_string),
                invocation_timeout: Some(0),
                interval: None,
            });
            let check = Check::of(&message);
            assert_eq!(
                check.kind,
                CheckKind::Http {
                    path: used.to_string()
                }
            );
            assert_eq!(
                check.invocation_timeout, INVOCATION_TIMEOUT,
                "zero is no timeout"
            );
        }
    }

    #[test]
    fn checks_are_close_at_first_and_rare_later() {
        let check = Check {
            kind: CheckKind::Port,
            invocation_timeout: INVOCATION_TIMEOUT,
            interval: INTERVAL,
        };
        assert_eq!(
            check.starting_delay(Duration::ZERO),
            Duration::from_millis(20)
        );
        assert!(
            check.starting_delay(Duration::from_secs(5))
                > check.starting_delay(Duration::from_secs(1))
        );
        assert_eq!(check.running_delay(0), INTERVAL);
        assert_eq!(check.running_delay(1), RECHECK);
    }
}
