//! The sandbox of a pack that is not known yet: with its hosts running, the interpreter warm and the workers in
//! their control groups, so that an action of a pack without a sandbox waits for none of that.
//!
//! What belongs to the pack (its files, the libraries it requires itself) comes when it is known: the files are
//! mounted beside the running hosts, which run no code of a pack before; then the sandbox is sealed, and the
//! Python host is told where to look (`enter`). Until then nothing inside is anybody's, and afterwards the
//! sandbox is that of one pack for good.
//!
//! Not every pack can have one: a running interpreter cannot become another. A pack whose environment has an
//! interpreter of its own gets a sandbox made for it.

use crate::adapters::agent::Agent;
use crate::adapters::chain;
use crate::adapters::droplets::{DropletUse, Wanted};
use crate::adapters::pool::{FILES, Ready};
use crate::domain::pack::PackKey;
use crate::domain::pack_host::{self, HostEvent, HostKind};
use crate::sandbox::{Prepare, Sandbox, SandboxLimits};
use proto::bus::automation::PackContent;
use std::time::Duration;

use super::host::HostConnection;
use super::making::{self, Files, IDLE_WORKERS, Made};
use super::workers::Workers;

/// While it waits: two hosts and their idle workers.
const WAITING: SandboxLimits = SandboxLimits {
    memory_mb: 256,
    disk_mb: 0,
    cpu_shares: 64,
    pids: 64,
    fds: FILES,
};
/// How long the workers of a host may take to be there.
const WORKERS_WITHIN: Duration = Duration::from_secs(20);

/// Makes one. The error is half a sentence, and nothing is left then.
pub async fn make(
    agent: &Agent,
    id: String,
    disk_mb: u64,
    base: &str,
) -> Result<(Sandbox, Option<DropletUse>), String> {
    let url = agent.table().pool.base_url(base);
    let base = match base {
        "" => None,
        sha256 => {
            let wanted = Wanted {
                what: "the library of all packs",
                url: &url,
                sha1: "",
                sha256,
            };
            let obtained = agent.droplets.obtain(wanted).await;
            Some(obtained.map_err(|error| chain(&error))?)
        }
    };
    let wish = Prepare {
        hostname: id.clone(),
        id,
        stack: "host".to_string(),
        limits: SandboxLimits { disk_mb, ..WAITING },
        host_port: false,
        network: true,
        hosts: vec![],
    };
    let sandbox = agent.engine.prepare(wish).await;
    let sandbox = sandbox.map_err(|error| chain(&error))?;
    let files = Files { pack: None, base };
    match begin(agent, &sandbox, &files).await {
        Ok(()) => Ok((sandbox, files.base)),
        Err(why) => {
            making::destroy(&sandbox).await;
            Err(why)
        }
    }
}

async fn begin(agent: &Agent, sandbox: &Sandbox, files: &Files) -> Result<(), String> {
    let started = async {
        files.show_common(agent, sandbox).await?;
        sandbox.make_folder(making::SOCKET_FOLDER, 0, 0o700).await?;
        sandbox.order_unsealed(making::orders(files)).await?;
        sandbox.events().await
    };
    let mut events = started.await.map_err(|error| chain(&error))?;
    let (python, shell) = making::connect(sandbox, &mut events).await?;
    let workers = async {
        tokio::try_join!(
            settle(sandbox, python, HostKind::Python),
            settle(sandbox, shell, HostKind::Shell)
        )
    };
    match tokio::time::timeout(WORKERS_WITHIN, workers).await {
        Ok(settled) => settled.map(drop),
        Err(_) => Err(format!(
            "the workers of its hosts were not there within {WORKERS_WITHIN:?}"
        )),
    }
}

/// Waits for a host's workers and puts each into its control group. The groups stay when the connection goes:
/// whoever takes the sandbox finds the workers in them.
async fn settle(sandbox: &Sandbox, mut host: HostConnection, kind: HostKind) -> Result<(), String> {
    let mut workers = Workers::new(sandbox.group());
    let mut count = 0;
    while count < IDLE_WORKERS {
        let event = host.next().await;
        let event = event.map_err(|error| format!("its {kind:?} host: {}", chain(&error)))?;
        let came = match event {
            HostEvent::Hello { idle, .. } => idle,
            HostEvent::Worker { pid } => vec![pid],
            _ => vec![],
        };
        count += came.len();
        for pid in came {
            workers.came(pid);
        }
    }
    match workers.take_dismissed().is_empty() {
        true => Ok(()),
        false => Err(format!(
            "a worker of its {kind:?} host has no control group"
        )),
    }
}

/// Gives a waiting sandbox to a pack. On failure the sandbox is still there, and of no use.
pub async fn give(
    agent: &Agent,
    ready: &Ready,
    limits: SandboxLimits,
    content: &PackContent,
) -> Result<Made, String> {
    let sandbox = ready.sandbox.clone();
    let id = sandbox.id().to_string();
    let assigning = async {
        let assigned = sandbox.assign(&id, limits).await;
        assigned.map_err(|error| chain(&error))
    };
    let (sandbox, files) = tokio::try_join!(assigning, Files::obtain(agent, content))?;
    if !files.has_usual_interpreter() {
        return Err("its pack has an interpreter of its own".to_string());
    }
    let own = files.own_environment();
    let sealed = async {
        files.show_pack(&sandbox).await?;
        sandbox.seal().await?;
        let label = making::label(PackKey::of(content));
        sandbox.set_label(&label).await?;
        sandbox.events().await
    };
    let mut events = sealed.await.map_err(|error| chain(&error))?;
    let (mut python, shell) = making::connect(&sandbox, &mut events).await?;
    if let Some(own) = own {
        // Before any orders, so no worker carries one out that has not heard of it.
        python.send(&pack_host::enter(&own));
    }
    Ok(Made {
        sandbox,
        events,
        python,
        shell,
        uses: files.into_uses(),
    })
}
