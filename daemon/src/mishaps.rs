//! What befalls the machine under a daemon: little room for its files, a clock that jumps.
//!
//! The daemon looks every second, logs what it finds, and remembers it for whoever asks who is there
//! (`vcap.component.discover`): `yard status` shows it, the leading controller tells rules of it. It is remembered and
//! not sent, because the moment it happens may be the worst to be heard: a database without room records nothing.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto::bus::Role;
use proto::bus::component::Mishap;
use proto::config::Settings;
use tracing::{info, warn};

use crate::bootstrap::Bootstrap;
use crate::cluster::Cluster;
use crate::domain::room::{Change, Room, Space};
use crate::domain::steadiness::{Clocks, Steadiness};
use crate::supervise::{Policy, Supervisor};

const PERIOD: Duration = Duration::from_secs(1);
/// How long the settings are waited for.
const SETTINGS: Duration = Duration::from_secs(10);
/// Jumps of the clock that are remembered.
const JUMPS: usize = 8;

/// What befell, as far as it is remembered. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mishaps {
    inner: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    disks: Vec<Disk>,
    jumps: VecDeque<Mishap>,
    steadiness: Steadiness,
}

#[derive(Debug)]
struct Disk {
    folder: PathBuf,
    room: Room,
    /// The present want of room, or the last one.
    mishap: Option<Mishap>,
}

impl Mishaps {
    /// Begins to look.
    pub(crate) fn watch(
        bootstrap: &Bootstrap,
        role: Role,
        cluster: &Cluster,
        tasks: &Supervisor,
    ) -> Mishaps {
        let mishaps = Mishaps::default();
        mishaps.lock().disks = folders(bootstrap, role)
            .into_iter()
            .map(|folder| Disk {
                folder,
                room: Room::default(),
                mishap: None,
            })
            .collect();
        let begun = Instant::now();
        let (looking, settings, reachable) =
            (mishaps.clone(), cluster.settings(), cluster.reachable());
        tasks.spawn("mishaps", Policy::Restart, move |shutdown| {
            let (mishaps, settings) = (looking.clone(), settings.clone());
            let mut reachable = reachable.clone();
            async move {
                // Judged by the defaults, a disk might be low that is not.
                let _ = tokio::time::timeout(SETTINGS, reachable.wait_for(|there| *there)).await;
                loop {
                    let (mishaps, settings) = (mishaps.clone(), settings.borrow().clone());
                    // A disk that does not answer must hold up nobody else.
                    tokio::task::spawn_blocking(move || mishaps.look(&settings, begun)).await?;
                    tokio::select! {
                        () = tokio::time::sleep(PERIOD) => {}
                        () = shutdown.cancelled() => return Ok(()),
                    }
                }
            }
        });
        mishaps
    }

    /// The oldest jump first.
    pub(crate) fn all(&self) -> Vec<Mishap> {
        let known = self.lock();
        let disks = known.disks.iter().filter_map(|disk| disk.mishap.as_ref());
        disks.chain(&known.jumps).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn look(&self, settings: &Settings, begun: Instant) {
        let folders: Vec<PathBuf> = {
            let known = self.lock();
            known.disks.iter().map(|disk| disk.folder.clone()).collect()
        };
        // Measured without the lock: whoever asks meanwhile is answered.
        let spaces: Vec<Option<Space>> = folders.iter().map(|folder| space(folder)).collect();
        let clocks = Clocks {
            wall: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            counting: begun.elapsed(),
        };
        let mut known = self.lock();
        if let Some(seconds) = known
            .steadiness
            .look(clocks, settings.duration("cluster/clock/tolerance"))
        {
            warn!(seconds, "the clock of this machine jumped");
            metrics::counter!("clock_jumps_total").increment(1);
            let at = clocks.wall.as_secs_f64();
            known.jumps.push_back(Mishap::ClockJumped { at, seconds });
            while known.jumps.len() > JUMPS {
                known.jumps.pop_front();
            }
        }
        let configured = settings.size("cluster/disk/low");
        for (disk, space) in known.disks.iter_mut().zip(spaces) {
            if let Some(space) = space {
                disk.look(space, configured, clocks);
            }
        }
    }
}

impl Disk {
    fn look(&mut self, space: Space, configured: u64, clocks: Clocks) {
        let folder = self.folder.display().to_string();
        metrics::gauge!("disk_free_bytes", "folder" => folder.clone()).set(space.free as f64);
        let wall = clocks.wall.as_secs_f64();
        let change = self.room.look(space, configured, clocks.counting);
        match change {
            Some(Change::Low) => {
                warn!(%folder, free_bytes = space.free, total_bytes = space.total, "little room is left on a disk");
                self.mishap = Some(Mishap::DiskLow {
                    folder,
                    free_bytes: space.free,
                    total_bytes: space.total,
                    since: wall,
                    until: None,
                });
            }
            Some(Change::Recovered) => {
                info!(%folder, free_bytes = space.free, total_bytes = space.total, "there is room on a disk again");
            }
            None => {}
        }
        if let Some(Mishap::DiskLow {
            free_bytes,
            total_bytes,
            until: until @ None,
            ..
        }) = &mut self.mishap
        {
            // Once it is over, what is told of it is how it was.
            match change {
                Some(Change::Recovered) => *until = Some(wall),
                Some(Change::Low) | None => (*free_bytes, *total_bytes) = (space.free, space.total),
            }
        }
    }
}

/// The folders a daemon keeps files in, one of each disk: its own, and the cluster's, where logs and the files
/// of bus and store are.
fn folders(bootstrap: &Bootstrap, role: Role) -> Vec<PathBuf> {
    let keeps_files = match role {
        Role::Controller | Role::Dea => true,
        Role::Router
        | Role::HealthManager
        | Role::Stager
        | Role::Collector
        | Role::SshProxy
        | Role::Registrar
        | Role::Tool => false,
    };
    if !keeps_files {
        return Vec::new();
    }
    let device = |folder: &Path| std::fs::metadata(folder).ok().map(|found| found.dev());
    let mut folders = vec![bootstrap.folder.clone()];
    if device(&bootstrap.folder) != device(&bootstrap.home) {
        folders.push(bootstrap.home.clone());
    }
    folders
}

/// None where it cannot be measured: no word is no want of room.
fn space(folder: &Path) -> Option<Space> {
    let found = nix::sys::statvfs::statvfs(folder).ok()?;
    let size = found.fragment_size();
    Some(Space {
        free: found.blocks_available().saturating_mul(size),
        total: found.blocks().saturating_mul(size),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_want_of_room_is_remembered_also_when_it_is_over() {
        let mut disk = Disk {
            folder: "/data".into(),
            room: Room::default(),
            mishap: None,
        };
        let mut look = |free, second| {
            let clocks = Clocks {
                wall: Duration::from_secs(1000 + second),
                counting: Duration::from_secs(second),
            };
            disk.look(Space { free, total: 1000 }, 100, clocks);
            disk.mishap.clone()
        };
        let low = |free_bytes, until| {
            Some(Mishap::DiskLow {
                folder: "/data".into(),
                free_bytes,
                total_bytes: 1000,
                since: 1001.0,
                until,
            })
        };
        assert_eq!(look(500, 0), None);
        assert_eq!(look(50, 1), low(50, None));
        assert_eq!(look(0, 2), low(0, None));
        assert_eq!(look(700, 3), low(0, Some(1003.0)));
        assert_eq!(look(800, 4), low(0, Some(1003.0)));
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_space() {
        assert!(space(Path::new("/nowhere/at/all")).is_none());
        assert!(space(Path::new("/")).is_some_and(|space| space.total > 0));
    }
}
