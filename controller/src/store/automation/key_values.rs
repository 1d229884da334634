//! Keys of the datastore.

use crate::store::sql::{Connection, query};
use crate::store::{StoreError, row};

row! {
    pub struct KeyValue in "key_values", key uid, versioned {
        uid: String,
        id: String,
        /// st2kv.system, st2kv.user
        scope: String,
        name: String,
        /// Of a user's key; empty: the system's.
        username: String,
        value: String,
        secret: bool,
        encrypted: bool,
        expires_at: Option<i64>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

impl KeyValue {
    /// Whether it has not expired. `now`: Unix microseconds.
    pub fn is_live(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// What a list covers.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub system: bool,
    /// The keys of this user.
    pub user: Option<&'a str>,
    /// Of the name without its owner.
    pub prefix: Option<&'a str>,
    /// Unix microseconds.
    pub now: i64,
    pub limit: i64,
    pub offset: i64,
}

/// Live keys, by name.
pub async fn list(
    connection: &mut Connection,
    wanted: Wanted<'_>,
) -> Result<Vec<KeyValue>, StoreError> {
    let operation = "list keys";
    // A prefix is compared as a substring: LIKE differs between the databases, and `%` may be in it.
    let sql = KeyValue::select(
        "WHERE ((scope = 'st2kv.system' AND $1 = 1 AND substr(name, 1, $4) = $3) \
           OR (scope = 'st2kv.user' AND username = $2 AND substr(name, 1, $6) = $5)) \
         AND (expires_at IS NULL OR expires_at > $7) ORDER BY scope, name LIMIT $8 OFFSET $9",
    );
    let prefix = wanted.prefix.unwrap_or_default();
    let length = |text: &str| i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let own = wanted
        .user
        .map(|user| format!("{user}:{prefix}"))
        .unwrap_or_default();
    let rows = query(sql)
        .bind(i64::from(wanted.system))
        .bind(wanted.user.unwrap_or_default().to_string())
        .bind(prefix.to_string())
        .bind(length(prefix))
        .bind(own.clone())
        .bind(length(&own))
        .bind(wanted.now)
        .bind(wanted.limit)
        .bind(wanted.offset)
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(KeyValue::from_row)
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(operation))
}

/// Whether there is something for [`take_expired`].
pub async fn any_expired(connection: &mut Connection, now: i64) -> Result<bool, StoreError> {
    query("SELECT 1 FROM key_values WHERE expires_at <= $1 LIMIT 1")
        .bind(now)
        .fetch_optional(connection)
        .await
        .map(|row| row.is_some())
        .map_err(StoreError::during("look for expired keys"))
}

/// Takes away what has expired, and gives it back.
pub async fn take_expired(
    connection: &mut Connection,
    now: i64,
    limit: i64,
) -> Result<Vec<KeyValue>, StoreError> {
    let operation = "take expired keys";
    let sql = KeyValue::select("WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2");
    let rows = query(sql)
        .bind(now)
        .bind(limit)
        .fetch_all(&mut *connection)
        .await
        .map_err(StoreError::during(operation))?;
    let rows: Vec<KeyValue> = rows
        .iter()
        .map(KeyValue::from_row)
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(operation))?;
    for row in &rows {
        KeyValue::delete(connection, &row.uid).await?;
    }
    Ok(rows)
}
