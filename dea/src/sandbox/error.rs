//! What can go wrong with a sandbox, named by operation and object.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The machine lacks something the engine needs; the text says what and what to do.
    #[error("this machine cannot run sandboxes: {0}")]
    Prerequisite(String),
    #[error("{operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{operation}")]
    System {
        operation: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} failed: {problem}")]
    Program { program: String, problem: String },
    /// The supervisor or the init refused; its own words.
    #[error("sandbox {id}: {problem}")]
    Refused { id: String, problem: String },
    #[error("sandbox {id}: no answer to {operation} within {within:?}")]
    Timeout {
        id: String,
        operation: &'static str,
        within: Duration,
    },
    /// The supervisor of this sandbox is gone (and with it the sandbox).
    #[error("sandbox {id} is gone")]
    Gone { id: String },
    #[error("sandbox {0} exists already")]
    Exists(String),
    #[error("stack {0:?} is unknown to this agent")]
    UnknownStack(String),
    /// Every address of the agent's network is in use.
    #[error("no free address in the sandbox network {0}")]
    Full(String),
    #[error("{0:?} is not a path inside a sandbox")]
    BadPath(String),
    #[error("{0:?} is not a sandbox id (letters, digits, '-' and '_', at most 64)")]
    BadId(String),
}

impl SandboxError {
    pub(super) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> SandboxError {
        let path = path.into();
        move |source| SandboxError::File {
            operation,
            path,
            source,
        }
    }
}

/// An error with all its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text += &format!(": {words}");
        }
        source = cause.source();
    }
    text
}
