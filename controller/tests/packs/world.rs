//! A controller's automation as it is in a cluster, with the built-in packs of the repository and a folder
//! from which packs may be installed.

#![allow(dead_code, reason = "helpers of tests")]

use crate::cluster::{self, eventually, has_servers};
use crate::databases::{self, Database};
use axum::Router;
use axum::body::Body;
use controller::automation::api::extract::{Caller, Shown};
use controller::automation::{Automation, api, start};
use controller::runtime::Runtime;
use controller::store::automation::executions::Execution;
use controller::store::users::User;
use daemon::Deps;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tower::ServiceExt;

pub struct World {
    pub automation: Automation,
    router: Router,
    token: String,
    _runtime: Runtime,
    deps: Deps,
    pub cluster: cluster::World,
    _database: Database,
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
        let document = self.expect(status);
        document["faultstring"].as_str().unwrap().to_string()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

impl World {
    /// One on each kind of database, when what is built in is registered.
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
        let folder = cluster.folder.path();
        // The list of libraries is not beside them: nothing is staged that a test does not ask for.
        let packs = folder.join("built-in/packs");
        std::fs::create_dir_all(packs.parent().unwrap()).unwrap();
        let copied = Command::new("cp")
            .arg("-r")
            .arg(repository().join("packs"))
            .arg(&packs)
            .status()
            .unwrap();
        assert!(copied.success());
        std::fs::create_dir_all(folder.join("allowed")).unwrap();
        std::fs::create_dir_all(folder.join("scratch")).unwrap();
        let key_file = folder.join("automation.key");
        std::fs::write(
            &key_file,
            "a random text of more than thirty-two characters",
        )
        .unwrap();
        let (runtime, deps) = cluster.controller("controller-1").await;
        let config: start::Config = serde_json::from_value(json!({
            "key_file": key_file, "packs": packs, "public_url": "http://st2.yard.internal:8080",
            "pack_folders": [folder.join("allowed")],
        }))
        .unwrap();
        let automation = start::start(&config, cluster.ops(&runtime, &deps), &runtime, &deps)
            .await
            .unwrap();
        let time = cluster::now();
        let user = User {
            guid: "guid-of-admin".into(),
            username: "admin".into(),
            origin: "uaa".into(),
            password_hash: String::new(),
            is_admin: true,
            created_at: time,
            updated_at: time,
            row_version: 1,
        };
        let mut tx = cluster.store.write("test").await.unwrap();
        user.insert(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        let token = automation
            .issue_token(&user.guid, "admin", 3600, None)
            .await
            .unwrap();
        let world = World {
            router: api::router(automation.clone()),
            automation,
            token: token.text,
            _runtime: runtime,
            deps,
            cluster,
            _database: database,
        };
        eventually("the built-in packs are registered", async || {
            match world.get("/v1/packs/yard").await.status.as_u16() {
                200 => Ok(()),
                other => Err(other.to_string()),
            }
        })
        .await;
        world
    }

    /// Changes a setting of the cluster; it is there when this returns.
    pub async fn set(&self, key: &str, value: Value) {
        let place = format!("{}{key}", proto::config::PREFIX);
        let text = value.to_string();
        let stored = self.deps.cluster.compare_and_set(&place, None, &text).await;
        stored.unwrap().unwrap();
        let settings = self.deps.cluster.settings();
        eventually("the setting arrives", async || {
            let seen = settings.borrow().value(key).map(|seen| seen.to_json());
            if seen.as_ref() == Some(&value) {
                Ok(())
            } else {
                Err(format!("{seen:?}"))
            }
        })
        .await;
    }

    /// The administrator, for operations that HTTP has no address for here.
    pub async fn caller(&self) -> Caller {
        let shown = Shown::Token {
            token: self.token.clone(),
            from_query: false,
        };
        self.automation.caller(shown).await.unwrap()
    }

    /// The folder from which packs may be installed.
    pub fn allowed(&self) -> PathBuf {
        self.cluster.folder.path().join("allowed")
    }

    /// Writes a pack into it; gives back the source to install it from.
    pub fn pack(&self, name: &str, files: &[(&str, &str)]) -> String {
        let folder = self.allowed().join(name);
        write_pack(&folder, name, files);
        format!("file://{}", folder.display())
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

    pub fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("x-auth-token", &self.token)
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = self
            .request(method, path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .unwrap();
        self.open(request).await
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

    /// Waits for the end of an execution: its status and result.
    pub async fn ended(&self, id: &str) -> (String, Value) {
        eventually("the execution ends", async || {
            let mut connection = self.cluster.store.read().await.unwrap();
            let row = Execution::find(&mut connection, id).await.unwrap().unwrap();
            match &row.result {
                Some(text) if row.ended_at.is_some() => {
                    Ok((row.status.clone(), serde_json::from_str(text).unwrap()))
                }
                _ => Err(row.status),
            }
        })
        .await
    }

    /// Begins an installation and waits for its end.
    pub async fn install(&self, body: Value) -> (String, Value) {
        let begun = self.post("/v1/packs/install", body).await.expect(202);
        self.ended(begun["execution_id"].as_str().unwrap()).await
    }

    /// Installs what must succeed; the output.
    pub async fn installed(&self, packs: &[&str]) -> Value {
        let (status, result) = self.install(json!({"packs": packs})).await;
        assert_eq!(status, "succeeded", "{result}");
        result["output"].clone()
    }

    /// Installs what must fail; why.
    pub async fn not_installed(&self, body: Value) -> String {
        let (status, result) = self.install(body).await;
        assert_eq!(status, "failed", "{result}");
        result["errors"][0]["message"].as_str().unwrap().to_string()
    }
}

/// A pack with a pack.yaml unless the files bring one.
pub fn write_pack(folder: &Path, name: &str, files: &[(&str, &str)]) {
    if folder.exists() {
        std::fs::remove_dir_all(folder).unwrap();
    }
    std::fs::create_dir_all(folder).unwrap();
    let metadata =
        format!("name: {name}\ndescription: of a test\nversion: 1.0.0\nauthor: a test\n");
    std::fs::write(folder.join("pack.yaml"), metadata).unwrap();
    for (path, text) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}
