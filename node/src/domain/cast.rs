//! Who plays in a one-machine cluster, in which order they leave, and how long each may take.

use std::time::Duration;

use proto::bus::Role;
use proto::ids::ComponentId;
use proto::join::SSH_CALLS;
use proto::roles::{EVERY, Roles, most};

/// A process that the node keeps alive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Nats,
    Etcd,
    Daemon { role: Role, index: u32 },
}

pub const ROUTER_HTTP: &str = "router-http";
pub const ROUTER_TLS: &str = "router-tls";
pub const API: &str = "api";

/// Sockets that the node opens and passes on, by the role that serves them. Further daemons of a role have
/// sockets of their own ([`numbered`]).
pub const SOCKETS: &[(Role, &str)] = &[
    (Role::Router, ROUTER_HTTP),
    (Role::Router, ROUTER_TLS),
    (Role::Controller, API),
    (Role::Collector, "collector"),
    (Role::SshProxy, "ssh"),
    (Role::SshProxy, SSH_CALLS),
];

/// The name of a socket or port of one of several daemons. The first one's has no number: clusters whose
/// daemons were single know it so.
pub fn numbered(name: &str, index: u32) -> String {
    if index == 1 {
        name.to_string()
    } else {
        format!("{name}-{index}")
    }
}

impl Part {
    /// Name in status lines, of the log file and of the data folder. For daemons also the
    /// component id, except that single ones keep their number too (`router-1`).
    pub fn name(&self) -> String {
        match self {
            Part::Nats => "nats".to_string(),
            Part::Etcd => "etcd".to_string(),
            Part::Daemon { role, index } => format!("{}-{index}", role.name()),
        }
    }

    pub fn role_name(&self) -> &'static str {
        match self {
            Part::Nats => "bus",
            Part::Etcd => "store",
            Part::Daemon { role, .. } => role.name(),
        }
    }

    /// The id on the bus and in the store; servers have none.
    pub fn component(&self) -> Option<ComponentId> {
        match self {
            Part::Nats | Part::Etcd => None,
            Part::Daemon { .. } => Some(
                ComponentId::new(self.name())
                    .expect("role names and numbers are made of safe characters"),
            ),
        }
    }

    /// The sockets that this part inherits, as far as the cluster has them.
    pub fn sockets(&self) -> impl Iterator<Item = String> {
        let daemon = match self {
            Part::Nats | Part::Etcd => None,
            Part::Daemon { role, index } => Some((*role, *index)),
        };
        SOCKETS.iter().filter_map(move |(owner, name)| {
            let (role, index) = daemon?;
            (*owner == role).then(|| numbered(name, index))
        })
    }

    /// The names of its ports on loopback, which are chosen once.
    pub fn ports(&self) -> Vec<String> {
        let served = match self {
            Part::Nats => vec!["nats".to_string()],
            Part::Etcd => vec!["etcd".to_string(), "etcd-peer".to_string()],
            Part::Daemon {
                role: Role::Controller,
                index,
            } => vec![numbered(API, *index)],
            Part::Daemon {
                role: Role::Collector,
                ..
            } => vec!["collector".to_string()],
            Part::Daemon {
                role: Role::SshProxy,
                ..
            } => vec!["ssh".to_string(), SSH_CALLS.to_string()],
            Part::Daemon { .. } => Vec::new(),
        };
        let admin = self.component().map(|id| format!("{id}-admin"));
        served.into_iter().chain(admin).collect()
    }

    /// Time between TERM and KILL when the cluster stops. Longer than the daemon's own deadline
    /// (`daemon::run::drain_deadline`), so that it ends by itself if it can.
    pub fn stop_deadline(&self) -> Duration {
        match self {
            Part::Daemon {
                role: Role::Dea, ..
            } => Duration::from_secs(50),
            Part::Daemon {
                role: Role::Router | Role::Controller,
                ..
            } => Duration::from_secs(14),
            Part::Daemon { .. } => Duration::from_secs(9),
            Part::Nats | Part::Etcd => Duration::from_secs(10),
        }
    }
}

/// The daemons that roles name.
pub fn daemons(roles: &Roles) -> impl Iterator<Item = Part> {
    roles
        .iter()
        .map(|(role, index)| Part::Daemon { role, index })
}

/// Every part of a machine with those roles, servers first.
pub fn parts(roles: &Roles) -> Vec<Part> {
    [Part::Nats, Part::Etcd]
        .into_iter()
        .chain(daemons(roles))
        .collect()
}

/// Every part that a machine may ever have had.
pub fn all() -> Vec<Part> {
    parts(&Roles::counted(EVERY.map(|role| (role, most(role)))))
}

/// The parts in the order they are stopped; those of one wave together. Whoever asks others to
/// work goes first, so that nothing is started while the rest ends; the router stays until the
/// instances are gone, the store and the bus until nobody needs them.
pub fn stop_waves(parts: &[Part]) -> Vec<Vec<Part>> {
    let wave = |part: &Part| match part {
        Part::Daemon { role, .. } => match role {
            Role::Stager | Role::SshProxy | Role::Registrar | Role::Tool => 0,
            Role::HealthManager => 1,
            Role::Controller => 2,
            Role::Dea => 3,
            Role::Router => 4,
            Role::Collector => 5,
        },
        Part::Etcd => 6,
        Part::Nats => 7,
    };
    (0..8)
        .map(|number| {
            parts
                .iter()
                .filter(|part| wave(part) == number)
                .cloned()
                .collect::<Vec<_>>()
        })
        .filter(|wave| !wave.is_empty())
        .collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// One daemon of each role, but so many agents.
    pub fn with_deas(deas: u32) -> Roles {
        let others = EVERY.into_iter().filter(|role| *role != Role::Dea);
        Roles::counted(others.map(|role| (role, 1)).chain([(Role::Dea, deas)]))
    }

    #[test]
    fn the_end_goes_from_those_who_ask_to_those_who_serve() {
        let names: Vec<Vec<String>> = stop_waves(&parts(&with_deas(2)))
            .iter()
            .map(|wave| wave.iter().map(Part::name).collect())
            .collect();
        assert_eq!(
            names,
            [
                vec!["stager-1", "ssh-proxy-1"],
                vec!["health-manager-1"],
                vec!["controller-1"],
                vec!["dea-1", "dea-2"],
                vec!["router-1"],
                vec!["collector-1"],
                vec!["etcd"],
                vec!["nats"]
            ]
        );
    }

    #[test]
    fn daemons_of_a_role_share_no_socket_and_no_port() {
        let parts = parts(&Roles::counted(EVERY.map(|role| (role, 2.min(most(role))))));
        let sockets: Vec<String> = parts.iter().flat_map(Part::sockets).collect();
        assert_eq!(
            sockets,
            [
                "api",
                "api-2",
                "router-http",
                "router-tls",
                "router-http-2",
                "router-tls-2",
                "collector",
                "ssh",
                "ssh-calls"
            ]
        );
        let mut ports: Vec<String> = parts.iter().flat_map(Part::ports).collect();
        let all = ports.len();
        ports.sort();
        ports.dedup();
        assert_eq!(ports.len(), all, "{ports:?}");
        assert!(
            ports.contains(&"api-2".to_string()) && ports.contains(&"router-2-admin".to_string())
        );
    }

    #[test]
    fn every_part_is_stopped_exactly_once() {
        let parts = all();
        let mut stopped: Vec<Part> = stop_waves(&parts).into_iter().flatten().collect();
        stopped.sort();
        let mut all = parts.clone();
        all.sort();
        assert_eq!(stopped, all);
    }

    #[test]
    fn a_part_may_take_longer_than_it_gives_itself() {
        for part in parts(&Roles::one_of_each()) {
            if let Part::Daemon { role, .. } = part {
                assert!(
                    part.stop_deadline()
                        > daemon::run::drain_deadline(role) + Duration::from_secs(2),
                    "{part:?}"
                );
            }
        }
    }
}
