//! The stager on a real bus, with a controller and an agent played by the test.

#[path = "../../daemon/tests/servers/mod.rs"]
mod servers;

use daemon::{Bootstrap, Bus, ComponentId, Deps, Role, Running, Sockets};
use proto::bus::catalogue::{self, QUEUE_CONTROLLERS};
use proto::bus::staging::{
    Acknowledged, StagingCompleted, StagingOutcome, StagingReply, StagingRequest,
};
use proto::bus::stream::{Ack, RunTask, RunTaskReply, TaskEnd, TaskExited};
use proto::ids::{DeaId, StagerQueue};
use serde_json::json;
use servers::{Nats, eventually, free_port, has};
use stager::Config;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

struct World {
    _nats: Nats,
    _folder: tempfile::TempDir,
    controller: Bus,
    dea: Bus,
    running: Running,
}

async fn world() -> World {
    let nats = Nats::start(&[
        (Role::Controller, "controller-1"),
        (Role::Dea, "dea-1"),
        (Role::Stager, "stager-1"),
    ]);
    let folder = tempfile::tempdir().expect("temporary folder");
    let bootstrap: Bootstrap = serde_json::from_value(json!({
        "role": "stager", "component": "stager-1", "index": 1,
        "cluster": {"id": "c0ffee12", "domain": "yard.internal"},
        "home": folder.path(), "folder": folder.path(), "run": folder.path(),
        "bus": nats.config("stager-1"),
        // The store is away: stagings go on with what is the default.
        "store": {"endpoints": [format!("http://127.0.0.1:{}", free_port())], "user": "", "password": ""},
        "admin": {"address": format!("127.0.0.1:{}", free_port()), "user": "status", "password": "secret"},
        "settings": {},
    }))
    .expect("a bootstrap");
    let connect = async |user: &str| {
        let bus = Bus::connect(&nats.config(user), &ComponentId::new(user).expect("id"))
            .await
            .expect("an address");
        eventually(SOON, async || {
            if bus.status().borrow().connected {
                Ok(())
            } else {
                Err(format!("{user} is not connected"))
            }
        })
        .await;
        bus
    };
    let (controller, dea) = (connect("controller-1").await, connect("dea-1").await);
    let deps = Deps::build(bootstrap, Sockets::none())
        .await
        .expect("built");
    let readiness = deps.readiness();
    let config = Config {
        queue: StagerQueue::new("default").expect("id"),
    };
    let running = stager::start(config, deps).await.expect("started");
    eventually(SOON, async || match readiness.waiting() {
        waiting if waiting.keys().all(|part| *part == "store") => Ok(()),
        waiting => Err(format!("{waiting:?}")),
    })
    .await;
    World {
        _nats: nats,
        _folder: folder,
        controller,
        dea,
        running,
    }
}

fn request() -> StagingRequest {
    serde_json::from_value(json!({
        "app_id": "app-1", "task_id": "build-1", "stack": "host", "properties": {"environment": ["A=1"]},
        "download_uri": "http://c/p", "upload_uri": "http://c/d",
        "memory_limit": 1024, "disk_limit": 4096, "yard_dea": "dea-1", "yard_timeout": 900,
    }))
    .expect("a request")
}

async fn ask(world: &World, request: &StagingRequest) -> StagingReply {
    let topic = catalogue::stager(&StagerQueue::new("default").expect("id"));
    world
        .controller
        .request(&topic, request, SOON)
        .await
        .expect("an answer")
}

#[tokio::test]
async fn a_request_becomes_a_task_on_the_chosen_agent() {
    if !has(
        "a_request_becomes_a_task_on_the_chosen_agent",
        "nats-server",
    ) {
        return;
    }
    let world = world().await;
    let reply = ask(&world, &request()).await;
    assert!(
        reply
            .error
            .expect("no agent listens")
            .message
            .contains("dea-1 is not there any more")
    );

    let mut tasks = world
        .dea
        .subscribe(&catalogue::dea_task_run(&DeaId::new("dea-1").expect("id")).filter())
        .await
        .expect("subscribed");
    world.dea.flush().await.expect("flushed");
    let agent = async {
        let received = tasks.next().await.expect("a task");
        received
            .respond(&RunTaskReply {
                accepted: true,
                reason: String::new(),
            })
            .await
            .expect("answered");
        let refused = tasks.next().await.expect("a task");
        refused
            .respond(&RunTaskReply {
                accepted: false,
                reason: "it is full".into(),
            })
            .await
            .expect("answered");
        received.message
    };
    let controller = async { (ask(&world, &request()).await, ask(&world, &request()).await) };
    let (task, (taken, refused)): (RunTask, _) = tokio::join!(agent, controller);
    assert_eq!(
        (task.task.as_str(), task.kind.as_str(), task.memory_mb),
        ("build-1", "staging", 1024)
    );
    assert_eq!(taken.error, None);
    let refused = refused.error.expect("refused");
    assert_eq!(
        refused.kind, "InsufficientResources",
        "another agent may be tried"
    );
    assert!(refused.message.contains("refused to stage: it is full"));

    let mut unknown = request();
    unknown.properties.buildpacks = vec!["cobol".into()];
    assert!(
        ask(&world, &unknown)
            .await
            .error
            .expect("refused")
            .message
            .contains("there is no buildpack cobol")
    );
    world.running.stop(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn an_agent_may_forget_only_what_the_controller_has() {
    if !has(
        "an_agent_may_forget_only_what_the_controller_has",
        "nats-server",
    ) {
        return;
    }
    let world = world().await;
    let end = TaskExited {
        task: "build-1".into(),
        kind: "staging".into(),
        dea: "dea-1".into(),
        app: "app-1".into(),
        end: TaskEnd::Timeout.into(),
        ..Default::default()
    };
    let tell = async |within| {
        world
            .dea
            .request::<_, Ack>(&catalogue::staging_task_exited(), &end, within)
            .await
    };
    assert!(
        tell(Duration::from_millis(500)).await.is_err(),
        "no controller is there, nothing may be acknowledged"
    );

    let filter = catalogue::staging_completed().shared(QUEUE_CONTROLLERS);
    let mut completions = world
        .controller
        .subscribe(&filter)
        .await
        .expect("subscribed");
    world.controller.flush().await.expect("flushed");
    let controller = async {
        let first = completions.next().await.expect("a completion");
        first
            .respond(&Acknowledged { ok: true })
            .await
            .expect("answered");
        let completed: StagingCompleted = first.message;
        // Repetitions come until the agent has seen an acknowledgement.
        loop {
            let again = completions.next().await.expect("a completion");
            again
                .respond(&Acknowledged { ok: true })
                .await
                .expect("answered");
            if again.message.task_id.as_str() == "last" {
                return completed;
            }
        }
    };
    let agent = async {
        eventually(SOON, async || {
            tell(Duration::from_secs(2))
                .await
                .map_err(|error| error.to_string())
        })
        .await;
        let last = TaskExited {
            task: "last".into(),
            ..end.clone()
        };
        let ack: Ack = world
            .dea
            .request(&catalogue::staging_task_exited(), &last, SOON)
            .await
            .expect("acknowledged");
        assert!(ack.ok);
    };
    let (completed, ()) = tokio::join!(controller, agent);
    match completed.outcome {
        StagingOutcome::Failed(error) => assert_eq!(error.kind, "StagingTimeExpired"),
        StagingOutcome::Staged(droplet) => panic!("staged: {droplet:?}"),
    }
    // What belongs to no build would be repeated for ever if it were not acknowledged.
    let nonsense = TaskExited {
        task: "a b".into(),
        ..end.clone()
    };
    let ack: Ack = world
        .dea
        .request(&catalogue::staging_task_exited(), &nonsense, SOON)
        .await
        .expect("acknowledged");
    assert!(ack.ok);
    world.running.stop(Duration::from_secs(2)).await;
}
