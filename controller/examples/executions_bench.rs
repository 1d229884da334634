//! How many executions a second one controller takes in and carries out: actions that do nothing, so that what
//! is measured is the record. Each is durable; those of the same moment share a commit. Needs `nats-server` and
//! `etcd`; PostgreSQL for its yardstick.
//!
//!     cargo run --release -p controller --example executions_bench -- [executions] [--postgres] [--engine] [--json]
//!
//! Yardsticks and subjects take turns, some rounds; the medians are told. `--postgres`: the executions are kept
//! there instead of in SQLite. `--engine`: only the engine's part. `--json`: one object, for programs.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement"
)]

#[path = "../tests/automation_client/mod.rs"]
mod automation_client;
#[path = "../tests/world/mod.rs"]
mod cluster;
#[path = "../tests/databases/mod.rs"]
mod databases;
#[path = "../tests/automation/world.rs"]
mod world;

use controller::automation::ids::new_id;
use controller::automation::ops::executions::Wanted;
use controller::store::automation::executions::{self, Execution};
use controller::store::query::Filter;
use databases::Database;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use std::time::{Duration, Instant};
use world::World;

/// Clients that ask at the same time.
const CLIENTS: usize = 64;
/// Rows of the list whose first page is timed.
const ROWS: usize = 100_000;
/// Yardsticks and subjects take turns so often.
const ROUNDS: usize = 3;
/// Rows of one measurement of a yardstick.
const INSERTS: usize = 1500;
/// Times that a page is asked for.
const PAGES: usize = 7;

/// Lists that are timed: the name in the answer, and the query.
const LISTS: [(&str, &str); 4] = [
    // As `st2 execution list` asks.
    (
        "list_plain_ms",
        "limit=50&parent=null&sort_desc=True&include_attributes=id,action.ref,context.user,status,start_timestamp,end_timestamp",
    ),
    (
        "list_two_filters_ms",
        "limit=50&status=succeeded&user=admin",
    ),
    (
        "list_action_and_status_ms",
        "limit=50&action=check.noop&status=succeeded&parent=null",
    ),
    ("list_hundred_ms", "limit=100"),
];

/// What was measured, by name, once a round.
#[derive(Default)]
struct Measured(Vec<(&'static str, Vec<f64>)>);

impl Measured {
    fn note(&mut self, name: &'static str, value: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => self.0.push((name, vec![value])),
        }
    }

    fn medians(self) -> serde_json::Map<String, Value> {
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            (values[values.len() / 2] * 100.0).round() / 100.0
        };
        self.0
            .into_iter()
            .map(|(name, values)| (name.to_string(), json!(median(values))))
            .collect()
    }
}

/// Seconds of the processors that this process has used: the servers' are not among them.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11..13]
        .iter()
        .map(|text| text.parse::<f64>().unwrap())
        .sum();
    ticks / 100.0
}

/// A table of the yardstick's own, and a row for it.
const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS yardstick (id TEXT PRIMARY KEY, value TEXT NOT NULL)";
const INSERT: &str = "INSERT INTO yardstick (id, value) VALUES ($1, $2)";

/// Single rows, each committed to disk before the next: rows a second.
async fn inserts(url: &str) -> f64 {
    if let Some(path) = url.strip_prefix("sqlite://") {
        return inserts_into_file(path);
    }
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(TABLE).await.unwrap();
    let begun = Instant::now();
    for _ in 0..INSERTS {
        sqlx::query(INSERT)
            .bind(new_id())
            .bind("x".repeat(200))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    INSERTS as f64 / begun.elapsed().as_secs_f64()
}

fn inserts_into_file(path: &str) -> f64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        .unwrap();
    connection.execute_batch(TABLE).unwrap();
    let begun = Instant::now();
    for _ in 0..INSERTS {
        let mut insert = connection.prepare_cached(INSERT).unwrap();
        insert.execute((new_id(), "x".repeat(200))).unwrap();
    }
    INSERTS as f64 / begun.elapsed().as_secs_f64()
}

/// Waits until the engine has done with everything.
async fn settled(world: &World) {
    let filter = Filter::new().only("deadline IS NOT NULL");
    loop {
        let mut reader = world.cluster.store.read().await.unwrap();
        if filter.count(&mut reader, "executions").await.unwrap() == 0 {
            return;
        }
        drop(reader);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the rules have looked at what the ends of executions fired.
async fn quiet(world: &World) {
    let filter = Filter::new().equals("status", "pending");
    loop {
        let mut reader = world.cluster.store.read().await.unwrap();
        if filter
            .count(&mut reader, "trigger_instances")
            .await
            .unwrap()
            == 0
        {
            return;
        }
        drop(reader);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Accepted before, in one transaction: what the engine does alone, from there to the last end.
async fn engine(world: &World, count: usize, measured: &mut Measured) {
    let automation = &world.node.automation;
    let mut round = automation.round_of("measure", None).await.unwrap();
    for _ in 0..count {
        let wanted = Wanted {
            action: "check.noop".into(),
            username: "admin".into(),
            ..Wanted::default()
        };
        round.accept(wanted).await.unwrap().unwrap();
    }
    round.finish().await.unwrap();
    let (begun, processor) = (Instant::now(), processor_seconds());
    automation.nudge();
    settled(world).await;
    measured.note(
        "engine_per_second",
        count as f64 / begun.elapsed().as_secs_f64(),
    );
    let spent = (processor_seconds() - processor) * 1e6 / count as f64;
    measured.note("engine_processor_us", spent);
    quiet(world).await;
}

/// Requests of many clients, while the engine works.
async fn requests(world: &World, admin: &world::Client, count: usize, measured: &mut Measured) {
    let (begun, processor) = (Instant::now(), processor_seconds());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let admin = admin.clone();
            tokio::spawn(async move {
                for _ in 0..count / CLIENTS {
                    admin.run("check.noop", json!({})).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let asked = (count / CLIENTS * CLIENTS) as f64;
    measured.note("api_per_second", asked / begun.elapsed().as_secs_f64());
    settled(world).await;
    measured.note(
        "api_settled_per_second",
        asked / begun.elapsed().as_secs_f64(),
    );
    quiet(world).await;
    let spent = (processor_seconds() - processor) * 1e6 / asked;
    measured.note("api_processor_us", spent);
}

/// Waits for what PostgreSQL does by itself, once a minute, for a table that has grown: until then it counts by
/// reading rows. Seconds.
async fn vacuumed(url: &str) -> f64 {
    let begun = Instant::now();
    let since = cluster::now() / 1_000_000;
    let mut connection = PgConnection::connect(url).await.unwrap();
    loop {
        let done: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'executions' \
             AND last_autovacuum > to_timestamp($1) AND last_autoanalyze > to_timestamp($1)",
        )
        .bind(since)
        .fetch_one(&mut connection)
        .await
        .unwrap();
        if done == 1 {
            return begun.elapsed().as_secs_f64();
        }
        assert!(begun.elapsed() < Duration::from_secs(240), "no vacuum");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// First pages of a long list.
async fn lists(world: &World, measured: &mut Measured) {
    let filter = Filter::new().equals("status", "succeeded").window(1, 0);
    let mut tx = world.cluster.store.write("measure").await.unwrap();
    let rows = Execution::fetch(&mut tx, filter, "measure").await.unwrap();
    let mut row = rows.into_iter().next().unwrap();
    row.result = Some("x".repeat(4096));
    for number in 0..ROWS {
        row.id = new_id();
        row.liveaction_id = new_id();
        row.started_at += number as i64;
        row.insert(&mut tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    if world.database.kind == "PostgreSQL" {
        measured.note("vacuumed_after_s", vacuumed(&world.database.url).await);
    }
    let client = world.user("reader", &["observer"]).await;
    for (name, query) in LISTS {
        let path = format!("/v1/executions/?{query}");
        for _ in 0..PAGES {
            let begun = Instant::now();
            let reply = client.get(&path).await;
            measured.note(name, begun.elapsed().as_secs_f64() * 1000.0);
            let total: usize = reply.header("x-total-count").unwrap().parse().unwrap();
            assert!(total >= ROWS, "{total} for {query}");
        }
    }
    let mut reader = world.cluster.store.read().await.unwrap();
    for _ in 0..PAGES {
        let begun = Instant::now();
        executions::overdue(&mut reader, cluster::now(), 200)
            .await
            .unwrap();
        measured.note("overdue_ms", begun.elapsed().as_secs_f64() * 1000.0);
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let count = arguments
        .iter()
        .find(|argument| !argument.starts_with("--"))
        .map_or(4000, |text| text.parse().expect("a number of executions"));
    if !cluster::has_servers("executions_bench") {
        return;
    }
    let postgres = Database::durable_postgres().await;
    let file = Database::sqlite().await;
    let yard_file = file.url.clone();
    let postgres_url = postgres.as_ref().map(|database| database.url.clone());
    let (database, kept) = if has("--postgres") {
        let Some(postgres) = postgres else {
            eprintln!("SKIPPED executions_bench on PostgreSQL: initdb is not installed");
            return;
        };
        (postgres, Some(file))
    } else {
        (file, postgres)
    };
    let kind = database.kind;
    let world = World::on(database).await;
    world.action("noop", "noop", json!({}), json!({})).await;
    let admin = world.admin().await;
    let mut measured = Measured::default();
    for _ in 0..ROUNDS {
        if let Some(url) = &postgres_url {
            measured.note("postgres_inserts_per_second", inserts(url).await);
        }
        measured.note("sqlite_inserts_per_second", inserts(&yard_file).await);
        engine(&world, count, &mut measured).await;
        if !has("--engine") {
            requests(&world, &admin, count, &mut measured).await;
        }
    }
    if !has("--engine") {
        lists(&world, &mut measured).await;
    }
    drop(kept);
    let mut told = measured.medians();
    told.insert("database".into(), json!(kind));
    told.insert("executions".into(), json!(count));
    told.insert("clients".into(), json!(CLIENTS));
    told.insert("listed".into(), json!(ROWS));
    told.insert("rounds".into(), json!(ROUNDS));
    if has("--json") {
        println!("{}", Value::Object(told));
        return;
    }
    for (name, value) in told {
        println!("{name:28} {value}");
    }
}
