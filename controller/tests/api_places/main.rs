//! Accounts and places over HTTP, on SQLite.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

#[path = "../databases/mod.rs"]
mod databases;
#[path = "../http/mod.rs"]
mod http;
mod names;
mod places;
mod ports;
mod races;
mod route_terms;

/// Which kind of database the API stands on here.
mod database {
    use crate::databases::Database;

    pub async fn empty() -> Database {
        Database::sqlite().await
    }
}
