//! Unpacked droplets and packs, each fetched once for all sandboxes of this agent.
//!
//! ```text
//!   <folder>/droplets/<checksum>/       complete, never changed, shared by instances (read-only)
//!   <folder>/droplets/.making-…         being fetched or unpacked; removed at start
//! ```
//! A folder appears under its name by one rename, so what is there is whole. That holds while the
//! machine runs; after a boot nothing says that the bytes reached the disk, so the cache of another
//! boot is thrown away instead of synced at every push.
//!
//! Single flight: whoever wants a droplet takes its gate and looks again. If the first one fails or
//! is cancelled, the next tries with its own signed URL.

use super::transfer::{self, Expected, Fetched, TransferError};
use super::unpack::{self, UnpackError};
use super::{agent::Clock, chain, folders, machine};
use crate::domain::retention::{self, Cached};
use proto::bus::dea::StartInstance;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Largest archive.
const MOST: u64 = 8 << 30;
const MAKING: &str = ".making-";
const BOOT: &str = ".boot";

#[derive(Debug, thiserror::Error)]
pub enum DropletError {
    #[error("{what} is named by {checksum:?}, which is no checksum")]
    BadChecksum {
        what: &'static str,
        checksum: String,
    },
    #[error("{0} is not in the blob store")]
    Absent(&'static str),
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("unpacking {0} was cut short")]
    Interrupted(&'static str),
    #[error("{operation} {} failed", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

pub struct Droplets {
    folder: PathBuf,
    web: reqwest::Client,
    clock: Clock,
    /// Owner of what is unpacked.
    owner: Option<u32>,
    slots: Mutex<BTreeMap<String, Slot>>,
}

struct Slot {
    gate: Arc<tokio::sync::Mutex<()>>,
    users: usize,
    used_at: Duration,
}

/// A droplet in use: it is kept as long as this lives.
pub struct DropletUse {
    droplets: Arc<Droplets>,
    key: String,
}

impl DropletUse {
    pub fn folder(&self) -> PathBuf {
        self.droplets.folder.join(&self.key)
    }
}

impl Drop for DropletUse {
    fn drop(&mut self) {
        let now = self.droplets.clock.now().uptime;
        if let Some(slot) = self.droplets.slots().get_mut(&self.key) {
            slot.users = slot.users.saturating_sub(1);
            slot.used_at = now;
        }
    }
}

/// An archive that somebody wants unpacked.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// For errors: "the droplet".
    pub what: &'static str,
    pub url: &'a str,
    /// One of them may be empty.
    pub sha1: &'a str,
    pub sha256: &'a str,
}

impl<'a> Wanted<'a> {
    pub fn droplet(start: &'a StartInstance) -> Wanted<'a> {
        Wanted {
            what: "the droplet",
            url: &start.executable_uri,
            sha1: &start.sha1,
            sha256: start.yard_sha256.as_deref().unwrap_or_default(),
        }
    }

    /// Its name in the cache: the strongest checksum.
    fn key(&self) -> Result<String, DropletError> {
        let (checksum, length) = match self.sha256 {
            "" => (self.sha1, 40),
            sha256 => (sha256, 64),
        };
        if checksum.len() == length && checksum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(checksum.to_ascii_lowercase())
        } else {
            Err(DropletError::BadChecksum {
                what: self.what,
                checksum: checksum.chars().take(80).collect(),
            })
        }
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DropletError {
    let path = path.to_path_buf();
    move |source| DropletError::File {
        operation,
        path,
        source,
    }
}

impl Droplets {
    /// Opens the cache in `folder`, leaving what another boot or a cut-short fetch left.
    pub fn open(
        folder: PathBuf,
        web: reqwest::Client,
        clock: Clock,
        owner: Option<u32>,
    ) -> Result<Arc<Droplets>, DropletError> {
        folders::private(&folder).map_err(failed("making", &folder))?;
        let boot = machine::boot_id();
        let same_boot =
            std::fs::read_to_string(folder.join(BOOT)).is_ok_and(|written| written == boot);
        let mut slots = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).map_err(failed("reading", &folder))? {
            let entry = entry.map_err(failed("reading", &folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let whole = same_boot && !name.starts_with('.');
            if whole {
                slots.insert(
                    name,
                    Slot {
                        gate: Arc::default(),
                        users: 0,
                        used_at: Duration::ZERO,
                    },
                );
            } else if name != BOOT {
                std::fs::remove_dir_all(entry.path())
                    .or_else(|_| std::fs::remove_file(entry.path()))
                    .map_err(failed("removing", &entry.path()))?;
            }
        }
        std::fs::write(folder.join(BOOT), boot).map_err(failed("writing", &folder.join(BOOT)))?;
        Ok(Arc::new(Droplets {
            folder,
            web,
            clock,
            owner,
            slots: Mutex::new(slots),
        }))
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        self.slots
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What is wanted, fetched and unpacked if it is not there.
    pub async fn obtain(self: &Arc<Self>, wanted: Wanted<'_>) -> Result<DropletUse, DropletError> {
        let key = wanted.key()?;
        let (in_use, gate) = self.hold(&key);
        let _only_one = gate.lock().await;
        if !in_use.folder().is_dir() {
            self.make(&key, wanted).await?;
        }
        Ok(in_use)
    }

    /// Marks what a sandbox that runs already is made of as used.
    pub fn adopt(self: &Arc<Self>, wanted: Wanted<'_>) -> Option<DropletUse> {
        wanted.key().ok().map(|key| self.hold(&key).0)
    }

    fn hold(self: &Arc<Self>, key: &str) -> (DropletUse, Arc<tokio::sync::Mutex<()>>) {
        let now = self.clock.now().uptime;
        let mut slots = self.slots();
        let slot = slots.entry(key.to_string()).or_insert_with(|| Slot {
            gate: Arc::default(),
            users: 0,
            used_at: now,
        });
        slot.users += 1;
        slot.used_at = now;
        (
            DropletUse {
                droplets: self.clone(),
                key: key.to_string(),
            },
            slot.gate.clone(),
        )
    }

    async fn make(&self, key: &str, wanted: Wanted<'_>) -> Result<(), DropletError> {
        let making = tempfile::Builder::new()
            .prefix(MAKING)
            .tempdir_in(&self.folder)
            .map_err(failed("making a folder in", &self.folder))?;
        let archive = making.path().join("droplet.tgz");
        let promised = |checksum: &str| Some(checksum.to_string()).filter(|text| !text.is_empty());
        let expected = Expected {
            sha1: promised(wanted.sha1),
            sha256: promised(wanted.sha256),
        };
        match transfer::fetch(
            &self.web,
            wanted.what,
            wanted.url,
            &archive,
            &expected,
            MOST,
        )
        .await?
        {
            Fetched::Stored => {}
            Fetched::Absent => return Err(DropletError::Absent(wanted.what)),
        }
        let root = making.path().join("root");
        let owner = self.owner;
        let unpacking = tokio::task::spawn_blocking(move || -> Result<PathBuf, DropletError> {
            std::fs::create_dir(&root).map_err(failed("making", &root))?;
            unpack::unpack(&archive, &root, owner)?;
            Ok(root)
        });
        let root = unpacking
            .await
            .map_err(|_| DropletError::Interrupted(wanted.what))??;
        let place = self.folder.join(key);
        std::fs::rename(&root, &place).map_err(failed("naming", &place))?;
        Ok(())
    }

    /// Removes what is unused for a while. Blocks for as long as removing takes.
    pub fn reap(&self) {
        let now = self.clock.now().uptime;
        let going: Vec<PathBuf> = {
            let mut slots = self.slots();
            let cached: Vec<Cached> = slots
                .iter()
                .map(|(key, slot)| Cached {
                    key: key.clone(),
                    users: slot.users,
                    used_at: slot.used_at,
                })
                .collect();
            // Under the lock the names go away, so that nobody takes hold of one that is going.
            retention::unused(&cached, now)
                .into_iter()
                .filter_map(|key| {
                    slots.remove(&key);
                    let away = self.folder.join(format!("{MAKING}gone-{key}"));
                    std::fs::rename(self.folder.join(&key), &away)
                        .ok()
                        .map(|()| away)
                })
                .collect()
        };
        for folder in going {
            if let Err(error) = std::fs::remove_dir_all(&folder) {
                tracing::warn!(folder = %folder.display(), error = chain(&error), "an unused droplet could not be removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::tests::start;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn droplet() -> Vec<u8> {
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
            Vec::new(),
            flate2::Compression::fast(),
        ));
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, "app/x", &b"hi"[..])
            .expect("appended");
        builder
            .into_inner()
            .expect("finished")
            .finish()
            .expect("finished")
    }

    /// Serves `content` for every request and counts them.
    async fn server(content: Vec<u8>) -> (String, Arc<AtomicUsize>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}/d", listener.local_addr().expect("bound"));
        let served = Arc::new(AtomicUsize::new(0));
        let count = served.clone();
        let tasks = daemon::Supervisor::new();
        tasks.spawn_once("test server", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    content.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&content).await;
            }
        });
        (url, served)
    }

    fn open(folder: &Path) -> Arc<Droplets> {
        let web = transfer::client().expect("a client");
        Droplets::open(folder.to_path_buf(), web, Clock::started(), None).expect("opened")
    }

    #[tokio::test]
    async fn many_instances_fetch_once_and_a_bad_checksum_leaves_nothing() {
        let content = droplet();
        let (url, served) = server(content.clone()).await;
        let home = tempfile::tempdir().expect("a folder");
        let droplets = open(home.path());
        let mut message = start();
        message.executable_uri = url;
        let error = droplets
            .obtain(Wanted::droplet(&message))
            .await
            .err()
            .expect("the checksum is another");
        assert!(error.to_string().contains("checksum"), "{error}");
        let path = home.path().join("x");
        std::fs::write(&path, &content).expect("written");
        message.sha1 = transfer::digest("x", std::fs::File::open(&path).expect("open"))
            .await
            .expect("read")
            .sha1;
        std::fs::remove_file(&path).expect("removed");
        let wanted = futures_util::future::join_all(
            (0..8).map(|_| droplets.obtain(Wanted::droplet(&message))),
        )
        .await;
        assert_eq!(served.load(Ordering::SeqCst), 2, "one bad, one good");
        for got in &wanted {
            let Ok(got) = got else {
                panic!("it was obtained")
            };
            let folder = got.folder();
            assert_eq!(std::fs::read(folder.join("app/x")).expect("there"), b"hi");
        }
        let names: Vec<_> = std::fs::read_dir(home.path())
            .expect("there")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(names.len(), 2, "the droplet and the boot id: {names:?}");
        drop(wanted);
        // A restarted agent finds it.
        drop(
            open(home.path())
                .obtain(Wanted::droplet(&message))
                .await
                .expect("obtained"),
        );
        assert_eq!(served.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_name_that_is_no_checksum_is_refused() {
        let home = tempfile::tempdir().expect("a folder");
        let mut message = start();
        message.sha1 = "../../../../etc/aaaaaaaaaaaaaaaaaaaaaaaaa".into();
        assert!(matches!(
            open(home.path()).obtain(Wanted::droplet(&message)).await,
            Err(DropletError::BadChecksum { .. })
        ));
    }
}
