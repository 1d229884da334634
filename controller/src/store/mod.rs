//! The record of truth: SQL, on SQLite or PostgreSQL, with one text for both.
//!
//! One file per noun holds the row struct and the statements about it; nothing else in the
//! controller writes SQL. Statements take `&mut Connection`, so the caller decides what
//! belongs in one transaction:
//!
//! ```text
//!   let mut tx = store.write("create app").await?;     one writer at a time on SQLite
//!   app.insert(&mut tx).await?;
//!   facts::append(&mut tx, "process.changed", …).await?;
//!   tx.commit().await?;                                dropped instead: rolled back
//! ```
//!
//! Traps. SQLite upgrades a reading transaction to a writing one only if nobody wrote meanwhile,
//! whatever the busy timeout: writers begin with `BEGIN IMMEDIATE`, and through a pool of a single
//! connection, so they queue here instead of failing there. PostgreSQL runs transactions side by
//! side: what was read may be gone at the update, which is why each row has a `row_version` that
//! every update compares ([`StoreError::Stale`]). PostgreSQL also refuses NUL in a text, `exists()`
//! as a number, and anything after a failed statement of a transaction. A transaction whose process stands
//! still there would hold its rows for as long: it is ended by the server.

pub mod apps;
pub mod audit_events;
pub mod authorization_codes;
pub mod automation;
pub mod buildpacks;
pub mod builds;
pub mod certificates;
pub mod decisions;
pub mod deployments;
pub mod desired;
pub mod domains;
pub mod droplets;
pub mod facts;
pub mod jobs;
pub mod known_nodes;
pub mod leadership;
pub mod organizations;
pub mod packages;
pub mod platform_events;
pub mod process_versions;
pub mod processes;
pub mod query;
pub mod quotas;
pub mod refresh_tokens;
pub mod revisions;
pub mod roles;
pub mod route_bindings;
pub mod routes;
mod row;
pub mod service_bindings;
pub mod service_instances;
pub mod sleepers;
pub mod spaces;
pub mod sql;
pub mod sweep;
pub mod tasks;
pub mod told_traffic;
pub mod users;

use self::sql::{Connection, Postgres, Sort, Sqlite, query};
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub(crate) use row::row;
pub use row::{Column, Json, SharedJson};

/// The migrations, in order. A published one is never edited.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("../../migrations/0001_first.sql")),
    (
        2,
        "take back",
        include_str!("../../migrations/0002_take_back.sql"),
    ),
    (
        3,
        "automation",
        include_str!("../../migrations/0003_automation.sql"),
    ),
    (
        4,
        "execution indexes",
        include_str!("../../migrations/0004_execution_indexes.sql"),
    ),
    (
        5,
        "traffic",
        include_str!("../../migrations/0005_traffic.sql"),
    ),
    (
        6,
        "unplaced executions",
        include_str!("../../migrations/0006_unplaced_executions.sql"),
    ),
    (
        7,
        "held executions",
        include_str!("../../migrations/0007_held_executions.sql"),
    ),
    (8, "tasks", include_str!("../../migrations/0008_tasks.sql")),
    (
        9,
        "quotas",
        include_str!("../../migrations/0009_quotas.sql"),
    ),
    (
        10,
        "history",
        include_str!("../../migrations/0010_history.sql"),
    ),
    (11, "ssh", include_str!("../../migrations/0011_ssh.sql")),
    (
        12,
        "services",
        include_str!("../../migrations/0012_services.sql"),
    ),
    (
        13,
        "decisions",
        include_str!("../../migrations/0013_decisions.sql"),
    ),
    (
        14,
        "route services",
        include_str!("../../migrations/0014_route_services.sql"),
    ),
    (
        15,
        "buildpacks",
        include_str!("../../migrations/0015_buildpacks.sql"),
    ),
    (16, "ports", include_str!("../../migrations/0016_ports.sql")),
    (
        18,
        "certificates",
        include_str!("../../migrations/0018_certificates.sql"),
    ),
    (19, "sleep", include_str!("../../migrations/0019_sleep.sql")),
    (
        21,
        "canary",
        include_str!("../../migrations/0021_canary.sql"),
    ),
    (
        22,
        "revisions",
        include_str!("../../migrations/0022_revisions.sql"),
    ),
];

/// Longest wait for a connection. Writers of SQLite queue for one, so this also bounds how long
/// transactions may pile up before requests are told to come back.
const ACQUIRE: Duration = Duration::from_secs(15);
/// Longest pause between two statements of a transaction on PostgreSQL.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(4);

/// Why the store did not do it. `operation` says what was being done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed or removed the row between reading and writing it.
    #[error("{operation}: the {noun} {guid} was changed by somebody else meanwhile")]
    Stale {
        operation: &'static str,
        noun: &'static str,
        guid: String,
    },
    /// A unique index already has this value.
    #[error("{operation}: already taken")]
    Taken {
        operation: &'static str,
        #[source]
        source: sql::Error,
    },
    /// Other rows still point at it, or it points at none.
    #[error("{operation}: still referred to, or refers to what is gone")]
    Referenced {
        operation: &'static str,
        #[source]
        source: sql::Error,
    },
    /// The database is away or overloaded: worth a retry by the caller.
    #[error("{operation}: the database does not answer")]
    Unavailable {
        operation: &'static str,
        #[source]
        source: sql::Error,
    },
    #[error("{operation}")]
    Failed {
        operation: &'static str,
        #[source]
        source: sql::Error,
    },
    #[error("the database cannot be opened: {why}")]
    Open {
        why: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Sorts a database error, for `map_err(StoreError::during("list apps"))`.
    pub fn during(operation: &'static str) -> impl Fn(sql::Error) -> StoreError {
        move |source| match source.sort() {
            Sort::Taken => StoreError::Taken { operation, source },
            Sort::Referenced => StoreError::Referenced { operation, source },
            Sort::Unavailable => StoreError::Unavailable { operation, source },
            Sort::DiskFull | Sort::Other => StoreError::Failed { operation, source },
        }
    }
}

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
}

#[derive(Debug, Clone)]
enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Store {
    /// Opens `sqlite:///path` (made if it is not there) or `postgres://…` and brings its tables up
    /// to date.
    pub async fn open(url: &str) -> Result<Store, StoreError> {
        let database = if url.starts_with("sqlite:") {
            let opened = Sqlite::open(url, migrator()).await;
            Database::Sqlite(opened.map_err(|source| StoreError::Open {
                why: "SQLite",
                source: Box::new(source),
            })?)
        } else {
            let opened = Postgres::open(url).await;
            let opened = opened.map_err(|source| StoreError::Open {
                why: "connecting to PostgreSQL",
                source: Box::new(source),
            })?;
            let migrated = migrator().run(opened.pool()).await;
            migrated.map_err(|source| StoreError::Open {
                why: "migrating its tables",
                source: Box::new(source),
            })?;
            Database::Postgres(opened)
        };
        let store = Store { database };
        if store.is_shared() {
            store.vacuum_often().await;
        }
        Ok(store)
    }

    /// Several controllers can have it together.
    pub fn is_shared(&self) -> bool {
        matches!(self.database, Database::Postgres(_))
    }

    /// Begins a transaction; `operation` names it in errors. On SQLite it holds the only writing
    /// connection: do nothing slow (no bus, no disk, no hashing) until it is committed or dropped.
    pub async fn write(&self, operation: &'static str) -> Result<Tx, StoreError> {
        let inner = match &self.database {
            Database::Sqlite(sqlite) => sqlite.begin().await.map(Connection::Sqlite),
            Database::Postgres(postgres) => postgres.begin().await.map(Connection::Postgres),
        }
        .map_err(StoreError::during(operation))?;
        Ok(Tx { inner, operation })
    }

    /// A connection for reading only.
    pub async fn read(&self) -> Result<Reader, StoreError> {
        let inner = match &self.database {
            Database::Sqlite(sqlite) => sqlite.read().await.map(Connection::Sqlite),
            Database::Postgres(postgres) => postgres.read().await.map(Connection::Postgres),
        }
        .map_err(StoreError::during("waiting for a database connection"))?;
        Ok(Reader { inner })
    }

    pub async fn close(&self) {
        match &self.database {
            Database::Sqlite(sqlite) => sqlite.close().await,
            Database::Postgres(postgres) => postgres.close().await,
        }
    }

    /// Lists count what matches by the indexes alone, as far as PostgreSQL knows which pages everybody sees; that it
    /// learns from its vacuum, by default only after a fifth of a table has changed. What it does not know costs ten
    /// times as much to count. Who has set something for a table knows better.
    async fn vacuum_often(&self) {
        for table in ["executions", "trigger_instances", "rule_enforcements"] {
            let asked = format!(
                "SELECT count(*) FROM pg_class WHERE oid = '{table}'::regclass AND reloptions IS NULL"
            );
            let often = format!(
                "ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.02, \
                 autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)"
            );
            let done = async {
                let operation = "tell PostgreSQL how often to vacuum a table";
                let mut connection = self.read().await?;
                let untold: i64 = query(asked)
                    .fetch_one(&mut connection)
                    .await
                    .and_then(|row| row.try_get(0))
                    .map_err(StoreError::during(operation))?;
                if untold > 0 {
                    let told = query(often).execute(&mut connection).await;
                    told.map_err(StoreError::during(operation))?;
                }
                Ok::<_, StoreError>(())
            };
            // Another owner's table, or a server that is too old: lists are slower there.
            if let Err(error) = done.await {
                tracing::warn!(table, %error, "PostgreSQL cannot be told to vacuum a table more often");
            }
        }
    }
}

fn migrator() -> Migrator {
    Migrator::with_migrations(
        MIGRATIONS
            .iter()
            .map(|(version, name, sql)| {
                Migration::new(
                    *version,
                    (*name).into(),
                    MigrationType::Simple,
                    sql.into_sql_str(),
                    false,
                )
            })
            .collect(),
    )
}

/// A transaction. Dropped without [`Tx::commit`] it is rolled back.
pub struct Tx {
    inner: Connection,
    operation: &'static str,
}

impl Tx {
    /// When this returns Ok the changes are on disk.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.inner
            .commit()
            .await
            .map_err(StoreError::during(self.operation))
    }
}

/// A connection for reading.
pub struct Reader {
    inner: Connection,
}

macro_rules! is_a_connection {
    ($($holder:ty),+) => { $(
        impl Deref for $holder {
            type Target = Connection;
            fn deref(&self) -> &Connection { &self.inner }
        }
        impl DerefMut for $holder {
            fn deref_mut(&mut self) -> &mut Connection { &mut self.inner }
        }
    )+ };
}
is_a_connection!(Tx, Reader);

/// Runs statements one after the other, each about the row of this guid (`$1`).
async fn each(
    connection: &mut Connection,
    statements: &[&'static str],
    guid: &str,
    operation: &'static str,
) -> Result<(), StoreError> {
    for statement in statements {
        query(*statement)
            .bind(guid.to_string())
            .execute(&mut *connection)
            .await
            .map_err(StoreError::during(operation))?;
    }
    Ok(())
}

/// The next number of a sequence (`processes`, `facts`). Holding the row serializes the writers
/// of one sequence until they commit, so numbers become visible in order: a reader of the facts
/// who saw number n will never find a smaller one later.
pub async fn next_number(
    connection: &mut Connection,
    sequence: &'static str,
) -> Result<i64, StoreError> {
    query("UPDATE sequences SET value = value + 1 WHERE name = $1 RETURNING value")
        .bind(sequence)
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(StoreError::during("take the next number of a sequence"))
}
