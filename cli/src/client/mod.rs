//! A thin client of the public API: typed requests, nothing decided here about apps.
//!
//! What it does beyond sending: it connects to the address stored with the login for every name
//! under the cluster's domain (nothing depends on the machine's name resolution), renews an access
//! token once when the server says it ran out, and repeats what is safe to repeat.

mod automation;
mod fault;
mod jobs;
mod logs;
mod names;
mod resolver;
mod sse;
mod ssh;
mod tokens;
mod transport;
mod upload;

pub use automation::{Automation, EventStream};
pub use jobs::Pace;
pub use logs::{LogItem, LogStream};
pub use names::{AppUrl, domain_of_api, item, normalize_api, segment};
pub use resolver::resolves_to;
pub use sse::Event;
pub use tokens::{discover, log_in, spend};
pub use transport::address_of;
pub use upload::Bits;

use crate::failure::{Code, Failure, Outcome};
use crate::targets::{Named, Store, Target};
use bytes::Bytes;
use proto::api::Page;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Mutex;
use std::time::Duration;
use transport::Twice;

/// Longest wait for an ordinary answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

pub struct Client {
    http: reqwest::Client,
    store: Store,
    target: Target,
    tokens: Mutex<Tokens>,
}

#[derive(Debug, Clone, Default)]
struct Tokens {
    access: Option<String>,
    refresh: Option<String>,
}

/// An answer that was read whole.
#[derive(Debug)]
pub struct Reply {
    /// Of a job.
    pub location: Option<String>,
    pub body: Bytes,
}

impl Reply {
    pub fn json<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::failed(format!(
                "the cluster's answer to {path} makes no sense: {error}"
            ))
            .fix("`yard version` shows whether client and cluster fit together")
        })
    }
}

impl Client {
    /// The client of the target in use.
    pub fn open(store: Store) -> Outcome<Client> {
        let target = store.target()?;
        Client::of(store, target)
    }

    pub fn of(store: Store, target: Target) -> Outcome<Client> {
        let http = transport::http(&target.api, target.connect.as_deref())?;
        let tokens = Mutex::new(Tokens {
            access: target.access_token.clone(),
            refresh: target.refresh_token.clone(),
        });
        Ok(Client {
            http,
            store,
            target,
            tokens,
        })
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn space(&self) -> Outcome<&Named> {
        self.target.space.as_ref().ok_or_else(|| {
            Failure::usage("no space is chosen").fix("`yard target -o ORG -s SPACE`")
        })
    }

    pub fn org(&self) -> Outcome<&Named> {
        self.target
            .org
            .as_ref()
            .ok_or_else(|| Failure::usage("no organization is chosen").fix("`yard target -o ORG`"))
    }

    /// `GET path?query`, decoded.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Outcome<T> {
        self.call(Method::GET, &self.url(path, query), |request| request)
            .await?
            .json(path)
    }

    /// Every resource of a list, all pages.
    pub async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Outcome<Vec<T>> {
        let mut url = self.url(path, query);
        let mut all = Vec::new();
        // A server that points from page to page for ever is not followed for ever.
        for _ in 0..10_000 {
            let page: Page<T> = self
                .call(Method::GET, &url, |request| request)
                .await?
                .json(path)?;
            all.extend(page.resources);
            match page.pagination.next {
                Some(next) => url = self.own_url(&next.href),
                None => return Ok(all),
            }
        }
        Err(Failure::failed(format!("the list {path} never ends")))
    }

    pub async fn send<B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Outcome<Reply> {
        self.send_again(method, path, Twice::ByMethod, body).await
    }

    async fn send_again<B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        twice: Twice,
        body: &B,
    ) -> Outcome<Reply> {
        let body = serde_json::to_vec(body).map_err(|error| {
            Failure::failed(format!("write the request to {path}")).because(error)
        })?;
        self.call_again(method, &self.url(path, &[]), twice, |request| {
            request
                .header("content-type", "application/json")
                .body(body.clone())
        })
        .await
    }

    pub async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Outcome<T> {
        self.send(Method::POST, path, body).await?.json(path)
    }

    /// A POST that means the same when it comes twice.
    pub async fn post_same<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Outcome<T> {
        self.send_again(Method::POST, path, Twice::Same, body)
            .await?
            .json(path)
    }

    /// Sends what must not be done twice. Where the connection breaks in the middle, `find` looks whether it
    /// was done all the same; if not, it is sent again.
    pub async fn sent_once<T>(
        &self,
        send: impl AsyncFn() -> Outcome<T>,
        find: impl AsyncFn() -> Outcome<Option<T>>,
    ) -> Outcome<T> {
        const ATTEMPTS: usize = 4;
        let mut attempt = 1;
        loop {
            let failure = match send().await {
                Err(failure) if failure.code == Code::Unreachable => failure,
                other => return other,
            };
            match find().await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) if attempt < ATTEMPTS => attempt += 1,
                // What went wrong first is what the user is told.
                Ok(None) | Err(_) => return Err(failure),
            }
        }
    }

    /// An action without a body.
    pub async fn act(&self, path: &str) -> Outcome<Reply> {
        self.call(Method::POST, &self.url(path, &[]), |request| request)
            .await
    }

    /// An action that means the same when it comes twice.
    pub async fn act_same(&self, path: &str) -> Outcome<Reply> {
        let url = self.url(path, &[]);
        self.call_again(Method::POST, &url, Twice::Same, |request| request)
            .await
    }

    /// A change that means the same when it comes twice.
    pub async fn patch_same<B: Serialize + ?Sized>(&self, path: &str, body: &B) -> Outcome<Reply> {
        self.send_again(Method::PATCH, path, Twice::Same, body)
            .await
    }

    pub async fn patch<B: Serialize + ?Sized>(&self, path: &str, body: &B) -> Outcome<Reply> {
        self.send(Method::PATCH, path, body).await
    }

    /// A document that is no JSON.
    pub async fn text(&self, path: &str) -> Outcome<String> {
        let url = self.url(path, &[]);
        let reply = self.call(Method::GET, &url, |request| request).await?;
        Ok(String::from_utf8_lossy(&reply.body).into_owned())
    }

    pub async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Outcome<Reply> {
        self.call(Method::DELETE, &self.url(path, query), |request| request)
            .await
    }

    /// Means the same when it comes twice: a manifest says what there is to be.
    pub async fn post_yaml(&self, path: &str, yaml: String) -> Outcome<Reply> {
        let url = self.url(path, &[]);
        self.call_again(Method::POST, &url, Twice::Same, |request| {
            request
                .header("content-type", "application/x-yaml")
                .body(yaml.clone())
        })
        .await
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> String {
        names::with_query(&format!("{}{path}", self.target.api), query)
    }

    /// Links in answers are absolute. They are followed at the address we know: the cluster may
    /// call itself by another port than the one we reach it at.
    fn own_url(&self, href: &str) -> String {
        names::rebase(href, &self.target.api)
    }
}
