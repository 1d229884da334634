//! The cluster store against a real etcd.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "servers/auth.rs"]
mod auth;
mod servers;

use std::time::{Duration, Instant};

use auth::enable_auth;
use daemon::{Cluster, ComponentId, Supervisor};
use servers::{Etcd, eventually, has};

const SOON: Duration = Duration::from_secs(20);
const LEVEL: &str = "/stackyard/config/cluster/log/level";

#[tokio::test]
async fn a_changed_setting_is_seen_within_a_second_also_after_a_restart_of_the_store() {
    if !has("a_changed_setting_is_seen_within_a_second", "etcd") {
        return;
    }
    let mut etcd = Etcd::start();
    enable_auth(&etcd).await;
    let (root, dea) = (
        Cluster::connect(&etcd.config("root")).await.unwrap(),
        Cluster::connect(&etcd.config("dea-1")).await.unwrap(),
    );
    let mut settings = dea.settings();
    assert_eq!(settings.borrow().text("cluster/log/level"), "info");

    let revision = root
        .compare_and_set(LEVEL, None, "\"debug\"")
        .await
        .unwrap()
        .unwrap();
    let written = Instant::now();
    tokio::time::timeout(
        SOON,
        settings.wait_for(|settings| settings.text("cluster/log/level") == "debug"),
    )
    .await
    .unwrap()
    .unwrap();
    assert!(
        written.elapsed() < Duration::from_secs(1),
        "{:?}",
        written.elapsed()
    );

    let conflict = root
        .compare_and_set(LEVEL, None, "\"warn\"")
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(conflict.current.unwrap().value, "\"debug\"");

    // Tokens are lost with the server; the last known settings stay meanwhile.
    etcd.down();
    tokio::time::timeout(SOON, dea.reachable().wait_for(|there| !there))
        .await
        .expect("seen in time")
        .unwrap();
    assert_eq!(dea.settings().borrow().text("cluster/log/level"), "debug");
    assert!(dea.get(LEVEL).await.is_err());
    etcd.up();
    tokio::time::timeout(SOON, dea.reachable().wait_for(|there| *there))
        .await
        .expect("back in time")
        .unwrap();
    let revision = eventually(SOON, async || {
        match root
            .compare_and_set(LEVEL, Some(revision), "\"trace\"")
            .await
        {
            Ok(Ok(revision)) => Ok(revision),
            Ok(Err(Conflict { current }))
                if current.as_ref().is_some_and(|now| now.value == "\"trace\"") =>
            {
                Ok(current.unwrap().revision)
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let written = Instant::now();
    tokio::time::timeout(
        SOON,
        settings.wait_for(|settings| settings.text("cluster/log/level") == "trace"),
    )
    .await
    .unwrap()
    .unwrap();
    assert!(
        written.elapsed() < Duration::from_secs(1),
        "{:?}",
        written.elapsed()
    );

    root.compare_and_delete(LEVEL, revision)
        .await
        .unwrap()
        .unwrap();
    tokio::time::timeout(
        SOON,
        settings.wait_for(|settings| settings.text("cluster/log/level") == "info"),
    )
    .await
    .unwrap()
    .unwrap();

    // A daemon may read the settings, not write them.
    let refused = dea.compare_and_set(LEVEL, None, "\"error\"").await;
    assert!(
        matches!(refused, Err(daemon::ClusterError::Refused { .. })),
        "{refused:?}"
    );
}

use daemon::Conflict;

#[tokio::test]
async fn leadership_is_handed_over_with_a_growing_epoch() {
    if !has("leadership_is_handed_over_with_a_growing_epoch", "etcd") {
        return;
    }
    let mut etcd = Etcd::start();
    enable_auth(&etcd).await;
    let one = Cluster::connect(&etcd.config("dea-1")).await.unwrap();
    let two = Cluster::connect(&etcd.config("dea-2")).await.unwrap();
    let (tasks_one, tasks_two) = (Supervisor::new(), Supervisor::new());
    let mut first = one.campaign("test", &ComponentId::new("one-1").unwrap(), &tasks_one);
    let epoch_one = tokio::time::timeout(SOON, first.wait_for(Option::is_some))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let mut second = two.campaign("test", &ComponentId::new("two-1").unwrap(), &tasks_two);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(*second.borrow(), None, "one leader at a time");

    let stopped = Instant::now();
    tasks_one.stop(Duration::from_secs(5)).await;
    assert_eq!(*first.borrow(), None);
    let epoch_two = tokio::time::timeout(SOON, second.wait_for(Option::is_some))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(epoch_two > epoch_one);
    assert!(
        stopped.elapsed() < Duration::from_secs(5),
        "a resigned leader is not waited for: {:?}",
        stopped.elapsed()
    );

    // The same component, started again after a kill, does not wait for its own old lease.
    let again = Supervisor::new();
    let mut third = two.campaign("test", &ComponentId::new("two-1").unwrap(), &again);
    let epoch_three = tokio::time::timeout(SOON, third.wait_for(Option::is_some))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(epoch_three > epoch_two);

    // A store that is away costs the leadership before the lease ends.
    tasks_two.stop(Duration::from_secs(5)).await;
    tokio::time::timeout(SOON, third.wait_for(Option::is_some))
        .await
        .unwrap()
        .unwrap();
    etcd.down();
    tokio::time::timeout(Duration::from_secs(10), third.wait_for(Option::is_none))
        .await
        .expect("given up in time")
        .unwrap();
    etcd.up();
    tokio::time::timeout(Duration::from_secs(30), third.wait_for(Option::is_some))
        .await
        .expect("leads again")
        .unwrap();
    again.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_store_that_hangs_costs_the_leadership_before_the_lease_ends() {
    let test = "a_store_that_hangs_costs_the_leadership_before_the_lease_ends";
    if !has(test, "etcd") {
        return;
    }
    let etcd = Etcd::start();
    let cluster = Cluster::connect(&etcd.config("")).await.unwrap();
    let tasks = Supervisor::new();
    let mut leads = cluster.campaign("test", &ComponentId::new("one-1").unwrap(), &tasks);
    let mut reachable = cluster.reachable();
    tokio::time::timeout(SOON, reachable.wait_for(|there| *there))
        .await
        .unwrap()
        .unwrap();
    tokio::time::timeout(SOON, leads.wait_for(Option::is_some))
        .await
        .unwrap()
        .unwrap();
    // The key was just looked at: the next look, three seconds from here, hangs over the end of the patience.
    tokio::time::sleep(Duration::from_millis(3200)).await;
    etcd.hang();
    let hung = Instant::now();
    tokio::time::timeout(SOON, leads.wait_for(Option::is_none))
        .await
        .expect("given up")
        .unwrap();
    let took = hung.elapsed();
    etcd.go_on();
    // Seven seconds after the last renewal, which was before the store hung; the lease has ten.
    assert!(took < Duration::from_millis(7300), "{took:?}");
    tokio::time::timeout(Duration::from_secs(30), leads.wait_for(Option::is_some))
        .await
        .expect("leads again")
        .unwrap();
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_watch_hints_at_every_change() {
    if !has("a_watch_hints_at_every_change", "etcd") {
        return;
    }
    let etcd = Etcd::start();
    enable_auth(&etcd).await;
    let cluster = Cluster::connect(&etcd.config("dea-1")).await.unwrap();
    let mut hints = cluster.watch("/stackyard/leaders/").await.unwrap();
    tokio::time::timeout(SOON, hints.recv())
        .await
        .expect("a hint once it is open")
        .unwrap();
    cluster
        .compare_and_set("/stackyard/leaders/x", None, "me")
        .await
        .unwrap()
        .unwrap();
    tokio::time::timeout(Duration::from_secs(1), hints.recv())
        .await
        .expect("a hint in time")
        .unwrap();
    let listed = cluster.list("/stackyard/leaders/").await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].0, "/stackyard/leaders/x");
    assert_eq!(cluster.get("/stackyard/leaders/y").await.unwrap(), None);
}
