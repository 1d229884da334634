//! One controller's API, asked past the routers.

use crate::world::World;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::time::Duration;

pub struct Api {
    http: reqwest::Client,
    base: String,
    host: String,
    token: String,
}

impl Api {
    /// At the address that this controller listens on.
    pub async fn of(world: &World, controller: &str) -> anyhow::Result<Api> {
        let bootstrap = world.cluster.bootstrap(controller)?;
        let address = bootstrap["settings"]["advertise"].as_str();
        let base = format!("http://{}", address.context("a controller has an address")?);
        let http = reqwest::Client::builder().no_proxy().build()?;
        let password = std::fs::read_to_string(world.cluster.home.join("admin-password"))?;
        let form = [
            ("grant_type", "password"),
            ("username", "admin"),
            ("password", password.trim()),
        ];
        let login: Value = http
            .post(format!("{base}/oauth/token"))
            .header("Host", world.cluster.host("uaa"))
            .basic_auth("cf", Some(""))
            .form(&form)
            .timeout(Duration::from_secs(30))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let token = login["access_token"].as_str().context("a token")?;
        Ok(Api {
            http,
            base,
            host: world.cluster.host("api"),
            token: token.to_string(),
        })
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .header("Host", &self.host)
            .bearer_auth(&self.token)
            .timeout(Duration::from_secs(10))
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let response = self.request(reqwest::Method::GET, path).send().await?;
        let status = response.status();
        let document: Value = response.json().await?;
        ensure!(status == 200, "GET {path} answered {status}: {document}");
        Ok(document)
    }

    pub async fn app(&self, name: &str) -> anyhow::Result<String> {
        let found = self.get(&format!("/v3/apps?names={name}")).await?;
        let guid = found["resources"][0]["guid"].as_str();
        Ok(guid.with_context(|| format!("no app {name}"))?.to_string())
    }

    /// Acknowledged when this returns.
    pub async fn scale(&self, app: &str, instances: u64) -> anyhow::Result<()> {
        let path = format!("/v3/apps/{app}/processes/web/actions/scale");
        let response = self
            .request(reqwest::Method::POST, &path)
            .json(&json!({ "instances": instances }))
            .send()
            .await?;
        let status = response.status();
        ensure!(
            status.is_success(),
            "scaling answered {status}: {}",
            response.text().await?
        );
        Ok(())
    }
}
