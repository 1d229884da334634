//! The API of automation as a program uses it, through the router: one connection kept open, one login.

use crate::Cluster;
use anyhow::{Context, ensure};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    host: String,
    token: String,
    answer_within: Duration,
}

impl Api {
    /// Logs in as the cluster's first user. Each request has so much time.
    pub async fn log_in(cluster: &Cluster, answer_within: Duration) -> anyhow::Result<Api> {
        let mut api = Api {
            http: reqwest::Client::builder().no_proxy().build()?,
            base: format!("http://127.0.0.1:{}", cluster.port),
            host: format!("{}:{}", cluster.host("st2"), cluster.port),
            token: String::new(),
            answer_within,
        };
        let password = std::fs::read_to_string(cluster.home.join("admin-password"))?;
        let request = api
            .http
            .post(format!("{}/auth/v1/tokens", api.base))
            .header("Host", &api.host)
            .timeout(answer_within)
            .basic_auth("admin", Some(password.trim()))
            .json(&json!({}));
        let (status, login) = answer(request).await.context("logging in")?;
        api.token = login["token"]
            .as_str()
            .with_context(|| format!("no token, {status}: {login}"))?
            .to_string();
        Ok(api)
    }

    /// Everything that a request to the API carries besides its body.
    pub fn headers(&self) -> [(&'static str, &str); 3] {
        [
            ("Host", &self.host),
            ("X-Auth-Token", &self.token),
            ("Content-Type", "application/json"),
        ]
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.base)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .http
            .request(method, self.url(path))
            .timeout(self.answer_within);
        self.headers()
            .into_iter()
            .fold(request, |request, (name, value)| {
                request.header(name, value)
            })
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, document) = answer(self.request(Method::GET, path)).await?;
        ensure!(status == 200, "GET {path} answered {status}: {document}");
        Ok(document)
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, path).body(body.to_string());
        let (status, document) = answer(request).await?;
        ensure!(
            status.is_success(),
            "POST {path} answered {status}: {document}"
        );
        Ok(document)
    }
}

async fn answer(request: RequestBuilder) -> anyhow::Result<(StatusCode, Value)> {
    let response = request.send().await?;
    let status = response.status();
    let text = response.text().await?;
    let document = serde_json::from_str(&text);
    Ok((
        status,
        document.with_context(|| format!("no JSON document, {status}: {text:?}"))?,
    ))
}
