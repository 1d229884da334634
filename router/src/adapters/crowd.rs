//! How many clients are connected, and what happens when there are too many.
//!
//! Each connection costs descriptors (its own and the instance's) and memory. At the limit nobody is refused:
//! new clients wait in the kernel's queue, and connections without a request lose their patience, so
//! that those who only hold a place make room for those who ask.

use nix::sys::resource::{Resource, getrlimit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Descriptors that are not for clients: log, table, bus, store, status server, listeners.
const OWN_FILES: u64 = 64;
/// A client's own and its instance's.
const FILES_PER_CLIENT: u64 = 2;

/// The clients that are connected.
#[derive(Debug)]
pub struct Crowd {
    present: AtomicUsize,
    left: Notify,
    full: AtomicBool,
    /// What the limit of open files allows.
    possible: usize,
}

impl Default for Crowd {
    fn default() -> Self {
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        Crowd {
            present: AtomicUsize::new(0),
            left: Notify::new(),
            full: AtomicBool::new(false),
            possible: possible(files),
        }
    }
}

/// How many clients fit into this many open files.
fn possible(files: u64) -> usize {
    let clients = files.saturating_sub(OWN_FILES) / FILES_PER_CLIENT;
    usize::try_from(clients).unwrap_or(usize::MAX).max(1)
}

/// One client's place. Its drop makes room.
#[derive(Debug)]
pub struct Place(Arc<Crowd>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::AcqRel);
        self.0.left.notify_one();
    }
}

impl Crowd {
    pub fn present(&self) -> usize {
        self.present.load(Ordering::Acquire)
    }

    /// Whether clients wait for a place.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// A place for a client that was accepted.
    pub fn enter(self: &Arc<Self>) -> Place {
        self.present.fetch_add(1, Ordering::AcqRel);
        Place(self.clone())
    }

    /// How many there may be; `wanted` is the operator's limit, 0 for none.
    pub fn limit(&self, wanted: usize) -> usize {
        match wanted {
            0 => self.possible,
            wanted => wanted.min(self.possible),
        }
    }

    /// Whether one more may come. Also notes it.
    pub fn has_room(&self, wanted: usize) -> bool {
        let limit = self.limit(wanted);
        let full = self.present() >= limit;
        if full && !self.full.swap(full, Ordering::Relaxed) {
            tracing::warn!(
                limit,
                "as many clients are connected as may be: more have to wait"
            );
        } else if !full {
            self.full.store(false, Ordering::Relaxed);
        }
        !full
    }

    /// Returns when somebody left.
    pub async fn somebody_leaves(&self) {
        self.left.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_up_to_the_limit_and_given_back() {
        let crowd = Arc::new(Crowd::default());
        let first = crowd.enter();
        assert!(crowd.has_room(2));
        let second = crowd.enter();
        assert!(!crowd.has_room(2));
        assert!(crowd.is_full());
        drop(first);
        assert!(crowd.has_room(2));
        assert!(!crowd.is_full());
        drop(second);
        assert_eq!(crowd.present(), 0);
    }

    #[test]
    fn open_files_bound_the_clients() {
        assert_eq!(possible(1024), 480);
        assert_eq!(possible(0), 1);
    }
}
