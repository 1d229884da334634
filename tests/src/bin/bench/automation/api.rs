//! A client of the automation API, as a program that sends events would have it: one connection kept
//! open, through the router.

use anyhow::{Context, ensure};
use serde_json::Value;
use std::time::Duration;
use tests::Cluster;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

pub struct Api {
    http: reqwest::Client,
    base: String,
    host: String,
    token: String,
}

impl Api {
    /// Logs in as the cluster's first user.
    pub async fn log_in(cluster: &Cluster) -> anyhow::Result<Api> {
        let mut api = Api {
            http: reqwest::Client::builder().no_proxy().build()?,
            base: format!("http://127.0.0.1:{}", cluster.port),
            host: format!("{}:{}", cluster.host("st2"), cluster.port),
            token: String::new(),
        };
        let password = std::fs::read_to_string(cluster.home.join("admin-password"))?;
        let request = api
            .http
            .post(format!("{}/auth/v1/tokens", api.base))
            .header("Host", &api.host)
            .basic_auth("admin", Some(password.trim()))
            .json(&serde_json::json!({}));
        let answer = read(request).await.context("logging in")?;
        api.token = answer["token"].as_str().context("a token")?.to_string();
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

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        read(self.request(reqwest::Method::GET, path))
            .await
            .with_context(|| format!("GET {path}"))
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        read(
            self.request(reqwest::Method::POST, path)
                .body(body.to_string()),
        )
        .await
        .with_context(|| format!("POST {path}"))
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, self.url(path));
        self.headers()
            .into_iter()
            .fold(request, |request, (name, value)| {
                request.header(name, value)
            })
    }
}

async fn read(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let response = request.timeout(ANSWER_WITHIN).send().await?;
    let status = response.status();
    let text = response.text().await?;
    ensure!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).with_context(|| format!("no JSON document: {text:?}"))
}
