//! Rolling deployments.

use crate::world::{self, Agent, Behaviour, World, eventually, has_servers, now};
use crate::{databases, runs};
use controller::domain::placement::PlacementRequest;
use controller::ops::Refusal;
use controller::ops::deployments::{Brings, NewDeployment};
use controller::runtime::Runtime;
use controller::store::Json;
use controller::store::apps::App;
use controller::store::deployments::{self, Deployment, Previous};
use controller::store::facts::{self, Kind};
use controller::store::processes::{self, Process};
use proto::bus::catalogue;
use proto::bus::health::{HealthOperation, HealthRequest};
use proto::ids::{ProcessGuid, Version};
use std::collections::{BTreeMap, BTreeSet};

/// A second web process of `a` and the deployment that replaces the first by it.
pub async fn deploy(world: &World, wanted: i64) -> (Process, Deployment) {
    let old = world.process("a").await.unwrap();
    let time = now();
    let mut tx = world.store.write("test").await.unwrap();
    let previous = Previous::of(&mut tx, &old).await.unwrap();
    world::droplet("a", "second").insert(&mut tx).await.unwrap();
    let new = Process {
        id: processes::next_id(&mut tx).await.unwrap(),
        guid: "a-new".into(),
        instances: 0,
        version: "v2".into(),
        droplet_guid: Some("second".into()),
        deployment_guid: Some("d".into()),
        row_version: 1,
        ..old.clone()
    };
    new.insert(&mut tx).await.unwrap();
    let deployment = Deployment {
        guid: "d".into(),
        app_guid: "a".into(),
        strategy: "rolling".into(),
        status: deployments::ACTIVE.into(),
        reason: deployments::DEPLOYING.into(),
        error: None,
        droplet_guid: "second".into(),
        previous_droplet_guid: Some("a-droplet".into()),
        old_process_guid: Some(old.guid),
        previous: Json(BTreeMap::from([("a".to_string(), previous)])),
        new_process_guid: "a-new".into(),
        wanted_instances: wanted,
        max_in_flight: 1,
        weights: Json::default(),
        stops_passed: 0,
        options: Json::default(),
        revision_guid: None,
        revision_number: None,
        environment_before: Json(None),
        step_since: time,
        created_at: time,
        updated_at: time,
        row_version: 1,
    };
    deployment.insert(&mut tx).await.unwrap();
    facts::append(
        &mut tx,
        Kind::DeploymentChanged,
        "d",
        serde_json::json!({}),
        time,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    (new, deployment)
}

fn bringing(droplet: &str) -> NewDeployment {
    NewDeployment {
        brings: Brings::Droplet(droplet.to_string()),
        ..NewDeployment::default()
    }
}

pub async fn ended(world: &World, runtime: &Runtime) -> Deployment {
    eventually("the deployment ends", async || {
        let mut reader = world.store.read().await.unwrap();
        let deployment = Deployment::find(&mut reader, "d").await.unwrap().unwrap();
        if deployment.is_active() {
            Err(format!("{deployment:?} {}", runtime.status().await))
        } else {
            Ok(deployment)
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_replaces_every_instance_and_never_runs_fewer() {
    if !has_servers("a_deployment_replaces_every_instance_and_never_runs_fewer") {
        return;
    }
    let world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let agent = Agent::start(&world, "dea-1", 4096).await;
    world.app("a", 2, 256).await;
    runtime.nudge();
    runs(&world, &runtime, "a").await;
    agent.fewest();
    deploy(&world, 2).await;
    runtime.nudge();
    let deployment = ended(&world, &runtime).await;
    assert_eq!(
        (deployment.reason.as_str(), deployment.error),
        (deployments::DEPLOYED, None)
    );
    eventually("only the new run", async || {
        let copies = agent.copies();
        if copies.len() == 2 && copies.iter().all(|copy| copy.process.as_str() == "a-new") {
            Ok(())
        } else {
            Err(format!("{copies:?}"))
        }
    })
    .await;
    assert!(agent.fewest() >= 2, "fewer ran in between");
    assert!(world.process("a").await.is_none());
    let new = world.process("a-new").await.unwrap();
    assert_eq!((new.instances, new.deployment_guid), (2, None));
    let mut reader = world.store.read().await.unwrap();
    assert_eq!(
        App::find(&mut reader, "a")
            .await
            .unwrap()
            .unwrap()
            .current_droplet_guid
            .as_deref(),
        Some("second")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_crashes_is_taken_back_with_the_reason() {
    if !has_servers("a_deployment_that_crashes_is_taken_back_with_the_reason") {
        return;
    }
    let world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let agent = Agent::start(&world, "dea-1", 4096).await;
    agent.behave(|start| {
        if start.version.as_str() == "v2" {
            Behaviour::Crash
        } else {
            Behaviour::Run
        }
    });
    world.app("a", 2, 256).await;
    runtime.nudge();
    runs(&world, &runtime, "a").await;
    agent.fewest();
    deploy(&world, 2).await;
    runtime.nudge();
    // The health manager's part: start again what crashed.
    let health = world.connect("health-manager-1").await;
    for wanted in 2..=3 {
        eventually("it crashed", async || {
            let crashed = agent
                .starts()
                .iter()
                .filter(|start| start.version.as_str() == "v2")
                .count()
                >= wanted - 1;
            if crashed && agent.copies().len() == 2 {
                Ok(())
            } else {
                Err(format!("{:?}", agent.copies()))
            }
        })
        .await;
        let request = HealthRequest {
            droplet: ProcessGuid::new("a-new").unwrap(),
            op: HealthOperation::Start,
            last_updated: 0.0,
            version: Some(Version::new("v2").unwrap()),
            indices: vec![0],
            instances: vec![],
            flapping: None,
            yard_reason: None,
        };
        health
            .publish(&catalogue::hm_requests(), &request)
            .await
            .unwrap();
    }
    let deployment = ended(&world, &runtime).await;
    assert_eq!(deployment.reason, deployments::CANCELED);
    assert_eq!(
        deployment.error.as_deref(),
        Some("the new version crashed 3 times; instance 0: exited with status 3")
    );
    assert!(world.process("a-new").await.is_none());
    assert_eq!(agent.running(), 2);
    assert!(agent.fewest() >= 2, "fewer ran in between");
    let mut reader = world.store.read().await.unwrap();
    assert_eq!(
        App::find(&mut reader, "a")
            .await
            .unwrap()
            .unwrap()
            .current_droplet_guid
            .as_deref(),
        Some("a-droplet")
    );
}

const RESIZED: &str = "applications:
- name: a
  env: {RELEASE: two}
  processes:
  - {type: web, instances: 3, memory: 512M, disk_quota: 200M, command: other, health-check-type: process}
  - {type: worker, instances: 2, memory: 512M}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_push_changed_is_as_before_when_it_is_taken_back() {
    let test = "what_a_push_changed_is_as_before_when_it_is_taken_back";
    if !has_servers(test) {
        return;
    }
    for database in databases::each(test).await {
        let world = World::with_store(database.store.clone()).await;
        taken_back(&world, database.kind).await;
    }
}

async fn taken_back(world: &World, kind: &str) {
    let (runtime, deps) = world.controller("controller-1").await;
    let ops = world.ops(&runtime, &deps);
    let agent = Agent::start(world, "dea-1", 8192).await;
    agent.behave(|start| {
        if start.limits.mem == 512 {
            Behaviour::Crash
        } else {
            Behaviour::Run
        }
    });
    let web = world.app("a", 1, 256).await;
    let mut tx = world.store.write("test").await.unwrap();
    world::droplet("a", "second").insert(&mut tx).await.unwrap();
    let worker = Process {
        id: processes::next_id(&mut tx).await.unwrap(),
        guid: "a-worker".into(),
        kind: "worker".into(),
        command: Some("work".into()),
        version: "worker-1".into(),
        ..web.clone()
    };
    worker.insert(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    runtime.nudge();
    runs(world, &runtime, "a").await;
    runs(world, &runtime, "a-worker").await;
    agent.fewest();

    let actor = world::admin();
    let manifest = ops.check_manifest(&actor, "s", RESIZED).await.unwrap();
    ops.apply_manifest(&actor, "s", &manifest).await.unwrap();
    runs(world, &runtime, "a").await;
    assert_eq!(world.process("a").await.unwrap().instances, 3, "{kind}");
    let deployment = ops
        .create_deployment(&actor, "a", bringing("second"))
        .await
        .unwrap();
    eventually("the new version crashes", async || {
        let starts = agent.starts();
        let crashed = starts
            .iter()
            .any(|start| start.droplet.as_str() == deployment.new_process_guid);
        if crashed {
            Ok(())
        } else {
            Err(format!("{} starts", starts.len()))
        }
    })
    .await;
    ops.cancel_deployment(&actor, &deployment.guid)
        .await
        .unwrap();
    eventually("the deployment ends", async || {
        let now = ops.deployment(&actor, &deployment.guid).await.unwrap();
        if now.is_active() {
            Err(runtime.status().await.to_string())
        } else {
            Ok(())
        }
    })
    .await;

    let after = world.process("a").await.unwrap();
    let untouched = Process {
        updated_at: web.updated_at,
        row_version: web.row_version,
        ..after.clone()
    };
    assert_eq!(
        untouched, web,
        "{kind}: the same version, not even restarted"
    );
    let after = world.process("a-worker").await.unwrap();
    assert_ne!(after.version, worker.version);
    let started_anew = Process {
        version: worker.version.clone(),
        updated_at: worker.updated_at,
        row_version: worker.row_version,
        ..after
    };
    assert_eq!(started_anew, worker, "{kind}");
    runs(world, &runtime, "a-worker").await;
    assert!(agent.fewest() >= 1, "{kind}: its web instance went on");

    ops.restart_app(&actor, "a").await.unwrap();
    runs(world, &runtime, "a").await;
    let last = agent.starts().pop().unwrap();
    assert_eq!((last.limits.mem, last.limits.disk), (256, 100), "{kind}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_size_that_no_agent_could_give_is_refused_before_anything_stops() {
    let test = "a_size_that_no_agent_could_give_is_refused_before_anything_stops";
    if !has_servers(test) {
        return;
    }
    let world = World::start().await;
    let (runtime, deps) = world.controller("controller-1").await;
    let ops = world.ops(&runtime, &deps);
    let agent = Agent::start(&world, "dea-1", 1000).await;
    world.app("a", 1, 256).await;
    runtime.nudge();
    runs(&world, &runtime, "a").await;
    let too_large = PlacementRequest {
        stack: "host".into(),
        memory_mb: 5000,
        disk_mb: 100,
        siblings: BTreeSet::new(),
    };
    eventually("every agent was heard", async || {
        runtime
            .never_fits(&too_large)
            .ok_or("a larger one may be among the others".to_string())
    })
    .await;
    let (before, running) = (world.process("a").await.unwrap(), agent.ids());
    let actor = world::admin();

    let refused = |outcome: Result<(), Refusal>| match outcome {
        Err(Refusal::Unprocessable(text)) => {
            assert!(
                text.ends_with("it needs 5000 MB memory, more than any agent could ever give; the best agent, dea-1, has 744 MB free of 1000 MB"),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    };
    let scale = proto::api::Scale {
        memory_in_mb: Some(5000),
        ..Default::default()
    };
    refused(ops.scale_process(&actor, "a", &scale).await.map(drop));
    let manifest = "applications: [{name: a, memory: 5000M}]";
    let manifest = ops.check_manifest(&actor, "s", manifest).await.unwrap();
    refused(ops.apply_manifest(&actor, "s", &manifest).await);
    assert_eq!(world.process("a").await.unwrap(), before);

    // The agents shrank, or the row is from before.
    world.change("a", |process| process.memory_mb = 5000).await;
    refused(ops.restart_app(&actor, "a").await.map(drop));
    refused(
        ops.create_deployment(&actor, "a", NewDeployment::default())
            .await
            .map(drop),
    );
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(agent.ids(), running);
    ops.stop_app(&actor, "a").await.unwrap();
    refused(ops.start_app(&actor, "a").await.map(drop));
    // What fits is not in the way of what does not.
    world.change("a", |process| process.memory_mb = 900).await;
    ops.start_app(&actor, "a").await.unwrap();
    runs(&world, &runtime, "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_says_what_it_waits_for() {
    if !has_servers("a_deployment_says_what_it_waits_for") {
        return;
    }
    let world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let _agent = Agent::start(&world, "dea-1", 300).await;
    world.app("a", 1, 256).await;
    runtime.nudge();
    runs(&world, &runtime, "a").await;
    deploy(&world, 1).await;
    runtime.nudge();
    let told = eventually("it is told", async || {
        let status = runtime.status().await;
        let told = status["deployments"][0].clone();
        match told["because"].as_str() {
            Some(because) if because.contains("needs 256 MB memory") => Ok(told),
            _ => Err(status.to_string()),
        }
    })
    .await;
    assert_eq!((&told["name"], &told["guid"]), (&"a".into(), &"d".into()));
    let because = told["because"].as_str().unwrap();
    assert!(
        because.starts_with("0 of 1 new instances run; "),
        "{because}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_waits_for_a_word_and_going_back_brings_the_variables_back() {
    let test = "a_canary_waits_for_a_word_and_going_back_brings_the_variables_back";
    if !has_servers(test) {
        return;
    }
    for database in databases::each(test).await {
        let world = World::with_store(database.store.clone()).await;
        canary(&world, database.kind).await;
    }
}

async fn canary(world: &World, kind: &str) {
    let (runtime, deps) = world.controller("controller-1").await;
    let ops = world.ops(&runtime, &deps);
    let agent = Agent::start(world, "dea-1", 8192).await;
    world.app("a", 2, 256).await;
    let mut tx = world.store.write("test").await.unwrap();
    world::droplet("a", "second").insert(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let actor = world::admin();
    // The first revision is what it is restarted with.
    ops.restart_app(&actor, "a").await.unwrap();
    runs(world, &runtime, "a").await;
    let app = async || {
        let mut reader = world.store.read().await.unwrap();
        App::find(&mut reader, "a").await.unwrap().unwrap()
    };
    let of = async |guid: &str, reason: &str| {
        eventually(reason, async || {
            let now = ops.deployment(&actor, guid).await.unwrap();
            if now.reason == reason {
                Ok(now)
            } else {
                Err(format!("{kind} {now:?} {}", runtime.status().await))
            }
        })
        .await
    };
    let copies = |process: &str| {
        let all = agent.copies();
        all.iter()
            .filter(|copy| copy.process.as_str() == process)
            .count()
    };
    agent.fewest();

    let variables = BTreeMap::from([("COLOR".to_string(), Some("green".to_string()))]);
    ops.change_environment(&actor, "a", &variables)
        .await
        .unwrap();
    let wanted = NewDeployment {
        weights: Some(vec![50]),
        ..bringing("second")
    };
    let first = ops.create_deployment(&actor, "a", wanted).await.unwrap();
    let paused = of(&first.guid, deployments::PAUSED).await;
    assert!(paused.is_active(), "{kind}");
    let newer = first.new_process_guid.as_str();
    eventually("one new beside one old", async || {
        match (copies(newer), copies("a")) {
            (1, 1) => Ok(()),
            other => Err(format!("{kind} {other:?}")),
        }
    })
    .await;
    assert_eq!(agent.fewest(), 2, "{kind}");
    ops.continue_deployment(&actor, &first.guid).await.unwrap();
    of(&first.guid, deployments::DEPLOYED).await;
    assert!(agent.fewest() >= 2, "{kind}");
    let second = world.process(newer).await.unwrap();
    assert_eq!(
        (second.instances, second.deployment_guid),
        (2, None),
        "{kind}"
    );
    assert_eq!(second.revision_guid, first.revision_guid, "{kind}");

    // Back to the first revision, which pauses and is thought better of.
    let all = crate::revisions_of(&ops, &actor, "a").await;
    let numbers: Vec<i64> = all.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2], "{kind}");
    let wanted = NewDeployment {
        brings: Brings::Revision(all[0].guid.clone()),
        weights: Some(vec![]),
        ..NewDeployment::default()
    };
    let back = ops.create_deployment(&actor, "a", wanted).await.unwrap();
    assert!(!app().await.environment.contains_key("COLOR"), "{kind}");
    of(&back.guid, deployments::PAUSED).await;
    ops.cancel_deployment(&actor, &back.guid).await.unwrap();
    of(&back.guid, deployments::CANCELED).await;
    let app = app().await;
    assert_eq!(app.environment["COLOR"], "green", "{kind}");
    assert_eq!(
        app.current_droplet_guid.as_deref(),
        Some("second"),
        "{kind}"
    );
    let still = world.process(newer).await.unwrap();
    assert_eq!(still.revision_guid, first.revision_guid, "{kind}");
    assert!(agent.fewest() >= 2, "{kind}");
}
