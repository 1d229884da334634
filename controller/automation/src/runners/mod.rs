//! The runners: their parameters, what is run for each, and what a raw outcome means to each.
//!
//! ```text
//!   action + parameters ─► command_line / http_request / question / announcement ─► done by an agent or here
//!   raw outcome          ─► conclude ─► status and result document
//! ```
//!
//! Nothing here runs anything. A runner that is known but not supported ([`Work::Refused`]) keeps its
//! parameters in the catalogue, so that packs which use it load; running it is refused with a reason.

mod announcement;
mod catalogue;
mod command_line;
mod conclude;
mod environment;
mod http;
mod inquiry;
mod output_schema;
mod python;
mod runner;
mod shell;

pub use announcement::{Announcement, AnnouncementError};
pub use catalogue::{catalogue, document};
pub use command_line::{
    CommandLine, CommandLineError, Positional, RemoteCommand, Sensitive, ShellRun, remote_command,
    script_arguments, shell_command, shell_script,
};
pub use conclude::{
    Conclusion, Exit, HostOutcome, Output, Process, Raw, conclude, without_outcome,
};
pub use environment::{
    ActionIdentity, Environment, EnvironmentError, python_environment, shell_environment,
};
pub use http::{Body, HttpError, HttpOutcome, HttpRequest, http_request};
pub use inquiry::{InquiryError, Question};
pub use output_schema::{check_output, mask_output};
pub use python::{DELIMITER, ProtocolError, PythonAnswer, separate};
pub use runner::{Refusal, Runner, Work};
pub use shell::quote;
