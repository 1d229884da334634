//! Apps and all that is pushed, staged, started, scaled and replaced with them, as it is spoken over
//! HTTP. Nothing runs behind it: builds end by hand.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod apps;
mod bits;
mod buildpacks;
#[path = "../databases/mod.rs"]
mod databases;
#[path = "../http/mod.rs"]
mod http;
mod processes;
mod push;
mod quotas;
mod revisions;
mod services;
mod ssh;
mod steps;
mod tasks;
mod uploads;
mod waiting;
mod why;

/// Which kind of database the API stands on here.
mod database {
    use crate::databases::Database;

    pub async fn empty() -> Database {
        Database::sqlite().await
    }
}
