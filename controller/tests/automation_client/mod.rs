//! Users of the automation API of a controller in this process, and how such a controller is started.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "helpers of tests; each target uses a part"
)]

use crate::cluster::{self, eventually};
use axum::Router;
use axum::body::Body;
use controller::automation::{Automation, api, ids, start};
use controller::ops::Ops;
use controller::runtime::Runtime;
use controller::store::Json;
use controller::store::automation::packs::Pack;
use controller::store::users::User;
use daemon::Deps;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::path::Path;
use tower::ServiceExt;

/// A controller of a cluster with its automation. `packs`: the built-in ones.
pub async fn start(
    cluster: &cluster::World,
    name: &str,
    packs: &Path,
    pack_folders: &[&Path],
) -> (Automation, Runtime, Deps) {
    let (runtime, deps) = cluster.controller(name).await;
    let ops = cluster.ops(&runtime, &deps);
    let automation = start_in(cluster, ops, &runtime, &deps, packs, pack_folders).await;
    (automation, runtime, deps)
}

/// The automation of a controller that runs already.
pub async fn start_in(
    cluster: &cluster::World,
    ops: Ops,
    runtime: &Runtime,
    deps: &Deps,
    packs: &Path,
    pack_folders: &[&Path],
) -> Automation {
    let folder = cluster.folder.path();
    std::fs::create_dir_all(folder.join("scratch")).unwrap();
    std::fs::create_dir_all(packs).unwrap();
    let key_file = folder.join("automation.key");
    let key = "a random text of more than thirty-two characters";
    std::fs::write(&key_file, key).unwrap();
    let config: start::Config = serde_json::from_value(json!({
        "key_file": key_file, "packs": packs, "public_url": "http://st2.yard.internal:8080",
        "pack_folders": pack_folders,
    }))
    .unwrap();
    start::start(&config, ops, runtime, deps).await.unwrap()
}

/// A pack that is staged, though nobody has its content.
pub fn pack(name: &str) -> Pack {
    Pack {
        reference: name.into(),
        id: ids::new_id(),
        name: name.into(),
        version: "1.0.0".into(),
        document: Json(json!({})),
        config_schema: Json(Value::Null),
        archive_sha256: Some("1".repeat(64)),
        archive_size: Some(1),
        builtin: false,
        created_at: 1,
        updated_at: 1,
        row_version: 1,
    }
}

/// Makes an account; somebody who is logged in to it.
pub async fn user(automation: &Automation, name: &str, is_admin: bool) -> Client {
    let time = cluster::now();
    let user = User {
        guid: format!("guid-of-{name}"),
        username: name.into(),
        origin: "uaa".into(),
        password_hash: String::new(),
        is_admin,
        created_at: time,
        updated_at: time,
        row_version: 1,
    };
    let mut tx = automation.ops.store.write("test").await.unwrap();
    user.insert(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let token = automation
        .issue_token(&user.guid, name, 3600, None)
        .await
        .unwrap();
    Client {
        router: api::router(automation.clone()),
        token: token.text,
    }
}

/// Changes a setting of the cluster; it is there when this returns.
pub async fn set(deps: &Deps, key: &str, value: &Value) {
    let place = format!("{}{key}", proto::config::PREFIX);
    let text = value.to_string();
    let stored = deps.cluster.compare_and_set(&place, None, &text).await;
    stored.unwrap().unwrap();
    let settings = deps.cluster.settings();
    eventually("the setting arrives", async || {
        let seen = settings.borrow().value(key).map(|seen| seen.to_json());
        if seen.as_ref() == Some(value) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
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
    pub async fn read(response: Response<Body>) -> Reply {
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
        Some(self.headers.get(name)?.to_str().unwrap())
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

    pub async fn open(&self, request: Request<Body>) -> Reply {
        Reply::read(self.router.clone().oneshot(request).await.unwrap()).await
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
}
