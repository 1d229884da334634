//! One-off tasks between the API's rows and played agents: each is begun once and ends.

use crate::world::{World, admin, eventually, has_servers};
use controller::ops::Ops;
use controller::ops::tasks::TaskSettings;
use controller::runtime::Runtime;
use controller::store::tasks::Task;
use daemon::Bus;
use proto::bus::catalogue;
use proto::bus::dea::{Advertisement, PlacementProperties};
use proto::bus::health::Heartbeat;
use proto::bus::stream::{RunTask, RunTaskReply, StopTask, TaskEnd, TaskExited};
use proto::ids::{DeaId, TaskId};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What an agent does with orders.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Manner {
    Takes,
    /// Takes them and says nothing.
    TakesMute,
    Refuses(String),
}

struct Books {
    manner: Manner,
    silent: bool,
    total_mb: u64,
    tasks: BTreeSet<TaskId>,
    orders: Vec<RunTask>,
    stops: Vec<StopTask>,
}

/// A played agent that has tasks only.
#[derive(Clone)]
struct Player {
    id: DeaId,
    bus: Bus,
    books: Arc<Mutex<Books>>,
}

impl Player {
    async fn start(world: &World, name: &str, total_mb: u64) -> Player {
        let player = Player {
            id: DeaId::new(name).unwrap(),
            bus: world.connect(name).await,
            books: Arc::new(Mutex::new(Books {
                manner: Manner::Takes,
                silent: false,
                total_mb,
                tasks: BTreeSet::new(),
                orders: Vec::new(),
                stops: Vec::new(),
            })),
        };
        let runs = catalogue::dea_task_run(&player.id).filter();
        let mut runs = player.bus.subscribe(&runs).await.unwrap();
        let stops = catalogue::dea_task_stop(&player.id).filter();
        let mut stops = player.bus.subscribe(&stops).await.unwrap();
        player.bus.flush().await.unwrap();
        let me = player.clone();
        tokio::spawn(async move {
            while let Some(run) = runs.next().await {
                if let Some(reply) = me.hear(&run.message) {
                    run.respond(&reply).await.unwrap();
                }
            }
        });
        let me = player.clone();
        tokio::spawn(async move {
            while let Some(stop) = stops.next().await {
                me.books().stops.push(stop.message);
            }
        });
        let me = player.clone();
        tokio::spawn(async move {
            loop {
                if !me.books().silent {
                    me.show().await;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        player
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    fn hear(&self, order: &RunTask) -> Option<RunTaskReply> {
        let mut books = self.books();
        books.orders.push(order.clone());
        let (accepted, reason) = match &books.manner {
            Manner::Takes | Manner::TakesMute => (true, String::new()),
            Manner::Refuses(reason) => (false, reason.clone()),
        };
        if accepted {
            books.tasks.insert(TaskId::new(order.task.clone()).unwrap());
        }
        (books.manner != Manner::TakesMute).then_some(RunTaskReply { accepted, reason })
    }

    async fn show(&self) {
        let (tasks, orders, total) = {
            let books = self.books();
            (books.tasks.clone(), books.orders.clone(), books.total_mb)
        };
        let used: u64 = orders
            .iter()
            .filter(|order| tasks.iter().any(|task| task.as_str() == order.task))
            .map(|order| (order.task.clone(), order.memory_mb))
            .collect::<std::collections::BTreeMap<_, _>>()
            .values()
            .sum();
        let beat = Heartbeat {
            dea: self.id.clone(),
            droplets: vec![],
            yard_complete: Some(true),
            yard_period: None,
            yard_zone: None,
            yard_tasks: Some(tasks.into_iter().collect()),
        };
        let advertisement = Advertisement {
            id: self.id.clone(),
            stacks: vec!["host".into()],
            available_memory: total.saturating_sub(used),
            available_disk: 100_000,
            app_id_to_count: Default::default(),
            placement_properties: PlacementProperties {
                zone: "default".into(),
            },
            url: None,
            yard_total_memory: Some(total),
            yard_total_disk: Some(100_000),
        };
        let _ = self.bus.publish(&catalogue::dea_heartbeat(), &beat).await;
        let topic = catalogue::dea_advertise();
        let _ = self.bus.publish(&topic, &advertisement).await;
    }

    fn orders_of(&self, task: &str) -> usize {
        let books = self.books();
        books
            .orders
            .iter()
            .filter(|order| order.task == task)
            .count()
    }

    fn forget(&self, task: &str) {
        self.books().tasks.retain(|id| id.as_str() != task);
    }

    async fn is_told_to_stop(&self, task: &str) {
        eventually("the agent is told to stop it", async || {
            let books = self.books();
            match books.stops.iter().any(|stop| stop.task == task) {
                true => Ok(()),
                false => Err(format!("{:?}", books.stops)),
            }
        })
        .await
    }
}

async fn ask(ops: &Ops, memory_mb: u64) -> String {
    let settings = TaskSettings {
        command: Some("rake".into()),
        name: Some("nightly".into()),
        memory_mb: Some(memory_mb),
        disk_mb: Some(100),
        ..TaskSettings::default()
    };
    ops.create_task(&admin(), "a", &settings)
        .await
        .unwrap()
        .guid
}

async fn row(world: &World, task: &str) -> Task {
    let mut reader = world.store.read().await.unwrap();
    Task::find(&mut reader, task).await.unwrap().unwrap()
}

async fn comes_to(world: &World, runtime: &Runtime, task: &str, state: &str) -> Task {
    eventually(&format!("it is {state}"), async || {
        let row = row(world, task).await;
        match row.state == state {
            true => Ok(row),
            false => Err(format!("{row:?} {}", runtime.status().await)),
        }
    })
    .await
}

async fn waits(world: &World, task: &str, for_what: &str) {
    eventually("it says what it waits for", async || {
        let row = row(world, task).await;
        match row.waits_for.as_deref() {
            Some(why) if why.contains(for_what) => Ok(()),
            _ => Err(format!("{row:?}")),
        }
    })
    .await
}

fn exited(task: &str, end: TaskEnd, status: i32) -> TaskExited {
    TaskExited {
        task: task.into(),
        kind: "app".into(),
        dea: "dea-1".into(),
        app: "a".into(),
        end: end.into(),
        exit_status: status,
        description: format!("exited with status {status}"),
        ..TaskExited::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_ordered_once_and_ends_once() {
    if !has_servers("a_task_is_ordered_once_and_ends_once") {
        return;
    }
    let world = World::start().await;
    let (runtime, deps) = world.controller("controller-1").await;
    let ops = world.ops(&runtime, &deps);
    let agent = Player::start(&world, "dea-1", 4096).await;
    world.app("a", 0, 256).await;
    let task = ask(&ops, 64).await;
    let running = comes_to(&world, &runtime, &task, "RUNNING").await;
    assert_eq!(running.dea.as_deref(), Some("dea-1"));
    assert_eq!(agent.orders_of(&task), 1);
    let order = agent.books().orders[0].clone();
    assert_eq!(order.command, ["rake"]);
    assert_eq!((order.memory_mb, order.disk_mb), (64, 100));
    assert_eq!(order.log_source_type, "APP/TASK/nightly");
    assert_eq!(order.log_instance, "1");
    assert!(order.epoch > 0);
    let droplet = order.droplet.unwrap();
    assert!(
        droplet.url.contains("/internal/blobs/droplets/2222"),
        "{}",
        droplet.url
    );
    assert!(
        order
            .environment
            .iter()
            .any(|line| line == "GREETING=hello")
    );
    let application = order
        .environment
        .iter()
        .find(|line| line.starts_with("VCAP_APPLICATION="));
    assert!(application.unwrap().contains("\"space_name\":\"default\""));

    for status in [3, 0] {
        let told = exited(&task, TaskEnd::Exited, status);
        runtime.task_ended(&told).await.unwrap();
    }
    let ended = row(&world, &task).await;
    assert_eq!(
        (ended.state.as_str(), ended.exit_status),
        ("FAILED", Some(3))
    );
    assert_eq!(
        ended.failure_reason.as_deref(),
        Some("exited with status 3")
    );
    let unknown = exited("nobody", TaskEnd::Exited, 0);
    runtime
        .task_ended(&unknown)
        .await
        .expect("nobody waits for it");
    agent.forget(&task);

    let other = ask(&ops, 64).await;
    comes_to(&world, &runtime, &other, "RUNNING").await;
    let told = exited(&other, TaskEnd::Exited, 0);
    runtime.task_ended(&told).await.unwrap();
    assert_eq!(row(&world, &other).await.state, "SUCCEEDED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_nobody_takes_waits_with_the_reason() {
    if !has_servers("a_task_that_nobody_takes_waits_with_the_reason") {
        return;
    }
    let world = World::start().await;
    let (runtime, deps) = world.controller("controller-1").await;
    let ops = world.ops(&runtime, &deps);
    world.app("a", 0, 256).await;
    let task = ask(&ops, 2048).await;
    waits(&world, &task, "no agent has advertised").await;
    let small = Player::start(&world, "dea-1", 1024).await;
    waits(&world, &task, "needs 2048 MB memory").await;
    assert_eq!(row(&world, &task).await.state, "PENDING");
    assert_eq!(small.orders_of(&task), 0);
    let large = Player::start(&world, "dea-2", 4096).await;
    let running = comes_to(&world, &runtime, &task, "RUNNING").await;
    assert_eq!(
        (running.dea.as_deref(), running.waits_for),
        (Some("dea-2"), None)
    );

    // Both refuse; then one changes its mind.
    for agent in [&small, &large] {
        agent.books().manner = Manner::Refuses("it is painted".into());
    }
    let task = ask(&ops, 64).await;
    waits(&world, &task, "did not take it: it is painted").await;
    let refused = row(&world, &task).await;
    assert_eq!(refused.state, "PENDING");
    for agent in [&small, &large] {
        agent.books().manner = Manner::Takes;
    }
    comes_to(&world, &runtime, &task, "RUNNING").await;
    let taken = [&small, &large]
        .iter()
        .filter(|agent| agent.books().tasks.iter().any(|id| id.as_str() == task))
        .count();
    assert_eq!(taken, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_finds_no_room_in_time_fails() {
    if !has_servers("a_task_that_finds_no_room_in_time_fails") {
        return;
    }
    let world = World::start().await;
    world
        .set("controller/tasks/pending_timeout", "\"2s\"")
        .await;
    let (runtime, deps) = world.controller("controller-1").await;
    let ops = world.ops(&runtime, &deps);
    eventually("the setting arrives", async || {
        let timeout = ops.settings().duration("controller/tasks/pending_timeout");
        match timeout == Duration::from_secs(2) {
            true => Ok(()),
            false => Err(format!("{timeout:?}")),
        }
    })
    .await;
    world.app("a", 0, 256).await;
    let task = ask(&ops, 64).await;
    let ended = comes_to(&world, &runtime, &task, "FAILED").await;
    let why = ended.failure_reason.unwrap();
    assert!(why.contains("in time: no agent has advertised"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_task_is_stopped_until_it_has_ended() {
    if !has_servers("a_cancelled_task_is_stopped_until_it_has_ended") {
        return;
    }
    let world = World::start().await;
    let (runtime, deps) = world.controller("controller-1").await;
    let ops = world.ops(&runtime, &deps);
    let agent = Player::start(&world, "dea-1", 4096).await;
    world.app("a", 0, 256).await;
    let task = ask(&ops, 64).await;
    comes_to(&world, &runtime, &task, "RUNNING").await;
    ops.cancel_task(&admin(), &task).await.unwrap();
    agent.is_told_to_stop(&task).await;
    agent.books().stops.clear();
    agent.is_told_to_stop(&task).await;
    let told = exited(&task, TaskEnd::Stopped, 137);
    runtime.task_ended(&told).await.unwrap();
    let ended = row(&world, &task).await;
    assert_eq!(ended.state, "FAILED");
    assert_eq!(ended.failure_reason.as_deref(), Some("task was cancelled"));

    // One that no row wants: its app was deleted, say.
    agent.books().stops.clear();
    agent.is_told_to_stop(&task).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_a_lost_agent_fails_and_is_begun_nowhere_else() {
    if !has_servers("a_task_of_a_lost_agent_fails_and_is_begun_nowhere_else") {
        return;
    }
    let world = World::start().await;
    world.set("health-manager/agent/lost_after", "\"6s\"").await;
    let (runtime, deps) = world.controller("controller-1").await;
    let ops = world.ops(&runtime, &deps);
    let lost = Player::start(&world, "dea-1", 4096).await;
    world.app("a", 0, 256).await;
    let running = ask(&ops, 64).await;
    comes_to(&world, &runtime, &running, "RUNNING").await;
    // It has this one too, for all anybody knows.
    lost.books().manner = Manner::TakesMute;
    let mute = ask(&ops, 64).await;
    eventually("the order is there", async || match lost.orders_of(&mute) {
        0 => Err("not yet".to_string()),
        _ => Ok(()),
    })
    .await;
    lost.books().silent = true;
    let other = Player::start(&world, "dea-2", 4096).await;
    for task in [&running, &mute] {
        let ended = comes_to(&world, &runtime, task, "FAILED").await;
        assert_eq!(
            ended.failure_reason.as_deref(),
            Some("the agent dea-1 was lost")
        );
        assert_eq!(ended.exit_status, None);
    }
    assert!(other.books().orders.is_empty());
    // It comes back and still has them.
    lost.books().silent = false;
    lost.is_told_to_stop(&running).await;
    lost.is_told_to_stop(&mute).await;
    let told = exited(&running, TaskEnd::Exited, 0);
    runtime.task_ended(&told).await.unwrap();
    assert_eq!(
        row(&world, &running).await.state,
        "FAILED",
        "what was told stays"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_its_agent_has_forgotten_fails() {
    if !has_servers("a_task_that_its_agent_has_forgotten_fails") {
        return;
    }
    let world = World::start().await;
    world.set("health-manager/agent/lost_after", "\"6s\"").await;
    let (runtime, deps) = world.controller("controller-1").await;
    let ops = world.ops(&runtime, &deps);
    let agent = Player::start(&world, "dea-1", 4096).await;
    world.app("a", 0, 256).await;
    let (kept, forgotten) = (ask(&ops, 64).await, ask(&ops, 64).await);
    comes_to(&world, &runtime, &kept, "RUNNING").await;
    comes_to(&world, &runtime, &forgotten, "RUNNING").await;
    agent.forget(&forgotten);
    let ended = comes_to(&world, &runtime, &forgotten, "FAILED").await;
    let why = ended.failure_reason.unwrap();
    assert_eq!(why, "the agent dea-1 does not have it any more");
    assert_eq!(row(&world, &kept).await.state, "RUNNING");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_leader_asks_the_agent_that_was_written_down() {
    if !has_servers("the_next_leader_asks_the_agent_that_was_written_down") {
        return;
    }
    let world = World::start().await;
    let (runtime, deps) = world.controller("controller-1").await;
    let ops = world.ops(&runtime, &deps);
    let first = Player::start(&world, "dea-1", 4096).await;
    first.books().manner = Manner::TakesMute;
    world.app("a", 0, 256).await;
    let task = ask(&ops, 64).await;
    eventually("the order is there", async || {
        match first.orders_of(&task) {
            0 => Err("not yet".to_string()),
            _ => Ok(()),
        }
    })
    .await;
    assert_eq!(row(&world, &task).await.state, "PENDING");
    let second = Player::start(&world, "dea-2", 16384).await;
    deps.tasks.stop(Duration::from_secs(2)).await;
    drop((ops, runtime, deps));
    first.books().manner = Manner::Takes;
    let (runtime, _deps) = world.controller("controller-2").await;
    let running = comes_to(&world, &runtime, &task, "RUNNING").await;
    assert_eq!(running.dea.as_deref(), Some("dea-1"));
    assert!(
        second.books().orders.is_empty(),
        "the roomier one was not asked"
    );
}
