//! All that is spoken over HTTP once more, on PostgreSQL: it has races that SQLite cannot have, and
//! refuses what SQLite lets pass.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

#[path = "../api_apps/apps.rs"]
mod apps;
#[path = "../api_apps/bits.rs"]
mod bits;
#[path = "../databases/mod.rs"]
mod databases;
#[path = "../http/mod.rs"]
mod http;
#[path = "../api_places/names.rs"]
mod names;
#[path = "../api_places/places.rs"]
mod places;
#[path = "../api_places/ports.rs"]
mod ports;
#[path = "../api_apps/processes.rs"]
mod processes;
#[path = "../api_apps/push.rs"]
mod push;
#[path = "../api_apps/quotas.rs"]
mod quotas;
#[path = "../api_places/races.rs"]
mod races;
#[path = "../api_apps/revisions.rs"]
mod revisions;
#[path = "../api_places/route_terms.rs"]
mod route_terms;
#[path = "../api_apps/services.rs"]
mod services;
#[path = "../api_apps/ssh.rs"]
mod ssh;
#[path = "../api_apps/steps.rs"]
mod steps;
#[path = "../api_apps/tasks.rs"]
mod tasks;
#[path = "../api_apps/uploads.rs"]
mod uploads;
#[path = "../api_apps/waiting.rs"]
mod waiting;
#[path = "../api_apps/why.rs"]
mod why;

/// Which kind of database the API stands on here.
mod database {
    use crate::databases::Database;

    pub async fn empty() -> Database {
        match Database::postgres().await {
            Some(database) => database,
            None => {
                eprintln!(
                    "SKIPPED the API on PostgreSQL: initdb is not installed; SQLite takes its place"
                );
                Database::sqlite().await
            }
        }
    }
}
