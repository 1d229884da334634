//! A controller's automation as it is in a cluster: API, engine, bus, cluster store, database. Agents are
//! played by whoever needs one.

#![allow(dead_code, reason = "helpers of tests")]

use crate::automation_client;
pub use crate::automation_client::Client;
use crate::cluster::{self, Apart, eventually, has_servers};
use crate::databases::{self, Database};
use axum::Router;
use axum::body::Body;
use controller::automation::{Automation, api, ids};
use controller::ops::Ops;
use controller::runtime::Runtime;
use controller::store::Json;
use controller::store::automation::actions::Action;
use controller::store::automation::role_assignments::RoleAssignment;
use daemon::Deps;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tower::ServiceExt;

/// One controller.
pub struct Node {
    pub automation: Automation,
    pub router: Router,
    /// The API on a port of this machine.
    pub address: SocketAddr,
    runtime: Runtime,
    pub deps: Deps,
}

pub struct World {
    /// The controller that leads, unless a test says otherwise.
    pub node: Node,
    pub cluster: cluster::World,
    pub database: Database,
}

impl World {
    /// One on each kind of database; none, and a word about it, where the servers are not installed.
    pub async fn each(test: &str) -> Vec<World> {
        if !has_servers(test) {
            return Vec::new();
        }
        let mut worlds = Vec::new();
        for database in databases::each(test).await {
            worlds.push(World::on(database).await);
        }
        worlds
    }

    /// On SQLite only, for what a database has no say in.
    pub async fn start(test: &str) -> Option<World> {
        if !has_servers(test) {
            return None;
        }
        Some(World::on(Database::sqlite().await).await)
    }

    /// On this database. The servers must be there.
    pub async fn on(database: Database) -> World {
        let cluster = cluster::World::with_store(database.store.clone()).await;
        let node = Node::start(&cluster, "controller-1").await;
        leads(&node.automation).await;
        World {
            node,
            cluster,
            database,
        }
    }

    /// Two controllers on PostgreSQL and a cluster store of three members. The one that leads can be killed;
    /// that of the world does not lead. None, and a word about it, where the servers are not installed.
    pub async fn with_doomed_leader(test: &str) -> Option<(World, Doomed)> {
        if !has_servers(test) {
            return None;
        }
        let Some(database) = Database::postgres().await else {
            // Not by the macro, whose output the test harness hides.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("SKIPPED {test}: initdb is not installed\n"),
            );
            return None;
        };
        let cluster = cluster::World::with_three_members(database.store.clone()).await;
        let leader = Doomed::start(&cluster, "controller-2", &database.url);
        leads(&leader.automation).await;
        let node = Node::start(&cluster, "controller-1").await;
        let world = World {
            node,
            cluster,
            database,
        };
        Some((world, leader))
    }

    /// Another controller over the same database; it does not lead.
    pub async fn second(&self) -> Node {
        Node::start(&self.cluster, "controller-2").await
    }

    /// An account with roles of automation (`admin`: of the whole platform), logged in at the leader.
    pub async fn user(&self, name: &str, roles: &[&str]) -> Client {
        let client =
            automation_client::user(&self.node.automation, name, roles.contains(&"admin")).await;
        let mut tx = self.cluster.store.write("test").await.unwrap();
        for role in roles {
            RoleAssignment {
                id: ids::new_id(),
                role: role.to_string(),
                username: name.into(),
                source: "test".into(),
                description: String::new(),
                created_at: cluster::now(),
            }
            .insert(&mut tx)
            .await
            .unwrap();
        }
        tx.commit().await.unwrap();
        client.at(&self.node)
    }

    /// Changes a setting of the cluster; it is there when this returns.
    pub async fn set(&self, key: &str, value: Value) {
        automation_client::set(&self.node.deps, key, &value).await;
    }

    pub async fn admin(&self) -> Client {
        self.user("admin", &["admin"]).await
    }

    /// Registers an action of pack `check`. `more` goes into its document.
    pub async fn action(&self, name: &str, runner: &str, parameters: Value, more: Value) {
        let time = cluster::now();
        let mut document = json!({
            "description": "of a test", "entry_point": "", "parameters": parameters,
            "tags": [], "notify": {}, "metadata_file": format!("actions/{name}.yaml"),
        });
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            document[key] = value;
        }
        let mut tx = self.cluster.store.write("test").await.unwrap();
        Action {
            reference: format!("check.{name}"),
            id: ids::new_id(),
            pack: "check".into(),
            name: name.into(),
            runner_type: runner.into(),
            enabled: true,
            document: Json(document),
            created_at: time,
            updated_at: time,
            row_version: 1,
        }
        .insert(&mut tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }
}

impl Node {
    async fn start(cluster: &cluster::World, name: &str) -> Node {
        let (runtime, deps) = cluster.controller(name).await;
        let ops = cluster.ops(&runtime, &deps);
        let (automation, router, address) = serve(cluster, ops, &runtime, &deps).await;
        Node {
            automation,
            router,
            address,
            runtime,
            deps,
        }
    }
}

/// Waits until a controller leads.
pub async fn leads(automation: &Automation) {
    let epoch = automation.epoch.clone();
    eventually("the controller leads", async || {
        epoch.borrow().map(|_| ()).ok_or_else(|| "not yet".into())
    })
    .await;
}

/// A controller that can be killed: with threads and connections of its own.
pub struct Doomed {
    pub automation: Automation,
    pub address: SocketAddr,
    apart: Apart,
}

impl Doomed {
    fn start(cluster: &cluster::World, name: &str, database: &str) -> Doomed {
        let apart = cluster.controller_apart(name, database);
        let ops = Ops {
            store: apart.store.clone(),
            ..cluster.ops(&apart.runtime, &apart.deps)
        };
        let (automation, _, address) = apart.run(serve(cluster, ops, &apart.runtime, &apart.deps));
        Doomed {
            automation,
            address,
            apart,
        }
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill(self) {
        self.apart.kill();
    }
}

/// Starts automation in a controller, and its API on a port of this machine.
async fn serve(
    cluster: &cluster::World,
    ops: Ops,
    runtime: &Runtime,
    deps: &Deps,
) -> (Automation, Router, SocketAddr) {
    let packs = cluster.folder.path().join("packs");
    let automation = automation_client::start_in(cluster, ops, runtime, deps, &packs, &[]).await;
    let router = api::router(automation.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = router.clone();
    tokio::spawn(async move { axum::serve(listener, served).await });
    (automation, router, address)
}

impl Client {
    /// The same user at another controller.
    pub fn at(&self, node: &Node) -> Client {
        Client {
            router: node.router.clone(),
            token: self.token.clone(),
        }
    }

    /// Runs an action; the id of its execution.
    pub async fn run(&self, action: &str, parameters: Value) -> String {
        let body = json!({"action": action, "parameters": parameters});
        let reply = self.post("/v1/executions", body).await.expect(201);
        reply["id"].as_str().unwrap().to_string()
    }

    /// Waits until an execution is in this state.
    pub async fn until(&self, id: &str, status: &str) -> Value {
        eventually("an execution gets to its state", async || {
            let execution = self.get(&format!("/v1/executions/{id}")).await.expect(200);
            if execution["status"] == status {
                Ok(execution)
            } else {
                Err(format!("{} instead of {status}", execution["status"]))
            }
        })
        .await
    }

    /// Opens a stream: its frames arrive as they are sent.
    pub async fn stream(&self, path: &str) -> Events {
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}x-auth-token={}", self.token);
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        Events {
            headers: response.headers().clone(),
            comments: Vec::new(),
            body: response.into_body(),
            text: String::new(),
        }
    }
}

/// A stream of events that is read.
pub struct Events {
    pub headers: HeaderMap,
    /// What was said beside the events.
    pub comments: Vec<String>,
    body: Body,
    text: String,
}

impl Events {
    /// The next event: name and data. None: the stream has ended.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((frame, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    frame
                        .lines()
                        .find_map(|line| line.strip_prefix(name).map(str::to_string))
                };
                if let Some(comment) = field(": ") {
                    self.comments.push(comment);
                }
                let found = field("event: ").map(|event| {
                    let data = field("data: ").unwrap_or_default();
                    (event, serde_json::from_str(&data).unwrap_or(Value::Null))
                });
                self.text = rest.to_string();
                if found.is_some() {
                    return found;
                }
            }
            let frame = tokio::time::timeout(cluster::SOON, self.body.frame())
                .await
                .expect("an event, or the end of the stream")?;
            let bytes = frame.unwrap().into_data().unwrap();
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}
