//! Rolling deployments.

use crate::runs;
use crate::world::{self, Agent, Behaviour, World, eventually, has_servers, now};
use controller::runtime::Runtime;
use controller::store::apps::App;
use controller::store::deployments::{self, Deployment};
use controller::store::facts::{self, Kind};
use controller::store::processes::{self, Process};
use proto::bus::catalogue;
use proto::bus::health::{HealthOperation, HealthRequest};
use proto::ids::{ProcessGuid, Version};

/// A second web process of `a` and the deployment that replaces the first by it.
pub async fn deploy(world: &World, wanted: i64) -> (Process, Deployment) {
    let old = world.process("a").await.unwrap();
    let time = now();
    let mut tx = world.store.write("test").await.unwrap();
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
        new_process_guid: "a-new".into(),
        wanted_instances: wanted,
        max_in_flight: 1,
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
