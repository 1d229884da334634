//! Automation over its API, on both kinds of databases, with the engine's rounds turned by hand.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

#[path = "../databases/mod.rs"]
mod databases;
mod events;
mod sensors;
mod site;
mod sources;
#[path = "../world/mod.rs"]
mod world;
