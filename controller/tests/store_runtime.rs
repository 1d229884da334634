//! What the runtime keeps in the store, on both kinds of database.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod databases;

use controller::store::apps::App;
use controller::store::builds::{self, Build};
use controller::store::deployments::{self, BackTo, Deployment, Previous};
use controller::store::facts::{self, Kind};
use controller::store::organizations::Organization;
use controller::store::process_versions::{self, ProcessVersion, RunSettings, VersionSettings};
use controller::store::processes::{self, Process};
use controller::store::spaces::Space;
use controller::store::{Json, Store, StoreError, desired, leadership, quotas};
use std::collections::BTreeMap;
use std::time::Duration;

async fn append(store: &Store, object: &str) -> i64 {
    let mut tx = store.write("test").await.unwrap();
    let sequence = facts::append(
        &mut tx,
        Kind::ProcessChanged,
        object,
        serde_json::json!({"a": 1}),
        10,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    sequence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_are_read_in_order_and_none_is_missed() {
    for database in databases::each("facts_are_read_in_order_and_none_is_missed").await {
        let (store, kind) = (&database.store, database.kind);
        let writers: Vec<_> = (0..6)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in 0..15 {
                        let mut tx = store.write("test").await.unwrap();
                        facts::append(
                            &mut tx,
                            Kind::RoutesChanged,
                            &format!("{writer}-{number}"),
                            serde_json::json!({}),
                            10,
                        )
                        .await
                        .unwrap();
                        // A slow commit of a small number must not be overtaken by a larger one.
                        if number % 5 == 0 {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        if number % 7 == 3 {
                            continue;
                        }
                        tx.commit().await.unwrap();
                    }
                })
            })
            .collect();
        let mut read: Vec<String> = Vec::new();
        let mut cursor = 0;
        let mut done = false;
        while !done {
            done = writers.iter().all(tokio::task::JoinHandle::is_finished);
            let mut reader = store.read().await.unwrap();
            for fact in facts::after(&mut reader, cursor, 7).await.unwrap() {
                assert!(fact.sequence > cursor, "{kind}");
                cursor = fact.sequence;
                read.push(fact.object);
                done = false;
            }
        }
        read.sort();
        let mut expected: Vec<String> = (0..6)
            .flat_map(|w| {
                (0..15)
                    .filter(|n| n % 7 != 3)
                    .map(move |n| format!("{w}-{n}"))
            })
            .collect();
        expected.sort();
        assert_eq!(read, expected, "{kind}");
        let mut reader = store.read().await.unwrap();
        assert_eq!(facts::newest(&mut reader).await.unwrap(), cursor, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_never_goes_back_and_holds_facts() {
    for database in databases::each("a_cursor_never_goes_back_and_holds_facts").await {
        let (store, kind) = (&database.store, database.kind);
        let sequences = [
            append(store, "a").await,
            append(store, "b").await,
            append(store, "c").await,
        ];
        assert_eq!(sequences, [1, 2, 3], "{kind}");
        let mut tx = store.write("test").await.unwrap();
        assert_eq!(facts::cursor(&mut tx, "dispatch").await.unwrap(), 0);
        assert_eq!(
            facts::prune(&mut tx, 1000).await.unwrap(),
            0,
            "{kind}: nobody has read them"
        );
        facts::advance(&mut tx, "dispatch", 2).await.unwrap();
        facts::advance(&mut tx, "dispatch", 1).await.unwrap();
        assert_eq!(
            facts::cursor(&mut tx, "dispatch").await.unwrap(),
            2,
            "{kind}"
        );
        assert_eq!(
            facts::prune(&mut tx, 5).await.unwrap(),
            0,
            "{kind}: too young"
        );
        assert_eq!(facts::prune(&mut tx, 1000).await.unwrap(), 2, "{kind}");
        let left = facts::after(&mut tx, 0, 10).await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(
            (left[0].object.as_str(), left[0].kind, &left[0].payload),
            ("c", Kind::ProcessChanged, &serde_json::json!({"a": 1}))
        );
        tx.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_leader_cannot_write() {
    for database in databases::each("an_older_leader_cannot_write").await {
        let fence = async |epoch: i64| {
            let mut tx = database.store.write("test").await.unwrap();
            let result = leadership::fence(&mut tx, "controller", epoch).await;
            if result.is_ok() {
                tx.commit().await.unwrap();
            }
            result
        };
        assert!(fence(5).await.is_ok());
        assert!(fence(5).await.is_ok());
        assert!(fence(9).await.is_ok());
        assert!(
            matches!(fence(5).await, Err(StoreError::Stale { .. })),
            "{}",
            database.kind
        );
        assert!(fence(9).await.is_ok());
    }
}

/// A leader that is suspended in the middle of a transaction holds the fence; its successor must not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stands_still_in_a_transaction_does_not_hold_up_the_next() {
    let Some(database) = databases::Database::postgres().await else {
        // Not by the macro, whose output the test harness hides.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: initdb is not installed\n"),
        );
        return;
    };
    let mut still = database.store.write("lead").await.unwrap();
    leadership::fence(&mut still, "controller", 5)
        .await
        .unwrap();
    let another = Store::open(&database.url).await.unwrap();
    let leads = async {
        let mut tx = another.write("lead").await.unwrap();
        leadership::fence(&mut tx, "controller", 6).await.unwrap();
        tx.commit().await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(40), leads)
        .await
        .expect("the next leader writes");
    assert!(still.commit().await.is_err(), "nothing of it is written");
    let mut tx = database.store.write("lead").await.unwrap();
    let late = leadership::fence(&mut tx, "controller", 5).await;
    assert!(matches!(late, Err(StoreError::Stale { .. })), "{late:?}");
}

async fn app(store: &Store, guid: &str) {
    let mut tx = store.write("test").await.unwrap();
    if Organization::find(&mut tx, "o").await.unwrap().is_none() {
        let organization = Organization {
            guid: "o".into(),
            name: "o".into(),
            suspended: false,
            quota_guid: quotas::DEFAULT_GUID.to_string(),
            labels: Json::default(),
            annotations: Json::default(),
            created_at: 1,
            updated_at: 1,
            row_version: 1,
        };
        organization.insert(&mut tx).await.unwrap();
        let space = Space {
            guid: "s".into(),
            name: "s".into(),
            organization_guid: "o".into(),
            ssh_allowed: true,
            quota_guid: None,
            labels: Json::default(),
            annotations: Json::default(),
            created_at: 1,
            updated_at: 1,
            row_version: 1,
        };
        space.insert(&mut tx).await.unwrap();
    }
    let app = App {
        guid: guid.into(),
        name: guid.into(),
        space_guid: "s".into(),
        state: "STARTED".into(),
        buildpacks: Json::default(),
        stack: "host".into(),
        environment: Json::default(),
        current_droplet_guid: None,
        ssh_enabled: true,
        labels: Json::default(),
        annotations: Json::default(),
        created_at: 1,
        updated_at: 5_000_000,
        row_version: 1,
    };
    app.insert(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
}

async fn process(store: &Store, app: &str, guid: &str, droplet: Option<&str>) {
    let mut tx = store.write("test").await.unwrap();
    let process = Process {
        id: processes::next_id(&mut tx).await.unwrap(),
        guid: guid.into(),
        app_guid: app.into(),
        kind: "web".into(),
        command: None,
        instances: 2,
        scaled_from: None,
        memory_mb: 256,
        disk_mb: 512,
        health_check_type: "port".into(),
        health_check_endpoint: None,
        health_check_timeout: None,
        health_check_invocation_timeout: None,
        health_check_interval: None,
        sleep_after: None,
        asleep_since: None,
        version: format!("{guid}-v"),
        droplet_guid: droplet.map(str::to_string),
        deployment_guid: None,
        revision_guid: None,
        created_at: 1,
        updated_at: 2_500_000,
        row_version: 1,
    };
    process.insert(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_desired_state_comes_whole_and_in_pages() {
    for database in databases::each("the_desired_state_comes_whole_and_in_pages").await {
        let (store, kind) = (&database.store, database.kind);
        app(store, "a").await;
        process(store, "a", "p1", Some("d")).await;
        process(store, "a", "p2", None).await;
        process(store, "a", "p3", Some("d")).await;
        let mut tx = store.write("test").await.unwrap();
        let tried = ProcessVersion {
            version: "p3-v".into(),
            process_guid: "p3".into(),
            settings: Json(VersionSettings::default()),
            created_at: 1,
        };
        process_versions::keep(&mut tx, &tried).await.unwrap();
        tx.commit().await.unwrap();
        let mut reader = store.read().await.unwrap();
        let all = desired::all(&mut reader).await.unwrap();
        assert_eq!(
            all.iter().map(|row| row.untried).collect::<Vec<_>>(),
            [true, true, false],
            "{kind}"
        );
        assert_eq!(
            all.iter()
                .map(|row| row.process.as_str())
                .collect::<Vec<_>>(),
            ["p1", "p2", "p3"],
            "{kind}"
        );
        assert_eq!(
            all.iter()
                .map(desired::DesiredRow::runs)
                .collect::<Vec<_>>(),
            [true, false, true]
        );
        assert_eq!(
            all[0].updated_at, 5_000_000,
            "{kind}: the later of process and app"
        );
        let bulk = all[1].to_bulk();
        assert_eq!(
            (
                bulk.package_state.as_str(),
                bulk.state.as_str(),
                bulk.updated_at
            ),
            ("PENDING", "STARTED", 5.0)
        );
        let first = desired::page(&mut reader, 0, 2).await.unwrap();
        assert_eq!(first.len(), 2);
        let second = desired::page(&mut reader, first[1].id, 2).await.unwrap();
        assert_eq!(
            (second.len(), second[0].process.as_str()),
            (1, "p3"),
            "{kind}"
        );
        assert!(
            desired::page(&mut reader, second[0].id, 2)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            desired::one(&mut reader, "p2").await.unwrap().as_ref(),
            Some(&all[1])
        );
        assert_eq!(desired::one(&mut reader, "p9").await.unwrap(), None);
        assert_eq!(desired::users(&mut reader).await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builds_and_deployments_end_once() {
    for database in databases::each("builds_and_deployments_end_once").await {
        let (store, kind) = (&database.store, database.kind);
        app(store, "a").await;
        let build = Build {
            guid: "b".into(),
            app_guid: "a".into(),
            package_guid: "p".into(),
            droplet_guid: None,
            state: builds::STAGING.into(),
            error_type: None,
            error: None,
            buildpacks: Json(vec!["python".into()]),
            stack: "host".into(),
            dea: None,
            memory_mb: 1,
            disk_mb: 1,
            deadline: 1,
            created_by_guid: "u".into(),
            created_by_name: "u".into(),
            created_at: 1,
            updated_at: 1,
            row_version: 1,
        };
        let mut tx = store.write("test").await.unwrap();
        build.insert(&mut tx).await.unwrap();
        assert_eq!(
            builds::staging(&mut tx).await.unwrap(),
            std::slice::from_ref(&build)
        );
        let mut first = build.clone();
        first.fail("StagerError", "why");
        first.update(&mut tx, 7).await.unwrap();
        assert!(builds::staging(&mut tx).await.unwrap().is_empty());
        tx.commit().await.unwrap();
        let mut tx = store.write("test").await.unwrap();
        let mut second = build.clone();
        second.state = builds::STAGED.into();
        assert!(
            matches!(
                second.update(&mut tx, 8).await,
                Err(StoreError::Stale { .. })
            ),
            "{kind}"
        );
        drop(tx);

        let before = Previous {
            droplet_guid: Some("o".into()),
            revision: None,
            instances: 3,
            settings: Some(RunSettings {
                memory_mb: 64,
                ..RunSettings::default()
            }),
        };
        let deployment = Deployment {
            guid: "d1".into(),
            app_guid: "a".into(),
            strategy: "rolling".into(),
            status: deployments::ACTIVE.into(),
            reason: deployments::DEPLOYING.into(),
            error: None,
            droplet_guid: "n".into(),
            previous_droplet_guid: Some("o".into()),
            old_process_guid: Some("p1".into()),
            previous: Json(BTreeMap::from([("p1".to_string(), before.clone())])),
            new_process_guid: "p2".into(),
            wanted_instances: 1,
            max_in_flight: 1,
            weights: Json(vec![20]),
            stops_passed: 0,
            options: Json::default(),
            revision_guid: None,
            revision_number: None,
            environment_before: Json(None),
            step_since: 1,
            created_at: 1,
            updated_at: 1,
            row_version: 1,
        };
        let mut tx = store.write("test").await.unwrap();
        assert_eq!(deployments::supersede(&mut tx, "a", 2).await.unwrap(), None);
        deployment.insert(&mut tx).await.unwrap();
        assert_eq!(deployments::active(&mut tx).await.unwrap().len(), 1);
        let back_to = deployments::supersede(&mut tx, "a", 3).await.unwrap();
        assert_eq!(
            back_to,
            Some(BackTo {
                process: Some("p1".into()),
                droplet: Some("o".into()),
                previous: BTreeMap::from([("p1".to_string(), before)]),
            }),
            "{kind}"
        );
        assert!(
            deployments::active_of_app(&mut tx, "a")
                .await
                .unwrap()
                .is_empty()
        );
        let ended = Deployment::find(&mut tx, "d1").await.unwrap().unwrap();
        assert_eq!(
            (ended.status.as_str(), ended.reason.as_str()),
            (deployments::FINALIZED, deployments::SUPERSEDED)
        );
        tx.commit().await.unwrap();
    }
}
