#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]

use super::*;
use crate::store::Store;
use std::path::PathBuf;
use std::time::Duration;

async fn store() -> (tempfile::TempDir, PathBuf, Store) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.sqlite");
    let store = Store::open(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    (folder, path, store)
}

async fn sequence(connection: &mut Connection, consumer: &str) -> Option<i64> {
    let row = query("SELECT sequence FROM cursors WHERE consumer = $1")
        .bind(consumer)
        .fetch_optional(connection)
        .await
        .unwrap();
    row.map(|row| row.try_get("sequence").unwrap())
}

async fn insert(connection: &mut Connection, consumer: &str, sequence: i64) -> Result<Done, Error> {
    // The second place is used first: its number counts, not its turn.
    query("INSERT INTO cursors (sequence, consumer) VALUES ($2, $1)")
        .bind(consumer)
        .bind(sequence)
        .execute(connection)
        .await
}

#[tokio::test]
async fn what_is_not_committed_is_not_there() {
    let (_folder, _, store) = store().await;
    let mut tx = store.write("drop it").await.unwrap();
    assert_eq!(insert(&mut tx, "a", 1).await.unwrap().rows_affected(), 1);
    assert_eq!(sequence(&mut tx, "a").await, Some(1));
    drop(tx);
    let mut tx = store.write("keep it").await.unwrap();
    assert_eq!(sequence(&mut tx, "a").await, None);
    insert(&mut tx, "b", 7).await.unwrap();
    tx.commit().await.unwrap();
    let mut reader = store.read().await.unwrap();
    assert_eq!(sequence(&mut reader, "b").await, Some(7));
    let refused = insert(&mut reader, "c", 1).await;
    assert!(refused.is_err(), "a reader has written");
}

#[tokio::test]
async fn errors_are_sorted_and_types_are_checked() {
    let (_folder, _, store) = store().await;
    let mut tx = store.write("err").await.unwrap();
    insert(&mut tx, "a", 1).await.unwrap();
    let taken = insert(&mut tx, "a", 2).await.unwrap_err();
    assert_eq!(taken.sort(), Sort::Taken);
    let few = query("SELECT $2").bind(1).fetch_one(&mut tx).await;
    assert!(few.is_err(), "a place without a value was taken for NULL");
    let row = query("SELECT 1 AS one, 'x' AS text, NULL AS none, 2.5 AS real")
        .fetch_one(&mut tx)
        .await
        .unwrap();
    assert_eq!(row.try_get::<i64, _>("one").unwrap(), 1);
    assert_eq!(row.try_get::<&str, _>(1).unwrap(), "x");
    assert_eq!(row.try_get::<Option<String>, _>("none").unwrap(), None);
    assert_eq!(row.try_get::<f64, _>("real").unwrap(), 2.5);
    for error in [
        row.try_get::<i64, _>("text").map(drop).unwrap_err(),
        row.try_get::<String, _>("none").map(drop).unwrap_err(),
        row.try_get::<String, _>("missing").map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Column { .. }), "{error:?}");
    }
    // The transaction goes on after a statement that failed.
    assert_eq!(sequence(&mut tx, "a").await, Some(1));
}

#[tokio::test]
async fn writers_wait_for_each_other_and_for_other_processes() {
    let (_folder, path, store) = store().await;
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            let mut tx = store.write("wait").await.unwrap();
            insert(&mut tx, "waited", 1).await.unwrap();
            tx.commit().await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!writer.is_finished(), "two have written at once");
    other.execute_batch("COMMIT").unwrap();
    writer.await.unwrap();
    let writers = (0..50).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut tx = store.write("count").await.unwrap();
            let before = sequence(&mut tx, "waited").await.unwrap();
            query("UPDATE cursors SET sequence = $1 WHERE consumer = 'waited'")
                .bind(before + 1)
                .execute(&mut tx)
                .await
                .unwrap();
            tx.commit().await.unwrap();
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let mut reader = store.read().await.unwrap();
    assert_eq!(sequence(&mut reader, "waited").await, Some(51));
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_no_connection_with_it() {
    let (_folder, _, store) = store().await;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT count(*) FROM n";
    for _ in 0..3 {
        let mut tx = store.write("go away").await.unwrap();
        insert(&mut tx, "gone", 1).await.unwrap();
        let counted = query(endless).long(true).fetch_one(&mut tx);
        let late = tokio::time::timeout(Duration::from_millis(1), counted).await;
        assert!(late.is_err(), "that was no long statement");
    }
    let mut tx = store.write("come later").await.unwrap();
    assert_eq!(sequence(&mut tx, "gone").await, None);
    insert(&mut tx, "later", 1).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_database_is_opened_again_but_no_other_one() {
    let (_folder, path, store) = store().await;
    store.close().await;
    assert!(store.read().await.is_err(), "it was closed");
    let url = format!("sqlite://{}", path.display());
    Store::open(&url).await.unwrap().close().await;
    let spoil = |sql: &str| {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    let told = async |url: &str| {
        let error = Store::open(url).await.map(drop).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    spoil("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 3");
    assert!(told(&url).await.starts_with("migration 3 was another one"));
    spoil("DELETE FROM _sqlx_migrations WHERE version = 3");
    spoil(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (1000, '', true, x'00', 0)",
    );
    assert!(told(&url).await.contains("does not know"));
    let options = told(&format!("{url}?mode=ro")).await;
    assert!(options.contains("without options"), "{options}");
}

/// SQLite ends a transaction by itself when it finds no room on the disk.
#[tokio::test]
async fn a_write_that_found_no_room_is_in_no_later_ones_way() {
    let (_folder, _, store) = store().await;
    let limit = async |tx: &mut Connection, pages: u32| {
        let limit = format!("PRAGMA max_page_count = {pages}");
        query(limit).fetch_all(tx).await.unwrap();
    };
    for _ in 0..3 {
        let mut tx = store.write("fill the disk").await.unwrap();
        limit(&mut tx, 1).await;
        let full = query("INSERT INTO cursors VALUES (hex(zeroblob(1000000)), 0)")
            .execute(&mut tx)
            .await
            .unwrap_err();
        assert_eq!(full.sort(), Sort::DiskFull, "{full}");
        let later = insert(&mut tx, "later", 1).await;
        assert!(matches!(later, Err(Error::Ended)), "{later:?}");
    }
    let mut tx = store.write("write with room").await.unwrap();
    limit(&mut tx, 1_000_000).await;
    assert_eq!(sequence(&mut tx, "later").await, None);
    insert(&mut tx, "later", 1).await.unwrap();
    tx.commit().await.unwrap();
}
