//! Documents of the public API (contract §1), shared by the controller that writes them and the
//! command line that reads them.
//!
//! Field names are Cloud Foundry's. Readers are lenient (absent fields get defaults, unknown ones
//! are ignored), because a client must live with an older and a newer server; requests are strict
//! on the server's side, where a field that is not understood is refused by name. Times are RFC
//! 3339 texts, sizes carry their unit in the field's name.

mod admin_command;
mod app;
mod audit_event;
mod build;
mod buildpack;
mod cluster;
mod config;
mod deployment;
mod document;
mod domain;
mod droplet;
mod error;
mod job;
mod logs;
mod manifest;
mod node;
mod organization;
mod package;
mod process;
mod quota;
mod resource_match;
mod revision;
mod role;
mod root;
mod route;
mod router;
mod service;
mod space;
mod task;
mod token;
mod user;
mod why;

pub use admin_command::*;
pub use app::*;
pub use audit_event::*;
pub use build::*;
pub use buildpack::*;
pub use cluster::*;
pub use config::*;
pub use deployment::*;
pub use document::*;
pub use domain::*;
pub use droplet::*;
pub use error::*;
pub use job::*;
pub use logs::*;
pub use manifest::*;
pub use node::*;
pub use organization::*;
pub use package::*;
pub use process::*;
pub use quota::*;
pub use resource_match::*;
pub use revision::*;
pub use role::*;
pub use root::*;
pub use route::*;
pub use router::*;
pub use service::*;
pub use space::*;
pub use task::*;
pub use token::*;
pub use user::*;
pub use why::*;
