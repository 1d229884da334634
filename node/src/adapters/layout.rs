//! `$YARD_HOME`: what is where, and what was chosen once.
//!
//! ```text
//! $YARD_HOME/            0755  the path must be traversable: agents' sandboxes lie behind it
//!   cluster.json         0644  proto::node::ClusterFile
//!   admin-password       0600
//!   certificate-keys     0600  what certificates that the cluster orders are sealed with for the routers
//!   route-service-keys   0600  what routers seal requests with on their way to route services
//!   certificates/ client-authorities/ trust/  0700  PEM files that routers read
//!   node/                0700  lock, ports.json, network.json, secrets.json, bootstrap/, processes.json,
//!                              registrar.json, tool.json: logins to the bus for strangers;
//!                              of a first machine gate.pem (certificate and key of its gate), machines.json (who
//!                              joined); of a joined one identity.json, standing.json (its logins)
//!   nats/ etcd/          0700
//!   controller/ …        0700  one folder for each daemon (dea-N: 0711)
//!   logs/                0750
//! /run/stackyard/<id>/   0755  mount points, node.sock
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proto::bus::Role;
use proto::node::ClusterFile;
use proto::roles::{self, FIRST_MACHINE, Roles, Terms, most};

use super::files::{self, FileError};
use super::machines;
use crate::Wanted;
use crate::domain::cast::Part;
use crate::domain::{network, ports};

/// Below it each cluster has its run folder.
pub const RUN: &str = "/run/stackyard";

/// Paths of one cluster.
#[derive(Debug, Clone)]
pub struct Layout {
    pub home: PathBuf,
    pub run: PathBuf,
}

impl Layout {
    pub fn new(home: &Path, cluster: &ClusterFile) -> Layout {
        Layout {
            home: home.to_path_buf(),
            run: PathBuf::from(&cluster.run_folder),
        }
    }

    pub fn node(&self) -> PathBuf {
        self.home.join("node")
    }

    pub fn folder(&self, part: &Part) -> PathBuf {
        match part {
            // Without a number: clusters whose controller, router, … were single have them so.
            Part::Daemon { role, index: 1 } if *role != proto::bus::Role::Dea => {
                self.home.join(role.name())
            }
            other => self.home.join(other.name()),
        }
    }

    pub fn log(&self, part: &Part) -> PathBuf {
        self.home.join("logs").join(format!("{}.log", part.name()))
    }

    /// Where `yard up` sends the node's own lines.
    pub fn node_log(&self) -> PathBuf {
        self.home.join("logs/node.log")
    }

    pub fn bootstrap(&self, part: &Part) -> PathBuf {
        self.node()
            .join("bootstrap")
            .join(format!("{}.json", part.name()))
    }

    pub fn secrets(&self) -> PathBuf {
        self.node().join("secrets.json")
    }

    /// The certificate and the key of the gate.
    pub fn gate(&self) -> PathBuf {
        self.node().join("gate.pem")
    }

    /// Who a joined machine is.
    pub fn identity(&self) -> PathBuf {
        self.node().join("identity.json")
    }

    /// What a joined machine was last told of itself.
    pub fn standing(&self) -> PathBuf {
        self.node().join("standing.json")
    }

    pub fn control_socket(&self) -> PathBuf {
        self.run.join("node.sock")
    }

    pub fn create(&self, parts: &[Part]) -> Result<(), FileError> {
        files::folder(&self.home, 0o755)?;
        files::folder(&self.node(), 0o700)?;
        files::folder(&self.node().join("bootstrap"), 0o700)?;
        files::folder(&self.home.join("logs"), 0o750)?;
        if let Some(above) = self.run.parent() {
            files::folder(above, 0o755)?;
        }
        files::folder(&self.run, 0o755)?;
        for part in parts {
            let dea = matches!(
                part,
                Part::Daemon {
                    role: proto::bus::Role::Dea,
                    ..
                }
            );
            files::folder(&self.folder(part), if dea { 0o711 } else { 0o700 })?;
        }
        Ok(())
    }
}

/// Why a cluster cannot be the wanted one.
#[derive(Debug, thiserror::Error)]
pub enum ClusterFileError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "the cluster in {home} has the domain {has}, not {wanted}: use another --home for another domain"
    )]
    OtherDomain {
        home: String,
        has: String,
        wanted: String,
    },
    #[error(
        "{0:?} is no domain: it takes words of small letters, digits and '-', joined by dots, like yard.internal"
    )]
    NoDomain(String),
    #[error(
        "{number} is no number of {role} daemons: {option} takes one from 1 to {most}",
        role = role.name(),
        most = most(*role)
    )]
    Count {
        number: u32,
        role: Role,
        option: &'static str,
    },
    #[error(transparent)]
    Roles(#[from] roles::Refused),
    #[error(
        "{routers} routers take the ports from {port} on (--port), and those end at 65535: choose a lower one"
    )]
    PortsEnd { port: u16, routers: u32 },
    #[error("port 0 is no port to answer at: --port takes a number from 1 to 65535")]
    Port,
    #[error(
        "this machine joined a cluster: `yard node role add {0} ROLE` on its first machine gives it daemons, and its domain, ports and gate are there"
    )]
    Joined(String),
    #[error("a router cannot listen with and without TLS on port {0}: choose two ports")]
    SamePort(u16),
}

/// What `cluster.json` is to say: as it says, with what may change adapted.
pub fn cluster_file(wanted: &Wanted) -> Result<ClusterFile, ClusterFileError> {
    let known: Option<ClusterFile> = files::read_json(&wanted.home.join("cluster.json"))?;
    let guests = machines::read(&wanted.home)?.guests();
    merged(wanted, known, &guests, new_id)
}

/// Keeps it for the next start, once it is known that such a cluster can be.
pub fn keep_cluster_file(home: &Path, cluster: &ClusterFile) -> Result<(), FileError> {
    let path = home.join("cluster.json");
    if files::read_json(&path)?.as_ref() != Some(cluster) {
        files::write_json(&path, cluster, 0o644)?;
    }
    Ok(())
}

fn merged(
    wanted: &Wanted,
    known: Option<ClusterFile>,
    guests: &Roles,
    id: impl FnOnce() -> String,
) -> Result<ClusterFile, ClusterFileError> {
    let mut cluster = match known {
        Some(known) => known,
        None => ClusterFile {
            id: id(),
            domain: wanted
                .domain
                .clone()
                .unwrap_or_else(|| "yard.internal".to_string()),
            bind: "127.0.0.1".to_string(),
            port: 8080,
            tls_port: None,
            machine: FIRST_MACHINE.to_string(),
            roles: Roles::one_of_each(),
            hosts: true,
            run_folder: String::new(),
            advertise: None,
            joined: None,
        },
    };
    if cluster.joined.is_some() && (!wanted.counts.said().is_empty() || wanted.advertise.is_some())
    {
        return Err(ClusterFileError::Joined(cluster.machine));
    }
    if let Some(domain) = wanted
        .domain
        .as_ref()
        .filter(|domain| **domain != cluster.domain)
    {
        let home = wanted.home.display().to_string();
        return Err(ClusterFileError::OtherDomain {
            home,
            has: cluster.domain,
            wanted: domain.clone(),
        });
    }
    if !is_domain(&cluster.domain) {
        return Err(ClusterFileError::NoDomain(cluster.domain));
    }
    cluster.run_folder = format!("{RUN}/{}", cluster.id);
    cluster.bind = wanted.bind.map_or(cluster.bind, |bind| bind.to_string());
    cluster.port = wanted.port.unwrap_or(cluster.port);
    if let Some(port) = wanted.tls_port {
        cluster.tls_port = (port != 0).then_some(port);
    }
    cluster.hosts = wanted.hosts.unwrap_or(cluster.hosts);
    if let Some(advertised) = wanted.advertise {
        cluster.advertise = advertised.0;
    }
    cluster.roles = counted(wanted, &cluster, guests)?;
    if cluster.port == 0 {
        return Err(ClusterFileError::Port);
    }
    check_ports(&cluster)?;
    Ok(cluster)
}

/// The roles with as many daemons as was said. Whether the store agrees is seen once it is there.
/// `guests`: numbers that are given out on machines that joined.
fn counted(
    wanted: &Wanted,
    cluster: &ClusterFile,
    guests: &Roles,
) -> Result<Roles, ClusterFileError> {
    for (role, number, option) in wanted.counts.said() {
        if !(1..=most(role)).contains(&number) {
            return Err(ClusterFileError::Count {
                number,
                role,
                option,
            });
        }
    }
    let machines = BTreeMap::from([
        (cluster.machine.clone(), cluster.roles.clone()),
        ("those that joined".to_string(), guests.clone()),
    ]);
    let wishes = wanted.counts.wishes();
    // Where the rows are is looked at when they are opened.
    let terms = Terms {
        rows_are_shared: true,
        force: false,
    };
    Ok(roles::change(&machines, &cluster.machine, &wishes, terms)?)
}

/// Each router has a port of its own, and another for TLS.
pub fn check_ports(cluster: &ClusterFile) -> Result<(), ClusterFileError> {
    let routers = || cluster.roles.numbers(Role::Router);
    let ends = |port| ClusterFileError::PortsEnd {
        port,
        routers: cluster.roles.count(Role::Router),
    };
    let plain: Vec<u16> = routers()
        .map(|index| cluster.router_port(index).ok_or(ends(cluster.port)))
        .collect::<Result<_, _>>()?;
    let Some(tls_port) = cluster.tls_port else {
        return Ok(());
    };
    for index in routers() {
        let port = cluster.router_tls_port(index).ok_or(ends(tls_port))?;
        if plain.contains(&port) {
            return Err(ClusterFileError::SamePort(port));
        }
    }
    Ok(())
}

fn is_domain(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let label = |label: &str| {
        !label.is_empty()
            && label.len() < 64
            && label.chars().all(fine)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() < 200 && text.split('.').all(label)
}

/// 8 hex digits whose first two, which name the interfaces, no other cluster's here are.
pub fn new_id() -> String {
    let interfaces = interfaces();
    let running: Vec<String> = std::fs::read_dir(RUN)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    loop {
        let id = format!("{:08x}", rand::random::<u32>());
        let prefix = interface_prefix(&id);
        if !interfaces.iter().any(|name| name.starts_with(&prefix))
            && !running.iter().any(|other| other.starts_with(&id[..2]))
        {
            return id;
        }
    }
}

/// Names of the network interfaces that we see. `/sys/class/net` shows those of whoever mounted it.
pub fn interfaces() -> Vec<String> {
    nix::net::if_::if_nameindex()
        .map(|interfaces| {
            interfaces
                .iter()
                .map(|interface| interface.name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default()
}

/// Names of network interfaces of a cluster begin with it; an agent's with its number too.
pub fn interface_prefix(cluster: &str) -> String {
    format!("sy{}", &cluster[..2.min(cluster.len())])
}

/// 32 random bytes in hex.
pub fn secret() -> String {
    format!(
        "{:032x}{:032x}",
        rand::random::<u128>(),
        rand::random::<u128>()
    )
}

/// A password that a person can type.
pub fn person_password() -> String {
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789";
    (0..20)
        .map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())]))
        .collect()
}

/// What needs a port or a secret, and what was given by others.
#[derive(Debug, Default)]
pub struct Names {
    pub ports: Vec<String>,
    pub secrets: Vec<String>,
    /// Ports that are as they are elsewhere.
    pub given_ports: BTreeMap<String, u16>,
    /// Secrets that others made; they are not kept with ours.
    pub given_secrets: BTreeMap<String, String>,
}

/// Everything that is chosen once and kept.
pub struct Chosen {
    pub ports: BTreeMap<String, u16>,
    /// The cluster's addresses are 10.`second`.0.0/16.
    pub second: u8,
    secrets: BTreeMap<String, String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("no free port between {} and {} on 127.0.0.1", ports::RANGE.start, ports::RANGE.end)]
    Ports,
    #[error("no free network 10.x.0.0/16 is left on this machine (see `ip route`)")]
    Network,
    #[error("the cluster gave this machine no login for {0}: it is asked again")]
    Login(String),
}

#[derive(serde::Serialize, serde::Deserialize)]
struct NetworkFile {
    second: u8,
}

/// The port of SSH of the first cluster of a machine.
const SSH_PORT: u16 = 2222;

impl Chosen {
    /// Reads what was chosen before and completes it. `kept` says of a port from before that its rightful
    /// owner still has it.
    pub fn complete(
        layout: &Layout,
        names: Names,
        kept: impl Fn(&str) -> bool,
    ) -> Result<Chosen, ChoiceError> {
        let ports_file = layout.node().join("ports.json");
        let before: BTreeMap<String, u16> = files::read_json(&ports_file)?.unwrap_or_default();
        let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        // A port that a stranger took meanwhile is given up, unless a part of ours still runs on it.
        let mut known: BTreeMap<String, u16> = before
            .iter()
            .filter(|(name, port)| kept(name) || is_free(**port))
            .map(|(name, port)| (name.clone(), *port))
            .collect();
        // People type this one: where Cloud Foundry has it, if it can be had.
        if names.ports.iter().any(|name| name == "ssh")
            && !before.contains_key("ssh")
            && is_free(SSH_PORT)
        {
            known.insert("ssh".to_owned(), SSH_PORT);
        }
        known.extend(names.given_ports);
        let chosen = ports::complete(&known, &names.ports, rand::random(), is_free)
            .ok_or(ChoiceError::Ports)?;
        if chosen != before {
            files::write_json(&ports_file, &chosen, 0o644)?;
        }

        let network_file = layout.node().join("network.json");
        let second = match files::read_json::<NetworkFile>(&network_file)? {
            Some(file) => file.second,
            None => {
                let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
                let second = network::choose(&network::routes(&table), rand::random())
                    .ok_or(ChoiceError::Network)?;
                files::write_json(&network_file, &NetworkFile { second }, 0o644)?;
                second
            }
        };

        let secrets_file = layout.secrets();
        let mut secrets: BTreeMap<String, String> =
            files::read_json(&secrets_file)?.unwrap_or_default();
        let before = secrets.len();
        for name in names.secrets {
            secrets.entry(name).or_insert_with(secret);
        }
        if secrets.len() != before {
            files::write_json(&secrets_file, &secrets, 0o600)?;
        }
        secrets.extend(names.given_secrets);
        Ok(Chosen {
            ports: chosen,
            second,
            secrets,
        })
    }

    pub fn port(&self, name: &str) -> u16 {
        *self
            .ports
            .get(name)
            .expect("`complete` chose a port for every name that is asked for")
    }

    pub fn secret(&self, name: &str) -> &str {
        self.secrets
            .get(name)
            .expect("`complete` made a secret for every name that is asked for")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WantedCounts;
    use crate::domain::cast::tests::with_deas;

    fn wanted(domain: Option<&str>, deas: Option<u32>, hosts: Option<bool>) -> Wanted {
        Wanted {
            home: "/h".into(),
            domain: domain.map(String::from),
            bind: None,
            port: None,
            tls_port: None,
            advertise: None,
            counts: WantedCounts {
                deas,
                ..WantedCounts::default()
            },
            database_file: None,
            hosts,
        }
    }

    #[test]
    fn what_is_left_open_stays_and_a_domain_is_for_ever() {
        let id = || "c0ffee12".to_string();
        let none = Roles::default();
        let first = merged(
            &wanted(Some("a.internal"), None, Some(false)),
            None,
            &none,
            id,
        )
        .unwrap();
        assert_eq!(
            (first.domain.as_str(), first.port, &first.roles, first.hosts),
            ("a.internal", 8080, &Roles::one_of_each(), false)
        );
        assert_eq!(first.run_folder, "/run/stackyard/c0ffee12");
        let second = merged(&wanted(None, Some(3), None), Some(first.clone()), &none, id).unwrap();
        assert_eq!(
            second,
            ClusterFile {
                roles: with_deas(3),
                ..first.clone()
            }
        );
        assert!(matches!(
            merged(
                &wanted(Some("b.internal"), None, None),
                Some(first.clone()),
                &none,
                id
            ),
            Err(ClusterFileError::OtherDomain { .. })
        ));
        assert!(matches!(
            merged(&wanted(None, Some(17), None), Some(first), &none, id),
            Err(ClusterFileError::Count {
                number: 17,
                option: "--deas",
                ..
            })
        ));
    }

    #[test]
    fn numbers_that_joined_machines_have_are_not_taken() {
        let id = || "c0ffee12".to_string();
        let mut guests = Roles::default();
        guests.add(Role::Dea, 2);
        let file = merged(&wanted(None, Some(2), None), None, &guests, id).unwrap();
        assert_eq!(file.roles.numbers(Role::Dea).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn tls_is_asked_for_once_and_given_up_by_port_0() {
        let with = |tls_port, known| {
            let wanted = Wanted {
                tls_port,
                ..wanted(None, None, None)
            };
            merged(&wanted, known, &Roles::default(), || "c0ffee12".to_string())
        };
        let first = with(None, None).unwrap();
        assert_eq!(first.tls_port, None);
        let second = with(Some(8443), Some(first)).unwrap();
        assert_eq!(second.tls_port, Some(8443));
        let third = with(None, Some(second)).unwrap();
        assert_eq!(third.tls_port, Some(8443));
        assert_eq!(with(Some(0), Some(third.clone())).unwrap().tls_port, None);
        assert!(matches!(
            with(Some(8080), Some(third)),
            Err(ClusterFileError::SamePort(8080))
        ));
    }

    #[test]
    fn several_of_a_role_are_remembered_and_bounded() {
        let with = |counts: WantedCounts, tls_port, known| {
            let wanted = Wanted {
                counts,
                tls_port,
                ..wanted(None, None, None)
            };
            merged(&wanted, known, &Roles::default(), || "c0ffee12".to_string())
        };
        let routers = |number| WantedCounts {
            routers: Some(number),
            ..WantedCounts::default()
        };
        let first = with(routers(2), Some(8443), None).unwrap();
        let counts = [Role::Router, Role::Stager].map(|role| first.roles.count(role));
        assert_eq!(counts, [2, 1]);
        assert_eq!(
            (first.router_port(2), first.router_tls_port(2)),
            (Some(8081), Some(8444))
        );
        let second = with(WantedCounts::default(), None, Some(first.clone())).unwrap();
        assert_eq!(second, first);
        for number in [0, 9] {
            assert!(matches!(
                with(routers(number), None, Some(first.clone())),
                Err(ClusterFileError::Count { .. })
            ));
        }
        assert!(matches!(
            with(routers(2), Some(8081), None),
            Err(ClusterFileError::SamePort(8081))
        ));
        let last = ClusterFile {
            port: 65535,
            ..first
        };
        assert!(matches!(
            with(routers(2), None, Some(last)),
            Err(ClusterFileError::PortsEnd { .. })
        ));
    }

    #[test]
    fn a_domain_is_made_of_words() {
        for domain in ["yard.internal", "a", "x-1.y"] {
            assert!(is_domain(domain), "{domain}");
        }
        for text in ["", ".a", "a..b", "A.b", "a b", "-a.b", "a/b", "a\nb"] {
            assert!(!is_domain(text), "{text}");
        }
    }
}
