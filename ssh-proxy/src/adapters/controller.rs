//! Asking the controller: may this code come in, and where is the instance.

use crate::domain::target::Target;
use anyhow::Context;
use serde::Deserialize;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Controller {
    client: reqwest::Client,
    base: String,
}

/// Why nobody comes in.
#[derive(Debug, thiserror::Error)]
pub enum NotLetIn {
    /// A sentence for the user.
    #[error("{0}")]
    Refused(String),
    #[error("the controller could not be asked")]
    Away(#[source] reqwest::Error),
}

/// A way in, for one session.
#[derive(Debug, Deserialize)]
pub struct Entry {
    /// None: the agent calls here.
    pub address: Option<SocketAddr>,
    pub ticket: String,
}

#[derive(Deserialize)]
struct Granted {
    permit: String,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Told>,
}

#[derive(Deserialize)]
struct Told {
    detail: String,
}

impl Controller {
    pub fn new(url: &str) -> anyhow::Result<Controller> {
        let client = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Controller {
            client,
            base: url.trim_end_matches('/').to_string(),
        })
    }

    /// Spends a code for a permit.
    pub async fn permit(&self, target: &Target, code: &str) -> Result<String, NotLetIn> {
        let login = json!({
            "code": code,
            "process": target.process,
            "index": target.index,
            "crashed": target.crashed,
        });
        let request = self
            .client
            .post(format!("{}/internal/ssh/permits", self.base));
        let granted: Granted = ask(request.json(&login)).await?;
        Ok(granted.permit)
    }

    /// A way into the permit's instance.
    pub async fn entry(&self, permit: &str) -> Result<Entry, NotLetIn> {
        let request = self
            .client
            .post(format!("{}/internal/ssh/entries", self.base));
        ask(request.bearer_auth(permit)).await
    }
}

async fn ask<T: serde::de::DeserializeOwned>(
    request: reqwest::RequestBuilder,
) -> Result<T, NotLetIn> {
    let answer = request.send().await.map_err(NotLetIn::Away)?;
    let status = answer.status();
    if status.is_success() {
        return answer.json().await.map_err(NotLetIn::Away);
    }
    let told = answer.json::<Errors>().await.ok();
    let detail = told.and_then(|told| told.errors.into_iter().next());
    Err(NotLetIn::Refused(match detail {
        Some(told) => told.detail,
        None => format!("the controller answered {status}"),
    }))
}
