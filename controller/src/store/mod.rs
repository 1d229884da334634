//! The record of truth: SQL, on SQLite or PostgreSQL, with one text for both.
//!
//! One file per noun holds the row struct and the statements about it; nothing else in the
//! controller writes SQL. Statements take `&mut AnyConnection`, so the caller decides what
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
pub mod roles;
pub mod route_bindings;
pub mod routes;
mod row;
pub mod service_bindings;
pub mod service_instances;
pub mod spaces;
pub mod sweep;
pub mod tasks;
pub mod told_traffic;
pub mod users;

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Executor, SqlSafeStr, Transaction};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub(crate) use row::row;
pub use row::{Column, Json};

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
];

/// Longest wait for a connection. Writers of SQLite queue for one, so this also bounds how long
/// transactions may pile up before requests are told to come back.
const ACQUIRE: Duration = Duration::from_secs(15);
const READERS: u32 = 8;
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
        source: sqlx::Error,
    },
    /// Other rows still point at it, or it points at none.
    #[error("{operation}: still referred to, or refers to what is gone")]
    Referenced {
        operation: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// The database is away or overloaded: worth a retry by the caller.
    #[error("{operation}: the database does not answer")]
    Unavailable {
        operation: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error("{operation}")]
    Failed {
        operation: &'static str,
        #[source]
        source: sqlx::Error,
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
    pub fn during(operation: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
        move |source| {
            use sqlx::error::ErrorKind;
            let kind = source.as_database_error().map(|error| error.kind());
            match (kind, &source) {
                (Some(ErrorKind::UniqueViolation), _) => StoreError::Taken { operation, source },
                (Some(ErrorKind::ForeignKeyViolation), _) => {
                    StoreError::Referenced { operation, source }
                }
                (
                    None,
                    sqlx::Error::Io(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed,
                ) => StoreError::Unavailable { operation, source },
                _ => StoreError::Failed { operation, source },
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    Sqlite,
    Postgres,
}

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Backend,
    writers: AnyPool,
    readers: AnyPool,
}

impl Store {
    /// Opens `sqlite:///path` (made if it is not there) or `postgres://…` and brings its tables up
    /// to date.
    pub async fn open(url: &str) -> Result<Store, StoreError> {
        let open = |why: &'static str| {
            move |source: sqlx::Error| StoreError::Open {
                why,
                source: Box::new(source),
            }
        };
        sqlx::any::install_default_drivers();
        let (backend, writers, readers) = if url.starts_with("sqlite:") {
            let separator = if url.contains('?') { '&' } else { '?' };
            let writers = sqlite_pool(1, false)
                .connect(&format!("{url}{separator}mode=rwc"))
                .await
                .map_err(open("connecting to SQLite for writing"))?;
            let readers = sqlite_pool(READERS, true)
                .connect(&format!("{url}{separator}mode=rw"))
                .await
                .map_err(open("connecting to SQLite for reading"))?;
            (Backend::Sqlite, writers, readers)
        } else {
            let pool = postgres_pool()
                .connect(url)
                .await
                .map_err(open("connecting to PostgreSQL"))?;
            (Backend::Postgres, pool.clone(), pool)
        };
        migrator()
            .run(&writers)
            .await
            .map_err(|error| StoreError::Open {
                why: "migrating its tables",
                source: Box::new(error),
            })?;
        if backend == Backend::Postgres {
            vacuum_often(&writers).await;
        }
        Ok(Store {
            backend,
            writers,
            readers,
        })
    }

    /// Several controllers can have it together.
    pub fn is_shared(&self) -> bool {
        self.backend == Backend::Postgres
    }

    /// Begins a transaction; `operation` names it in errors. On SQLite it holds the only writing
    /// connection: do nothing slow (no bus, no disk, no hashing) until it is committed or dropped.
    pub async fn write(&self, operation: &'static str) -> Result<Tx, StoreError> {
        let inner = match self.backend {
            Backend::Sqlite => self.writers.begin_with("BEGIN IMMEDIATE").await,
            Backend::Postgres => self.writers.begin().await,
        }
        .map_err(StoreError::during(operation))?;
        Ok(Tx { inner, operation })
    }

    /// A connection for reading only.
    pub async fn read(&self) -> Result<PoolConnection<Any>, StoreError> {
        self.readers
            .acquire()
            .await
            .map_err(StoreError::during("waiting for a database connection"))
    }

    pub async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }
}

/// Lists count what matches by the indexes alone, as far as PostgreSQL knows which pages everybody sees; that it
/// learns from its vacuum, by default only after a fifth of a table has changed. What it does not know costs ten
/// times as much to count. Who has set something for a table knows better.
async fn vacuum_often(pool: &AnyPool) {
    for table in ["executions", "trigger_instances", "rule_enforcements"] {
        let asked = format!(
            "SELECT count(*) FROM pg_class WHERE oid = '{table}'::regclass AND reloptions IS NULL"
        );
        let often = format!(
            "ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.02, \
             autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)"
        );
        let done = async {
            use sqlx::Row;
            let asked = sqlx::query(sqlx::AssertSqlSafe(asked)).fetch_one(pool);
            if asked.await?.try_get::<i64, _>(0)? > 0 {
                sqlx::query(sqlx::AssertSqlSafe(often))
                    .execute(pool)
                    .await?;
            }
            Ok::<_, sqlx::Error>(())
        };
        // Another owner's table, or a server that is too old: lists are slower there.
        if let Err(error) = done.await {
            tracing::warn!(table, %error, "PostgreSQL cannot be told to vacuum a table more often");
        }
    }
}

fn sqlite_pool(connections: u32, read_only: bool) -> AnyPoolOptions {
    // Pages kept in memory, in KiB, by each connection: the writer touches every index. What readers
    // miss the kernel has.
    let cache = if read_only { 2 << 10 } else { 32 << 10 };
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        // There is no server that could have gone away.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                connection
                    .execute(
                        "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                         PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;",
                    )
                    .await?;
                let cache = format!("PRAGMA cache_size = -{cache};");
                connection.execute(sqlx::AssertSqlSafe(cache)).await?;
                if read_only {
                    connection.execute("PRAGMA query_only = ON;").await?;
                }
                Ok(())
            })
        })
}

/// A process that stands still in the middle of a transaction holds its rows, the fence of leaders among them:
/// the server ends it, so that others go on. Its next statement fails then, and what it was about is begun anew.
fn postgres_pool() -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(16)
        .acquire_timeout(ACQUIRE)
        .after_connect(|connection, _| {
            Box::pin(async move {
                let seconds = IDLE_IN_TRANSACTION.as_secs();
                let bound = format!("SET idle_in_transaction_session_timeout = '{seconds}s'");
                connection.execute(sqlx::AssertSqlSafe(bound)).await?;
                Ok(())
            })
        })
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
    inner: Transaction<'static, Any>,
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

impl Deref for Tx {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }
}

/// Runs statements one after the other, each about the row of this guid (`$1`).
async fn each(
    connection: &mut AnyConnection,
    statements: &[&'static str],
    guid: &str,
    operation: &'static str,
) -> Result<(), StoreError> {
    for statement in statements {
        sqlx::query(*statement)
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
    connection: &mut AnyConnection,
    sequence: &'static str,
) -> Result<i64, StoreError> {
    use sqlx::Row;
    sqlx::query("UPDATE sequences SET value = value + 1 WHERE name = $1 RETURNING value")
        .bind(sequence)
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(StoreError::during("take the next number of a sequence"))
}
