//! Making the sandbox of a pack, with its host processes in it.
//!
//! The program of the sandbox is the host of shell actions, the same file as its init; it starts the host of
//! Python actions and ends with it. Both are root of their sandbox (three capabilities, nobody on the
//! machine) and actions are vcap: so no action can end a host, reach its socket, or take another's place
//! before it.

use crate::adapters::agent::Agent;
use crate::adapters::chain;
use crate::adapters::droplets::{DropletUse, Wanted};
use crate::adapters::pool::{self, Ready};
use crate::adapters::preparing::cpu_shares;
use crate::domain::environment;
use crate::domain::pack::{self, BASE, PACK, PYTHON, PackKey};
use crate::domain::pack_host::{HostKind, OwnEnvironment};
use crate::domain::pool::Kind;
use crate::domain::record::{PackRecord, Record};
use crate::sandbox::{
    Events, Orders, Prepare, Sandbox, SandboxError, SandboxEvent, SandboxLimits, Source,
};
use proto::bus::automation::PackContent;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::ahead;
use super::host::HostConnection;
use super::unit::MOST_RUNNING;

pub(super) const SOCKET_FOLDER: &str = "/run/yard";
const SOCKET: &str = "/run/yard/host.sock";
const SHELL_SOCKET: &str = "/run/yard/shell.sock";
/// The init as its sandbox sees it.
const INIT: &str = "/.yard/init";
/// Idle workers that a host keeps.
pub const IDLE_WORKERS: usize = 4;
/// Most open files of a process.
pub const FILES: u64 = 16384;
/// How long a host may take until it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);

const USUAL_INTERPRETER: &str = "/usr/bin/python3";
/// In the archive of a pack.
const OWN_INTERPRETER: &str = "virtualenv/bin/python3";

/// A sandbox that is ready for actions.
pub struct Made {
    pub sandbox: Sandbox,
    pub events: Events,
    pub python: HostConnection,
    pub shell: HostConnection,
    /// What it is made of, kept in the cache while it lives.
    pub uses: Vec<DropletUse>,
}

/// The files of a pack on this machine.
pub struct Files {
    pub pack: Option<DropletUse>,
    pub base: Option<DropletUse>,
}

impl Files {
    pub async fn obtain(agent: &Agent, content: &PackContent) -> Result<Files, String> {
        let (pack, base) = wanted(content);
        let fetch = |wanted| async move {
            match wanted {
                Some(wanted) => agent
                    .droplets
                    .obtain(wanted)
                    .await
                    .map(Some)
                    .map_err(|error| chain(&error)),
                None => Ok(None),
            }
        };
        let (pack, base) = tokio::try_join!(fetch(pack), fetch(base))?;
        Ok(Files { pack, base })
    }

    /// Of a sandbox that is there already.
    pub fn adopt(agent: &Agent, key: &PackKey) -> Vec<DropletUse> {
        let hold = |sha256: &str| {
            let wanted = Wanted {
                what: "the pack",
                url: "",
                sha1: "",
                sha256,
            };
            agent.droplets.adopt(wanted)
        };
        [&key.content, &key.base]
            .into_iter()
            .filter(|sha256| !sha256.is_empty())
            .filter_map(|sha256| hold(sha256))
            .collect()
    }

    /// Shows them in a sandbox that has no orders yet.
    pub async fn show(&self, agent: &Agent, sandbox: &Sandbox) -> Result<(), String> {
        let shown = async {
            self.show_common(agent, sandbox).await?;
            self.show_pack(sandbox).await
        };
        shown.await.map_err(|error| chain(&error))
    }

    /// What is the same for all packs.
    pub async fn show_common(&self, agent: &Agent, sandbox: &Sandbox) -> Result<(), SandboxError> {
        let python = Source::ReadOnlyBind(agent.config.python.clone());
        sandbox.put(PYTHON, python, 0o755).await?;
        match &self.base {
            Some(base) => {
                let base = Source::ReadOnlyBind(base.folder());
                sandbox.put(BASE, base, 0o755).await
            }
            None => Ok(()),
        }
    }

    pub async fn show_pack(&self, sandbox: &Sandbox) -> Result<(), SandboxError> {
        match &self.pack {
            Some(pack) => sandbox.mount_droplet(&pack.folder(), PACK).await,
            None => {
                let keep = format!("{PACK}/content/.keep");
                sandbox.put(&keep, Source::Bytes(vec![]), 0o644).await
            }
        }
    }

    /// The interpreter inside: that of the pack's own environment, if it has one.
    pub fn interpreter(&self) -> String {
        match self.has_own_environment() {
            true => format!("{PACK}/{OWN_INTERPRETER}"),
            false => USUAL_INTERPRETER.to_string(),
        }
    }

    fn has_own_environment(&self) -> bool {
        let has = |pack: &DropletUse| {
            pack.folder()
                .join(OWN_INTERPRETER)
                .symlink_metadata()
                .is_ok()
        };
        self.pack.as_ref().is_some_and(has)
    }

    /// Whether the interpreter is the usual one, perhaps by another name.
    pub fn has_usual_interpreter(&self) -> bool {
        let Some(pack) = self.pack.as_ref().filter(|_| self.has_own_environment()) else {
            return true;
        };
        let own = pack.folder().join(OWN_INTERPRETER).canonicalize();
        let usual = Path::new(USUAL_INTERPRETER).canonicalize();
        matches!((own, usual), (Ok(own), Ok(usual)) if own == usual)
    }

    /// The pack's own environment, for an interpreter that runs already.
    pub fn own_environment(&self) -> Option<OwnEnvironment> {
        let pack = self.pack.as_ref()?;
        let folders = site_packages(&pack.folder(), PACK);
        let prefix = self
            .has_own_environment()
            .then(|| format!("{PACK}/virtualenv"));
        (prefix.is_some() || !folders.is_empty()).then_some(OwnEnvironment { prefix, folders })
    }

    /// The environment of a process of ours inside.
    pub fn environment(&self, home: &str) -> Vec<String> {
        let mut variables = environment::defaults(home);
        variables.remove("DEPS_DIR");
        let of = |files: &Option<DropletUse>, inside| match files {
            Some(files) => site_packages(&files.folder(), inside),
            None => BTreeSet::new(),
        };
        let (own, base) = (of(&self.pack, PACK), of(&self.base, BASE));
        variables.insert("PYTHONPATH".into(), pack::python_path(&own, &base));
        variables.insert("TMPDIR".into(), "/tmp".into());
        // What is printed is to be seen at once.
        variables.insert("PYTHONUNBUFFERED".into(), "1".into());
        variables
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    pub fn into_uses(self) -> Vec<DropletUse> {
        self.pack.into_iter().chain(self.base).collect()
    }
}

fn wanted(content: &PackContent) -> (Option<Wanted<'_>>, Option<Wanted<'_>>) {
    let pack = (!content.url.is_empty()).then_some(Wanted {
        what: "the pack",
        url: &content.url,
        sha1: "",
        sha256: &content.sha256,
    });
    let base = (!content.base_url.is_empty()).then_some(Wanted {
        what: "the library of all packs",
        url: &content.base_url,
        sha1: "",
        sha256: &content.base_sha256,
    });
    (pack, base)
}

/// The libraries in the environment of an unpacked archive, by their places inside.
fn site_packages(archive: &Path, inside: &str) -> BTreeSet<String> {
    let versions = archive.join("virtualenv/lib");
    let entries = std::fs::read_dir(versions).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.path().join("site-packages").is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .map(|name| format!("{inside}/virtualenv/lib/{name}/site-packages"))
        .collect()
}

/// The limits of the sandboxes of packs, as the settings are now.
pub fn limits(agent: &Agent) -> SandboxLimits {
    let settings = agent.setting();
    let number = |key| u64::try_from(settings.integer(key)).unwrap_or(0);
    let memory_mb = number("dea/pack/memory_mb");
    SandboxLimits {
        memory_mb,
        disk_mb: number("dea/pack/disk_mb"),
        cpu_shares: cpu_shares(memory_mb),
        pids: number("dea/pack/max_pids"),
        fds: FILES,
    }
}

/// Makes a sandbox and fetches what belongs into it, both at once. A failure leaves nothing behind;
/// its text is half a sentence.
pub async fn prepare(
    agent: &Agent,
    id: &str,
    limits: SandboxLimits,
    content: &PackContent,
) -> Result<(Sandbox, Files), String> {
    let wish = Prepare {
        id: id.to_string(),
        stack: "host".to_string(),
        limits,
        hostname: id.to_string(),
        host_port: false,
        network: true,
        hosts: vec![],
    };
    let (sandbox, files) = tokio::join!(agent.prepare(wish), Files::obtain(agent, content));
    let sandbox = sandbox.map_err(|error| chain(&error))?;
    let shown = match files {
        Ok(files) => files.show(agent, &sandbox).await.map(|()| files),
        Err(why) => Err(why),
    };
    match shown {
        Ok(files) => Ok((sandbox, files)),
        Err(why) => {
            destroy(&sandbox).await;
            Err(why)
        }
    }
}

/// What is ordered in the sandbox of a pack: its hosts.
pub fn orders(files: &Files) -> Orders {
    let workers = IDLE_WORKERS.to_string();
    let most = MOST_RUNNING.to_string();
    let command = [
        INIT,
        "pack-host",
        SHELL_SOCKET,
        &workers,
        &most,
        files.interpreter().as_str(),
        "-m",
        "yard_host",
        SOCKET,
        "--prefork",
        &workers,
    ]
    .map(str::to_string);
    Orders {
        argv: command.to_vec(),
        env: files.environment("/root"),
        cwd: "/".to_string(),
        uid: 0,
        gid: 0,
        fds: FILES,
    }
}

pub fn label(key: PackKey) -> String {
    let record = Record::Pack(PackRecord {
        key,
        shell_host: true,
    });
    record.to_text()
}

/// Gives the pack a sandbox that waits, or makes one and waits until its hosts listen.
pub async fn make(
    agent: Arc<Agent>,
    id: String,
    limits: SandboxLimits,
    content: PackContent,
    ready: Option<Ready>,
) -> Result<Made, String> {
    if let Some(ready) = ready {
        match ahead::give(&agent, &ready, limits, &content).await {
            Ok(made) => return Ok(made),
            Err(why) => pool::failed(Kind::Pack, &ready.sandbox, &why).await,
        }
    }
    let (sandbox, files) = prepare(&agent, &id, limits, &content).await?;
    let key = PackKey::of(&content);
    let started = async {
        sandbox.set_label(&label(key)).await?;
        sandbox.make_folder(SOCKET_FOLDER, 0, 0o700).await?;
        sandbox.order(orders(&files)).await?;
        sandbox.events().await
    };
    let connected = match started.await {
        Ok(mut events) => connect(&sandbox, &mut events)
            .await
            .map(|hosts| (events, hosts)),
        Err(error) => Err(chain(&error)),
    };
    match connected {
        Ok((events, (python, shell))) => Ok(Made {
            sandbox,
            events,
            python,
            shell,
            uses: files.into_uses(),
        }),
        Err(why) => {
            destroy(&sandbox).await;
            Err(why)
        }
    }
}

/// Waits until the hosts listen; fails at once when they end instead, with their last words.
pub async fn connect(
    sandbox: &Sandbox,
    events: &mut Events,
) -> Result<(HostConnection, HostConnection), String> {
    let connecting = async {
        tokio::try_join!(
            reach(sandbox, HostKind::Python, LISTENS_WITHIN),
            reach(sandbox, HostKind::Shell, LISTENS_WITHIN)
        )
    };
    tokio::pin!(connecting);
    let mut words = String::new();
    loop {
        tokio::select! {
            connected = &mut connecting => return connected,
            event = events.recv() => match event {
                Some(SandboxEvent::Line { payload, .. }) => words = String::from_utf8_lossy(&payload).into_owned(),
                Some(SandboxEvent::LinesLost { .. }) => {}
                Some(SandboxEvent::Exited { status, .. }) => {
                    return Err(format!("the host of its sandbox ended with {status}: {words}"));
                }
                None => return Err("its sandbox is gone".to_string()),
            },
        }
    }
}

/// Connects to a host, trying until then.
pub async fn reach(
    sandbox: &Sandbox,
    kind: HostKind,
    within: Duration,
) -> Result<HostConnection, String> {
    let socket = match kind {
        HostKind::Python => SOCKET,
        HostKind::Shell => SHELL_SOCKET,
    };
    let until = Instant::now() + within;
    loop {
        match sandbox.connect(socket).await {
            Ok(stream) => return Ok(HostConnection::new(stream)),
            Err(error) if Instant::now() > until => {
                return Err(format!(
                    "the host of its sandbox does not listen: {}",
                    chain(&error)
                ));
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Removes a sandbox; what does not go is tried again by the sweep.
pub async fn destroy(sandbox: &Sandbox) {
    if let Err(error) = sandbox.destroy().await {
        tracing::warn!(
            sandbox = sandbox.id(),
            error = chain(&error),
            "a sandbox could not be removed"
        );
    }
}
