//! The listening sockets that the node keeps open for its daemons.
//!
//! The node holds a descriptor of each, so that connections wait in the kernel while a daemon is
//! restarted. A node that was itself restarted no longer has them; it copies them out of the daemons
//! that it adopts, so that nobody is refused then either.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{Backlog, getsockopt, listen, sockopt};

const BACKLOG: i32 = 1024;

pub struct Listeners {
    open: BTreeMap<String, (SocketAddr, Option<TcpListener>)>,
}

impl Listeners {
    pub fn new(addresses: impl IntoIterator<Item = (String, SocketAddr)>) -> Listeners {
        Listeners {
            open: addresses
                .into_iter()
                .map(|(name, address)| (name, (address, None)))
                .collect(),
        }
    }

    /// Learns of one more socket; one that is known stays as it is.
    pub fn learn(&mut self, name: String, address: SocketAddr) {
        self.open.entry(name).or_insert((address, None));
    }

    /// Closes our descriptor of it: nobody waits there once its daemon has ended.
    pub fn forget(&mut self, name: &str) {
        self.open.remove(name);
    }

    /// Binds it if it is not open yet.
    pub fn open(&mut self, name: &str) -> io::Result<()> {
        let Some((address, slot)) = self.open.get_mut(name) else {
            return Ok(());
        };
        if slot.is_none() {
            let listener = TcpListener::bind(*address)?;
            listener.set_nonblocking(true)?;
            listen(&listener, Backlog::new(BACKLOG).map_err(io::Error::from)?)
                .map_err(io::Error::from)?;
            *slot = Some(listener);
        }
        Ok(())
    }

    /// Takes the listener out of a process that serves it.
    pub fn copy_from(&mut self, name: &str, pid: u32) -> bool {
        let Some((address, slot)) = self.open.get_mut(name) else {
            return false;
        };
        if slot.is_some() {
            return true;
        }
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        *slot = entries
            .filter(|entry| {
                std::fs::read_link(entry.path())
                    .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
            })
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|number| sys::pidfd::copy_from(pid, number).ok())
            .filter(|socket| getsockopt(socket, sockopt::AcceptConn).unwrap_or(false))
            .map(TcpListener::from)
            .find(|listener| listener.local_addr().is_ok_and(|here| here == *address));
        slot.is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_in_the_process_that_has_it() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let mut listeners = Listeners::new([("api".to_string(), address)]);
        assert!(listeners.open("api").is_err(), "the address is taken");
        assert!(listeners.share("api").is_none());
        assert!(listeners.copy_from("api", std::process::id()));
        drop(holder);
        assert!(
            std::net::TcpStream::connect(address).is_ok(),
            "the copy still listens"
        );
        assert!(listeners.share("api").is_some());
    }

    #[test]
    fn a_socket_is_opened_once() {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut listeners = Listeners::new([("api".to_string(), free)]);
        listeners.open("api").unwrap();
        listeners.open("api").unwrap();
        assert_eq!(listeners.address("api"), Some(free));
        assert!(listeners.open("unknown").is_ok());
        listeners.forget("api");
        assert!(std::net::TcpStream::connect(free).is_err());
        listeners.learn("api".to_string(), free);
        listeners.open("api").unwrap();
        assert!(std::net::TcpStream::connect(free).is_ok());
    }
}
