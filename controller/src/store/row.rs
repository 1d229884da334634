//! Rows as plain structs: the columns are named once.
//!
//! [`row!`] writes the struct and the statements every table needs: insert, find by guid, delete,
//! and (where the table has a `row_version`) the update that compares it. An update writes the
//! whole row; what was read is what is compared, so a lost update cannot happen.

use super::StoreError;
use super::sql::{Connection, Error, Row, Statement, query};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// A type a column can hold.
pub trait Column: Sized {
    fn get(row: &Row, column: &str) -> Result<Self, Error>;
    fn bind(&self, statement: Statement) -> Statement;
}

/// PostgreSQL takes no NUL in a text. The API refuses it at the door; what came over the bus is
/// made harmless here.
pub fn without_nul(text: &str) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text.to_string()
    }
}

impl Column for String {
    fn get(row: &Row, column: &str) -> Result<Self, Error> {
        row.try_get(column)
    }
    fn bind(&self, statement: Statement) -> Statement {
        statement.bind(without_nul(self))
    }
}

impl Column for Option<String> {
    fn get(row: &Row, column: &str) -> Result<Self, Error> {
        row.try_get(column)
    }
    fn bind(&self, statement: Statement) -> Statement {
        statement.bind(self.as_deref().map(without_nul))
    }
}

impl Column for i64 {
    fn get(row: &Row, column: &str) -> Result<Self, Error> {
        row.try_get(column)
    }
    fn bind(&self, statement: Statement) -> Statement {
        statement.bind(*self)
    }
}

impl Column for Option<i64> {
    fn get(row: &Row, column: &str) -> Result<Self, Error> {
        row.try_get(column)
    }
    fn bind(&self, statement: Statement) -> Statement {
        statement.bind(*self)
    }
}

impl Column for bool {
    fn get(row: &Row, column: &str) -> Result<Self, Error> {
        Ok(row.try_get::<i64, _>(column)? != 0)
    }
    fn bind(&self, statement: Statement) -> Statement {
        statement.bind(i64::from(*self))
    }
}

/// A list or map kept as JSON in a TEXT column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Json<T>(pub T);

impl<T> std::ops::Deref for Json<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> std::ops::DerefMut for Json<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Serialize + DeserializeOwned> Column for Json<T> {
    fn get(row: &Row, column: &str) -> Result<Self, Error> {
        let text: &str = row.try_get(column)?;
        serde_json::from_str(text)
            .map(Json)
            .map_err(|error| Error::column(column, error))
    }
    fn bind(&self, statement: Statement) -> Statement {
        // Maps with text keys, lists and texts: nothing here can fail to serialize. JSON escapes NUL.
        statement
            .bind(serde_json::to_string(&self.0).expect("JSON columns hold maps with text keys"))
    }
}

/// JSON that stays as it was written: copies of its row have it in common.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedJson(Arc<serde_json::Value>);

impl From<serde_json::Value> for SharedJson {
    fn from(value: serde_json::Value) -> SharedJson {
        SharedJson(Arc::new(value))
    }
}

impl std::ops::Deref for SharedJson {
    type Target = serde_json::Value;
    fn deref(&self) -> &serde_json::Value {
        &self.0
    }
}

impl Column for SharedJson {
    fn get(row: &Row, column: &str) -> Result<Self, Error> {
        Json::<serde_json::Value>::get(row, column).map(|Json(value)| value.into())
    }
    fn bind(&self, statement: Statement) -> Statement {
        // JSON escapes NUL.
        statement.bind(self.0.to_string())
    }
}

/// `$1, $2, …`
pub fn placeholders(count: usize) -> String {
    (1..=count)
        .map(|n| format!("${n}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// How many rows one statement writes: few numbers, so that few texts are kept prepared.
const AT_ONCE: [usize; 4] = [64, 16, 4, 1];

/// Rows in groups that one statement each can write.
pub fn groups<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = AT_ONCE.into_iter().find(|size| *size <= rows.len())?;
        let (group, rest) = rows.split_at(size);
        rows = rest;
        Some(group)
    })
}

/// The placeholders of many rows, bound one after the other: `($1, $2), ($3, $4), …`, or `(?, ?), (?, ?), …` on
/// SQLite, which looks for each numbered one among all.
pub fn values(connection: &Connection, rows: usize, columns: usize) -> String {
    rows_of_places(connection.likes_numbered_places(), rows, columns)
}

fn rows_of_places(are_numbered: bool, rows: usize, columns: usize) -> String {
    let place = |number: usize| match are_numbered {
        true => format!("${number}"),
        false => "?".to_string(),
    };
    (0..rows)
        .map(|row| {
            let places: Vec<String> = (1..=columns)
                .map(|column| place(row * columns + column))
                .collect();
            format!("({})", places.join(", "))
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// A statement that changes several rows, each only if it still has the version it was read in.
pub struct Rewrite<'a> {
    pub operation: &'static str,
    /// What a row is called in errors.
    pub noun: &'static str,
    pub table: &'static str,
    /// The assignments. The values of a row are `v.column1`, its id; `v.column2`, the version it was read in;
    /// and what else is bound: both databases call the columns of such a list so.
    pub set: &'a str,
    /// Values of a row.
    pub values: usize,
}

impl Rewrite<'_> {
    /// Stale if any of the rows is not as it was read. `id` names a row, `bind` binds its values in order.
    pub async fn run<T>(
        &self,
        connection: &mut Connection,
        rows: &[T],
        id: fn(&T) -> &str,
        bind: impl Fn(&T, Statement) -> Statement,
    ) -> Result<(), StoreError> {
        let table = self.table;
        for group in groups(rows) {
            let sql = format!(
                "UPDATE {table} SET {} FROM (VALUES {}) AS v \
                 WHERE {table}.id = v.column1 AND {table}.row_version = v.column2",
                self.set,
                values(connection, group.len(), self.values)
            );
            let statement = query(sql);
            let statement = group
                .iter()
                .fold(statement, |statement, row| bind(row, statement));
            let done = statement
                .execute(&mut *connection)
                .await
                .map_err(StoreError::during(self.operation))?;
            if done.rows_affected() != group.len() as u64 {
                let ids: Vec<&str> = group.iter().map(id).collect();
                return Err(StoreError::Stale {
                    operation: self.operation,
                    noun: self.noun,
                    guid: ids.join(", "),
                });
            }
        }
        Ok(())
    }
}

macro_rules! column {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident => $column:literal) => {
        $column
    };
}
pub(crate) use column;

/// ```text
/// row! {
///     /// What a row is.
///     pub struct Thing in "things", key guid, versioned {
///         guid: String,
///         kind => "type": String,     // where the column has another name
///     }
/// }
/// ```
/// Without `versioned` there is no `update`. Versioned rows have `updated_at` and `row_version`.
macro_rules! row {
    (
        $(#[$doc:meta])*
        pub struct $name:ident in $table:literal, key $key:ident $(, $versioned:ident)? {
            $( $(#[$field_doc:meta])* $field:ident $(=> $column:literal)? : $type:ty ),+ $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[$field_doc])* pub $field: $type, )+
        }

        impl $name {
            pub const TABLE: &'static str = $table;
            pub const COLUMNS: &'static [&'static str] = &[$( $crate::store::row::column!($field $(=> $column)?) ),+];

            /// `SELECT <columns> FROM <table> <rest>`
            pub fn select(rest: &str) -> String {
                format!("SELECT {} FROM {} {rest}", Self::COLUMNS.join(", "), Self::TABLE)
            }

            pub fn from_row(row: &$crate::store::sql::Row) -> Result<Self, $crate::store::sql::Error> {
                Ok($name { $( $field: $crate::store::Column::get(row, $crate::store::row::column!($field $(=> $column)?))?, )+ })
            }

            /// Binds every column in the order of [`Self::COLUMNS`].
            pub fn bind_all(&self, mut statement: $crate::store::sql::Statement) -> $crate::store::sql::Statement {
                $( statement = $crate::store::Column::bind(&self.$field, statement); )+
                statement
            }

            pub async fn insert(&self, connection: &mut $crate::store::sql::Connection) -> Result<(), $crate::store::StoreError> {
                static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| format!(
                    "INSERT INTO {} ({}) VALUES ({})",
                    $name::TABLE, $name::COLUMNS.join(", "), $crate::store::row::placeholders($name::COLUMNS.len()),
                ));
                self.bind_all($crate::store::sql::query(SQL.as_str())).execute(connection).await
                    .map_err($crate::store::StoreError::during(concat!("insert into ", $table)))?;
                Ok(())
            }

            /// Inserts all, several with each statement. `rest` follows the values: `ON CONFLICT …`. How many were written.
            pub async fn insert_all(
                connection: &mut $crate::store::sql::Connection,
                rows: &[Self],
                rest: &'static str,
            ) -> Result<u64, $crate::store::StoreError> {
                let mut written = 0;
                for group in $crate::store::row::groups(rows) {
                    let sql = format!(
                        "INSERT INTO {} ({}) VALUES {} {rest}",
                        Self::TABLE, Self::COLUMNS.join(", "), $crate::store::row::values(connection, group.len(), Self::COLUMNS.len()),
                    );
                    let mut statement = $crate::store::sql::query(sql);
                    for row in group {
                        statement = row.bind_all(statement);
                    }
                    let done = statement.execute(&mut *connection).await
                        .map_err($crate::store::StoreError::during(concat!("insert into ", $table)))?;
                    written += done.rows_affected();
                }
                Ok(written)
            }

            pub async fn find(connection: &mut $crate::store::sql::Connection, key: &str) -> Result<Option<Self>, $crate::store::StoreError> {
                static SQL: std::sync::LazyLock<String> =
                    std::sync::LazyLock::new(|| $name::select(concat!("WHERE ", stringify!($key), " = $1")));
                $crate::store::sql::query(SQL.as_str()).bind(key.to_string()).fetch_optional(connection).await
                    .and_then(|row| row.as_ref().map(Self::from_row).transpose())
                    .map_err($crate::store::StoreError::during(concat!("find in ", $table)))
            }

            /// Whether it was there.
            pub async fn delete(connection: &mut $crate::store::sql::Connection, key: &str) -> Result<bool, $crate::store::StoreError> {
                let done = $crate::store::sql::query(concat!("DELETE FROM ", $table, " WHERE ", stringify!($key), " = $1"))
                    .bind(key.to_string()).execute(connection).await
                    .map_err($crate::store::StoreError::during(concat!("delete from ", $table)))?;
                Ok(done.rows_affected() > 0)
            }

            /// Rows of a statement that selects the columns of [`Self::select`].
            pub async fn fetch(
                connection: &mut $crate::store::sql::Connection,
                query: $crate::store::query::Filter,
                operation: &'static str,
            ) -> Result<Vec<Self>, $crate::store::StoreError> {
                let sql = query.sql(&Self::select(""));
                let rows = query.bind($crate::store::sql::query(sql)).fetch_all(connection).await
                    .map_err($crate::store::StoreError::during(operation))?;
                rows.iter().map(Self::from_row).collect::<Result<_, _>>()
                    .map_err($crate::store::StoreError::during(operation))
            }

            /// One page of what matches, and how many match at all.
            pub async fn page(
                connection: &mut $crate::store::sql::Connection,
                query: $crate::store::query::Filter,
                limit: i64,
                offset: i64,
            ) -> Result<(Vec<Self>, u64), $crate::store::StoreError> {
                let total = query.count(connection, Self::TABLE).await?;
                let rows = Self::fetch(connection, query.window(limit, offset), concat!("list ", $table)).await?;
                Ok((rows, total))
            }

            $( $crate::store::row::update!($versioned $name $table $key); )?
        }
    };
}
pub(crate) use row;

macro_rules! update {
    (versioned $name:ident $table:literal $key:ident) => {
        /// Writes the whole row if nobody else did since it was read, and notes the new version.
        /// `now`: Unix microseconds.
        pub async fn update(
            &mut self,
            connection: &mut $crate::store::sql::Connection,
            now: i64,
        ) -> Result<(), $crate::store::StoreError> {
            static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
                let set: Vec<String> = $name::COLUMNS
                    .iter()
                    .enumerate()
                    .map(|(place, column)| format!("{column} = ${}", place + 1))
                    .collect();
                let count = $name::COLUMNS.len();
                format!(
                    "UPDATE {} SET {} WHERE {} = ${} AND row_version = ${}",
                    $name::TABLE,
                    set.join(", "),
                    stringify!($key),
                    count + 1,
                    count + 2
                )
            });
            let before = self.row_version;
            // Never backwards, whatever the clock does: readers order changes by it.
            self.updated_at = now.max(self.updated_at + 1);
            self.row_version = before + 1;
            let key = self.$key.clone();
            let statement = self.bind_all($crate::store::sql::query(SQL.as_str()));
            let done = statement
                .bind(key.clone())
                .bind(before)
                .execute(connection)
                .await
                .map_err($crate::store::StoreError::during(concat!(
                    "update ", $table
                )))?;
            if done.rows_affected() == 1 {
                return Ok(());
            }
            self.row_version = before;
            Err($crate::store::StoreError::Stale {
                operation: concat!("update ", $table),
                noun: stringify!($name),
                guid: key,
            })
        }
    };
}
pub(crate) use update;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_in_groups_of_few_sizes() {
        let rows: Vec<usize> = (0..103).collect();
        let sizes: Vec<usize> = groups(&rows).map(<[usize]>::len).collect();
        assert_eq!(sizes, [64, 16, 16, 4, 1, 1, 1]);
        assert_eq!(groups(&rows).flatten().count(), rows.len());
        assert_eq!(groups(&rows[..0]).count(), 0);
        assert_eq!(rows_of_places(true, 2, 3), "($1, $2, $3), ($4, $5, $6)");
        assert_eq!(rows_of_places(false, 2, 2), "(?, ?), (?, ?)");
    }
}
