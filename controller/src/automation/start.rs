//! Starts automation in a controller: its key, its operations, its engine.

use super::engine::agents::Agents;
use super::{Automation, stream};
use crate::ops::Ops;
use crate::runtime::Runtime;
use anyhow::Context;
use automation::datastore::SymmetricKey;
use automation::expressions::Engine;
use daemon::Deps;
use serde::Deserialize;
use sha2::{Digest, Sha512};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Notify;

/// The part of the controller's bootstrap file that is about automation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Random text of at least 32 characters, or a key file of StackStorm (JSON).
    pub key_file: PathBuf,
    /// Folder of the built-in packs.
    pub packs: PathBuf,
    /// `http://st2.DOMAIN:PORT`
    pub public_url: String,
    /// Folders from which packs may be installed besides git.
    #[serde(default)]
    pub pack_folders: Vec<PathBuf>,
    /// Where StackStorm's own ports (9100 to 9102) are served as well: see [`classic`](super::classic).
    pub classic_address: Option<IpAddr>,
}

pub async fn start(
    config: &Config,
    ops: Ops,
    runtime: &Runtime,
    deps: &Deps,
) -> anyhow::Result<Automation> {
    let (peers, outbox) = stream::outbox();
    let automation = Automation {
        key: ops.vault.key(),
        ops,
        expressions: Engine::default(),
        agents: Agents::default(),
        stream: Automation::stream_channel(),
        peers: Some(peers),
        wake: Arc::new(Notify::new()),
        epoch: runtime.epoch(),
        bus: Some(deps.bus.clone()),
        public_url: config.public_url.as_str().into(),
        pack_folders: config.pack_folders.clone().into(),
        builtin_packs: config.packs.as_path().into(),
        acceptance: super::ops::acceptance::Acceptance::default(),
        intake: super::ops::intake::Intake::default(),
        ends: super::engine::reports::Ends::default(),
        packs_at_work: super::ops::natives::PacksAtWork::default(),
    };
    stream::start(&automation, deps, outbox).await;
    super::engine::start(&automation, deps).await;
    Ok(automation)
}

/// The key that secrets are encrypted with: StackStorm's own file as it is, else one derived from
/// the cluster's random text.
pub fn key(path: &Path) -> anyhow::Result<SymmetricKey> {
    let text = crate::secret(path)?;
    if text.trim_start().starts_with('{') {
        return SymmetricKey::from_json(&text)
            .with_context(|| format!("{} holds no key of StackStorm", path.display()));
    }
    let random: [u8; 64] = Sha512::digest(text.as_bytes()).into();
    Ok(SymmetricKey::generate(&random))
}
