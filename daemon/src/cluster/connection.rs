//! One connection to the store that is rebuilt when it is broken.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, EventType, WatchOptions, WatchResponse};
use tokio::sync::{Mutex, mpsc};
use tracing::debug;

use crate::bootstrap::StoreConfig;

/// No single operation waits longer.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// Wait before a broken watch is opened again.
const WATCH_WAIT: Duration = Duration::from_millis(250);

/// Why something in the store did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("the cluster store is away ({operation} {object})")]
    Away {
        operation: &'static str,
        object: String,
        #[source]
        source: Option<etcd_client::Error>,
    },
    #[error("the cluster store refused {operation} {object}")]
    Refused {
        operation: &'static str,
        object: String,
        #[source]
        source: etcd_client::Error,
    },
    #[error("the cluster store has no address")]
    NoEndpoint,
}

/// What an error of the store means for the connection and for a repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The token is no longer known: nothing was done, connect anew and repeat.
    TokenLost,
    /// The connection is broken: whether it was done is unknown.
    Broken,
    /// The store understood and said no.
    Refused,
}

fn meaning(error: &etcd_client::Error) -> Meaning {
    let etcd_client::Error::GRpcStatus(status) = error else {
        return Meaning::Broken;
    };
    let text = status.message();
    if text.contains("invalid auth token")
        || text.contains("revision in header is old")
        || text.contains("user name is empty")
    {
        return Meaning::TokenLost;
    }
    // Codes of gRPC by number, so that its library is no dependency of ours: 3 invalid argument,
    // 5 not found, 6 exists, 7 denied, 9 failed precondition, 11 out of range, 12 unimplemented.
    match status.code() as i32 {
        3 | 5 | 6 | 7 | 9 | 11 | 12 => Meaning::Refused,
        _ => Meaning::Broken,
    }
}

struct Slot {
    client: Option<Client>,
    generation: u64,
}

#[derive(Clone)]
pub(super) struct Connection {
    config: StoreConfig,
    slot: Arc<Mutex<Slot>>,
}

impl Connection {
    pub(super) fn new(config: &StoreConfig) -> Result<Connection, ClusterError> {
        if config.endpoints.is_empty() {
            return Err(ClusterError::NoEndpoint);
        }
        Ok(Connection {
            config: config.clone(),
            slot: Arc::new(Mutex::new(Slot {
                client: None,
                generation: 0,
            })),
        })
    }

    /// The client, connected and authenticated, and its generation.
    pub(super) async fn client(&self) -> Result<(Client, u64), etcd_client::Error> {
        let mut slot = self.slot.lock().await;
        if let Some(client) = &slot.client {
            return Ok((client.clone(), slot.generation));
        }
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_DEADLINE)
            .with_keep_alive(Duration::from_secs(5), Duration::from_secs(3))
            .with_keep_alive_while_idle(false);
        if !self.config.user.is_empty() {
            options = options.with_user(self.config.user.clone(), self.config.password.clone());
        }
        let connecting = Client::connect(&self.config.endpoints, Some(options));
        let client = match tokio::time::timeout(CONNECT_DEADLINE, connecting).await {
            Ok(connected) => connected?,
            Err(_) => return Err(etcd_client::Error::EndpointError("no answer".to_string())),
        };
        slot.generation += 1;
        slot.client = Some(client.clone());
        Ok((client, slot.generation))
    }

    /// Forgets the client of that generation, if it is still the one in use.
    pub(super) async fn discard(&self, generation: u64) {
        let mut slot = self.slot.lock().await;
        if slot.generation == generation {
            slot.client = None;
        }
    }

    /// Something that may be repeated: once more after any fault of the connection.
    pub(super) async fn read<T, F, Fut>(
        &self,
        operation: &'static str,
        object: &str,
        act: F,
    ) -> Result<T, ClusterError>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.attempt(operation, object, act, |meaning| {
            meaning != Meaning::Refused
        })
        .await
    }

    /// Something that may not be done twice: once more only if it surely was not done.
    pub(super) async fn write<T, F, Fut>(
        &self,
        operation: &'static str,
        object: &str,
        act: F,
    ) -> Result<T, ClusterError>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.attempt(operation, object, act, |meaning| {
            meaning == Meaning::TokenLost
        })
        .await
    }

    async fn attempt<T, F, Fut>(
        &self,
        operation: &'static str,
        object: &str,
        act: F,
        repeatable: fn(Meaning) -> bool,
    ) -> Result<T, ClusterError>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let away = |source| ClusterError::Away {
            operation,
            object: object.to_string(),
            source,
        };
        let acting = async {
            let mut last = false;
            loop {
                let (client, generation) =
                    self.client().await.map_err(|error| away(Some(error)))?;
                let error = match act(client).await {
                    Ok(done) => return Ok(done),
                    Err(error) => error,
                };
                let meaning = meaning(&error);
                if meaning == Meaning::Refused {
                    return Err(ClusterError::Refused {
                        operation,
                        object: object.to_string(),
                        source: error,
                    });
                }
                debug!(%error, operation, object, "the connection to the cluster store is renewed");
                self.discard(generation).await;
                if last || !repeatable(meaning) {
                    return Err(away(Some(error)));
                }
                last = true;
            }
        };
        match tokio::time::timeout(DEADLINE, acting).await {
            Ok(result) => result,
            Err(_) => {
                // Whatever hung may hang again: the next one connects anew.
                if let Ok(slot) = self.slot.try_lock() {
                    let generation = slot.generation;
                    drop(slot);
                    self.discard(generation).await;
                }
                Err(away(None))
            }
        }
    }
}

/// A task of a connection, ended with whoever holds it.
#[derive(Debug)]
pub struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl AbortOnDrop {
    pub(super) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> AbortOnDrop {
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with its holder, has no work to drain"
        )]
        AbortOnDrop(tokio::spawn(future))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Spawns a watch, which ends by itself when its receiver is gone.
pub(super) fn detach(watching: impl Future<Output = ()> + Send + 'static) {
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with its receiver, has no work to drain"
    )]
    tokio::spawn(watching);
}

/// What a watch tells.
#[derive(Debug)]
pub(super) enum Heard {
    /// It opened or broke: what was changed before or meanwhile is found by reading.
    Look,
    /// What was changed at once; a value of None: the key is gone.
    Changed(Vec<Change>),
}

#[derive(Debug)]
pub(super) struct Change {
    pub(super) key: String,
    pub(super) value: Option<String>,
    pub(super) revision: i64,
}

/// Who listens to a watch.
pub(super) enum Listener {
    /// Wants to know that something changed; several changes may be one hint.
    Hints(mpsc::Sender<()>),
    /// Wants every change.
    Changes(mpsc::Sender<Heard>),
}

impl Listener {
    async fn tell(&self, heard: Heard) {
        match self {
            Listener::Hints(hint) => {
                // A full channel already holds the hint.
                let _ = hint.try_send(());
            }
            // Err means that nobody listens any more, which ends the watch.
            Listener::Changes(changes) => drop(changes.send(heard).await),
        }
    }

    async fn closed(&self) {
        match self {
            Listener::Hints(hint) => hint.closed().await,
            Listener::Changes(changes) => changes.closed().await,
        }
    }
}

fn heard(message: &WatchResponse) -> Heard {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let changes: Vec<Change> = message
        .events()
        .iter()
        .filter_map(|event| {
            let pair = event.kv()?;
            Some(Change {
                key: text(pair.key()),
                value: (event.event_type() == EventType::Put).then(|| text(pair.value())),
                revision: pair.mod_revision(),
            })
        })
        .collect();
    if changes.is_empty() {
        Heard::Look
    } else {
        Heard::Changed(changes)
    }
}

/// Tells what is changed under the prefix, and each time a watch opens or breaks.
pub(super) async fn listen(connection: Connection, prefix: String, listener: Listener) {
    loop {
        tokio::select! {
            () = watch_once(&connection, &prefix, &listener) => {}
            () = listener.closed() => return,
        }
        tokio::time::sleep(WATCH_WAIT).await;
    }
}

async fn watch_once(connection: &Connection, prefix: &str, listener: &Listener) {
    let Ok((mut client, generation)) = connection.client().await else {
        return;
    };
    let opening = client.watch(prefix, Some(WatchOptions::new().with_prefix()));
    let mut stream = match tokio::time::timeout(DEADLINE, opening).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            debug!(%error, prefix, "a watch could not be opened");
            return connection.discard(generation).await;
        }
        Err(_) => return connection.discard(generation).await,
    };
    loop {
        match stream.message().await {
            Ok(Some(message)) if !message.canceled() => {
                listener.tell(heard(&message)).await;
            }
            Ok(Some(message)) => {
                debug!(
                    reason = message.cancel_reason(),
                    prefix, "a watch was cancelled"
                );
                break;
            }
            Ok(None) => break,
            Err(error) => {
                debug!(%error, prefix, "a watch broke");
                break;
            }
        }
    }
    connection.discard(generation).await;
    // Whoever listens finds out by reading that the store is away, and reads again when it is back.
    listener.tell(Heard::Look).await;
}
