//! The engine: everything of an agent that is common to its sandboxes, and their making.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dea_shim::cgroup::{Group, Version, detect};
use dea_shim::protocol::{NetworkSpec, Reply, Request, Spec};
use dea_shim::supervisor::Outcome;
use tokio::process::Command;

use super::allocation::{self, Numbers};
use super::control::Control;
use super::error::chain;
use super::handle::disk_in_use;
use super::program::{nft, run};
use super::record::{self, Places, Record, check_id, places};
use super::stack::{HostStack, own_files};
use super::{
    EngineConfig, Prepare, Sandbox, SandboxError, SandboxLimits, firewall, host, oci, remove,
};

/// Preparing takes some 50 ms; on a machine in trouble it may take long, but not for ever.
const PREPARE_WITHIN: Duration = Duration::from_secs(30);
const HELLO_WITHIN: Duration = Duration::from_secs(3);
/// Of these the kernel has few for all users together.
const INOTIFY_INSTANCES: u64 = 32;
const INOTIFY_WATCHES: u64 = 16_384;
const BACKLOG_BYTES: usize = 1 << 20;

/// Handle to the engine of one agent.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    config: EngineConfig,
    stack: HostStack,
    mtu: u32,
    numbers: Mutex<Numbers>,
    /// One template is made at a time.
    templates: tokio::sync::Mutex<()>,
    /// Sandboxes whose removal failed or was dropped half-way, by id: the next sweep's work.
    abandoned: Mutex<BTreeMap<String, Record>>,
    said_copied: AtomicBool,
}

fn templates(config: &EngineConfig) -> PathBuf {
    config.folder.join("templates")
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Engine {
    /// Checks what the machine must have and makes the host's side of the network. Repeating it
    /// (after an agent's restart, beside running sandboxes) changes nothing for them.
    pub async fn start(config: EngineConfig) -> Result<Engine, SandboxError> {
        let mtu = host::prepare(&config).await?;
        let numbers = Numbers::new(config.subnet, config.uid_base, rand::random());
        let numbers = match &config.outside {
            Some(outside) => numbers.at_most(outside.ports.into()),
            None => numbers,
        };
        let stack = HostStack::find()?;
        stack.clear_stale(&templates(&config));
        let inner = Inner {
            stack,
            mtu,
            numbers: Mutex::new(numbers),
            templates: tokio::sync::Mutex::new(()),
            abandoned: Mutex::new(BTreeMap::new()),
            said_copied: AtomicBool::new(false),
            config,
        };
        Ok(Engine {
            inner: Arc::new(inner),
        })
    }

    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    /// Makes a sandbox whose init waits for orders. A failed preparation leaves nothing behind, a
    /// dropped one nothing that [`Engine::sweep`] does not find.
    pub async fn prepare(&self, request: Prepare) -> Result<Sandbox, SandboxError> {
        check_id(&request.id)?;
        if request.stack != "host" {
            return Err(SandboxError::UnknownStack(request.stack));
        }
        let inner = &self.inner;
        if held(&inner.abandoned).contains_key(&request.id) {
            return Err(SandboxError::Exists(request.id));
        }
        let number = held(&inner.numbers)
            .take(&request.id)
            .ok_or_else(|| SandboxError::Full(inner.config.subnet.to_string()))?;
        // Making the folder decides who owns the id.
        let folder = record::sandboxes(&inner.config).join(&request.id);
        if let Err(error) = fs::create_dir(&folder) {
            held(&inner.numbers).release(number, &request.id);
            return Err(match error.kind() {
                ErrorKind::AlreadyExists => SandboxError::Exists(request.id),
                _ => SandboxError::file("create", folder)(error),
            });
        }
        let address = allocation::address(inner.config.subnet, inner.config.gateway, number);
        let record = Record {
            id: request.id.clone(),
            number,
            address: address.expect("numbers are given out only for addresses of the subnet"),
            network: request.network,
            host_port: (request.network && request.host_port)
                .then(|| inner.config.host_port(number)),
            limits: SandboxLimits {
                fds: request.limits.fds.min(host::most_open_files()),
                ..request.limits
            },
            disk_base: 0,
            prepared: false,
        };
        let unfinished = Unfinished::new(inner, &record);
        match inner.make(&request, record.clone()).await {
            Ok((record, init)) => {
                unfinished.done();
                Ok(Sandbox::new(inner.clone(), record, init))
            }
            Err(error) => {
                match inner.remove(&record.id, Some(&record)).await {
                    Ok(()) => unfinished.done(),
                    Err(left) => {
                        tracing::warn!(sandbox = record.id, error = %chain(&left), "a failed preparation left something behind")
                    }
                }
                Err(error)
            }
        }
    }

    /// After an agent's restart: every sandbox whose supervisor still answers. What is left of
    /// others is removed.
    pub async fn adopt_all(&self) -> Result<Vec<Sandbox>, SandboxError> {
        let inner = &self.inner;
        let mut adopted = Vec::new();
        let mut ports = Vec::new();
        for id in record::all_ids(&inner.config)? {
            let places = places(&inner.config, &id);
            let record = record::load(&places).filter(|record| record.id == id);
            if let Some(record) = &record
                && record.prepared
                && let Some(init) = greet(&id, &places).await
                && held(&inner.numbers).adopt(record.number, &id)
            {
                if let Some(port) = record.host_port {
                    ports.push((port, record.address));
                }
                adopted.push(Sandbox::new(inner.clone(), record.clone(), init));
                continue;
            }
            tracing::info!(sandbox = id, "removing what is left of a sandbox");
            if let Err(error) = remove::remove(&inner.config, &id, record.as_ref()).await {
                tracing::warn!(sandbox = id, error = %chain(&error), "could not remove all of a sandbox");
                if let Some(record) = record {
                    held(&inner.numbers).adopt(record.number, &id);
                    inner.abandon(record);
                }
            }
        }
        nft(&firewall::replace_ports(&inner.config, &ports)).await?;
        Ok(adopted)
    }

    /// Destroys every sandbox of this agent, known to this process or not.
    pub async fn destroy_all(&self) {
        let inner = &self.inner;
        let ids = record::all_ids(&inner.config).unwrap_or_default();
        for id in ids {
            let record = record::load(&places(&inner.config, &id));
            if let Err(error) = inner.remove(&id, record.as_ref()).await {
                tracing::warn!(sandbox = id, error = %chain(&error), "could not destroy a sandbox");
            }
        }
    }

    /// Destroys all sandboxes and takes back what [`Engine::start`] made on the host.
    pub async fn close(self) {
        self.destroy_all().await;
        host::take_back(&self.inner.config).await;
    }

    /// The control group of all sandboxes.
    pub fn group(&self) -> Group {
        Group::new(&self.inner.config.cgroup_parent)
    }

    /// Tries again to remove what could not be removed. Whoever holds the engine calls it now and
    /// then: a sandbox that does not go must neither be forgotten nor hold up new ones.
    pub async fn sweep(&self) {
        let abandoned: Vec<Record> = held(&self.inner.abandoned).values().cloned().collect();
        for record in abandoned {
            match self.inner.remove(&record.id, Some(&record)).await {
                Ok(()) => {
                    tracing::info!(sandbox = record.id, "a left sandbox was removed");
                    held(&self.inner.abandoned).remove(&record.id);
                }
                Err(error) => {
                    tracing::warn!(sandbox = record.id, error = %chain(&error), "a left sandbox could not be removed and is tried again")
                }
            }
        }
    }
}

/// Notes a sandbox for the sweep unless its work was done.
pub(super) struct Unfinished<'a> {
    inner: &'a Inner,
    record: Option<Record>,
}

impl<'a> Unfinished<'a> {
    pub(super) fn new(inner: &'a Inner, record: &Record) -> Unfinished<'a> {
        let record = Some(record.clone());
        Unfinished { inner, record }
    }

    pub(super) fn done(mut self) {
        if let Some(record) = self.record.take() {
            // An earlier attempt may have left it to the sweep, which must not take away the port of
            // whoever gets the number next.
            held(&self.inner.abandoned).remove(&record.id);
        }
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.inner.abandon(record);
        }
    }
}

async fn greet(id: &str, places: &Places) -> Option<i32> {
    let mut control = Control::connect(id, &places.socket).await.ok()?;
    match control.ask(&Request::Hello, "hello", HELLO_WITHIN).await {
        Ok(Reply::Hello {
            id: theirs, init, ..
        }) if theirs == id => Some(init),
        _ => None,
    }
}

impl Inner {
    pub(super) fn config(&self) -> &EngineConfig {
        &self.config
    }

    pub(super) fn say_droplets_are_copied(&self) {
        if !self.said_copied.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "this kernel cannot share droplets between sandboxes: each gets a copy on its disk layer"
            );
        }
    }

    fn abandon(&self, record: Record) {
        held(&self.abandoned).insert(record.id.clone(), record);
    }

    pub(super) async fn remove(
        &self,
        id: &str,
        record: Option<&Record>,
    ) -> Result<(), SandboxError> {
        remove::remove(&self.config, id, record).await?;
        if let Some(record) = record {
            held(&self.numbers).release(record.number, id);
        }
        Ok(())
    }

    async fn make(
        &self,
        request: &Prepare,
        mut record: Record,
    ) -> Result<(Record, i32), SandboxError> {
        let places = places(&self.config, &record.id);
        let template = {
            let _one = self.templates.lock().await;
            let folder = templates(&self.config);
            self.stack.template(&folder, record.limits.disk_mb).await?
        };
        for folder in [&places.bundle, &places.scratch] {
            fs::create_dir_all(folder).map_err(SandboxError::file("create", folder))?;
        }
        fs::set_permissions(&places.run, fs::Permissions::from_mode(0o711))
            .map_err(SandboxError::file("set permissions of", &places.run))?;
        record::save(&places, &record)?;
        self.write_bundle(request, &record, &places, &template)?;

        let open_port = async {
            match record.host_port {
                Some(port) => firewall::open_port(&self.config, port, record.address).await,
                None => Ok(()),
            }
        };
        let mut command = Command::new(&self.config.supervisor);
        command.arg(&places.spec);
        let supervise = run("stackyard-supervisor", command, "", PREPARE_WITHIN);
        let (port, supervised) = tokio::join!(open_port, supervise);
        port?;
        let init = match supervised {
            Ok(output) => ready(&record.id, &output)?,
            Err(error) => return Err(error),
        };
        record.disk_base =
            disk_in_use(&places.disk).map_err(SandboxError::file("measure", &places.disk))?;
        record.prepared = true;
        record::save(&places, &record)?;
        Ok((record, init))
    }

    fn write_bundle(
        &self,
        request: &Prepare,
        record: &Record,
        places: &Places,
        template: &Path,
    ) -> Result<(), SandboxError> {
        let uid_base = record.uid_base(&self.config);
        let configuration = oci::configuration(&oci::Bundle {
            root: &places.disk.join("root"),
            init: &self.config.init,
            hostname: &request.hostname,
            limits: record.limits,
            uid_base,
            cgroup: &places.cgroup,
            cgroup_namespace: detect() == Version::Two,
            protect_init: host::may_exceed_limits(),
            shown: &self.stack.shown,
        });
        let path = places.bundle.join("config.json");
        record::write_whole(&path, configuration.to_string().as_bytes())?;
        let address = record.network.then_some(record.address);
        let gateway = self.config.gateway;
        let spec = Spec {
            id: record.id.clone(),
            runtime: self.config.runtime.clone(),
            runtime_root: places.runtime_root.clone(),
            bundle: places.bundle.clone(),
            disk_template: template.to_owned(),
            disk_image: places.image.clone(),
            disk_mount: places.disk.clone(),
            scratch: places.scratch.clone(),
            socket: places.socket.clone(),
            lock: places.lock.clone(),
            uid_base,
            files: own_files(&request.hostname, address, gateway, &request.hosts),
            cgroup: places.cgroup.clone(),
            memory_bytes: record.limits.memory_mb << 20,
            network: address.map(|address| NetworkSpec {
                interface: record.interface(&self.config),
                address,
                gateway,
                mtu: self.mtu,
                route_localnet: firewall::leads_to_loopback(&self.config),
            }),
            inotify_instances: INOTIFY_INSTANCES,
            inotify_watches: INOTIFY_WATCHES,
            backlog_bytes: BACKLOG_BYTES,
        };
        let text = serde_json::to_vec(&spec).expect("a spec has only string keys");
        record::write_whole(&places.spec, &text)
    }
}

fn ready(id: &str, output: &[u8]) -> Result<i32, SandboxError> {
    let refused = |problem: String| SandboxError::Refused {
        id: id.to_owned(),
        problem,
    };
    match serde_json::from_slice::<Outcome>(output) {
        Ok(Outcome::Ready { init, .. }) => Ok(init),
        Ok(Outcome::Failed { problem }) => Err(refused(problem)),
        Err(error) => Err(refused(format!("the supervisor said nonsense: {error}"))),
    }
}
