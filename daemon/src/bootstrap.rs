//! The bootstrap file: all a daemon must know before it can reach the cluster store.
//!
//! The node writes one per daemon (mode 0600: it holds the daemon's passwords). Everything that
//! may change while the daemon runs is not here but in the cluster settings.

use proto::bus::Role;
use proto::ids::ComponentId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// One daemon's bootstrap file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// Name of a [`Role`].
    pub role: String,
    pub component: ComponentId,
    /// Number within the role, from 1.
    pub index: u32,
    pub cluster: ClusterIdentity,
    /// The machine it runs on, by its name in the cluster.
    #[serde(default)]
    pub machine: Option<ComponentId>,
    /// `$YARD_HOME`
    pub home: PathBuf,
    /// The daemon's own data folder; exists.
    pub folder: PathBuf,
    /// The cluster's run folder: mount points and sockets.
    pub run: PathBuf,
    pub bus: BusConfig,
    pub store: StoreConfig,
    pub admin: AdminConfig,
    /// The role's own `Config`.
    #[serde(default)]
    pub settings: serde_json::Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterIdentity {
    /// 8 hex digits.
    pub id: String,
    pub domain: String,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusConfig {
    /// `nats://host:port`
    pub servers: Vec<String>,
    pub user: String,
    pub password: String,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// `http://host:port`
    pub endpoints: Vec<String>,
    pub user: String,
    pub password: String,
}

/// The status server and the login to its `/varz`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    pub address: SocketAddr,
    pub user: String,
    pub password: String,
}

macro_rules! without_secrets {
    ($name:ident { $($field:ident),+ }) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))$(.field(stringify!($field), &self.$field))+.finish_non_exhaustive()
            }
        }
    };
}
without_secrets!(Bootstrap {
    role,
    component,
    cluster,
    home,
    folder
});
without_secrets!(BusConfig { servers, user });
without_secrets!(StoreConfig { endpoints, user });
without_secrets!(AdminConfig { address, user });

/// Why a bootstrap file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("cannot read the bootstrap file {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the bootstrap file {path} is wrong at {place}")]
    Parse {
        path: PathBuf,
        place: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the bootstrap file names the role {0:?}, which does not exist")]
    Role(String),
    #[error("the settings of {role} in the bootstrap file are wrong at {place}")]
    Settings {
        role: String,
        place: String,
        #[source]
        source: serde_json::Error,
    },
}

impl Bootstrap {
    pub fn read(path: &Path) -> Result<Bootstrap, BootstrapError> {
        let text = std::fs::read_to_string(path).map_err(|source| BootstrapError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        let mut reader = serde_json::Deserializer::from_str(&text);
        serde_path_to_error::deserialize(&mut reader).map_err(|error| BootstrapError::Parse {
            path: path.to_path_buf(),
            place: error.path().to_string(),
            source: error.into_inner(),
        })
    }

    pub fn role(&self) -> Result<Role, BootstrapError> {
        Role::parse(&self.role).ok_or_else(|| BootstrapError::Role(self.role.clone()))
    }

    /// The role's own settings as its checked type.
    pub fn settings<C: serde::de::DeserializeOwned>(&self) -> Result<C, BootstrapError> {
        serde_path_to_error::deserialize(self.settings.clone()).map_err(|error| {
            BootstrapError::Settings {
                role: self.role.clone(),
                place: error.path().to_string(),
                source: error.into_inner(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> serde_json::Value {
        serde_json::json!({
            "role": "dea", "component": "dea-1", "index": 1,
            "cluster": {"id": "c0ffee12", "domain": "yard.internal"},
            "home": "/h", "folder": "/h/dea-1", "run": "/r",
            "bus": {"servers": ["nats://127.0.0.1:4321"], "user": "dea-1", "password": "secret-1"},
            "store": {"endpoints": ["http://127.0.0.1:4322"], "user": "dea-1", "password": "secret-2"},
            "admin": {"address": "127.0.0.1:4330", "user": "admin", "password": "secret-3"},
            "settings": {"zone": "default"},
        })
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        zone: String,
    }

    #[test]
    fn a_bootstrap_gives_its_settings_and_hides_its_secrets() {
        let bootstrap: Bootstrap = serde_json::from_value(sample()).unwrap();
        assert_eq!(bootstrap.role().unwrap(), Role::Dea);
        assert_eq!(bootstrap.settings::<Config>().unwrap().zone, "default");
        let shown = format!(
            "{bootstrap:?} {:?} {:?} {:?}",
            bootstrap.bus, bootstrap.store, bootstrap.admin
        );
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_its_place() {
        let mut wrong = sample();
        wrong["settings"]["colour"] = "red".into();
        let bootstrap: Bootstrap = serde_json::from_value(wrong).unwrap();
        let error = bootstrap.settings::<Config>().unwrap_err();
        assert!(error.to_string().contains("colour"), "{error}");
    }
}
