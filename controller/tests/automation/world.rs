//! A controller's automation as it is in a cluster: API, engine, bus, cluster store, database. Agents are
//! played by whoever needs one.

#![allow(dead_code, reason = "helpers of tests")]

use crate::cluster::{self, Apart, eventually, has_servers};
use crate::databases::{self, Database};
use axum::Router;
use axum::body::Body;
use controller::automation::{Automation, api, ids, start};
use controller::ops::Ops;
use controller::runtime::Runtime;
use controller::store::Json;
use controller::store::automation::actions::Action;
use controller::store::automation::role_assignments::RoleAssignment;
use controller::store::users::User;
use daemon::Deps;
use http::{HeaderMap, Method, Request, StatusCode, header};
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

    async fn on(database: Database) -> World {
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
            eprintln!("SKIPPED {test}: initdb is not installed");
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
        let time = cluster::now();
        let user = User {
            guid: format!("guid-of-{name}"),
            username: name.into(),
            origin: "uaa".into(),
            password_hash: String::new(),
            is_admin: roles.contains(&"admin"),
            created_at: time,
            updated_at: time,
            row_version: 1,
        };
        let mut tx = self.cluster.store.write("test").await.unwrap();
        user.insert(&mut tx).await.unwrap();
        for role in roles {
            RoleAssignment {
                id: ids::new_id(),
                role: role.to_string(),
                username: name.into(),
                source: "test".into(),
                description: String::new(),
                created_at: time,
            }
            .insert(&mut tx)
            .await
            .unwrap();
        }
        tx.commit().await.unwrap();
        let token = self
            .node
            .automation
            .issue_token(&user.guid, name, 3600, None)
            .await
            .unwrap();
        Client {
            router: self.node.router.clone(),
            token: token.text,
        }
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
    let folder = cluster.folder.path();
    let key_file = folder.join("automation.key");
    std::fs::write(
        &key_file,
        "a random text of more than thirty-two characters",
    )
    .unwrap();
    let scratch = folder.join("scratch");
    std::fs::create_dir_all(&scratch).unwrap();
    let packs = folder.join("packs");
    std::fs::create_dir_all(&packs).unwrap();
    let config: start::Config = serde_json::from_value(json!({
        "key_file": key_file, "packs": packs, "public_url": "http://st2.yard.internal:8080",
    }))
    .unwrap();
    let automation = start::start(&config, ops, runtime, deps).await.unwrap();
    let router = api::router(automation.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = router.clone();
    tokio::spawn(async move { axum::serve(listener, served).await });
    (automation, router, address)
}

/// An answer that was read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
    /// Null where the body is no JSON.
    pub json: Value,
}

impl Reply {
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        let text = String::from_utf8_lossy(&self.bytes);
        assert_eq!(self.status.as_u16(), status, "{text}");
        self.json
    }

    #[track_caller]
    pub fn refused(self, status: u16) -> String {
        self.expect(status)["faultstring"]
            .as_str()
            .unwrap()
            .to_string()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Somebody who is logged in.
#[derive(Clone)]
pub struct Client {
    pub router: Router,
    pub token: String,
}

impl Client {
    /// The same user at another controller.
    pub fn at(&self, node: &Node) -> Client {
        Client {
            router: node.router.clone(),
            token: self.token.clone(),
        }
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-auth-token", &self.token)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .unwrap();
        self.open(request).await
    }

    pub async fn open(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Reply {
            status: parts.status,
            headers: parts.headers,
            bytes,
            json,
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None).await
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
