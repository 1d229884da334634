//! Keeping the marked block of `/etc/hosts`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::domain::hosts;

pub struct HostsFile {
    path: PathBuf,
    cluster: String,
    address: IpAddr,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}")]
pub struct HostsError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl HostsFile {
    pub fn new(path: &Path, cluster: &str, address: IpAddr) -> HostsFile {
        HostsFile {
            path: path.to_path_buf(),
            cluster: cluster.to_string(),
            address,
        }
    }

    /// Whether there is a block already.
    pub fn is_set(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|text| hosts::has_block(&text, &self.cluster))
    }

    /// Writes the block if it is not as wanted; without names it goes.
    pub fn set(&self, names: &BTreeSet<String>) -> Result<bool, HostsError> {
        let failed = |operation| {
            move |source| HostsError {
                operation,
                path: self.path.clone(),
                source,
            }
        };
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed("read")(error)),
        };
        let wanted = hosts::with_block(&text, &self.cluster, self.address, names);
        if wanted == text {
            return Ok(false);
        }
        self.replace(&wanted).map_err(failed("write"))?;
        Ok(true)
    }

    /// Moves a new file into place with the owner and mode of the old one. Where the file is a
    /// mount point (inside a container) that is impossible, and it is overwritten.
    fn replace(&self, text: &str) -> io::Result<()> {
        let old = fs::metadata(&self.path).ok();
        let beside = self
            .path
            .with_extension(format!("stackyard-{}", self.cluster));
        let writing = || -> io::Result<()> {
            let mut file = fs::File::create(&beside)?;
            file.write_all(text.as_bytes())?;
            if let Some(old) = &old {
                file.set_permissions(fs::Permissions::from_mode(old.mode()))?;
                std::os::unix::fs::chown(&beside, Some(old.uid()), Some(old.gid()))?;
            }
            file.sync_all()?;
            fs::rename(&beside, &self.path)
        };
        match writing() {
            Ok(()) => Ok(()),
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy
                    || error.kind() == io::ErrorKind::CrossesDevices =>
            {
                let _ = fs::remove_file(&beside);
                fs::write(&self.path, text)
            }
            Err(error) => {
                let _ = fs::remove_file(&beside);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_written_once_and_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        fs::write(&path, "127.0.0.1 localhost\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let file = HostsFile::new(&path, "c0ffee12", "127.0.0.1".parse().unwrap());
        let names = hosts::names("y.internal", []);
        assert!(file.set(&names).unwrap());
        assert!(!file.set(&names).unwrap(), "as it is already");
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .contains("api.y.internal")
        );
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert!(file.set(&BTreeSet::new()).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "127.0.0.1 localhost\n");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }
}
