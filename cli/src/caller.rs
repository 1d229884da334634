//! Whose login this is. Under sudo the files belong to the user who called, so that `sudo yard up`
//! leaves *him* logged in and nothing of root's lies in his home.

use crate::failure::{Failure, Outcome};
use nix::unistd::{Gid, Uid, User, chown};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub name: String,
    pub home: PathBuf,
    /// Set if files must be handed over.
    pub owner: Option<(u32, u32)>,
}

impl Caller {
    pub fn find() -> Outcome<Caller> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if Uid::effective().is_root()
            && let Some(name) = variable("SUDO_USER").filter(|name| name != "root")
        {
            let user = User::from_name(&name)
                .map_err(|error| {
                    Failure::failed(format!("look up the user {name} who called sudo"))
                        .because(error)
                })?
                .ok_or_else(|| {
                    Failure::failed(format!(
                        "the user {name} (SUDO_USER) is not known on this machine"
                    ))
                })?;
            return Ok(Caller {
                name,
                home: user.dir,
                owner: Some((user.uid.as_raw(), user.gid.as_raw())),
            });
        }
        let me = User::from_uid(Uid::effective()).ok().flatten();
        let home = variable("HOME")
            .map(PathBuf::from)
            .or_else(|| me.as_ref().map(|user| user.dir.clone()))
            .ok_or_else(|| {
                Failure::failed("no home folder is known for this user")
                    .fix("set HOME or YARD_CONFIG_HOME")
            })?;
        Ok(Caller {
            name: me.map(|user| user.name).unwrap_or_default(),
            home,
            owner: None,
        })
    }

    /// Where logins are: `$YARD_CONFIG_HOME`, else `~/.yard`.
    pub fn login_folder(&self) -> PathBuf {
        match std::env::var_os("YARD_CONFIG_HOME").filter(|value| !value.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => self.home.join(".yard"),
        }
    }

    /// Gives a file to the caller.
    pub fn hand_over(&self, path: &Path) -> Outcome {
        if let Some((uid, gid)) = self.owner {
            chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(|error| {
                Failure::failed(format!("give {} to the user {}", path.display(), self.name))
                    .because(error)
            })?;
        }
        Ok(())
    }
}
