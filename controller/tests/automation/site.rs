//! Automation in this process: its API, and its engine turned by hand. No bus: what needs an agent waits.

#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests")]

pub use crate::automation_client::Reply;
use axum::body::Body;
use controller::automation::engine::agents::Agents;
use controller::automation::engine::{self, Term};
use controller::automation::{Automation, api, ids};
use controller::blobs::Blobs;
use controller::ops::tokens::Tokens;
use controller::ops::{Live, Ops};
use controller::store::automation::actions::Action;
use controller::store::automation::trigger_instances;
use controller::store::{Json, Store};
use controller::vault::Vault;
use http::{Method, Request};
use proto::config::Settings;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tower::ServiceExt;

pub const PASSWORD: &str = "admin's password";

/// The API as one caller uses it.
#[derive(Clone)]
pub struct Face {
    pub token: String,
    router: axum::Router,
}

pub struct Site {
    pub automation: Automation,
    pub term: Term,
    face: Face,
    settings: watch::Sender<Arc<Settings>>,
    epoch: watch::Sender<Option<i64>>,
    _folder: tempfile::TempDir,
}

/// Settings with these values.
pub fn settings(values: &[(&str, &Value)]) -> Settings {
    let texts: Vec<(&str, String)> = values
        .iter()
        .map(|(key, value)| (*key, value.to_string()))
        .collect();
    let (settings, problems) =
        Settings::from_stored(texts.iter().map(|(key, text)| (*key, text.as_str())));
    assert!(problems.is_empty(), "{problems:?}");
    settings
}

fn automation(
    store: Store,
    folder: &Path,
    settings: watch::Receiver<Arc<Settings>>,
    epoch: watch::Receiver<Option<i64>>,
) -> Automation {
    let scratch = folder.join("scratch");
    std::fs::create_dir_all(&scratch).unwrap();
    std::fs::create_dir_all(folder.join("packs")).unwrap();
    let blobs = Blobs::open(&folder.join("blobs"), b"a key of signatures", "127.0.0.1:1").unwrap();
    Automation {
        ops: Ops {
            store,
            blobs,
            live: Live::none(),
            settings,
            scratch,
            public_url: "http://api.yard.internal:8080".into(),
            tokens: Arc::new(Tokens::new(
                b"a key of thirty-two characters!!",
                "http://uaa.yard.internal".into(),
            )),
            vault: Vault::new(::automation::datastore::SymmetricKey::generate(&[7; 64])),
            tasks: daemon::Supervisor::new(),
        },
        key: Arc::new(::automation::datastore::SymmetricKey::generate(&[7; 64])),
        expressions: ::automation::expressions::Engine::default(),
        agents: Agents::default(),
        stream: Automation::stream_channel(),
        peers: None,
        acceptance: Default::default(),
        intake: Default::default(),
        ends: Default::default(),
        packs_at_work: Default::default(),
        wake: Arc::new(Notify::new()),
        epoch,
        bus: None,
        public_url: "http://st2.yard.internal:8080".into(),
        pack_folders: Arc::from([]),
        builtin_packs: Arc::from(folder.join("packs").as_path()),
    }
}

impl Site {
    /// A leader of this epoch over a database.
    pub async fn over(store: Store, epoch: i64) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let (settings, follow) = watch::channel(Arc::new(Settings::default()));
        let (sender, leads) = watch::channel(Some(epoch));
        let automation = automation(store, folder.path(), follow, leads);
        automation
            .ops
            .prepare(PASSWORD, "yard.internal")
            .await
            .unwrap();
        let mut site = Site {
            face: Face::of(&automation).await,
            automation,
            term: Term::default(),
            settings,
            epoch: sender,
            _folder: folder,
        };
        site.round().await;
        site
    }

    pub fn set(&self, key: &str, value: &Value) {
        self.settings
            .send_replace(Arc::new(settings(&[(key, value)])));
    }

    /// Whether it leads from now on.
    pub fn lead(&self, epoch: Option<i64>) {
        self.epoch.send_replace(epoch);
    }

    /// The engine looks at everything once.
    pub async fn round(&mut self) {
        engine::duties(&self.automation, &mut self.term, false)
            .await
            .unwrap();
    }

    /// Rounds until nothing waits for the rules.
    pub async fn settle(&mut self) {
        for _ in 0..200 {
            self.round().await;
            let mut reader = self.automation.ops.store.read().await.unwrap();
            let waiting = trigger_instances::count_pending(&mut reader, 1)
                .await
                .unwrap();
            drop(reader);
            if waiting == 0 {
                return;
            }
        }
        panic!("trigger instances are left over");
    }

    /// An action that does nothing, with these parameters.
    pub async fn action(&self, name: &str, parameters: Value) {
        self.action_of(name, "noop", parameters).await;
    }

    pub async fn action_of(&self, name: &str, runner: &str, parameters: Value) {
        let row = Action {
            reference: format!("test.{name}"),
            id: ids::new_id(),
            pack: "test".into(),
            name: name.into(),
            runner_type: runner.into(),
            enabled: true,
            document: Json(json!({"description": "Does nothing.", "parameters": parameters})),
            created_at: 1,
            updated_at: 1,
            row_version: 1,
        };
        let mut tx = self.automation.ops.store.write("test").await.unwrap();
        row.insert(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}

impl std::ops::Deref for Site {
    type Target = Face;

    fn deref(&self) -> &Face {
        &self.face
    }
}

impl Face {
    /// As the administrator.
    pub async fn of(automation: &Automation) -> Face {
        let token = automation
            .log_in("admin", PASSWORD, None)
            .await
            .unwrap()
            .text;
        Face {
            token,
            router: api::router(automation.clone()),
        }
    }

    pub fn with_token(&self, token: &str) -> Face {
        Face {
            token: token.to_string(),
            ..self.clone()
        }
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        Reply::read(self.router.clone().oneshot(request).await.unwrap()).await
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        self.call_with(method, path, body, &[]).await
    }

    pub async fn call_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-auth-token", &self.token)
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, None).await.expect(200)
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.call(Method::PUT, path, Some(body)).await
    }
}
