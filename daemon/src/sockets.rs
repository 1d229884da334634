//! Listening sockets inherited from the node.
//!
//! The node opens the public sockets and passes them on, so that a daemon that is restarted
//! refuses nobody: connections wait in the kernel's queue meanwhile. The environment variable
//! `STACKYARD_SOCKETS` says which descriptor is which: `router-http=3,api=4`.
//!
//! Turning a number into an owned descriptor is the business of crate `sys`, which daemons do not
//! link; the executable hands its function in.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Mutex;

/// Name of the environment variable.
pub const ENVIRONMENT: &str = "STACKYARD_SOCKETS";

/// The inherited sockets, each of which can be taken once.
#[derive(Debug, Default)]
pub struct Sockets {
    listeners: Mutex<BTreeMap<String, TcpListener>>,
}

#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    #[error("{ENVIRONMENT} has {0:?}, which is not of the form name=descriptor")]
    Form(String),
    #[error("{ENVIRONMENT} names the descriptor {descriptor} for {name}, which was not inherited")]
    Absent {
        name: String,
        descriptor: i32,
        #[source]
        source: std::io::Error,
    },
    #[error("the inherited socket {name} cannot be used")]
    Unusable {
        name: String,
        #[source]
        source: std::io::Error,
    },
}

impl Sockets {
    /// None inherited.
    pub fn none() -> Sockets {
        Sockets::default()
    }

    /// Sockets given by a test or by a caller that holds them itself.
    pub fn of(listeners: impl IntoIterator<Item = (String, TcpListener)>) -> Sockets {
        Sockets {
            listeners: Mutex::new(listeners.into_iter().collect()),
        }
    }

    /// Takes over what the environment names; `take` gives the owner of an inherited number.
    pub fn from_environment(
        take: impl Fn(RawFd) -> std::io::Result<OwnedFd>,
    ) -> Result<Sockets, SocketsError> {
        let text = std::env::var(ENVIRONMENT).unwrap_or_default();
        let mut listeners = BTreeMap::new();
        for (name, descriptor) in parse(&text)? {
            let owned = take(descriptor).map_err(|source| SocketsError::Absent {
                name: name.clone(),
                descriptor,
                source,
            })?;
            let listener = TcpListener::from(owned);
            listener
                .set_nonblocking(true)
                .map_err(|source| SocketsError::Unusable {
                    name: name.clone(),
                    source,
                })?;
            listeners.insert(name, listener);
        }
        Ok(Sockets {
            listeners: Mutex::new(listeners),
        })
    }

    /// The listener of that name, non-blocking, ready for `tokio::net::TcpListener::from_std`.
    pub fn take_tcp(&self, name: &str) -> Option<TcpListener> {
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        listeners.remove(name)
    }
}

/// What goes into the environment; the other half is `parse`.
pub fn describe<'a>(sockets: impl IntoIterator<Item = (&'a str, i32)>) -> String {
    let words: Vec<String> = sockets
        .into_iter()
        .map(|(name, descriptor)| format!("{name}={descriptor}"))
        .collect();
    words.join(",")
}

fn parse(text: &str) -> Result<Vec<(String, i32)>, SocketsError> {
    text.split(',')
        .filter(|word| !word.is_empty())
        .map(|word| {
            let pair = word
                .split_once('=')
                .and_then(|(name, number)| Some((name.to_string(), number.parse().ok()?)));
            pair.ok_or_else(|| SocketsError::Form(word.to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_node_describes_the_daemon_reads() {
        let text = describe([("router-http", 3), ("api", 4)]);
        assert_eq!(
            parse(&text).unwrap(),
            [("router-http".to_string(), 3), ("api".to_string(), 4)]
        );
        assert!(parse("").unwrap().is_empty());
        assert!(parse("api").is_err());
        assert!(parse("api=x").is_err());
    }

    #[test]
    fn a_socket_can_be_taken_once() {
        let sockets = Sockets::of([("api".to_string(), TcpListener::bind("127.0.0.1:0").unwrap())]);
        assert!(sockets.take_tcp("router-http").is_none());
        assert!(sockets.take_tcp("api").is_some());
        assert!(sockets.take_tcp("api").is_none());
    }
}
