//! Peers that vanish without a word (a laptop that sleeps, a machine that lost power).
//!
//! The router has no deadline for a quiet stream: a quiet WebSocket is healthy. So the kernel asks
//! quiet peers whether they are there, and ends the connection of one that is not; else each would
//! keep its socket, its task and its place at an instance for ever.

use nix::sys::socket::{setsockopt, sockopt};
use std::os::fd::AsFd;

/// Quiet for so many seconds, a peer is asked, then again at this interval, so many times.
const QUIET: u32 = 60;
const INTERVAL: u32 = 15;
const TIMES: u32 = 4;

/// Has the kernel look after the peer. A socket that cannot is served all the same.
pub fn watch_peer(socket: &impl AsFd) {
    let set = setsockopt(socket, sockopt::KeepAlive, &true)
        .and_then(|()| setsockopt(socket, sockopt::TcpKeepIdle, &QUIET))
        .and_then(|()| setsockopt(socket, sockopt::TcpKeepInterval, &INTERVAL))
        .and_then(|()| setsockopt(socket, sockopt::TcpKeepCount, &TIMES));
    if let Err(error) = set {
        tracing::debug!(%error, "a peer cannot be watched");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::getsockopt;

    #[test]
    fn a_dead_peer_is_given_up_within_two_minutes() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let _client = std::net::TcpStream::connect(address).expect("connected");
        let (socket, _) = listener.accept().expect("accepted");
        watch_peer(&socket);
        assert!(getsockopt(&socket, sockopt::KeepAlive).expect("an option"));
        let number = |value: Result<u32, nix::Error>| value.expect("an option");
        let idle = number(getsockopt(&socket, sockopt::TcpKeepIdle));
        let interval = number(getsockopt(&socket, sockopt::TcpKeepInterval));
        let count = number(getsockopt(&socket, sockopt::TcpKeepCount));
        assert!(
            idle + interval * count <= 120,
            "{idle} + {interval} * {count}"
        );
    }
}
