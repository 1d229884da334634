//! Builds: placed, staged, committed, failed.

use crate::world::{Agent, World, eventually, has_servers, now, stager};
use controller::runtime::Runtime;
use controller::store::Json;
use controller::store::buildpacks::{self, Buildpack};
use controller::store::builds::Build;
use controller::store::droplets::Droplet;
use controller::store::facts::{self, Kind};
use controller::store::packages::Package;
use daemon::Bus;
use proto::bus::catalogue;
use proto::bus::staging::{
    Acknowledged, StagedDroplet, StagingCompleted, StagingError, StagingOutcome,
};
use proto::ids::{AppGuid, TaskId};
use std::time::Duration;

pub async fn build(world: &World, guid: &str, app: &str, memory_mb: i64, deadline: i64) {
    let time = now();
    let mut tx = world.store.write("test").await.unwrap();
    let package = Package {
        guid: format!("{guid}-package"),
        app_guid: app.into(),
        kind: "bits".into(),
        state: "READY".into(),
        error: None,
        sha1: Some("3".repeat(40)),
        sha256: Some("4".repeat(64)),
        size_bytes: Some(1),
        created_at: time,
        updated_at: time,
        row_version: 1,
    };
    package.insert(&mut tx).await.unwrap();
    let build = Build {
        guid: guid.into(),
        app_guid: app.into(),
        package_guid: package.guid,
        droplet_guid: None,
        state: "STAGING".into(),
        error_type: None,
        error: None,
        buildpacks: Json(vec!["python".into()]),
        stack: "host".into(),
        dea: None,
        memory_mb,
        disk_mb: 1024,
        deadline,
        created_by_guid: "u".into(),
        created_by_name: "admin".into(),
        created_at: time,
        updated_at: time,
        row_version: 1,
    };
    build.insert(&mut tx).await.unwrap();
    facts::append(
        &mut tx,
        Kind::BuildRequested,
        guid,
        serde_json::json!({}),
        time,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

/// Changes the cluster's buildpacks, in the order of detection.
async fn change_buildpacks(world: &World, change: impl Fn(&mut [Buildpack])) {
    let mut tx = world.store.write("test").await.unwrap();
    let mut rows = buildpacks::in_order(&mut tx).await.unwrap();
    change(&mut rows);
    for row in &mut rows {
        row.update(&mut tx, now()).await.unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_an_enabled_buildpack_stages_nothing() {
    if !has_servers("a_cluster_without_an_enabled_buildpack_stages_nothing") {
        return;
    }
    let world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let _agent = Agent::start(&world, "dea-1", 4096).await;
    world.app("a", 0, 256).await;
    change_buildpacks(&world, |rows| {
        rows.iter_mut().for_each(|row| row.enabled = false);
    })
    .await;
    build(&world, "b", "a", 1024, later()).await;
    runtime.nudge();
    let build = build_ends(&world, &runtime, "b").await;
    assert_eq!(build.error_type.as_deref(), Some("NoAppDetectedError"));
    let why = build.error.unwrap();
    assert!(
        why.contains("none for the stack host that is enabled"),
        "{why}"
    );
}

async fn build_ends(world: &World, runtime: &Runtime, guid: &str) -> Build {
    eventually("the build ends", async || {
        let mut reader = world.store.read().await.unwrap();
        let build = Build::find(&mut reader, guid).await.unwrap().unwrap();
        if build.is_staging() {
            Err(runtime.status().await.to_string())
        } else {
            Ok(build)
        }
    })
    .await
}

pub fn later() -> i64 {
    now() + 60_000_000
}

/// Uploads a droplet as a task does, and says what its stager tells.
pub async fn staged(world: &World, build: &str, app: &str) -> StagingCompleted {
    let content = bytes::Bytes::from_static(b"a droplet");
    let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(content)]);
    let key = format!("uploads/{build}/droplet.tgz");
    let digests = world.blobs.put(&key, stream, 100).await.unwrap();
    StagingCompleted {
        task_id: TaskId::new(build).unwrap(),
        app_id: AppGuid::new(app).unwrap(),
        outcome: StagingOutcome::Staged(StagedDroplet {
            detected_buildpack: "python".into(),
            buildpacks: vec![],
            process_types: [("web".to_string(), "serve".to_string())].into(),
            sha1: digests.sha1,
            sha256: digests.sha256,
            size_bytes: digests.size_bytes,
        }),
    }
}

/// One of the controllers takes it for good.
pub async fn tell(stager: &Bus, completed: &StagingCompleted) {
    let topic = catalogue::staging_completed();
    let told: Acknowledged = stager
        .request(&topic, completed, Duration::from_secs(5))
        .await
        .unwrap();
    assert!(told.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_is_placed_staged_and_committed_once() {
    if !has_servers("a_build_is_placed_staged_and_committed_once") {
        return;
    }
    let world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let _agent = Agent::start(&world, "dea-1", 4096).await;
    let (bus, requests) = stager(&world, |_| None).await;
    world.app("a", 0, 256).await;
    let sum = "5".repeat(64);
    change_buildpacks(&world, |rows| {
        rows[0].enabled = false;
        rows[3].shipped = false;
        rows[3].sha256 = Some(sum.clone());
    })
    .await;
    build(&world, "b", "a", 1024, later()).await;
    runtime.nudge();
    let request = eventually("a stager is asked", async || {
        requests
            .lock()
            .unwrap()
            .first()
            .cloned()
            .ok_or("nobody asked".to_string())
    })
    .await;
    assert_eq!(
        (request.yard_dea.as_str(), request.memory_limit),
        ("dea-1", 1024)
    );
    assert_eq!(request.properties.buildpacks, ["python"]);
    let offered = &request.admin_buildpacks;
    let names: Vec<&str> = offered.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(names, ["nodejs", "python", "binary"], "those enabled");
    assert_eq!(
        (&offered[0].url, &offered[2].yard_sha256),
        (&None, &Some(sum))
    );
    let url = offered[2].url.as_ref().expect("an archive");
    assert!(url.contains("/internal/blobs/buildpacks/5555"), "{url}");
    assert!(
        request
            .properties
            .environment
            .iter()
            .any(|line| line == "GREETING=hello")
    );
    assert!(
        request
            .download_uri
            .contains("/internal/blobs/packages/4444")
    );

    let completed = staged(&world, "b", "a").await;
    tell(&bus, &completed).await;
    tell(&bus, &completed).await;
    let build = build_ends(&world, &runtime, "b").await;
    assert_eq!(build.state, "STAGED");
    let mut reader = world.store.read().await.unwrap();
    let droplet = Droplet::find(&mut reader, &build.droplet_guid.unwrap())
        .await
        .unwrap()
        .unwrap();
    let StagingOutcome::Staged(told) = completed.outcome else {
        panic!("it was staged");
    };
    assert_eq!(droplet.sha256, told.sha256);
    assert_eq!(
        world
            .blobs
            .size(&format!("droplets/{}", droplet.sha256))
            .await
            .unwrap(),
        Some(9)
    );
    assert_eq!(
        world.blobs.size("uploads/b/droplet.tgz").await.unwrap(),
        None
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_cannot_be_staged_fails_with_the_reason() {
    if !has_servers("a_build_that_cannot_be_staged_fails_with_the_reason") {
        return;
    }
    let mut world = World::start().await;
    let (runtime, _deps) = world.controller("controller-1").await;
    let _agent = Agent::start(&world, "dea-1", 4096).await;
    let (bus, requests) = stager(&world, |request| {
        (request.task_id.as_str() == "refused").then(|| StagingError {
            kind: "NoAppDetectedError".into(),
            message: "no buildpack fits".into(),
            last_lines: vec![],
        })
    })
    .await;
    world.app("a", 0, 256).await;

    build(&world, "large", "a", 100_000, later()).await;
    runtime.nudge();
    let large = build_ends(&world, &runtime, "large").await;
    assert_eq!(large.error_type.as_deref(), Some("InsufficientResources"));
    assert_eq!(
        large.error.as_deref(),
        Some(
            "the staging needs 100000 MB memory, more than any agent could ever give; the best agent, dea-1, has 4096 MB free of 4096 MB"
        )
    );

    build(&world, "refused", "a", 1024, later()).await;
    runtime.nudge();
    let refused = build_ends(&world, &runtime, "refused").await;
    assert_eq!(
        (refused.error_type.as_deref(), refused.error.as_deref()),
        (Some("NoAppDetectedError"), Some("no buildpack fits"))
    );

    build(&world, "slow", "a", 1024, now() + 3_000_000).await;
    runtime.nudge();
    let slow = build_ends(&world, &runtime, "slow").await;
    assert_eq!(
        (slow.error_type.as_deref(), slow.error.as_deref()),
        (
            Some("StagingTimeExpired"),
            Some("staging did not end within 3 s")
        )
    );

    build(&world, "broken", "a", 1024, later()).await;
    runtime.nudge();
    eventually("a stager is asked", async || {
        let asked = requests
            .lock()
            .unwrap()
            .iter()
            .any(|request| request.task_id.as_str() == "broken");
        if asked {
            Ok(())
        } else {
            Err("not asked".to_string())
        }
    })
    .await;
    let completed = StagingCompleted {
        task_id: TaskId::new("broken").unwrap(),
        app_id: AppGuid::new("a").unwrap(),
        outcome: StagingOutcome::Staged(StagedDroplet {
            sha256: "5".repeat(64),
            ..StagedDroplet::default()
        }),
    };
    let _: Acknowledged = bus
        .request(
            &catalogue::staging_completed(),
            &completed,
            Duration::from_secs(5),
        )
        .await
        .unwrap();
    let broken = build_ends(&world, &runtime, "broken").await;
    assert_eq!(
        broken.error.as_deref(),
        Some("the droplet was not uploaded")
    );

    world.bus_down();
    eventually("the bus is away", async || {
        let status = runtime.status().await;
        if status["planning"] == "nothing is planned: the bus is away" {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    build(&world, "alone", "a", 1024, later()).await;
    runtime.nudge();
    let alone = build_ends(&world, &runtime, "alone").await;
    assert_eq!(
        alone.error.as_deref(),
        Some("the message bus is away: nothing can be staged now")
    );
}
