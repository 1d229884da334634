//! The API of automation as a program uses it, and the webhooks that a load calls.

use anyhow::{bail, ensure};
use reqwest::Method;
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

/// What the trials do with the API.
#[derive(Clone)]
pub struct Api(tests::automation::Api);

impl Api {
    pub async fn log_in(cluster: &Cluster) -> anyhow::Result<Api> {
        let within = Duration::from_secs(60);
        Ok(Api(tests::automation::Api::log_in(cluster, within).await?))
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.0.get(path).await
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
        let request = self.0.request(Method::POST, "rules").body(rule.to_string());
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
        let response = self.0.request(Method::DELETE, &path).send().await?;
        ensure!(response.status().is_success(), "{}", response.status());
        Ok(())
    }

    /// Calls a hook with a payload that names it and nothing else in the world.
    pub async fn post(&self, hook: &str, id: &str) -> Posted {
        let request = self
            .0
            .request(Method::POST, &format!("webhooks/{hook}"))
            .body(json!({ "id": id }).to_string());
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
