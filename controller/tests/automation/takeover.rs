//! Two controllers over one PostgreSQL: both take in work, one leads, and when that is killed or the cluster
//! store moves its own leader, nothing is lost, doubled or left without an end.

use crate::cluster::{Etcd, eventually, now};
use crate::world::{Client, World, leads};
use controller::store::automation::executions::Execution;
use controller::store::automation::trigger_instances::TriggerInstance;
use controller::store::query::Filter;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SECOND: i64 = 1_000_000;

async fn rule(client: &Client, name: &str, trigger: Value, parameters: Value) {
    let rule = json!({
        "name": name, "pack": "check", "enabled": true, "trigger": trigger, "criteria": {},
        "action": {"ref": "check.noop", "parameters": parameters},
    });
    client.post("/v1/rules", rule).await.expect(201);
}

/// Callers of the hook `shared` at several controllers; each id is sent once.
struct Callers {
    stop: Arc<AtomicBool>,
    workers: Vec<tokio::task::JoinHandle<Sent>>,
}

#[derive(Default)]
struct Sent {
    acknowledged: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

impl Callers {
    fn start(token: &str, addresses: &[SocketAddr]) -> Callers {
        let stop = Arc::new(AtomicBool::new(false));
        let workers = addresses
            .iter()
            .enumerate()
            .map(|(index, address)| {
                let (stop, token) = (stop.clone(), token.to_string());
                let url = format!("http://{address}/v1/webhooks/shared");
                tokio::spawn(async move {
                    let http = reqwest::Client::builder().no_proxy().build().unwrap();
                    let mut sent = Sent::default();
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let id = format!("{index}-{number}");
                        number += 1;
                        let request = http.post(&url).header("x-auth-token", &token);
                        let request = request.timeout(Duration::from_secs(20));
                        let answer = request.json(&json!({"id": id})).send().await;
                        let is_taken = answer.is_ok_and(|answer| answer.status() == 202);
                        match is_taken {
                            true => sent.acknowledged.insert(id),
                            false => sent.unknown.insert(id),
                        };
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    sent
                })
            })
            .collect();
        Callers { stop, workers }
    }

    async fn stop(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for worker in self.workers {
            all.push(worker.await.unwrap());
        }
        all
    }
}

async fn instances(world: &World, kind: &str) -> Vec<TriggerInstance> {
    let filter = Filter::new()
        .equals("trigger_type", kind)
        .order_by("occurred_at", "id", false);
    let mut reader = world.cluster.store.read().await.unwrap();
    TriggerInstance::fetch(&mut reader, filter, "test")
        .await
        .unwrap()
}

async fn executions_of(world: &World, rule: &str) -> Vec<Execution> {
    let filter = Filter::new()
        .equals("rule_ref", rule)
        .order_by("started_at", "id", false);
    let mut reader = world.cluster.store.read().await.unwrap();
    Execution::fetch(&mut reader, filter, "test").await.unwrap()
}

/// A rule on the hook that the callers call, and its action.
async fn shared_rule(world: &World, admin: &Client) {
    let parameters = json!({"id": {"type": "string"}});
    world.action("noop", "noop", parameters, json!({})).await;
    let hook = json!({"type": "core.st2.webhook", "parameters": {"url": "shared"}});
    let id = json!({"id": "{{ trigger.body.id }}"});
    rule(admin, "shared", hook, id).await;
}

/// How many executions of the hook have ended.
async fn ended(world: &World) -> usize {
    let rows = executions_of(world, "check.shared").await;
    rows.iter().filter(|row| row.ended_at.is_some()).count()
}

/// Waits until all is done, and compares what was promised with what came of it.
async fn balance(world: &World, sent: &[Sent]) {
    eventually("everything has an end", async || {
        let mut reader = world.cluster.store.read().await.unwrap();
        // The engine has not done with those: not ended, or ended and not concluded.
        let open = Filter::new().only("deadline IS NOT NULL");
        let open = open.count(&mut reader, "executions").await.unwrap();
        drop(reader);
        let waiting = instances(world, "core.st2.webhook").await;
        let waiting = waiting
            .iter()
            .filter(|row| row.status != "processed")
            .count();
        match (open, waiting) {
            (0, 0) => Ok(()),
            left => Err(format!("{left:?}")),
        }
    })
    .await;
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in instances(world, "core.st2.webhook").await {
        let id = row.payload["body"]["id"].as_str().unwrap().to_string();
        ids.entry(id).or_default().push(row.id);
    }
    let mut runs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in executions_of(world, "check.shared").await {
        let instance = row.trigger_instance.clone().unwrap();
        runs.entry(instance).or_default().push(row.status);
    }
    for id in sent.iter().flat_map(|sent| &sent.acknowledged) {
        assert!(ids.contains_key(id), "{id} was acknowledged and is lost");
    }
    for (id, found) in &ids {
        assert_eq!(found.len(), 1, "{id} was recorded more than once");
        let is_known = sent
            .iter()
            .any(|sent| sent.acknowledged.contains(id) || sent.unknown.contains(id));
        assert!(is_known, "nobody sent {id}");
        let run = runs.remove(&found[0]);
        assert_eq!(run.as_deref(), Some(&["succeeded".to_string()][..]), "{id}");
    }
    assert!(runs.is_empty(), "executions of nothing: {runs:?}");
}

/// When the firings of the timer were planned, in microseconds; each has one execution.
async fn ticks(world: &World) -> Vec<i64> {
    let rows = instances(world, "core.st2.IntervalTimer").await;
    let judged: BTreeSet<&str> = rows
        .iter()
        .filter(|row| row.status == "processed")
        .map(|row| row.id.as_str())
        .collect();
    let runs = executions_of(world, "check.each_second").await;
    let mut seen = BTreeSet::new();
    for run in &runs {
        let instance = run.trigger_instance.clone().unwrap();
        assert!(seen.insert(instance), "a tick ran twice");
    }
    assert!(judged.iter().all(|id| seen.contains(*id)));
    rows.iter()
        .map(|row| {
            let source = row.source.as_deref().unwrap();
            let millis: i64 = source.rsplit(':').next().unwrap().parse().unwrap();
            millis * 1000
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_controllers_share_the_work_and_one_goes_on_alone() {
    let test = "two_controllers_share_the_work_and_one_goes_on_alone";
    let Some((world, leader)) = World::with_doomed_leader(test).await else {
        return;
    };
    let admin = world.admin().await;
    shared_rule(&world, &admin).await;
    let timer =
        json!({"type": "core.st2.IntervalTimer", "parameters": {"unit": "seconds", "delta": 1}});
    rule(&admin, "each_second", timer, json!({"id": "tick"})).await;
    // The one that does not lead takes in executions as well.
    let direct = admin.run("check.noop", json!({"id": "direct"})).await;
    admin.until(&direct, "succeeded").await;

    let addresses = [leader.address, world.node.address];
    let callers = Callers::start(&admin.token, &addresses);
    eventually(
        "the timer fires under the first leader",
        async || match ticks(&world).await.len() {
            0..3 => Err("not yet".to_string()),
            _ => Ok(()),
        },
    )
    .await;
    assert!(world.node.automation.epoch.borrow().is_none());
    leader.kill();
    let killed_at = now();
    leads(&world.node.automation).await;
    let led_at = now();
    eventually("the timer fires under the second leader", async || {
        let later = ticks(&world).await.into_iter().filter(|at| *at > led_at);
        match later.count() {
            0..3 => Err("not yet".to_string()),
            _ => Ok(()),
        }
    })
    .await;
    let sent = callers.stop().await;
    for (caller, sent) in sent.iter().enumerate() {
        let count = sent.acknowledged.len();
        assert!(count > 0, "controller {caller} took in nothing");
    }
    balance(&world, &sent).await;

    let ticks = ticks(&world).await;
    for pair in ticks.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(
            apart > 0 && apart % SECOND == 0,
            "ticks {apart} microseconds apart"
        );
    }
    let made_up = ticks
        .iter()
        .filter(|at| (killed_at..led_at).contains(*at))
        .count();
    assert!(
        made_up >= 1,
        "what was missed while nobody led is made up for: {ticks:?}, {killed_at} to {led_at}"
    );
}

/// The answer of one member of the cluster store.
async fn ask(member: &Etcd, path: &str, body: Value) -> Result<Value, String> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/v3/maintenance/{path}", member.endpoint());
    let request = http.post(url).timeout(Duration::from_secs(5)).json(&body);
    let answer = request.send().await.map_err(|error| error.to_string())?;
    answer.json().await.map_err(|error| error.to_string())
}

/// Which member leads, and the names that the members have for each other.
async fn store_leader(members: &[Etcd]) -> Result<(usize, Vec<String>), String> {
    let mut ids = Vec::new();
    let mut leader = None;
    for (index, member) in members.iter().enumerate() {
        let status = ask(member, "status", json!({})).await?;
        let id = status["header"]["member_id"].as_str().unwrap_or_default();
        if !id.is_empty() && status["leader"] == id {
            leader = Some(index);
        }
        ids.push(id.to_string());
    }
    Ok((leader.ok_or("no member leads")?, ids))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_cluster_store_may_move_its_leader() {
    let test = "the_cluster_store_may_move_its_leader";
    let Some((mut world, other)) = World::with_doomed_leader(test).await else {
        return;
    };
    let admin = world.admin().await;
    shared_rule(&world, &admin).await;
    let callers = Callers::start(&admin.token, &[other.address, world.node.address]);

    for _ in 0..3 {
        let (from, ids) = eventually("a member leads", async || {
            store_leader(&world.cluster.etcd).await
        })
        .await;
        let to = (from + 1) % ids.len();
        let body = json!({"targetID": ids[to]});
        ask(&world.cluster.etcd[from], "transfer-leadership", body)
            .await
            .unwrap();
        eventually("the leader has moved", async || {
            match store_leader(&world.cluster.etcd).await? {
                (leader, _) if leader == from => Err("not yet".to_string()),
                _ => Ok(()),
            }
        })
        .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (leader, _) = store_leader(&world.cluster.etcd).await.unwrap();
    world.cluster.etcd[leader].down();
    // The two that are left find a leader, and one of the controllers leads with their word.
    let before = ended(&world).await;
    eventually("work goes on with two members", async || {
        match ended(&world).await {
            count if count > before + 20 => Ok(()),
            count => Err(format!("{count} executions, {before} before")),
        }
    })
    .await;
    world.cluster.etcd[leader].up();
    let sent = callers.stop().await;
    for sent in &sent {
        assert!(!sent.acknowledged.is_empty());
        assert!(
            sent.unknown.is_empty(),
            "calls do not need the cluster store"
        );
    }
    balance(&world, &sent).await;
}
