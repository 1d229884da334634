//! One key of the cluster configuration, and who reads it.

use super::keys::KEYS;
use super::place::NODE;
use super::value::{InvalidValue, Kind, Value};
use crate::bus::Role;
use crate::roles::EVERY;

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `daemon/subject/property`
    pub path: &'static str,
    pub kind: Kind,
    /// As a person would write it.
    pub default: &'static str,
    /// The value takes effect only when the daemon starts anew.
    pub needs_restart: bool,
    pub doc: &'static str,
}

impl Key {
    pub fn find(path: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.path == path)
    }

    pub fn parse(&self, text: &str) -> Result<Value, InvalidValue> {
        self.kind.parse(text)
    }

    /// The roles of the daemons that read it; `node` for the node. A test holds this to the sources.
    pub fn readers(&self) -> Vec<&'static str> {
        let all = || EVERY.into_iter().map(Role::name);
        match self.path {
            // The node tells each daemon when it starts it.
            "cluster/daemon/threads" => all().collect(),
            "cluster/leadership/lease" => vec!["controller", "health-manager"],
            "health-manager/agent/lost_after" => vec!["health-manager", "controller"],
            path if path.starts_with("health-manager/crash/") => {
                vec!["health-manager", "controller"]
            }
            "router/traffic/period" | "router/tcp/ports" | "router/udp/ports" => {
                vec!["router", "controller"]
            }
            path if path.starts_with("router/acme/") => vec!["controller"],
            "dea/advertise/period" | "dea/instance/start_timeout" => vec!["dea", "controller"],
            "dea/drain/timeout" => vec!["dea", NODE],
            "dea/register/period" => vec!["dea", "controller", "collector"],
            "controller/packages/max_unpacked_size" | "controller/packages/max_files" => {
                vec!["controller", "stager"]
            }
            "staging/environment" => vec!["controller", "stager"],
            "staging/buildpacks/schemes" | "staging/buildpacks/max_size" => {
                vec!["controller", "stager"]
            }
            "staging/buildpacks/fetch_timeout" => vec!["stager"],
            "controller/apps/default_disk" => vec!["controller", "dea"],
            path => match path.split('/').next().unwrap_or_default() {
                "cluster" => all().chain([NODE]).collect(),
                "automation" | "staging" => vec!["controller"],
                NODE => vec![NODE],
                first => all().filter(|role| *role == first).collect(),
            },
        }
    }

    pub fn default_value(&self) -> Value {
        self.kind
            .parse(self.default)
            .expect("a test parses every default of the schema")
    }
}
