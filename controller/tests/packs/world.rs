//! A controller's automation as it is in a cluster, with the built-in packs of the repository and a folder
//! from which packs may be installed.

#![allow(dead_code, reason = "helpers of tests")]

use crate::automation_client::{self, Client};
use crate::cluster::{self, eventually, has_servers};
use crate::databases::{self, Database};
use controller::automation::Automation;
use controller::automation::api::extract::{Caller, Shown};
use controller::runtime::Runtime;
use controller::store::automation::executions::Execution;
use daemon::Deps;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct World {
    pub automation: Automation,
    admin: Client,
    _runtime: Runtime,
    deps: Deps,
    pub cluster: cluster::World,
    _database: Database,
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
        let allowed = folder.join("allowed");
        std::fs::create_dir_all(&allowed).unwrap();
        let (automation, runtime, deps) =
            automation_client::start(&cluster, "controller-1", &packs, &[&allowed]).await;
        let world = World {
            admin: automation_client::user(&automation, "admin", true).await,
            automation,
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
        automation_client::set(&self.deps, key, &value).await;
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

/// As the administrator.
impl std::ops::Deref for World {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.admin
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
