//! PostgreSQL, by sqlx.

use super::{Done, Error, Row, Sort, Statement, Value};
use crate::store::{ACQUIRE, IDLE_IN_TRANSACTION};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{
    AssertSqlSafe, Column, Executor, PgPool, Row as _, SqlSafeStr, SqlStr, Transaction, TypeInfo,
};
use std::borrow::Cow;
use std::sync::Arc;

const CONNECTIONS: u32 = 16;

#[derive(Debug, Clone)]
pub struct Postgres {
    pool: PgPool,
}

impl Postgres {
    /// A process that stands still in the middle of a transaction holds its rows, the fence of leaders among them:
    /// the server ends it, so that others go on. Its next statement fails then, and what it was about is begun anew.
    pub async fn open(url: &str) -> Result<Postgres, sqlx::Error> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    let seconds = IDLE_IN_TRANSACTION.as_secs();
                    let bound = format!("SET idle_in_transaction_session_timeout = '{seconds}s'");
                    connection.execute(AssertSqlSafe(bound)).await?;
                    Ok(())
                })
            })
            .connect(url)
            .await?;
        Ok(Postgres { pool })
    }

    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub async fn begin(&self) -> Result<Lent, Error> {
        Ok(Lent::Transaction(self.pool.begin().await?))
    }

    pub async fn read(&self) -> Result<Lent, Error> {
        Ok(Lent::Plain(self.pool.acquire().await?))
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// A connection of the pool.
pub enum Lent {
    Plain(PoolConnection<sqlx::Postgres>),
    Transaction(Transaction<'static, sqlx::Postgres>),
}

impl Lent {
    fn connection(&mut self) -> &mut PgConnection {
        match self {
            Lent::Plain(connection) => connection,
            Lent::Transaction(transaction) => transaction,
        }
    }

    pub async fn commit(self) -> Result<(), Error> {
        match self {
            Lent::Plain(_) => Ok(()),
            Lent::Transaction(transaction) => Ok(transaction.commit().await?),
        }
    }

    pub async fn execute(&mut self, statement: Statement) -> Result<Done, Error> {
        let done = native(statement).execute(self.connection()).await?;
        Ok(Done {
            rows_affected: done.rows_affected(),
        })
    }

    pub async fn fetch_all(&mut self, statement: Statement) -> Result<Vec<Row>, Error> {
        let rows = native(statement).fetch_all(self.connection()).await?;
        let Some(first) = rows.first() else {
            return Ok(Vec::new());
        };
        let columns = columns_of(first);
        rows.iter().map(|row| read(row, &columns)).collect()
    }

    pub async fn fetch_optional(&mut self, statement: Statement) -> Result<Option<Row>, Error> {
        let row = native(statement).fetch_optional(self.connection()).await?;
        row.map(|row| read(&row, &columns_of(&row))).transpose()
    }
}

fn native(statement: Statement) -> Query<'static, sqlx::Postgres, PgArguments> {
    let text: SqlStr = match statement.text {
        Cow::Borrowed(text) => text.into_sql_str(),
        Cow::Owned(text) => AssertSqlSafe(text).into_sql_str(),
    };
    let query = sqlx::query(text).persistent(statement.is_kept);
    statement
        .values
        .into_iter()
        .fold(query, |query, value| match value {
            Value::Text(value) => query.bind(value),
            Value::Number(value) => query.bind(value),
            Value::Real(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
        })
}

fn columns_of(row: &PgRow) -> Arc<[String]> {
    row.columns()
        .iter()
        .map(|column| column.name().to_string())
        .collect()
}

fn read(row: &PgRow, columns: &Arc<[String]>) -> Result<Row, Error> {
    let values = row
        .columns()
        .iter()
        .enumerate()
        .map(|(place, column)| {
            Ok(match column.type_info().name() {
                "INT8" => Value::Number(row.try_get(place)?),
                "INT4" => Value::Number(row.try_get::<Option<i32>, _>(place)?.map(i64::from)),
                "INT2" => Value::Number(row.try_get::<Option<i16>, _>(place)?.map(i64::from)),
                "BOOL" => Value::Number(row.try_get::<Option<bool>, _>(place)?.map(i64::from)),
                "FLOAT8" => Value::Real(row.try_get(place)?),
                "BYTEA" => Value::Bytes(row.try_get(place)?),
                // What is no text says so itself.
                _ => Value::Text(row.try_get(place)?),
            })
        })
        .collect::<Result<_, sqlx::Error>>()?;
    Ok(Row {
        columns: columns.clone(),
        values,
    })
}

/// disk_full
const FULL: &str = "53100";

pub fn sort(error: &sqlx::Error) -> Sort {
    use sqlx::error::ErrorKind;
    match error {
        sqlx::Error::Database(error) => match error.kind() {
            ErrorKind::UniqueViolation => Sort::Taken,
            ErrorKind::ForeignKeyViolation => Sort::Referenced,
            _ if error.code().is_some_and(|code| code == FULL) => Sort::DiskFull,
            _ => Sort::Other,
        },
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
            Sort::Unavailable
        }
        _ => Sort::Other,
    }
}
