//! Where things are while a build runs.
//!
//! ```text
//! <yard>/                  put there by the agent          <home>/            becomes the droplet
//!   package.zip  cache.tgz                                   app/             the user's files
//!   request.json                                             deps/<index>/    what buildpacks add
//!   buildpacks/<name>/bin/…                                  profile.d/       scripts sourced at start
//!   out/droplet.tgz cache.tgz result.json                    logs/ tmp/       empty
//!   archives/<number>.zip         uploaded buildpacks        .staging/        left out: cache, temporary files,
//!                                                                             buildpacks fetched or unpacked
//! ```
//!
//! The home is the same while staging and while running, because virtual environments and the like
//! hold absolute paths. Both roots can be moved, which is how the tests run without a container.

use sha2::{Digest, Sha256};
use std::path::PathBuf;

#[derive(Debug, Clone)]
pub struct Layout {
    pub home: PathBuf,
    pub yard: PathBuf,
    pub request: PathBuf,
}

impl Layout {
    pub fn app(&self) -> PathBuf {
        self.home.join("app")
    }
    pub fn deps(&self) -> PathBuf {
        self.home.join("deps")
    }
    pub fn dep(&self, index: usize) -> PathBuf {
        self.deps().join(index.to_string())
    }
    pub fn profile(&self) -> PathBuf {
        self.home.join("profile.d")
    }
    pub fn staging(&self) -> PathBuf {
        self.home.join(".staging")
    }
    pub fn cache(&self) -> PathBuf {
        self.staging().join("cache")
    }
    pub fn temporary(&self) -> PathBuf {
        self.staging().join("tmp")
    }
    pub fn package(&self) -> PathBuf {
        self.yard.join("package.zip")
    }
    pub fn cache_in(&self) -> PathBuf {
        self.yard.join("cache.tgz")
    }
    /// One that the agent brings.
    pub fn buildpack(&self, name: &str) -> PathBuf {
        self.yard.join("buildpacks").join(name)
    }
    /// One that the build gets for itself.
    pub fn own_buildpack(&self, name: &str) -> PathBuf {
        self.staging().join("buildpacks").join(folder_name(name))
    }
    pub fn out(&self) -> PathBuf {
        self.yard.join("out")
    }
    pub fn droplet_out(&self) -> PathBuf {
        self.out().join("droplet.tgz")
    }
    pub fn cache_out(&self) -> PathBuf {
        self.out().join("cache.tgz")
    }
    pub fn result(&self) -> PathBuf {
        self.out().join("result.json")
    }
}

/// A folder name that no other buildpack has.
pub(super) fn folder_name(buildpack: &str) -> String {
    Sha256::digest(buildpack.as_bytes())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_buildpacks_are_apart() {
        assert_eq!(folder_name("python").len(), 16);
        assert_ne!(folder_name("python"), folder_name("nodejs"));
    }
}
