//! Statements and rows: one way to say them, two databases that run them.
//!
//! ```text
//!   query("SELECT name FROM apps WHERE guid = $1").bind(guid).fetch_optional(&mut connection).await?
//! ```
//!
//! PostgreSQL is spoken to by sqlx. SQLite is called where the caller stands: a statement by key takes some five
//! microseconds, and a turn to another thread and back, which drivers of SQLite for asynchronous programs take for
//! each, takes ten times that. What may take long goes to a thread that may wait: commits, which wait for the disk,
//! waiting for a lock, and statements that are said to be [`Statement::long`].

mod postgres;
mod sqlite;
#[cfg(test)]
mod tests;

pub(super) use postgres::Postgres;
pub(super) use sqlite::Sqlite;

use std::borrow::Cow;
use std::sync::Arc;

/// What a statement is given, and what a column holds. `None` is NULL, which PostgreSQL wants to know the type of.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(Option<String>),
    Number(Option<i64>),
    Real(Option<f64>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! value {
    ($($from:ty => $kind:ident),+ $(,)?) => { $(
        impl From<$from> for Value {
            fn from(value: $from) -> Value { Value::$kind(Some(value.into())) }
        }
        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Value { Value::$kind(value.map(Into::into)) }
        }
    )+ };
}
value!(String => Text, &str => Text, i64 => Number, i32 => Number, f64 => Real, Vec<u8> => Bytes);

/// Why a statement was not run, or what it answered not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("no connection became free")]
    NoConnection,
    #[error("the thread that ran it died")]
    Interrupted,
    #[error("the database ended the transaction after an error")]
    Ended,
    #[error("no row")]
    NoRow,
    #[error("column {column}")]
    Column {
        column: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The sorts of errors that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Taken,
    Referenced,
    Unavailable,
    DiskFull,
    Other,
}

impl Error {
    pub fn column(
        column: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::Column {
            column: column.to_string(),
            source: source.into(),
        }
    }

    pub fn sort(&self) -> Sort {
        match self {
            Error::Postgres(error) => postgres::sort(error),
            Error::Sqlite(error) => sqlite::sort(error),
            Error::NoConnection | Error::Interrupted => Sort::Unavailable,
            Error::Ended | Error::NoRow | Error::Column { .. } => Sort::Other,
        }
    }
}

/// A connection to either database. It goes back to its pool when it is dropped; a transaction that is open then is
/// rolled back.
pub enum Connection {
    Sqlite(sqlite::Lent),
    Postgres(postgres::Lent),
}

impl Connection {
    /// Numbered places are looked for one by one by SQLite.
    pub fn likes_numbered_places(&self) -> bool {
        matches!(self, Connection::Postgres(_))
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        match self {
            Connection::Sqlite(lent) => lent.commit().await,
            Connection::Postgres(lent) => lent.commit().await,
        }
    }
}

/// A statement with the values of its places, `$1` on.
#[derive(Debug, Clone)]
#[must_use]
pub struct Statement {
    text: Cow<'static, str>,
    values: Vec<Value>,
    is_kept: bool,
    is_long: bool,
}

/// A statement. Only values come from outside, and they are always bound.
pub fn query(text: impl Into<Cow<'static, str>>) -> Statement {
    Statement {
        text: text.into(),
        values: Vec::new(),
        is_kept: true,
        is_long: false,
    }
}

impl Statement {
    pub fn bind(mut self, value: impl Into<Value>) -> Statement {
        self.values.push(value.into());
        self
    }

    /// Whether it stays prepared: texts that are put together in many ways would drive out all others.
    pub fn kept(mut self, is_kept: bool) -> Statement {
        self.is_kept = is_kept;
        self
    }

    /// It may read many rows: a thread that may wait runs it.
    pub fn long(mut self, is_long: bool) -> Statement {
        self.is_long = is_long;
        self
    }

    /// How many rows were changed.
    pub async fn execute(self, connection: &mut Connection) -> Result<Done, Error> {
        match connection {
            Connection::Sqlite(lent) => lent.execute(self).await,
            Connection::Postgres(lent) => lent.execute(self).await,
        }
    }

    pub async fn fetch_all(self, connection: &mut Connection) -> Result<Vec<Row>, Error> {
        match connection {
            Connection::Sqlite(lent) => lent.fetch(self, usize::MAX).await,
            Connection::Postgres(lent) => lent.fetch_all(self).await,
        }
    }

    /// The first row, if there is one.
    pub async fn fetch_optional(self, connection: &mut Connection) -> Result<Option<Row>, Error> {
        match connection {
            Connection::Sqlite(lent) => Ok(lent.fetch(self, 1).await?.pop()),
            Connection::Postgres(lent) => lent.fetch_optional(self).await,
        }
    }

    pub async fn fetch_one(self, connection: &mut Connection) -> Result<Row, Error> {
        self.fetch_optional(connection).await?.ok_or(Error::NoRow)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    rows_affected: u64,
}

impl Done {
    pub fn rows_affected(&self) -> u64 {
        self.rows_affected
    }
}

/// One row of an answer.
#[derive(Debug, Clone)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    /// The value of a column, by its name or its place from 0.
    pub fn try_get<'r, T: Field<'r>, P: Place>(&'r self, place: P) -> Result<T, Error> {
        let value = place.find(self).and_then(|place| self.values.get(place));
        let Some(value) = value else {
            return Err(Error::column(&place.name(), "there is none of that name"));
        };
        T::from_value(value).ok_or_else(|| {
            Error::column(&place.name(), format!("it holds another type: {value:?}"))
        })
    }
}

/// How a column is named.
pub trait Place {
    fn find(&self, row: &Row) -> Option<usize>;
    fn name(&self) -> String;
}

impl Place for usize {
    fn find(&self, _: &Row) -> Option<usize> {
        Some(*self)
    }
    fn name(&self) -> String {
        self.to_string()
    }
}

impl Place for &str {
    fn find(&self, row: &Row) -> Option<usize> {
        row.columns.iter().position(|column| column == self)
    }
    fn name(&self) -> String {
        self.to_string()
    }
}

/// A type that a value can be read as.
pub trait Field<'r>: Sized {
    fn from_value(value: &'r Value) -> Option<Self>;
}

macro_rules! field {
    ($($type:ty, $kind:ident, $read:expr);+ $(;)?) => { $(
        impl<'r> Field<'r> for $type {
            fn from_value(value: &'r Value) -> Option<Self> {
                match value {
                    Value::$kind(Some(value)) => Some($read(value)),
                    _ => None,
                }
            }
        }
    )+ };
}
field! {
    String, Text, String::clone;
    &'r str, Text, String::as_str;
    i64, Number, i64::clone;
    Vec<u8>, Bytes, Vec::clone;
}

impl<'r> Field<'r> for f64 {
    fn from_value(value: &'r Value) -> Option<f64> {
        match value {
            Value::Real(Some(value)) => Some(*value),
            // SQLite gives back a whole number as one.
            Value::Number(Some(value)) => Some(*value as f64),
            _ => None,
        }
    }
}

impl<'r, T: Field<'r>> Field<'r> for Option<T> {
    fn from_value(value: &'r Value) -> Option<Option<T>> {
        match value {
            Value::Text(None) | Value::Number(None) | Value::Real(None) | Value::Bytes(None) => {
                Some(None)
            }
            value => T::from_value(value).map(Some),
        }
    }
}
