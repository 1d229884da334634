//! The listening sockets that the node keeps open for its daemons.
//!
//! The node holds a descriptor of each, so that connections wait in the kernel while a daemon is
//! restarted. A node that was itself restarted no longer has them: as long as the adopted daemon
//! lives, the address is taken by the daemon's descriptor; it is bound anew when that is gone.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{Backlog, listen};

const BACKLOG: i32 = 1024;

pub struct Listeners {
    open: BTreeMap<String, (SocketAddr, Option<TcpListener>)>,
}

impl Listeners {
    pub fn new(addresses: impl IntoIterator<Item = (String, SocketAddr)>) -> Listeners {
        Listeners { open: addresses.into_iter().map(|(name, address)| (name, (address, None))).collect() }
    }

    /// Binds it if it is not open yet.
    pub fn open(&mut self, name: &str) -> io::Result<()> {
        let Some((address, slot)) = self.open.get_mut(name) else { return Ok(()) };
        if slot.is_none() {
            let listener = TcpListener::bind(*address)?;
            listener.set_nonblocking(true)?;
            listen(&listener, Backlog::new(BACKLOG).map_err(io::Error::from)?).map_err(io::Error::from)?;
            *slot = Some(listener);
        }
        Ok(())
    }

    /// A descriptor for a child; `None` if it is not open.
    pub fn share(&self, name: &str) -> Option<OwnedFd> {
        let (_, listener) = self.open.get(name)?;
        listener.as_ref()?.as_fd().try_clone_to_owned().ok()
    }

    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.open.get(name).map(|(address, _)| *address)
    }
}
