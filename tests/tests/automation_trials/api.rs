//! The API of automation as a program uses it, and the webhooks that a load calls.

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::time::Duration;
use tests::Cluster;

/// How an answer to a webhook counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// Promised: nothing of it may be lost.
    Acknowledged,
    /// Nothing was taken in; come back after this, says this text.
    PutOff(Duration, String),
    /// Nobody knows: the connection broke, or somebody on the way gave up.
    Unknown(String),
}

#[derive(Clone)]
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
        let response = api
            .http
            .post(format!("{}/auth/v1/tokens", api.base))
            .header("Host", &api.host)
            .basic_auth("admin", Some(password.trim()))
            .json(&json!({}))
            .send()
            .await?;
        let answer: Value = response.json().await?;
        api.token = answer["token"]
            .as_str()
            .with_context(|| format!("no token: {answer}"))?
            .to_string();
        Ok(api)
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}/api/v1/{path}", self.base))
            .header("Host", &self.host)
            .header("X-Auth-Token", &self.token)
            .timeout(Duration::from_secs(60))
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let response = self.request(reqwest::Method::GET, path).send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status == 200, "{path} answered {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
    }

    /// Every entry of a list.
    pub async fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let separator = if path.contains('?') { '&' } else { '?' };
        match self.get(&format!("{path}{separator}limit=-1")).await? {
            Value::Array(list) => Ok(list),
            other => bail!("{path} is no list: {other}"),
        }
    }

    /// A rule that answers calls of the hook of its name.
    pub async fn rule(&self, name: &str, action: &str, parameters: Value) -> anyhow::Result<()> {
        let trigger = json!({ "type": "core.st2.webhook", "parameters": { "url": name } });
        self.rule_on(name, trigger, action, parameters).await
    }

    pub async fn rule_on(
        &self,
        name: &str,
        trigger: Value,
        action: &str,
        parameters: Value,
    ) -> anyhow::Result<()> {
        let rule = json!({
            "name": name, "pack": "default", "enabled": true, "trigger": trigger, "criteria": {},
            "action": { "ref": action, "parameters": parameters },
        });
        let request = self.request(reqwest::Method::POST, "rules").json(&rule);
        let response = request.send().await?;
        let status = response.status();
        ensure!(
            status == 201,
            "the rule {name}: {status}: {}",
            response.text().await?
        );
        Ok(())
    }

    pub async fn delete_rule(&self, name: &str) -> anyhow::Result<()> {
        let path = format!("rules/default.{name}");
        let response = self.request(reqwest::Method::DELETE, &path).send().await?;
        ensure!(response.status().is_success(), "{}", response.status());
        Ok(())
    }

    /// Calls a hook with a payload that names it and nothing else in the world.
    pub async fn post(&self, hook: &str, id: &str) -> Posted {
        let request = self
            .request(reqwest::Method::POST, &format!("webhooks/{hook}"))
            .json(&json!({ "id": id }));
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Posted::Unknown(error.to_string()),
        };
        let status = response.status().as_u16();
        let seconds = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse().ok());
        let text = response.text().await.unwrap_or_default();
        match (status, seconds) {
            (202, _) => Posted::Acknowledged,
            (429, Some(seconds)) => Posted::PutOff(Duration::from_secs(seconds), text),
            _ => Posted::Unknown(format!("{status}: {text}")),
        }
    }
}
