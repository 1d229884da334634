//! Packs over HTTP, with the engine running between a real bus and a real cluster store, on SQLite and on
//! PostgreSQL: the built-in ones, installing, removing, their files, actions and configurations.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod actions;
#[path = "../automation_client/mod.rs"]
mod automation_client;
#[path = "../world/mod.rs"]
mod cluster;
mod content;
#[path = "../databases/mod.rs"]
mod databases;
mod index;
mod installs;
mod staging;
mod world;
