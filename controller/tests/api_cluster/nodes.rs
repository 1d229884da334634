//! Machines and their roles over HTTP.

use crate::http::Http;
use crate::world::{World, has_servers};
use ::http::Method;
use controller::ops::Live;
use daemon::{Cluster, Write};
use proto::api::{NodeList, SeenNode};
use proto::node::{NodePhase, NodeReport};
use proto::roles::{FIRST_MACHINE, NODES, ROLES, Roles};
use serde_json::{Value, json};

const PATH: &str = "/yard/v1/nodes/machine-1/roles";

async fn put(cluster: &Cluster, key: String, value: String) {
    let written = cluster.transact(&[], &[Write::Put { key, value }]).await;
    assert!(written.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_seen_by_all_and_changed_by_administrators() {
    if !has_servers("roles_are_seen_by_all_and_changed_by_administrators") {
        return;
    }
    let world = World::start().await;
    let (_runtime, deps) = world.controller("controller-1").await;
    let cluster = deps.cluster.clone();
    let http = Http::with(Live::none(), Some(cluster.clone())).await;
    let admin = http.admin().await;
    let space = admin.first("/v3/spaces").await;
    let dora = admin
        .with_role("dora", "space_developer", "space", &space)
        .await;
    let list = async || -> Vec<SeenNode> {
        let list: NodeList =
            serde_json::from_value(dora.get("/yard/v1/nodes").await.expect(200)).unwrap();
        list.resources
    };
    assert_eq!(list().await, []);

    let roles = serde_json::to_string(&Roles::one_of_each()).unwrap();
    put(&cluster, format!("{ROLES}{FIRST_MACHINE}"), roles).await;
    let seen = list().await;
    assert_eq!(
        (
            seen[0].machine.as_str(),
            seen[0].state.as_str(),
            seen[0].roles["dea"]
        ),
        (FIRST_MACHINE, "silent", 1)
    );
    let report = NodeReport {
        machine: FIRST_MACHINE.into(),
        host: "one.internal".into(),
        version: "1".into(),
        at: controller::ops::now() as f64 / 1e6,
        phase: NodePhase::Running,
        components: Vec::new(),
        error: Some("a port is taken".into()),
    };
    let report = serde_json::to_string(&report).unwrap();
    put(&cluster, format!("{NODES}{FIRST_MACHINE}"), report).await;
    let seen = admin.get("/yard/v1/nodes/machine-1").await.expect(200);
    assert_eq!(
        (&seen["state"], &seen["host"], &seen["problem"]),
        (
            &json!("running"),
            &json!("one.internal"),
            &json!("a port is taken")
        )
    );
    admin.get("/yard/v1/nodes/machine-2").await.expect(404);

    let change = async |body: Value| admin.send(Method::POST, PATH, Some(body)).await;
    let changed = change(json!({"add": {"dea": 2}})).await.expect(200);
    assert_eq!(changed["roles"]["dea"], 3);
    let stored = cluster
        .get(&format!("{ROLES}{FIRST_MACHINE}"))
        .await
        .unwrap();
    let stored: Roles = serde_json::from_str(&stored.unwrap().value).unwrap();
    assert_eq!(stored.count(proto::bus::Role::Dea), 3);
    for refused in [
        json!({"remove": {"router": 1}}),
        json!({"add": {"controller": 1}}),
        json!({"add": {"cook": 1}}),
        json!({"add": {"dea": 0}}),
        json!({}),
        json!({"add": {"dea": 1}, "role": "dea"}),
    ] {
        change(refused).await.expect(422);
    }
    let forced = change(json!({"remove": {"router": 1}, "force": true})).await;
    assert_eq!(forced.expect(200)["roles"]["router"], Value::Null);
    dora.send(Method::POST, PATH, Some(json!({"add": {"dea": 1}})))
        .await
        .expect(403);
    let elsewhere = "/yard/v1/nodes/machine-2/roles";
    admin
        .send(Method::POST, elsewhere, Some(json!({"add": {"dea": 1}})))
        .await
        .expect(404);
    let history = admin
        .get("/yard/v1/history?commands=node")
        .await
        .expect(200);
    let told = &history["resources"][0];
    assert_eq!(
        (&told["command"], &told["data"]["was"]["router"]),
        (&json!("node change the roles of machine-1"), &json!(1))
    );
}
