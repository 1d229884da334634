//! The API in this process, over an empty database and without a cluster. The root of the test
//! program says which kind of database: its module `database` has `async fn empty() -> Database`.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests"
)]

use crate::databases::Database;
use axum::body::Body;
use controller::api::{self, Api};
use controller::blobs::Blobs;
use controller::ops::tokens::Tokens;
use controller::ops::{Live, Ops};
use controller::vault::Vault;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use proto::config::Settings;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

pub const DOMAIN: &str = "yard.internal";
pub const PUBLIC: &str = "http://api.yard.internal:8080";
pub const PASSWORD: &str = "admin's password";

pub struct Http {
    router: axum::Router,
    pub ops: Ops,
    settings: tokio::sync::watch::Sender<Arc<Settings>>,
    _folder: tempfile::TempDir,
    _database: Database,
}

/// An answer that was read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub location: Option<String>,
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

    /// The first error, which is what clients look at.
    #[track_caller]
    pub fn refused(self, status: u16) -> String {
        self.expect(status)["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .to_string()
    }
}

impl Http {
    /// With the first start done: an administrator, org and space `default`, the shared domain.
    pub async fn start() -> Http {
        Http::with(Live::none(), None).await
    }

    /// With what a cluster shows, and its store.
    pub async fn with(live: Live, cluster: Option<daemon::Cluster>) -> Http {
        let folder = tempfile::tempdir().unwrap();
        let database = crate::database::empty().await;
        let scratch = folder.path().join("scratch");
        std::fs::create_dir_all(&scratch).unwrap();
        let (sender, settings) = tokio::sync::watch::channel(Arc::new(Settings::default()));
        let ops = Ops {
            store: database.store.clone(),
            blobs: Blobs::open(
                &folder.path().join("blobs"),
                b"a key of signatures",
                "127.0.0.1:1",
            )
            .unwrap(),
            live,
            settings,
            scratch,
            public_url: PUBLIC.into(),
            tokens: Arc::new(Tokens::new(
                b"a key of thirty-two characters!!",
                "http://uaa.yard.internal".into(),
            )),
            vault: Vault::new(::automation::datastore::SymmetricKey::generate(&[7; 64])),
            tasks: daemon::Supervisor::new(),
        };
        ops.prepare(PASSWORD, DOMAIN).await.unwrap();
        let router = api::router(Api {
            ops: ops.clone(),
            cluster,
            domain: DOMAIN.into(),
            ssh: None,
        });
        Http {
            router,
            ops,
            settings: sender,
            _folder: folder,
            _database: database,
        }
    }

    /// What an operator sets.
    pub fn configure(&self, stored: &[(&str, &str)]) {
        let (settings, ignored) = Settings::from_stored(stored.iter().copied());
        assert!(ignored.is_empty(), "{ignored:?}");
        self.settings.send_replace(Arc::new(settings));
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let location = response
            .headers()
            .get(header::LOCATION)
            .map(|value| value.to_str().unwrap().to_string());
        let status = response.status();
        let bytes = response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Reply {
            status,
            location,
            bytes,
            json,
        }
    }

    /// The answer before its body is read: for streams.
    pub async fn open(&self, request: Request<Body>) -> axum::response::Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn form(&self, path: &str, client: Option<&str>, form: &str) -> Reply {
        let mut request =
            Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(client) = client {
            use base64::Engine;
            let encoded = base64::engine::general_purpose::STANDARD.encode(client);
            request = request.header(header::AUTHORIZATION, format!("Basic {encoded}"));
        }
        self.send(request.body(Body::from(form.to_string())).unwrap())
            .await
    }

    pub async fn log_in(&self, user: &str, password: &str) -> User<'_> {
        let password = password.replace(' ', "%20").replace('\'', "%27");
        let form = format!("grant_type=password&username={user}&password={password}");
        let tokens = self
            .form("/oauth/token", Some("cf:"), &form)
            .await
            .expect(200);
        User {
            http: self,
            token: tokens["access_token"].as_str().unwrap().to_string(),
        }
    }

    pub async fn admin(&self) -> User<'_> {
        self.log_in("admin", PASSWORD).await
    }
}

/// Somebody who is logged in.
pub struct User<'a> {
    pub http: &'a Http,
    pub token: String,
}

impl<'a> User<'a> {
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("bearer {}", self.token));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.http.send(request.body(body).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None).await
    }

    /// The guid of the first thing in a list.
    pub async fn first(&self, path: &str) -> String {
        self.get(path).await.expect(200)["resources"][0]["guid"]
            .as_str()
            .unwrap()
            .to_string()
    }

    /// The relationships of a route of the first space in the default domain of the first organization.
    pub async fn places_of_routes(&self) -> Value {
        let (org, space) = (
            self.first("/v3/organizations").await,
            self.first("/v3/spaces").await,
        );
        let domain = self
            .get(&format!("/v3/organizations/{org}/domains/default"))
            .await
            .expect(200);
        json!({"space": {"data": {"guid": space}}, "domain": {"data": {"guid": domain["guid"]}}})
    }

    /// Makes something and returns its guid.
    pub async fn make(&self, path: &str, body: Value) -> String {
        self.post(path, body).await.expect(201)["guid"]
            .as_str()
            .unwrap()
            .to_string()
    }

    /// An account with a role in a place (`space` or `organization`), logged in.
    pub async fn with_role(&self, name: &str, role: &str, noun: &str, guid: &str) -> User<'a> {
        let account = json!({
            "userName": name, "password": "long enough", "origin": "uaa",
            "name": {"familyName": name, "givenName": name}, "emails": [{"value": name, "primary": true}],
        });
        self.post("/Users", account).await.expect(201);
        let relationships = json!({"user": {"data": {"username": name, "origin": "uaa"}}, noun: {"data": {"guid": guid}}});
        self.post(
            "/v3/roles",
            json!({"type": role, "relationships": relationships}),
        )
        .await
        .expect(201);
        self.http.log_in(name, "long enough").await
    }
}
