//! The agent's folders. What lies in them carries the apps' environment (with the credentials of
//! their services) and data: nobody else on the machine may read there.

use anyhow::Context;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

const PRIVATE: u32 = 0o700;

/// Makes the folder if it is not there; it is nobody else's in any case.
pub fn private(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE)
        .create(folder)?;
    // An earlier version may have made it for everybody.
    fs::set_permissions(folder, Permissions::from_mode(PRIVATE))
}

/// A folder for what no restart has use for: empty now.
pub fn fresh(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot empty {}", folder.display()));
        }
        Ok(()) | Err(_) => {}
    }
    private(folder).with_context(|| format!("cannot make {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn a_folder_is_closed_to_others_also_if_it_was_open() {
        let home = tempfile::tempdir().expect("a folder");
        let (open, new) = (home.path().join("open"), home.path().join("new"));
        fs::create_dir(&open).expect("made");
        fs::set_permissions(&open, Permissions::from_mode(0o755)).expect("opened");
        for folder in [&open, &new] {
            private(folder).expect("made");
            assert_eq!(mode(folder), PRIVATE);
        }
        fs::write(new.join("left"), "").expect("written");
        fresh(&new).expect("emptied");
        assert_eq!(
            (fs::read_dir(&new).expect("there").count(), mode(&new)),
            (0, PRIVATE)
        );
    }
}
