//! Who plays in a one-machine cluster, in which order they leave, and how long each may take.

use std::time::Duration;

use proto::bus::Role;
use proto::ids::ComponentId;

/// A process that the node keeps alive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Nats,
    Etcd,
    Daemon { role: Role, index: u32 },
}

pub const ROUTER_HTTP: &str = "router-http";
pub const ROUTER_TLS: &str = "router-tls";

/// Sockets that the node opens and passes on, by the role that serves them.
pub const SOCKETS: &[(Role, &str)] = &[
    (Role::Router, ROUTER_HTTP),
    (Role::Router, ROUTER_TLS),
    (Role::Controller, "api"),
    (Role::Collector, "collector"),
];

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
    pub fn sockets(&self) -> impl Iterator<Item = &'static str> {
        let role = match self {
            Part::Nats | Part::Etcd => None,
            Part::Daemon { role, .. } => Some(*role),
        };
        SOCKETS
            .iter()
            .filter(move |(owner, _)| Some(*owner) == role)
            .map(|(_, name)| *name)
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

/// Every part of a cluster with that many agents, servers first.
pub fn parts(deas: u32) -> Vec<Part> {
    let one = |role| Part::Daemon { role, index: 1 };
    let mut parts = vec![
        Part::Nats,
        Part::Etcd,
        one(Role::Controller),
        one(Role::Router),
    ];
    parts.extend((1..=deas).map(|index| Part::Daemon {
        role: Role::Dea,
        index,
    }));
    parts.extend([
        one(Role::HealthManager),
        one(Role::Stager),
        one(Role::Collector),
    ]);
    parts
}

/// The parts in the order they are stopped; those of one wave together. Whoever asks others to
/// work goes first, so that nothing is started while the rest ends; the router stays until the
/// instances are gone, the store and the bus until nobody needs them.
pub fn stop_waves(parts: &[Part]) -> Vec<Vec<Part>> {
    let wave = |part: &Part| match part {
        Part::Daemon { role, .. } => match role {
            Role::Stager | Role::Registrar | Role::Tool => 0,
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
mod tests {
    use super::*;

    #[test]
    fn the_end_goes_from_those_who_ask_to_those_who_serve() {
        let names: Vec<Vec<String>> = stop_waves(&parts(2))
            .iter()
            .map(|wave| wave.iter().map(Part::name).collect())
            .collect();
        assert_eq!(
            names,
            [
                vec!["stager-1"],
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
    fn every_part_is_stopped_exactly_once() {
        let parts = parts(5);
        let mut stopped: Vec<Part> = stop_waves(&parts).into_iter().flatten().collect();
        stopped.sort();
        let mut all = parts.clone();
        all.sort();
        assert_eq!(stopped, all);
    }

    #[test]
    fn a_part_may_take_longer_than_it_gives_itself() {
        for part in parts(1) {
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
