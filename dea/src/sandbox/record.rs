//! What the agent writes down about a sandbox, so that another agent process can take it over or
//! remove what is left of it; and where a sandbox's files are.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{EngineConfig, SandboxError, SandboxLimits, allocation};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    pub number: u32,
    pub address: Ipv4Addr,
    pub network: bool,
    pub host_port: Option<u16>,
    pub limits: SandboxLimits,
    /// Bytes the empty disk layer has in use.
    pub disk_base: u64,
    /// False until the init waits: such a record is only for cleaning up.
    pub prepared: bool,
}

impl Record {
    pub fn interface(&self, config: &EngineConfig) -> String {
        allocation::interface(&config.interface_prefix, self.number)
    }

    pub fn uid_base(&self, config: &EngineConfig) -> u32 {
        allocation::uid_base(config.uid_base, self.number)
    }
}

/// Where the files of one sandbox are.
#[derive(Debug, Clone)]
pub struct Places {
    /// `<run folder>/<id>`: mount points and the socket.
    pub run: PathBuf,
    pub disk: PathBuf,
    pub scratch: PathBuf,
    pub socket: PathBuf,
    pub lock: PathBuf,
    /// `<folder>/sandboxes/<id>`: image, bundle, notes.
    pub folder: PathBuf,
    pub image: PathBuf,
    pub bundle: PathBuf,
    pub spec: PathBuf,
    pub record: PathBuf,
    pub label: PathBuf,
    /// The runtime's state folder, common to all.
    pub runtime_root: PathBuf,
    pub cgroup: String,
}

/// Folder of the run folder that no id can be named like.
pub const RUNTIME_ROOT: &str = ".runtime";

pub fn sandboxes(config: &EngineConfig) -> PathBuf {
    config.folder.join("sandboxes")
}

pub fn places(config: &EngineConfig, id: &str) -> Places {
    let run = config.run_folder.join(id);
    let folder = sandboxes(config).join(id);
    Places {
        disk: run.join("disk"),
        scratch: run.join("scratch"),
        socket: run.join("socket"),
        lock: run.join("lock"),
        image: folder.join("disk.img"),
        bundle: folder.join("bundle"),
        spec: folder.join("spec.json"),
        record: folder.join("record.json"),
        label: folder.join("label.json"),
        runtime_root: config.run_folder.join(RUNTIME_ROOT),
        cgroup: format!("{}/{id}", config.cgroup_parent),
        run,
        folder,
    }
}

pub fn check_id(id: &str) -> Result<(), SandboxError> {
    // A leading dash would be an option to the runtime.
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if id.is_empty() || id.starts_with('-') || id.len() > 64 || !id.bytes().all(good) {
        return Err(SandboxError::BadId(id.to_owned()));
    }
    Ok(())
}

/// Writes a file so that a reader sees the old or the new content, never a part.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), SandboxError> {
    let beside = path.with_extension("new");
    fs::write(&beside, content).map_err(SandboxError::file("write", &beside))?;
    fs::rename(&beside, path).map_err(SandboxError::file("replace", path))
}

pub fn save(places: &Places, record: &Record) -> Result<(), SandboxError> {
    let text = serde_json::to_vec(record).expect("a record has only string keys");
    write_whole(&places.record, &text)
}

/// The record of a sandbox, if there is a readable one.
pub fn load(places: &Places) -> Option<Record> {
    serde_json::from_slice(&fs::read(&places.record).ok()?).ok()
}

/// Ids of all sandboxes that have left anything in either folder.
pub fn all_ids(config: &EngineConfig) -> Result<Vec<String>, SandboxError> {
    let mut ids = std::collections::BTreeSet::new();
    for folder in [sandboxes(config), config.run_folder.clone()] {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(SandboxError::file("list", folder)(error)),
        };
        for entry in entries.filter_map(|entry| entry.ok()) {
            if let Ok(name) = entry.file_name().into_string()
                && check_id(&name).is_ok()
                && entry.path().is_dir()
            {
                ids.insert(name);
            }
        }
    }
    Ok(ids.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_be_paths_or_options() {
        for id in [
            "",
            "-x",
            ".",
            "..",
            "a/b",
            ".runtime",
            "a b",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
        for id in ["web-1", "b6c1_2", &"x".repeat(64)] {
            assert!(check_id(id).is_ok(), "{id:?}");
        }
    }
}
