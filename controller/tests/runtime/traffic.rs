//! What routers tell becomes events, once, whoever leads.

use crate::databases::Database;
use crate::world::{World, eventually, has_servers};
use controller::domain::traffic::{Subject, Told};
use controller::store::{facts, platform_events, told_traffic};
use daemon::Bus;
use proto::bus::catalogue;
use proto::bus::stream::{RouteTraffic, RouterTraffic};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Requests and errors of an app in each report.
type Answers = Arc<Mutex<BTreeMap<&'static str, (u64, u64)>>>;

/// A played router: reports until the test ends.
async fn router(world: &World, name: &str, answers: &Answers) -> tokio::task::JoinHandle<()> {
    let (bus, answers): (Bus, Answers) = (world.connect(name).await, answers.clone());
    let mut report = RouterTraffic {
        router: name.into(),
        run: "a".into(),
        ..RouterTraffic::default()
    };
    tokio::spawn(async move {
        loop {
            report.number += 1;
            report.routes = answers
                .lock()
                .unwrap()
                .iter()
                .map(|(app, (requests, errors))| RouteTraffic {
                    route: format!("{app}.yard.internal"),
                    app: app.to_string(),
                    requests: *requests,
                    errors: *errors,
                    open: 0,
                })
                .collect();
            // Twice: the second counts for nothing.
            for _ in 0..2 {
                let sent = bus.publish(&catalogue::router_traffic(), &report).await;
                if sent.is_err() {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
}

async fn told(world: &World, trigger: &str, app: &str) -> Vec<Value> {
    let mut reader = world.store.read().await.unwrap();
    facts::after(&mut reader, 0, 10_000)
        .await
        .unwrap()
        .iter()
        .filter_map(|fact| platform_events::read(&fact.payload))
        .filter(|(name, payload)| name == trigger && payload["app"]["name"] == app)
        .map(|(_, payload)| payload)
        .collect()
}

async fn until_told(world: &World, trigger: &str, app: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} of {trigger} about {app}"), async || {
        let told = told(world, trigger, app).await;
        if told.len() == count {
            Ok(told)
        } else {
            Err(format!("{told:?}"))
        }
    })
    .await
}

async fn row(world: &World, app: &str) -> Option<Told> {
    let mut reader = world.store.read().await.unwrap();
    let rows = told_traffic::all(&mut reader).await.unwrap();
    rows.get(&Subject::App(app.into())).copied()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_and_rates_are_told_once_whoever_leads() {
    if !has_servers("errors_and_rates_are_told_once_whoever_leads") {
        return;
    }
    let database = Database::sqlite().await;
    let world = World::with_store(database.store.clone()).await;
    world.set("controller/traffic/window", "\"2s\"").await;
    world.set("router/traffic/period", "\"500ms\"").await;
    for app in ["a", "b"] {
        world.app(app, 0, 64).await;
    }
    let answers: Answers = Arc::default();
    answers.lock().unwrap().insert("a", (15, 6));
    let first = world.controller_apart("controller-1", &database.url);
    let _routers = [
        router(&world, "router-1", &answers).await,
        router(&world, "router-2", &answers).await,
    ];
    let errors = until_told(&world, "yard.route.errors", "a", 1).await;
    assert_eq!(errors[0]["host"], "a.yard.internal");
    assert_eq!(errors[0]["rate"], 0.4);
    assert_eq!(errors[0]["organization"]["name"], "default");
    assert!(errors[0]["requests"].as_u64() >= Some(20), "{errors:?}");
    let rates = eventually("a request rate", async || {
        let rates = told(&world, "yard.route.rate", "a").await;
        if rates.is_empty() {
            Err("none")
        } else {
            Ok(rates)
        }
        .map_err(str::to_string)
    })
    .await;
    assert_eq!(rates[0]["previous_requests_per_second"], 0.0);
    assert!(rates[0]["requests_per_second"].as_f64() >= Some(1.0));
    for kind in automation::triggers::builtin() {
        for payload in told(&world, &kind.reference(), "a").await {
            assert_eq!(kind.check_payload(&payload), Ok(()));
        }
    }

    first.kill();
    let (_second, _deps) = world.controller("controller-2").await;
    // Once it has told of b, it has looked at a.
    answers.lock().unwrap().insert("b", (15, 15));
    until_told(&world, "yard.route.errors", "b", 1).await;
    assert_eq!(told(&world, "yard.route.errors", "a").await.len(), 1);
    assert!(row(&world, "a").await.is_some_and(|told| told.erring));

    answers.lock().unwrap().insert("a", (15, 0));
    eventually("the errors have ended", async || {
        match row(&world, "a").await {
            Some(told) if told.erring => Err("not yet".to_string()),
            _ => Ok(()),
        }
    })
    .await;
    answers.lock().unwrap().insert("a", (15, 15));
    until_told(&world, "yard.route.errors", "a", 2).await;
    assert_eq!(told(&world, "yard.route.errors", "b").await.len(), 1);

    for app in ["a", "b"] {
        eventually("a rate that was told", async || {
            row(&world, app)
                .await
                .filter(|told| told.millirequests > 0)
                .ok_or_else(|| "not yet".to_string())
        })
        .await;
    }
    // Without requests it is told that there are none, and nothing is left to remember.
    answers.lock().unwrap().clear();
    for app in ["a", "b"] {
        eventually("nothing stands of it", async || {
            match row(&world, app).await {
                Some(told) => Err(format!("{told:?}")),
                None => Ok(()),
            }
        })
        .await;
        let rates = told(&world, "yard.route.rate", app).await;
        assert_eq!(rates.last().unwrap()["requests_per_second"], 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_app_leaves_no_row_and_no_event() {
    if !has_servers("a_deleted_app_leaves_no_row_and_no_event") {
        return;
    }
    let world = World::start().await;
    world.set("controller/traffic/window", "\"2s\"").await;
    world.set("router/traffic/period", "\"500ms\"").await;
    world.app("a", 0, 64).await;
    let answers: Answers = Arc::default();
    answers
        .lock()
        .unwrap()
        .extend([("a", (15, 15)), ("gone", (15, 15))]);
    let (_runtime, _deps) = world.controller("controller-1").await;
    let _router = router(&world, "router-1", &answers).await;
    until_told(&world, "yard.route.errors", "a", 1).await;
    eventually("the rate of a", async || {
        row(&world, "a")
            .await
            .filter(|told| told.millirequests > 0)
            .ok_or_else(|| "not yet".to_string())
    })
    .await;
    let mut reader = world.store.read().await.unwrap();
    let rows = told_traffic::all(&mut reader).await.unwrap();
    assert_eq!(
        rows.keys().collect::<Vec<_>>(),
        [&Subject::App("a".into())],
        "nothing of the app that is not there"
    );
}
