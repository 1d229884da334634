//! Everything that follows from what was asked for and what was chosen: programs, addresses,
//! logins, and the files of every part.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use daemon::{AdminConfig, Bootstrap, BusConfig, ClusterIdentity, Role, StoreConfig};
use proto::config::Owner;
use proto::ids::ComponentId;
use proto::join::{Login, ROUTER, SSH_CALLS, Standing};
use proto::node::ClusterFile;
use proto::roles::{FIRST_MACHINE, NODES, Roles};
use serde_json::{Value, json};

use crate::adapters::hosts_file::HostsFile;
use crate::adapters::layout::{self, ChoiceError, Chosen, Layout, Names};
use crate::adapters::machines;
use crate::adapters::process::{self, Program};
use crate::adapters::store::{self, StoreError, StoreUser};
use crate::adapters::{certificates, cleanup, database, files};
use crate::domain::cast::{self, API, Part, ROUTER_HTTP, ROUTER_TLS, numbered};
use crate::domain::machines::secrets;
use crate::domain::network;
use crate::domain::servers::{self, BusUser, StoreRole};
use crate::keeper::Probe;

const FIRST_CONTROLLER: Part = Part::Daemon {
    role: Role::Controller,
    index: 1,
};

/// The SQLite file of a cluster with one controller.
fn rows(layout: &Layout) -> PathBuf {
    layout.folder(&FIRST_CONTROLLER).join("controller.sqlite")
}

/// Everything chosen, to make files and addresses of.
pub struct Plan {
    pub file: ClusterFile,
    pub layout: Layout,
    pub chosen: Chosen,
    executables: Executables,
    pub parts: Vec<Part>,
    /// `None`: the controller has a file of its own.
    database: Option<String>,
    /// Daemons of machines that joined: the bus and the store here know them.
    guests: Roles,
    /// The names of those machines.
    machines: Vec<String>,
    /// What a joined machine was told.
    standing: Option<Standing>,
    programs: BTreeMap<Part, Program>,
}

impl Plan {
    /// Creates the folders, and chooses what is chosen once.
    pub fn make(
        file: ClusterFile,
        home: &Path,
        database_file: Option<&Path>,
    ) -> anyhow::Result<Plan> {
        let executables = Executables::find(file.joined.is_none())?;
        Plan::lay_out(file, home, database_file, executables, &BTreeMap::new())
    }

    /// `ours`: ports that are this node's own already, whoever is seen on them.
    fn lay_out(
        file: ClusterFile,
        home: &Path,
        database_file: Option<&Path>,
        executables: Executables,
        ours: &BTreeMap<String, u16>,
    ) -> anyhow::Result<Plan> {
        let joined = file.joined.is_some();
        let parts = match joined {
            // The servers are the first machine's.
            true => cast::daemons(&file.roles).collect(),
            false => cast::parts(&file.roles),
        };
        let layout = Layout::new(home, &file);
        let database = match joined {
            true => None,
            false => database::choose(
                &layout.node().join("database-url"),
                &rows(&layout),
                database_file,
                file.roles.count(Role::Controller),
            )?,
        };
        let standing = match joined {
            true => Some(
                files::read_json::<Standing>(&layout.standing())?
                    .context("this machine does not know how it stands in its cluster: `yard node join` with a new token")?,
            ),
            false => None,
        };
        let records = machines::read(home)?;
        let guests = records.guests();
        let machines: Vec<String> = records.names().map(String::from).collect();
        layout::keep_cluster_file(home, &file)?;
        layout.create(&parts)?;
        let programs: BTreeMap<Part, Program> = parts
            .iter()
            .map(|part| (part.clone(), program(part, &layout, &executables)))
            .collect();
        // A port stays with its owner while that runs, whoever else may want it.
        let kept = |port: &str| {
            let runs = programs.iter().any(|(part, program)| {
                part.ports().iter().any(|own| own == port) && process::find(program).is_some()
            });
            ours.contains_key(port) || runs
        };
        let names = match &standing {
            None => own_names(&parts, &guests, &machines),
            Some(standing) => names_of_joined(&parts, standing)?,
        };
        let chosen = Chosen::complete(&layout, names, kept)?;
        if !joined {
            files::once(&home.join("admin-password"), layout::person_password)?;
        }
        Ok(Plan {
            file,
            layout,
            chosen,
            executables,
            parts,
            database,
            guests,
            machines,
            standing,
            programs,
        })
    }

    /// The same machine with other daemons: what is kept stays as it is. So do all ports: a daemon that is
    /// started anew at this moment has no process, while the one before it may still be on its port.
    pub fn recast(&self, roles: Roles) -> anyhow::Result<Plan> {
        let file = ClusterFile {
            roles,
            ..self.file.clone()
        };
        layout::check_ports(&file)?;
        let executables = self.executables.clone();
        Plan::lay_out(
            file,
            &self.layout.home,
            None,
            executables,
            &self.chosen.ports,
        )
    }

    /// The name of this machine in the cluster.
    pub fn machine(&self) -> ComponentId {
        ComponentId::new(self.file.machine.as_str()).unwrap_or_else(|_| {
            ComponentId::new(FIRST_MACHINE).expect("the name of the first machine is an identifier")
        })
    }

    /// Those whose values of the configuration a component of this machine has.
    pub fn owners(&self, component: &ComponentId) -> Vec<Owner> {
        Owner::of_daemon(Some(&self.machine()), component)
    }

    /// Controllers can have their rows together.
    pub fn rows_are_shared(&self) -> bool {
        self.database.is_some()
    }

    pub fn program(&self, part: &Part) -> Option<&Program> {
        self.programs.get(part)
    }

    /// The part's process, also one that another node started.
    pub fn alive(&self, part: &Part) -> Option<process::Identity> {
        self.program(part).and_then(process::find)
    }

    fn local(&self, port: &str) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.chosen.port(port)))
    }

    fn bind(&self) -> IpAddr {
        self.file
            .bind
            .parse()
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Where people come in by SSH: beside the routers.
    pub fn ssh(&self) -> SocketAddr {
        SocketAddr::new(self.bind(), self.chosen.port("ssh"))
    }

    /// Where a router listens.
    fn router(&self, index: u32) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.bind(), self.file.router_port(index)?))
    }

    /// Where a router listens for TLS, if it does.
    fn router_tls(&self, index: u32) -> Option<SocketAddr> {
        Some(SocketAddr::new(
            self.bind(),
            self.file.router_tls_port(index)?,
        ))
    }

    /// Where the machine itself reaches the first router; one that joined has its link there.
    pub fn router_here(&self) -> SocketAddr {
        if self.standing.is_some() {
            return self.local(ROUTER);
        }
        let bind = self.bind();
        let address = if bind.is_unspecified() {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            bind
        };
        SocketAddr::new(address, self.file.port)
    }

    pub fn sockets(&self) -> Vec<(String, SocketAddr)> {
        let mut sockets = Vec::new();
        if self.file.roles.count(Role::Collector) > 0 {
            sockets.push(("collector".to_string(), self.local("collector")));
        }
        if self.file.roles.count(Role::SshProxy) > 0 {
            sockets.push(("ssh".to_string(), self.ssh()));
            sockets.push((SSH_CALLS.to_string(), self.local(SSH_CALLS)));
        }
        for index in self.file.roles.numbers(Role::Controller) {
            let name = numbered(API, index);
            let address = self.local(&name);
            sockets.push((name, address));
        }
        for index in self.file.roles.numbers(Role::Router) {
            let plain = self.router(index);
            sockets.extend(plain.map(|address| (numbered(ROUTER_HTTP, index), address)));
            let tls = self.router_tls(index);
            sockets.extend(tls.map(|address| (numbered(ROUTER_TLS, index), address)));
        }
        sockets
    }

    pub fn admin(&self, part: &Part) -> Option<SocketAddr> {
        part.component()
            .map(|id| self.local(&format!("{id}-admin")))
    }

    pub fn probe(&self, part: &Part) -> Probe {
        match (part, self.admin(part)) {
            (_, Some(address)) => Probe::Ready(address),
            (Part::Etcd, None) => Probe::Etcd(self.local("etcd")),
            (Part::Nats | Part::Daemon { .. }, None) => Probe::Accepts(self.local("nats")),
        }
    }

    pub fn hosts_file(&self) -> HostsFile {
        HostsFile::new(
            Path::new("/etc/hosts"),
            &self.file.id,
            self.router_here().ip(),
        )
    }

    pub fn store_login(&self, user: &str, secret: &str) -> StoreConfig {
        StoreConfig {
            endpoints: vec![format!("http://{}", self.local("etcd"))],
            user: user.to_string(),
            password: self.chosen.secret(secret).to_string(),
        }
    }

    /// The user of the store that a daemon is.
    pub fn store_user(&self, part: &Part) -> Option<StoreUser> {
        let (Part::Daemon { role, .. }, id) = (part, part.component()?) else {
            return None;
        };
        Some(StoreUser {
            name: id.to_string(),
            password: self.chosen.secret(&format!("{id}-store")).to_string(),
            role: StoreRole::of(*role),
            key: None,
        })
    }

    /// The login of the machine's node.
    pub fn node_login(&self) -> StoreConfig {
        match self.standing {
            None => self.store_login("node", "node-store"),
            Some(_) => self.store_login(&self.file.machine, "node-store"),
        }
    }

    /// The users of the store that are on other machines.
    pub fn guest_users(&self) -> Vec<StoreUser> {
        let machines = self.machines.iter().map(|name| self.machine_user(name));
        let daemons = cast::daemons(&self.guests).filter_map(|part| self.store_user(&part));
        machines.chain(daemons).collect()
    }

    /// The node of a joined machine, as a user of the store.
    pub fn machine_user(&self, machine: &str) -> StoreUser {
        StoreUser {
            name: machine.to_string(),
            password: self.chosen.secret(&machine_secret(machine)).to_string(),
            role: StoreRole::Machine,
            key: Some(format!("{NODES}{machine}")),
        }
    }

    /// What daemons of a joined machine need to be known as.
    pub fn login(&self, daemon: &ComponentId) -> Login {
        Login {
            bus: self.chosen.secret(&format!("{daemon}-bus")).to_string(),
            store: self.chosen.secret(&format!("{daemon}-store")).to_string(),
        }
    }

    /// What other machines may be connected to, with the ports on loopback here.
    pub fn services(&self) -> BTreeMap<String, u16> {
        let controllers = self.file.roles.numbers(Role::Controller);
        let names = ["nats".to_string(), "etcd".to_string()].into_iter();
        let mut services: BTreeMap<String, u16> = names
            .chain(controllers.map(|index| numbered(API, index)))
            .map(|name| {
                let port = self.chosen.port(&name);
                (name, port)
            })
            .collect();
        if self.file.roles.has(Role::Router, 1) {
            services.insert(ROUTER.to_string(), self.file.port);
        }
        if self.file.roles.has(Role::SshProxy, 1) {
            services.insert(SSH_CALLS.to_string(), self.chosen.port(SSH_CALLS));
        }
        services
    }

    /// The ports of a joined machine that its link listens on.
    pub fn linked(&self) -> BTreeMap<String, u16> {
        let services = self.standing.iter().flat_map(|standing| &standing.services);
        services
            .map(|(name, _)| (name.clone(), self.chosen.port(name)))
            .collect()
    }

    /// Takes these users out of the store.
    pub async fn dismiss(&self, users: &[String]) -> Result<(), StoreError> {
        let endpoint = format!("http://{}", self.local("etcd"));
        store::dismiss(&endpoint, self.chosen.secret("etcd-root"), users).await
    }

    /// Sees to it that these users of the store exist.
    pub async fn prepare_store(&self, users: &[StoreUser]) -> Result<(), StoreError> {
        let endpoint = format!("http://{}", self.local("etcd"));
        store::prepare(&endpoint, self.chosen.secret("etcd-root"), users).await
    }

    /// Which bootstrap file a daemon is to be started with, in a word.
    pub fn fingerprint(&self, part: &Part) -> String {
        let text = files::read(&self.layout.bootstrap(part)).ok().flatten();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// Writes the files of all parts; gives those whose file changed.
    pub fn write_files(&self) -> anyhow::Result<Vec<Part>> {
        let mut changed = Vec::new();
        for part in &self.parts {
            let (path, text) = match part {
                Part::Nats => (
                    self.layout.folder(part).join("nats.conf"),
                    self.nats_config(),
                ),
                Part::Etcd => {
                    let folder = self.layout.folder(part);
                    let text = servers::etcd_config(
                        &self.file.id,
                        &folder.join("data"),
                        self.chosen.port("etcd"),
                        self.chosen.port("etcd-peer"),
                    );
                    (folder.join("etcd.yaml"), text)
                }
                Part::Daemon { role, index } => (
                    self.layout.bootstrap(part),
                    self.bootstrap(part, *role, *index)?,
                ),
            };
            if files::read(&path)?.as_deref() != Some(text.as_str()) {
                files::write(&path, text.as_bytes(), 0o600)?;
                changed.push(part.clone());
            }
        }
        let strangers = Role::STRANGERS.into_iter();
        for role in strangers.filter(|_| self.standing.is_none()) {
            let login = json!({
                "server": format!("nats://{}", self.local("nats")),
                "user": role.name(),
                "password": self.chosen.secret(role.name()),
            });
            let path = self.layout.node().join(format!("{}.json", role.name()));
            files::write_json(&path, &login, 0o600)?;
        }
        Ok(changed)
    }

    fn nats_config(&self) -> String {
        let guests = cast::daemons(&self.guests);
        let parts = self.parts.iter().cloned().chain(guests);
        let daemons = parts.filter_map(|part| match &part {
            Part::Daemon { role, .. } => {
                let id = part.component()?;
                let password = self.chosen.secret(&format!("{id}-bus"));
                Some(BusUser {
                    role: *role,
                    id,
                    password,
                })
            }
            Part::Nats | Part::Etcd => None,
        });
        let strangers = Role::STRANGERS.into_iter().map(|role| BusUser {
            role,
            id: ComponentId::new(role.name()).expect("the name of a role is an identifier"),
            password: self.chosen.secret(role.name()),
        });
        let users: Vec<BusUser<'_>> = daemons.chain(strangers).collect();
        servers::nats_config(&self.file.id, self.chosen.port("nats"), &users)
    }

    fn bootstrap(&self, part: &Part, role: Role, index: u32) -> anyhow::Result<String> {
        let component = part.component().context("a daemon has an id")?;
        let bootstrap = Bootstrap {
            role: role.name().to_string(),
            index,
            cluster: ClusterIdentity {
                id: match &self.file.joined {
                    Some(joined) => joined.cluster.clone(),
                    None => self.file.id.clone(),
                },
                domain: self.file.domain.clone(),
            },
            machine: Some(self.machine()),
            home: self.layout.home.clone(),
            folder: self.layout.folder(part),
            run: self.layout.run.clone(),
            bus: BusConfig {
                servers: vec![format!("nats://{}", self.local("nats"))],
                user: component.to_string(),
                password: self.chosen.secret(&format!("{component}-bus")).to_string(),
            },
            store: self.store_login(component.as_str(), &format!("{component}-store")),
            admin: AdminConfig {
                address: self.local(&format!("{component}-admin")),
                user: "status".to_string(),
                password: self.chosen.secret("status").to_string(),
            },
            settings: self.settings(role, index)?,
            component,
        };
        Ok(format!("{}\n", serde_json::to_string_pretty(&bootstrap)?))
    }

    /// What certificates are sealed with on their way from controllers to routers.
    fn certificate_keys(&self) -> anyhow::Result<PathBuf> {
        let keys = self.layout.home.join("certificate-keys");
        files::once(&keys, layout::secret)?;
        Ok(keys)
    }

    /// The role's own `Config`.
    fn settings(&self, role: Role, index: u32) -> anyhow::Result<Value> {
        Ok(match role {
            Role::Router => {
                let tls = match self.router_tls(index) {
                    Some(address) => {
                        let certificates = self.layout.home.join("certificates");
                        files::folder(&certificates, 0o700)?;
                        certificates::provide(&certificates, &self.file.domain)?;
                        let authorities = self.layout.home.join("client-authorities");
                        files::folder(&authorities, 0o700)?;
                        json!({
                            "socket": numbered(ROUTER_TLS, index),
                            "address": address,
                            "certificates": certificates,
                            "client_authorities": authorities,
                            "certificate_key_file": self.certificate_keys()?,
                        })
                    }
                    None => Value::Null,
                };
                let trust = self.layout.home.join("trust");
                files::folder(&trust, 0o700)?;
                let address = self.router(index).context("a router has a port")?;
                // A request may leave by one router and come back by another.
                let keys = self.layout.home.join("route-service-keys");
                files::once(&keys, layout::secret)?;
                json!({
                    "http_socket": numbered(ROUTER_HTTP, index),
                    "address": address,
                    "tls": tls,
                    "trust": trust,
                    "route_service_keys": keys,
                })
            }
            Role::Controller => {
                // Several sign and read for each other: they have the same keys.
                let keys = self.layout.folder(&FIRST_CONTROLLER);
                let key = |name: &str| -> anyhow::Result<PathBuf> {
                    let path = keys.join(name);
                    files::once(&path, layout::secret)?;
                    Ok(path)
                };
                let blobs = self.layout.home.join("blobs");
                files::folder(&blobs, 0o700)?;
                let api = numbered(API, index);
                let rows = format!("sqlite://{}", rows(&self.layout).display());
                json!({
                    "address": self.local(&api),
                    "socket": api,
                    "advertise": self.local(&api).to_string(),
                    "database": self.database.clone().unwrap_or(rows),
                    "blobs": blobs,
                    "public_url": format!("http://api.{}:{}", self.file.domain, self.file.port),
                    "admin_password_file": self.layout.home.join("admin-password"),
                    "ssh": {
                        "port": self.chosen.port("ssh"),
                        "fingerprint_file": self.ssh_fingerprint(),
                    },
                    "token_key_file": key("token.key")?,
                    "blob_key_file": key("blob.key")?,
                    "certificate_key_file": self.certificate_keys()?,
                    "bulk_user": "bulk",
                    "bulk_password": self.chosen.secret("bulk"),
                    "stager_queue": "default",
                    "automation": {
                        "key_file": key("automation.key")?,
                        "packs": self.executables.packs,
                        "public_url": format!("http://st2.{}:{}", self.file.domain, self.file.port),
                    },
                })
            }
            Role::Dea => {
                let share = network::share(self.chosen.second, index);
                json!({
                    "address": share.address,
                    "subnet": share.subnet,
                    "interface_prefix": format!("{}{index:x}", layout::interface_prefix(&self.file.id)),
                    // What fails together: each agent of a machine is a failure domain of its own.
                    "zone": match &self.file.joined {
                        Some(joined) => joined.zone.clone(),
                        None => format!("zone-{index}"),
                    },
                    "outside": self.file.joined.as_ref().map(|joined| {
                        let ports = network::outside_ports(index);
                        json!({
                            "address": joined.address,
                            "routers": joined.routers,
                            "first_port": ports.start,
                            "ports": ports.len(),
                        })
                    }),
                    "ssh_calls": self.file.joined.as_ref().map(|_| self.local(SSH_CALLS)),
                    "memory_mb": self.memory_mb(),
                    "disk_mb": null,
                    "router_address": self.router_here(),
                    "router_port": self.file.port,
                    "domain": self.file.domain,
                    "runtime": "runc",
                    "supervisor": self.executables.supervisor,
                    "init": self.executables.init,
                    "builder": self.executables.stackyard,
                    "buildpacks": self.executables.buildpacks,
                    "python": self.executables.python,
                    "nft_table": cleanup::nft_table(&self.file.id, index),
                    "cgroup_parent": cleanup::cgroup_parent(&self.file.id, index),
                    "uid_base": share.uid_base,
                })
            }
            Role::HealthManager | Role::Registrar | Role::Tool => json!({}),
            Role::Stager => json!({ "queue": "default" }),
            Role::SshProxy => json!({
                "address": self.ssh(),
                "socket": "ssh",
                "calls": self.local(SSH_CALLS),
                "controller_url": format!("http://{}", self.local("api")),
                "host_key_file": self.layout.home.join("ssh-host-key"),
                "fingerprint_file": self.ssh_fingerprint(),
            }),
            Role::Collector => json!({
                "address": self.local("collector"),
                "socket": "collector",
                "controller_url": format!("http://{}", self.local(API)),
            }),
        })
    }

    /// What clients compare the host key with.
    fn ssh_fingerprint(&self) -> PathBuf {
        self.layout.home.join("ssh-host-key.fingerprint")
    }

    /// Several agents share the machine's memory; a single one finds out for itself.
    fn memory_mb(&self) -> Option<u64> {
        let deas = self.file.roles.count(Role::Dea);
        if deas < 2 {
            return None;
        }
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let kib: u64 = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        Some((kib / 1024).saturating_sub(512) / u64::from(deas))
    }
}

/// The secret that the node of a joined machine is known by in the store.
pub fn machine_secret(machine: &str) -> String {
    format!("{machine}-store")
}

/// What needs a port or a secret where a cluster began.
fn own_names(parts: &[Part], guests: &Roles, machines: &[String]) -> Names {
    let mut secrets: Vec<String> = ["etcd-root", "node-store", "status", "bulk"]
        .map(String::from)
        .to_vec();
    secrets.extend(Role::STRANGERS.map(|role| role.name().to_string()));
    secrets.extend(machines.iter().map(|machine| machine_secret(machine)));
    let guests = cast::daemons(guests);
    let daemons = parts.iter().filter_map(Part::component);
    secrets.extend(
        daemons
            .chain(guests.filter_map(|part| part.component()))
            .flat_map(|id| [format!("{id}-bus"), format!("{id}-store")]),
    );
    Names {
        ports: parts.iter().flat_map(Part::ports).collect(),
        secrets,
        ..Names::default()
    }
}

/// Services of the first machine that a machine which joined has at ports of its own.
const OWN_PORTS: [&str; 2] = [ROUTER, SSH_CALLS];

/// The same on a machine that joined. The controllers name their ports in addresses that they give out, so these are
/// the same here; those of the router and the SSH proxy are not, because people may run something of theirs at them.
fn names_of_joined(parts: &[Part], standing: &Standing) -> Result<Names, ChoiceError> {
    let given_secrets = secrets(standing);
    for daemon in parts.iter().filter_map(Part::component) {
        if !given_secrets.contains_key(&format!("{daemon}-bus")) {
            return Err(ChoiceError::Login(daemon.to_string()));
        }
    }
    let mut ports: Vec<String> = parts.iter().flat_map(Part::ports).collect();
    ports.extend(OWN_PORTS.map(str::to_string));
    let services = standing.services.clone().into_iter();
    Ok(Names {
        ports,
        secrets: vec!["status".to_string()],
        given_ports: services
            .filter(|(name, _)| !OWN_PORTS.contains(&name.as_str()))
            .collect(),
        given_secrets,
    })
}

/// The programs that a cluster is made of.
#[derive(Clone)]
struct Executables {
    stackyard: PathBuf,
    nats: PathBuf,
    etcd: PathBuf,
    supervisor: PathBuf,
    init: PathBuf,
    buildpacks: PathBuf,
    /// Built-in packs.
    packs: PathBuf,
    /// What runs inside the sandboxes of packs.
    python: PathBuf,
}

impl Executables {
    /// Enough to know running processes by.
    fn names() -> Executables {
        Executables {
            stackyard: "stackyard".into(),
            nats: "nats-server".into(),
            etcd: "etcd".into(),
            supervisor: PathBuf::new(),
            init: PathBuf::new(),
            buildpacks: PathBuf::new(),
            packs: PathBuf::new(),
            python: PathBuf::new(),
        }
    }

    /// `servers`: nats-server and etcd run here too.
    fn find(servers: bool) -> anyhow::Result<Executables> {
        let stackyard = std::env::current_exe().context("cannot find this executable")?;
        let stackyard = std::fs::canonicalize(&stackyard).unwrap_or(stackyard);
        let folder = stackyard
            .parent()
            .map(Path::to_path_buf)
            .unwrap_or_default();
        let server = |name: &str, package: &str| {
            if !servers {
                return Ok(name.into());
            }
            process::which(name)
                .with_context(|| format!("{name} is not installed: apt-get install {package}"))
        };
        // Beside the source tree of a development build, or where an installation puts them.
        let shipped = |name: &str| {
            let variable = format!("STACKYARD_{}", name.to_uppercase());
            [
                std::env::var_os(&variable).map(PathBuf::from),
                Some(folder.join("../..").join(name)),
                Some(folder.join("../share/stackyard").join(name)),
            ]
            .into_iter()
            .flatten()
            .find_map(|path| std::fs::canonicalize(path).ok())
            .with_context(|| format!("the {name} are not found: set {variable} to their folder"))
        };
        Ok(Executables {
            nats: server("nats-server", "nats-server")?,
            etcd: server("etcd", "etcd-server")?,
            supervisor: folder.join("stackyard-supervisor"),
            init: folder.join("stackyard-init"),
            buildpacks: shipped("buildpacks")?,
            packs: shipped("packs")?,
            python: shipped("python")?,
            stackyard,
        })
    }
}

fn program(part: &Part, layout: &Layout, executables: &Executables) -> Program {
    let (executable, arguments) = match part {
        Part::Nats => (
            executables.nats.clone(),
            vec![
                "-c".to_string(),
                layout.folder(part).join("nats.conf").display().to_string(),
            ],
        ),
        Part::Etcd => (
            executables.etcd.clone(),
            vec![
                "--config-file".to_string(),
                layout.folder(part).join("etcd.yaml").display().to_string(),
            ],
        ),
        Part::Daemon { .. } => {
            let bootstrap = layout.bootstrap(part).display().to_string();
            (
                executables.stackyard.clone(),
                vec!["daemon".to_string(), "--config".to_string(), bootstrap],
            )
        }
    };
    Program {
        executable,
        arguments,
        folder: layout.folder(part),
        log: layout.log(part),
    }
}

/// Every process of the cluster that runs, of as many daemons as it may ever have had. Nothing need be
/// installed to stop what runs.
pub fn running(layout: &Layout) -> Vec<(Part, process::Identity)> {
    let executables = Executables::names();
    cast::all()
        .into_iter()
        .filter_map(|part| {
            process::find(&program(&part, layout, &executables)).map(|identity| (part, identity))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cast::tests::with_deas;

    #[test]
    fn a_recast_keeps_the_ports_of_daemons_that_are_between_two_lives() {
        let home = tempfile::tempdir().unwrap();
        let wanted = crate::Wanted {
            home: home.path().to_path_buf(),
            ..crate::Wanted::default()
        };
        let file = ClusterFile {
            run_folder: home.path().join("run/cluster").display().to_string(),
            ..layout::cluster_file(&wanted).unwrap()
        };
        let first = Plan::lay_out(
            file,
            home.path(),
            None,
            Executables::names(),
            &BTreeMap::new(),
        )
        .unwrap();
        let before = first.chosen.port("dea-1-admin");

        // The socket of a process that was killed a moment ago.
        let _dying = std::net::TcpListener::bind(("127.0.0.1", before)).unwrap();
        let second = first.recast(with_deas(2)).unwrap();
        assert_eq!(second.chosen.port("dea-1-admin"), before);
        assert_ne!(second.chosen.port("dea-2-admin"), before);
    }
}
