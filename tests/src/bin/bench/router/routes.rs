//! Which names there are and which backends serve them: the same for every proxy.

use anyhow::Context;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Backends, each on a port of its own, as many agents would be.
pub const BACKENDS: usize = 16;
/// Names that are asked for in turn.
pub const HOSTS: usize = 10_000;
/// From the first to each of the three backends of a name.
pub const STEPS: [usize; 3] = [0, 5, 11];

pub fn host(number: usize) -> String {
    format!("h{number}.apps.test")
}

/// Names of the same group have the same instances.
pub fn group(number: usize) -> usize {
    number % BACKENDS
}

pub fn ports(first: u16) -> Range<u16> {
    first..first + BACKENDS as u16
}

/// The ports that serve the names of a group.
pub fn instances(first: u16, group: usize) -> impl Iterator<Item = u16> {
    STEPS
        .iter()
        .map(move |step| first + ((group + step) % BACKENDS) as u16)
}

/// What proxies show to clients that come over TLS.
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
    /// A folder with both in one file, as ours reads them.
    pub folder: PathBuf,
}

impl Certificate {
    pub fn make(folder: &Path) -> anyhow::Result<Certificate> {
        let made = rcgen::generate_simple_self_signed(vec!["*.apps.test".to_string()])
            .context("making a certificate")?;
        let (key, chain) = (made.signing_key.serialize_pem(), made.cert.pem());
        let certificate = Certificate {
            chain: folder.join("chain.pem"),
            key: folder.join("key.pem"),
            folder: folder.join("certificates"),
        };
        std::fs::create_dir_all(&certificate.folder)?;
        std::fs::write(&certificate.chain, &chain)?;
        std::fs::write(&certificate.key, &key)?;
        std::fs::write(certificate.folder.join("default.pem"), key + &chain)?;
        Ok(certificate)
    }
}
