//! Configuration files of nats-server and etcd.

use std::path::Path;

use proto::bus::Role;
use proto::bus::catalogue;
use proto::ids::ComponentId;

/// One user of the bus.
pub struct BusUser<'a> {
    pub role: Role,
    pub id: ComponentId,
    pub password: &'a str,
}

/// The file of nats-server. The format is a superset of JSON, so values are written as JSON.
pub fn nats_config(cluster: &str, port: u16, users: &[BusUser<'_>]) -> String {
    let entries = users.iter().map(|user| {
        let allowed = catalogue::permissions(user.role, &user.id);
        let mut permissions = serde_json::json!({
            "publish": { "allow": allowed.publish },
            "subscribe": { "allow": allowed.subscribe },
        });
        if !user.role.is_stranger() {
            // Answers go to inboxes of others: allowed where a question came from there.
            permissions["allow_responses"] = serde_json::json!({ "max": 1000, "expires": "1m" });
        }
        serde_json::json!({
            "user": user.id.as_str(),
            "password": user.password,
            "permissions": permissions,
        })
    });
    let users: Vec<String> = entries.map(|entry| format!("    {entry}")).collect();
    format!(
        "# Written by the node at every start.\n\
         server_name: \"stackyard-{cluster}\"\n\
         listen: \"127.0.0.1:{port}\"\n\
         max_payload: 4194304\n\
         max_pending: 67108864\n\
         write_deadline: \"5s\"\n\
         ping_interval: \"20s\"\n\
         authorization {{\n  timeout: 5\n  users: [\n{}\n  ]\n}}\n",
        users.join(",\n")
    )
}

/// The file of etcd (YAML, of which JSON is a part): one member, loopback, history of an hour.
/// A file and not arguments, so that the process's command line stays the same whatever it holds.
pub fn etcd_config(cluster: &str, data: &Path, client: u16, peer: u16) -> String {
    let (client, peer) = (
        format!("http://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let config = serde_json::json!({
        "name": "one",
        "data-dir": data,
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": format!("one={peer}"),
        "initial-cluster-token": format!("stackyard-{cluster}"),
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "1h",
        // An import changes the whole configuration at once.
        "max-txn-ops": 1024,
        "logger": "zap",
        "log-level": "warn",
    });
    format!("{config:#}\n")
}

/// What a component may do in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreRole {
    /// Reads and writes everything of Stackyard: controller and node.
    Operator,
    /// Reads the settings, stands for leadership.
    Member,
    /// Also reads the certificates that the cluster ordered.
    Router,
    /// The node of a joined machine: reads what machines are to run; what it tells is a key of its own.
    Machine,
}

impl StoreRole {
    pub const ALL: [StoreRole; 4] = [
        StoreRole::Operator,
        StoreRole::Member,
        StoreRole::Router,
        StoreRole::Machine,
    ];

    pub fn name(self) -> &'static str {
        match self {
            StoreRole::Operator => "stackyard-operator",
            StoreRole::Member => "stackyard-member",
            StoreRole::Router => "stackyard-router",
            StoreRole::Machine => "stackyard-machine",
        }
    }

    /// Prefixes, and whether they may be written.
    pub fn grants(self) -> &'static [(&'static str, bool)] {
        match self {
            StoreRole::Operator => &[("/stackyard/", true)],
            StoreRole::Member => &[("/stackyard/config/", false), ("/stackyard/leaders/", true)],
            StoreRole::Router => &[
                ("/stackyard/config/", false),
                ("/stackyard/leaders/", true),
                ("/stackyard/certificates/", false),
            ],
            StoreRole::Machine => &[("/stackyard/config/", false), ("/stackyard/roles/", false)],
        }
    }

    pub fn of(role: Role) -> StoreRole {
        match role {
            Role::Controller => StoreRole::Operator,
            Role::Router => StoreRole::Router,
            Role::Dea
            | Role::HealthManager
            | Role::Stager
            | Role::Collector
            | Role::SshProxy
            | Role::Registrar
            | Role::Tool => StoreRole::Member,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_component_has_its_own_user_with_its_own_subjects() {
        let user = |role, id: &str| BusUser {
            role,
            id: ComponentId::new(id).unwrap(),
            password: "p",
        };
        let text = nats_config(
            "c0ffee12",
            4321,
            &[user(Role::Dea, "dea-1"), user(Role::Tool, "tool")],
        );
        assert!(
            text.contains("\"dea.dea-1.start\"") && !text.contains("\"dea.*.start\""),
            "{text}"
        );
        assert!(text.contains("_INBOX_dea-1.>"));
        assert!(text.contains("127.0.0.1:4321"));
        assert!(!text.contains("jetstream"));
        let answering = text.matches("allow_responses").count();
        assert_eq!(answering, 1, "a stranger answers nobody: {text}");
    }

    #[test]
    fn etcd_listens_on_loopback_only() {
        let text = etcd_config("c", Path::new("/d"), 1, 2);
        assert!(
            text.contains("\"listen-client-urls\": \"http://127.0.0.1:1\"")
                && !text.contains("0.0.0.0"),
            "{text}"
        );
    }
}
