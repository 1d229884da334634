//! SQLite: one connection that writes, some that read, and what runs a statement on either.
//!
//! A connection is given to a waiting thread together with the work, and comes back with the answer. If nobody waits
//! for that any more (the caller's future was dropped), it is closed there, which rolls back what was begun, and the
//! next caller opens another.
//!
//! Trap: SQLite takes `$1` for a name. Its number is what follows the `$`, not the order of its first use.

use super::{Done, Error, Row, Sort, Statement, Value};
use crate::store::ACQUIRE;
use rusqlite::types::ValueRef;
use rusqlite::{OpenFlags, ffi};
use sqlx::migrate::Migrator;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const READERS: usize = 8;
/// Texts kept prepared by each connection.
const PREPARED: usize = 256;
/// Longest wait for another process that writes: a copy being made, an operator's shell.
const BUSY: Duration = Duration::from_secs(10);

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sqlite {
    writers: Arc<Pool>,
    readers: Arc<Pool>,
}

impl Sqlite {
    /// Opens the file, made if it is not there, and brings its tables up to date.
    pub async fn open(url: &str, migrator: Migrator) -> Result<Sqlite, OpenError> {
        let path = path_of(url)?;
        let pool = |is_reader, count| {
            Arc::new(Pool {
                path: path.clone(),
                is_reader,
                free: Mutex::new(Vec::new()),
                permits: Arc::new(Semaphore::new(count)),
            })
        };
        let opened = Sqlite {
            writers: pool(false, 1),
            readers: pool(true, READERS),
        };
        let writers = opened.writers.clone();
        let migrated = tokio::task::spawn_blocking(move || {
            let mut connection = writers.connect()?;
            migrate(&mut connection, &migrator)?;
            writers.put_back(connection);
            Ok::<(), OpenError>(())
        });
        migrated.await.map_err(|_| OpenError::Interrupted)??;
        Ok(opened)
    }

    /// The writing connection, in a transaction.
    pub async fn begin(&self) -> Result<Lent, Error> {
        let mut lent = self.writers.lend().await?;
        lent.begin().await?;
        Ok(lent)
    }

    pub async fn read(&self) -> Result<Lent, Error> {
        self.readers.lend().await
    }

    /// Waits for who has connections, and closes them.
    pub async fn close(&self) {
        for pool in [&self.readers, &self.writers] {
            let all = if pool.is_reader { READERS as u32 } else { 1 };
            if let Ok(permits) = pool.permits.acquire_many(all).await {
                permits.forget();
                pool.permits.close();
                pool.free().clear();
            }
        }
    }
}

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0:?} is no place of a SQLite database: write sqlite://PATH, without options")]
    Url(String),
    #[error("opening it")]
    Open(#[from] rusqlite::Error),
    #[error("migration {0} failed in the past and left it half changed: restore a copy of it")]
    Dirty(i64),
    #[error(
        "it was changed by migration {0}, which this version does not know: it belongs to a later one"
    )]
    Later(i64),
    #[error("migration {0} was another one when this database was changed by it")]
    Changed(i64),
    #[error("migration {version}")]
    Migration {
        version: i64,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the thread that opened it died")]
    Interrupted,
}

fn path_of(url: &str) -> Result<PathBuf, OpenError> {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains('?') || path.starts_with(":memory:") {
        return Err(OpenError::Url(url.to_string()));
    }
    Ok(PathBuf::from(path))
}

/// The same table as sqlx keeps, so that databases of earlier versions go on.
const APPLIED: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
)";

fn migrate(connection: &mut rusqlite::Connection, migrator: &Migrator) -> Result<(), OpenError> {
    connection.execute_batch(APPLIED)?;
    let applied: Vec<(i64, Vec<u8>, bool)> = connection
        .prepare("SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for (version, checksum, success) in &applied {
        let known = migrator.iter().find(|known| known.version == *version);
        match known {
            _ if !success => return Err(OpenError::Dirty(*version)),
            None => return Err(OpenError::Later(*version)),
            Some(known) if *known.checksum != **checksum => {
                return Err(OpenError::Changed(*version));
            }
            Some(_) => {}
        }
    }
    let last = applied.last().map_or(0, |(version, ..)| *version);
    for migration in migrator.iter().filter(|migration| migration.version > last) {
        let begun = Instant::now();
        let mut apply = || {
            let transaction = connection.transaction()?;
            transaction.execute_batch(migration.sql.as_str())?;
            transaction.execute(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (?, ?, true, ?, ?)",
                (
                    migration.version,
                    migration.description.as_ref(),
                    migration.checksum.as_ref(),
                    begun.elapsed().as_nanos() as i64,
                ),
            )?;
            transaction.commit()
        };
        apply().map_err(|source| OpenError::Migration {
            version: migration.version,
            source,
        })?;
    }
    Ok(())
}

/// Connections of one kind, opened when they are first needed.
#[derive(Debug)]
struct Pool {
    path: PathBuf,
    is_reader: bool,
    free: Mutex<Vec<rusqlite::Connection>>,
    permits: Arc<Semaphore>,
}

impl Pool {
    fn free(&self) -> std::sync::MutexGuard<'_, Vec<rusqlite::Connection>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_back(&self, connection: rusqlite::Connection) {
        self.free().push(connection);
    }

    /// Waits in the order of asking.
    async fn lend(self: &Arc<Pool>) -> Result<Lent, Error> {
        let permit = tokio::time::timeout(ACQUIRE, self.permits.clone().acquire_owned());
        let Ok(Ok(permit)) = permit.await else {
            return Err(Error::NoConnection);
        };
        let free = self.free().pop();
        let connection = match free {
            Some(connection) => connection,
            None => {
                let pool = self.clone();
                let opened = tokio::task::spawn_blocking(move || pool.connect());
                opened.await.map_err(|_| Error::Interrupted)??
            }
        };
        Ok(Lent {
            connection: Some(connection),
            is_transaction: false,
            pool: self.clone(),
            _permit: permit,
        })
    }

    fn connect(&self) -> Result<rusqlite::Connection, rusqlite::Error> {
        let create = match self.is_reader {
            true => OpenFlags::empty(),
            false => OpenFlags::SQLITE_OPEN_CREATE,
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
        let connection = open(&self.path, flags)?;
        if self.is_reader {
            connection.execute_batch("PRAGMA query_only = ON;")?;
        }
        // Pages kept in memory, in KiB, by each connection: the writer touches every index. What readers miss the
        // kernel has.
        let cache = if self.is_reader { 2 << 10 } else { 32 << 10 };
        connection.execute_batch(&format!("PRAGMA cache_size = -{cache};"))?;
        Ok(connection)
    }
}

fn open(path: &Path, flags: OpenFlags) -> Result<rusqlite::Connection, rusqlite::Error> {
    let connection = rusqlite::Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;",
    )?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    Ok(connection)
}

/// A connection of a pool, given back when it is dropped.
pub struct Lent {
    /// None while a thread has it.
    connection: Option<rusqlite::Connection>,
    is_transaction: bool,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Lent {
    /// Nobody else of this process writes: only another process can make it wait.
    async fn begin(&mut self) -> Result<(), Error> {
        let connection = self.connection.as_ref().ok_or(Error::Interrupted)?;
        connection.busy_timeout(Duration::ZERO)?;
        let begun = connection.execute_batch(BEGIN);
        connection.busy_timeout(BUSY)?;
        match begun {
            Err(error) if is_busy(&error) => {
                self.elsewhere(|connection| connection.execute_batch(BEGIN))
                    .await?;
            }
            begun => begun?,
        }
        self.is_transaction = true;
        Ok(())
    }

    pub async fn commit(mut self) -> Result<(), Error> {
        self.elsewhere(|connection| connection.execute_batch("COMMIT"))
            .await
    }

    pub async fn execute(&mut self, statement: Statement) -> Result<Done, Error> {
        self.run(statement, |connection, statement| {
            let changed = with_prepared(connection, statement, |prepared| prepared.raw_execute())?;
            Ok(Done {
                rows_affected: changed as u64,
            })
        })
        .await
    }

    /// At most so many rows.
    pub async fn fetch(&mut self, statement: Statement, most: usize) -> Result<Vec<Row>, Error> {
        self.run(statement, move |connection, statement| {
            with_prepared(connection, statement, |prepared| rows_of(prepared, most))
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &mut self,
        statement: Statement,
        work: impl FnOnce(&rusqlite::Connection, &Statement) -> Result<T, rusqlite::Error>
        + Send
        + 'static,
    ) -> Result<T, Error> {
        let connection = self.connection.as_ref().ok_or(Error::Interrupted)?;
        // No room on the disk, for one: what follows would be changed outside of it.
        if self.is_transaction && connection.is_autocommit() {
            return Err(Error::Ended);
        }
        if statement.is_long {
            return self
                .elsewhere(move |connection| work(connection, &statement))
                .await;
        }
        Ok(work(connection, &statement)?)
    }

    /// In a thread that may wait.
    async fn elsewhere<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let connection = self.connection.take().ok_or(Error::Interrupted)?;
        let done = tokio::task::spawn_blocking(move || (work(&connection), connection));
        let (done, connection) = done.await.map_err(|_| Error::Interrupted)?;
        self.connection = Some(connection);
        Ok(done?)
    }
}

const BEGIN: &str = "BEGIN IMMEDIATE";

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        // A connection that does not roll back is closed, which does.
        if connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok() {
            self.pool.put_back(connection);
        }
    }
}

fn with_prepared<T>(
    connection: &rusqlite::Connection,
    statement: &Statement,
    work: impl FnOnce(&mut rusqlite::Statement<'_>) -> Result<T, rusqlite::Error>,
) -> Result<T, rusqlite::Error> {
    let (mut kept, mut once);
    let prepared: &mut rusqlite::Statement<'_> = if statement.is_kept {
        kept = connection.prepare_cached(&statement.text)?;
        &mut kept
    } else {
        once = connection.prepare(&statement.text)?;
        &mut once
    };
    bind(prepared, &statement.values)?;
    work(prepared)
}

fn bind(prepared: &mut rusqlite::Statement<'_>, values: &[Value]) -> Result<(), rusqlite::Error> {
    for place in 1..=prepared.parameter_count() {
        let number = prepared
            .parameter_name(place)
            .and_then(|name| name.get(1..)?.parse().ok())
            .unwrap_or(place);
        let value = number.checked_sub(1).and_then(|number| values.get(number));
        let missing = rusqlite::Error::InvalidParameterCount(values.len(), number);
        match value.ok_or(missing)? {
            Value::Text(value) => prepared.raw_bind_parameter(place, value),
            Value::Number(value) => prepared.raw_bind_parameter(place, value),
            Value::Real(value) => prepared.raw_bind_parameter(place, value),
            Value::Bytes(value) => prepared.raw_bind_parameter(place, value),
        }?;
    }
    Ok(())
}

fn rows_of(
    prepared: &mut rusqlite::Statement<'_>,
    most: usize,
) -> Result<Vec<Row>, rusqlite::Error> {
    let count = prepared.column_count();
    let columns: Arc<[String]> = prepared
        .column_names()
        .into_iter()
        .map(String::from)
        .collect();
    let mut found = Vec::new();
    let mut rows = prepared.raw_query();
    while found.len() < most {
        let Some(row) = rows.next()? else { break };
        let values = (0..count)
            .map(|place| row.get_ref(place).and_then(|value| read(value, place)))
            .collect::<Result<_, _>>()?;
        found.push(Row {
            columns: columns.clone(),
            values,
        });
    }
    Ok(found)
}

fn read(value: ValueRef<'_>, place: usize) -> Result<Value, rusqlite::Error> {
    Ok(match value {
        ValueRef::Null => Value::Text(None),
        ValueRef::Integer(number) => Value::Number(Some(number)),
        ValueRef::Real(number) => Value::Real(Some(number)),
        ValueRef::Text(text) => {
            let text = std::str::from_utf8(text)
                .map_err(|error| rusqlite::Error::Utf8Error(place, error))?;
            Value::Text(Some(text.to_string()))
        }
        ValueRef::Blob(bytes) => Value::Bytes(Some(bytes.to_vec())),
    })
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ffi::ErrorCode::DatabaseBusy | ffi::ErrorCode::DatabaseLocked)
    )
}

pub fn sort(error: &rusqlite::Error) -> Sort {
    let Some(failure) = error.sqlite_error() else {
        return Sort::Other;
    };
    match (failure.code, failure.extended_code) {
        (_, ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => Sort::Taken,
        (_, ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => Sort::Referenced,
        (ffi::ErrorCode::DiskFull, _) => Sort::DiskFull,
        (ffi::ErrorCode::DatabaseBusy | ffi::ErrorCode::DatabaseLocked, _) => Sort::Unavailable,
        _ => Sort::Other,
    }
}
