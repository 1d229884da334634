//! `~/.yard/config.json` (0600): the clusters this user knows and his login at each.
//!
//! Two `yard` processes may run at once and a refresh token is spent by its first use, so whoever
//! changes the file holds a lock on a file beside it and reads it again first; the file itself is
//! replaced by renaming, so that a reader never sees half of it.

use crate::caller::Caller;
use crate::failure::{Code, Failure, Outcome};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Targets {
    /// API URL of the one in use.
    #[serde(default)]
    pub current: Option<String>,
    #[serde(default)]
    pub targets: BTreeMap<String, Target>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Target {
    /// `http://api.yard.internal:8080`, without a slash at the end.
    pub api: String,
    /// Address of the cluster's router for every name under its domain. None: names are resolved
    /// by the system.
    #[serde(default)]
    pub connect: Option<String>,
    /// Token server.
    pub login: String,
    pub log_cache: String,
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub access_token: Option<String>,
    #[serde(default)]
    pub refresh_token: Option<String>,
    #[serde(default)]
    pub org: Option<Named>,
    #[serde(default)]
    pub space: Option<Named>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Named {
    pub guid: String,
    pub name: String,
}

impl Targets {
    pub fn in_use(&self) -> Option<&Target> {
        self.targets.get(self.current.as_deref()?)
    }
}

/// The file.
#[derive(Debug, Clone)]
pub struct Store {
    caller: Caller,
    folder: PathBuf,
}

impl Store {
    pub fn of(caller: Caller) -> Store {
        let folder = caller.login_folder();
        Store { caller, folder }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.join("config.json")
    }

    /// The target in use, or what to do to get one.
    pub fn target(&self) -> Outcome<Target> {
        self.read()?.in_use().cloned().ok_or_else(|| {
            Failure::new(Code::NotAllowed, "not logged in to a cluster").fix(
                "`yard login http://api.DOMAIN:PORT`, or `sudo yard up` to start a cluster here",
            )
        })
    }

    pub fn read(&self) -> Outcome<Targets> {
        let file = self.file();
        match self.caller.acting(|| Ok(fs::read(&file)))? {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                Failure::failed(format!("{} is damaged", file.display()))
                    .because(error)
                    .fix("move it away and run `yard login` again")
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Targets::default()),
            Err(error) => Err(Failure::failed(format!("read {}", file.display())).because(error)),
        }
    }

    /// Reads, changes and writes the file under its lock; gives back what `change` says.
    pub fn update<T>(&self, change: impl FnOnce(&mut Targets) -> T) -> Outcome<T> {
        let _lock = self.lock()?;
        let mut targets = self.read()?;
        let result = change(&mut targets);
        self.write(&targets)?;
        Ok(result)
    }

    /// Held while tokens are exchanged: a second process waits and then finds the new ones.
    pub fn lock(&self) -> Outcome<Flock<fs::File>> {
        self.caller.acting(|| self.take_lock())
    }

    fn take_lock(&self) -> Outcome<Flock<fs::File>> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Failure::failed(format!("{what} {}: {error}", self.folder.display()))
        };
        if !self.folder.is_dir() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.folder)
                .map_err(|error| failed("create the folder of logins", &error))?;
        }
        let path = self.folder.join("config.lock");
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed("open the lock in", &error))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| failed("lock", &error))
    }

    /// Call only under the lock.
    pub fn write(&self, targets: &Targets) -> Outcome {
        self.caller.acting(|| self.replace(targets))
    }

    fn replace(&self, targets: &Targets) -> Outcome {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("write {}: {error}", self.file().display()))
        };
        let mut text = serde_json::to_vec_pretty(targets).map_err(|error| failed(&error))?;
        text.push(b'\n');
        let mut file = tempfile::Builder::new()
            .prefix(".config")
            .tempfile_in(&self.folder)
            .map_err(|error| failed(&error))?;
        file.write_all(&text)
            .and_then(|()| file.as_file().sync_all())
            .map_err(|error| failed(&error))?;
        file.persist(self.file()).map_err(|error| failed(&error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// What `sudo` makes of a user: this process is root and works for him.
    #[test]
    fn a_login_under_sudo_is_the_callers_and_no_way_to_roots_files() {
        use std::io::Write as _;
        use std::os::unix::fs::{MetadataExt, chown, symlink};
        if !nix::unistd::geteuid().is_root() {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED a_login_under_sudo_is_the_callers_and_no_way_to_roots_files: it needs root"
            );
            return;
        }
        const USER: u32 = 54_321;
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        let home = folder.path().join("home");
        fs::create_dir(&home).expect("a home");
        chown(&home, Some(USER), Some(USER)).expect("his home");
        let store = Store {
            folder: home.join(".yard"),
            caller: Caller {
                name: "somebody".into(),
                home: home.clone(),
                owner: Some((USER, USER)),
            },
        };
        store
            .update(|targets| targets.current = Some("a".into()))
            .expect("stored");
        for (path, mode) in [
            (".yard", 0o700),
            (".yard/config.json", 0o600),
            (".yard/config.lock", 0o600),
        ] {
            let found = fs::metadata(home.join(path)).expect(path);
            assert_eq!(
                (found.uid(), found.gid(), found.mode() & 0o777),
                (USER, USER, mode),
                "{path}"
            );
        }
        let mine = folder.path().join("mine");
        fs::write(&mine, "root's own").expect("a file of root");
        fs::set_permissions(&mine, fs::Permissions::from_mode(0o600)).expect("its mode");
        assert_eq!(fs::metadata(&mine).expect("it is there").uid(), 0);
        for name in ["config.lock", "config.json"] {
            fs::remove_file(home.join(".yard").join(name)).expect(name);
            symlink(&mine, home.join(".yard").join(name)).expect(name);
            assert!(store.update(|_| ()).is_err(), "{name}");
            let after = fs::metadata(&mine).expect("it is there");
            assert_eq!((after.uid(), after.mode() & 0o777), (0, 0o600), "{name}");
            fs::remove_file(home.join(".yard").join(name)).expect(name);
            store.update(|_| ()).expect("as before");
        }
        fs::write(folder.path().join("root"), "").expect("root's rights are back");
        let back = fs::metadata(folder.path().join("root")).expect("it is there");
        assert_eq!(back.uid(), 0);
    }

    #[test]
    fn a_login_is_kept_where_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let caller = Caller {
            name: "me".into(),
            home: folder.path().to_path_buf(),
            owner: None,
        };
        let store = Store {
            folder: folder.path().join("new"),
            caller,
        };
        assert_eq!(
            store.target().expect_err("nothing yet").code,
            Code::NotAllowed
        );
        store
            .update(|targets| {
                targets.current = Some("http://api.a".into());
                targets.targets.insert(
                    "http://api.a".into(),
                    Target {
                        api: "http://api.a".into(),
                        ..Target::default()
                    },
                );
            })
            .expect("stored");
        assert_eq!(store.target().expect("a target").api, "http://api.a");
        let mode = fs::metadata(store.file())
            .expect("the file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let mode = fs::metadata(&store.folder)
            .expect("the folder")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
