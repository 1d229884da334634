//! A cluster seen from inside: what a daemon was started with, what its status server says, and the
//! bus as one of the components.

use crate::Cluster;
use anyhow::{Context, ensure};
use proto::bus::{Role, catalogue};
use proto::ids::ComponentId;
use serde_json::Value;
use std::time::Duration;

/// Proportional set size of a process: memory that it shares counts in part.
pub fn pss_kib(pid: impl std::fmt::Display) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// How somebody logs in to the bus.
#[derive(Debug, Clone)]
pub struct BusLogin {
    pub role: Role,
    pub id: ComponentId,
    /// `host:port`
    pub address: String,
    pub user: String,
    pub password: String,
}

/// The role of a user of the bus, by its name.
pub fn role_of(user: &str) -> Option<Role> {
    let role = user.rsplit_once('-').map_or(user, |(role, _)| role);
    Role::parse(user).or_else(|| Role::parse(role))
}

impl Cluster {
    /// The file a daemon was started with.
    pub fn bootstrap(&self, component: &str) -> anyhow::Result<Value> {
        let path = self.home.join(format!("node/bootstrap/{component}.json"));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// A document of a daemon's status server.
    pub async fn status_text(&self, component: &str, path: &str) -> anyhow::Result<String> {
        let admin = &self.bootstrap(component)?["admin"];
        let address = admin["address"].as_str().context("address")?;
        let response = reqwest::Client::builder()
            .no_proxy()
            .build()?
            .get(format!("http://{address}{path}"))
            .basic_auth(
                admin["user"].as_str().context("user")?,
                admin["password"].as_str(),
            )
            .timeout(Duration::from_secs(5))
            .send()
            .await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(
            status == 200,
            "{path} of {component} answered {status}: {text}"
        );
        Ok(text)
    }

    pub async fn varz(&self, component: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(
            &self.status_text(component, "/varz").await?,
        )?)
    }

    /// How this component of the cluster, or a stranger by its role's name, logs in to the bus.
    pub fn bus_login(&self, who: &str) -> anyhow::Result<BusLogin> {
        let stranger = Role::STRANGERS.into_iter().find(|role| role.name() == who);
        let (login, server) = match stranger {
            Some(_) => {
                let path = self.home.join(format!("node/{who}.json"));
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("reading {}", path.display()))?;
                let login: Value = serde_json::from_str(&text)?;
                let server = login["server"].clone();
                (login, server)
            }
            None => {
                let login = self.bootstrap(who)?["bus"].take();
                let server = login["servers"][0].clone();
                (login, server)
            }
        };
        let text = |value: &Value| value.as_str().map(str::to_string);
        let role = match stranger {
            Some(role) => role,
            None => role_of(who).with_context(|| format!("{who} has no role"))?,
        };
        let server = text(&server).context("server")?;
        Ok(BusLogin {
            role,
            id: ComponentId::new(who)?,
            address: server.trim_start_matches("nats://").to_string(),
            user: text(&login["user"]).context("user")?,
            password: text(&login["password"]).context("password")?,
        })
    }

    /// The bus, with the credential of a component or a stranger.
    pub async fn bus(&self, who: &str) -> anyhow::Result<async_nats::Client> {
        let login = self.bus_login(who)?;
        let mut options =
            async_nats::ConnectOptions::with_user_and_password(login.user, login.password);
        if !login.role.is_stranger() {
            options = options.custom_inbox_prefix(catalogue::inbox_prefix(&login.id));
        }
        Ok(options.connect(login.address).await?)
    }

    /// The log of a component, as far as it is written.
    pub fn log(&self, component: &str) -> String {
        let file = self.home.join(format!("logs/{component}.log"));
        std::fs::read_to_string(file).unwrap_or_default()
    }
}
