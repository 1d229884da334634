//! Whose login this is. Under sudo it is the login of the user who called, so that `sudo yard up`
//! leaves *him* logged in and nothing of root's lies in his home.
//!
//! His home is his: it may hold a link to any file of the machine, and a sudo rule may allow him
//! `yard` and nothing else. So root does not write there and give the file away; it works on the
//! login files with the caller's rights ([`Caller::acting`]), and the kernel refuses what he may not.

use crate::failure::{Failure, Outcome};
use nix::unistd::{Gid, Uid, User, setfsgid, setfsuid};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub name: String,
    pub home: PathBuf,
    /// User and group, if this process runs as another user.
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

    /// Does something with files as the caller: with his rights, and what is made is his.
    pub fn acting<T>(&self, act: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        let Some((uid, gid)) = self.owner else {
            return act();
        };
        let _rights = Rights::take(Uid::from_raw(uid), Gid::from_raw(gid))
            .ok_or_else(|| Failure::failed(format!("take the rights of the user {}", self.name)))?;
        act()
    }
}

/// Another user's rights over files, for this thread and as long as this lives.
struct Rights {
    before: (Uid, Gid),
}

/// No user: asking for him changes nothing and tells whose rights there are.
const NOBODY: u32 = u32::MAX;

impl Rights {
    fn take(uid: Uid, gid: Gid) -> Option<Rights> {
        // The group first: a user that is not root may not change it.
        let before_gid = setfsgid(gid);
        let rights = Rights {
            before: (setfsuid(uid), before_gid),
        };
        // Neither call says whether it worked.
        let taken =
            setfsuid(Uid::from_raw(NOBODY)) == uid && setfsgid(Gid::from_raw(NOBODY)) == gid;
        taken.then_some(rights)
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        setfsuid(self.before.0);
        setfsgid(self.before.1);
    }
}
