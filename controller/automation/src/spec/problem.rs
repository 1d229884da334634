//! What is wrong with a file of a pack, where, and what to do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::yaml::{Document, YamlError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The resource cannot be registered.
    Error,
    /// The resource is registered; it may not do what its author meant.
    Warning,
}

/// One fault, with a place and a way out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// Path of the file inside the pack.
    pub file: String,
    /// From 1; none when the fault is not at one line, or the value came from an API call.
    pub line: Option<usize>,
    pub column: Option<usize>,
    /// Part of the document, like `parameters.cmd.type`; empty for the whole.
    pub path: String,
    pub severity: Severity,
    pub message: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(out, ":{line}:{column}")?;
        }
        if !self.path.is_empty() {
            write!(out, ": {}", self.path)?;
        }
        write!(out, ": {}", self.message)?;
        if !self.advice.is_empty() {
            write!(out, " ({})", self.advice)?;
        }
        Ok(())
    }
}

/// Collects the problems of one file.
pub struct Report<'a> {
    file: &'a str,
    document: &'a Document,
    problems: Vec<Problem>,
}

impl<'a> Report<'a> {
    pub fn new(file: &'a str, document: &'a Document) -> Self {
        Report {
            file,
            document,
            problems: Vec::new(),
        }
    }

    pub fn error(&mut self, path: &str, message: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Error, path, message.into(), advice.into());
    }

    pub fn warn(&mut self, path: &str, message: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Warning, path, message.into(), advice.into());
    }

    fn add(&mut self, severity: Severity, path: &str, message: String, advice: String) {
        let place = self.document.place(path);
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            path: path.to_owned(),
            severity,
            message,
            advice,
        });
    }

    pub fn has_errors(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }

    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// A problem of a file as a whole.
pub(super) fn of_file(
    file: &str,
    severity: Severity,
    message: impl Into<String>,
    advice: impl Into<String>,
) -> Problem {
    Problem {
        file: file.to_owned(),
        line: None,
        column: None,
        path: String::new(),
        severity,
        message: message.into(),
        advice: advice.into(),
    }
}

pub(super) fn of_syntax(file: &str, error: YamlError) -> Problem {
    Problem {
        line: Some(error.line),
        column: Some(error.column),
        ..of_file(file, Severity::Error, error.message, "correct the syntax")
    }
}
