//! The database, looked at past the controllers: how far a push is, and who wrote in a leader's name.

use anyhow::Context;
use controller::store::sql::query;
use controller::store::{Store, leadership};

/// Each transaction of a leader leaves a line in the order of the commits (the row of the fence is locked until
/// then): its epoch, and the highest there was before. The dispatcher's cursor is moved by leaders only: a
/// transaction that moves it without having passed the fence leaves a line without a fence.
const WATCH: &[&str] = &[
    "CREATE TABLE leader_writes (id BIGSERIAL PRIMARY KEY, epoch BIGINT NOT NULL, before BIGINT NOT NULL, fenced BIGINT NOT NULL)",
    "CREATE FUNCTION note_fence() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
       INSERT INTO leader_writes (epoch, before, fenced) VALUES (NEW.epoch, coalesce((SELECT max(epoch) FROM leader_writes), 0), 1); \
       RETURN NEW; END $$",
    "CREATE TRIGGER note_fence AFTER INSERT OR UPDATE ON leadership FOR EACH ROW WHEN (NEW.name = 'controller') EXECUTE FUNCTION note_fence()",
    "CREATE FUNCTION note_cursor() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
       INSERT INTO leader_writes (epoch, before, fenced) \
       SELECT epoch, epoch, CASE WHEN xmin::text::bigint = txid_current() % 4294967296 THEN 1 ELSE 0 END FROM leadership WHERE name = 'controller'; \
       RETURN NEW; END $$",
    "CREATE TRIGGER note_cursor AFTER UPDATE ON cursors FOR EACH ROW WHEN (NEW.consumer = 'dispatch') EXECUTE FUNCTION note_cursor()",
];

pub async fn watch_leaders(store: &Store) -> anyhow::Result<()> {
    let mut connection = store.read().await?;
    for statement in WATCH {
        query(*statement)
            .execute(&mut connection)
            .await
            .context("watching the writes of leaders")?;
    }
    Ok(())
}

/// What leaders wrote so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderWrites {
    pub all: i64,
    /// In the name of a leader after a later one had written, or past the fence.
    pub stale: i64,
    pub epochs: i64,
}

pub async fn leader_writes(store: &Store) -> anyhow::Result<LeaderWrites> {
    let sql = "SELECT count(*), coalesce(sum(CASE WHEN epoch < before OR fenced = 0 THEN 1 ELSE 0 END), 0)::bigint, count(DISTINCT epoch) FROM leader_writes";
    let mut connection = store.read().await?;
    let row = query(sql).fetch_one(&mut connection).await?;
    Ok(LeaderWrites {
        all: row.try_get(0)?,
        stale: row.try_get(1)?,
        epochs: row.try_get(2)?,
    })
}

/// Whether the store refuses who led before: what a leader does that woke up too late.
pub async fn refuses_the_past(store: &Store) -> anyhow::Result<bool> {
    let mut tx = store.write("look at the fence").await?;
    let row = query("SELECT epoch FROM leadership WHERE name = 'controller'")
        .fetch_one(&mut tx)
        .await?;
    let epoch: i64 = row.try_get(0)?;
    let refused = leadership::fence(&mut tx, "controller", epoch - 1).await;
    Ok(refused.is_err())
}

/// Whether this is true of an app: a condition over its row `a`.
pub async fn is_so(store: &Store, app: &str, condition: &'static str) -> anyhow::Result<bool> {
    let mut connection = store.read().await?;
    let found = query(condition)
        .bind(app.to_string())
        .fetch_optional(&mut connection)
        .await?;
    Ok(found.is_some())
}

/// The texts of the first column.
pub async fn texts(store: &Store, sql: &'static str) -> anyhow::Result<Vec<String>> {
    let mut connection = store.read().await?;
    let rows = query(sql).fetch_all(&mut connection).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
