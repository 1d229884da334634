//! The automation API on SQLite and on PostgreSQL: with its engine running between a real bus and a
//! real cluster store, or with the engine's rounds turned by hand ([`site`]).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod acceptance;
#[path = "../automation_client/mod.rs"]
mod automation_client;
mod chat;
mod classic;
#[path = "../world/mod.rs"]
mod cluster;
#[path = "../databases/mod.rs"]
mod databases;
mod events;
mod executions;
mod inquiries;
mod intake;
mod origins;
mod outputs;
mod policies;
mod queues;
mod retention;
mod roles;
mod sensors;
mod site;
mod sources;
mod stream;
mod takeover;
mod world;
