//! The cluster store (etcd): live settings, compare-and-set, watches as hints, leadership.
//!
//! Nothing here assumes that the store is there. Settings keep their last known values, every
//! operation has a deadline and returns an error when the store is away. Watches are hints: what
//! they say is read again, and read again by the clock in case they said nothing. Only the settings
//! take what a watch says as it is ([`settings`]), because they are to be in force at once.
//!
//! What a newcomer gets wrong: etcd's simple tokens die with the server (and after five idle
//! minutes), so that a healthy connection begins to answer "invalid auth token". The connection
//! ([`connection`]) is therefore rebuilt after any such answer and after any transport error.

mod campaign;
mod connection;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse};
use proto::config::{Owner, Settings};
use proto::ids::ComponentId;
use tokio::sync::{mpsc, watch};

use crate::bootstrap::StoreConfig;
use crate::supervise::Supervisor;
pub use connection::{AbortOnDrop, ClusterError};
use connection::{Connection, Listener};

/// Where leaders are.
pub const LEADERS: &str = "/stackyard/leaders/";
/// How long [`Cluster::connect`] waits for the first reading of the settings. Short, because a
/// router that is restarted while the store is away must serve all the same.
const FIRST_READING: Duration = Duration::from_millis(700);

/// A value with the revision it was last written at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub value: String,
    pub revision: i64,
}

/// Somebody else was first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value was changed meanwhile")]
pub struct Conflict {
    pub current: Option<Stored>,
}

/// One write of several that are made together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put { key: String, value: String },
    Delete { key: String },
}

impl Write {
    pub fn key(&self) -> &str {
        match self {
            Write::Put { key, .. } | Write::Delete { key } => key,
        }
    }
}

struct Inner {
    connection: Connection,
    settings: watch::Receiver<Arc<Settings>>,
    reachable: watch::Receiver<bool>,
    _settings_task: AbortOnDrop,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

impl Cluster {
    /// Begins to follow the settings as the whole cluster has them.
    pub async fn connect(config: &StoreConfig) -> Result<Cluster, ClusterError> {
        Cluster::follow(config, Vec::new()).await
    }

    /// Begins to follow the settings as these owners have them: the values of the last one win.
    pub async fn connect_as(
        config: &StoreConfig,
        owners: Vec<Owner>,
    ) -> Result<Cluster, ClusterError> {
        Cluster::follow(config, owners).await
    }

    /// Returns after the first reading or [`FIRST_READING`], whichever comes first. Fails only for
    /// a configuration that cannot work.
    async fn follow(config: &StoreConfig, owners: Vec<Owner>) -> Result<Cluster, ClusterError> {
        let connection = Connection::new(config)?;
        let followed = settings::follow(connection.clone(), owners);
        let mut reachable = followed.reachable.clone();
        let _ = tokio::time::timeout(FIRST_READING, reachable.wait_for(|there| *there)).await;
        Ok(Cluster {
            inner: Arc::new(Inner {
                connection,
                settings: followed.settings,
                reachable: followed.reachable,
                _settings_task: followed.task,
            }),
        })
    }

    /// The settings in force, now and later.
    pub fn settings(&self) -> watch::Receiver<Arc<Settings>> {
        self.inner.settings.clone()
    }

    /// Whether the last reading of the settings succeeded.
    pub fn reachable(&self) -> watch::Receiver<bool> {
        self.inner.reachable.clone()
    }

    pub async fn get(&self, key: &str) -> Result<Option<Stored>, ClusterError> {
        let read = self
            .inner
            .connection
            .read("reading", key, |mut client| {
                let key = key.to_string();
                async move { client.get(key, None).await }
            })
            .await?;
        Ok(read.kvs().first().map(stored))
    }

    /// Everything under a prefix, ordered by key.
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, Stored)>, ClusterError> {
        Ok(list(&self.inner.connection, prefix).await?.0)
    }

    /// Writes if the value is still the one of that revision (`None`: if there is none). Gives
    /// the new revision. An error leaves open whether it was written: read again.
    pub async fn compare_and_set(
        &self,
        key: &str,
        expected_revision: Option<i64>,
        value: &str,
    ) -> Result<Result<i64, Conflict>, ClusterError> {
        let put = TxnOp::put(key, value, None);
        self.compare_and("writing", key, expected_revision.unwrap_or(0), put)
            .await
    }

    /// Deletes if the value is still the one of that revision.
    pub async fn compare_and_delete(
        &self,
        key: &str,
        expected_revision: i64,
    ) -> Result<Result<(), Conflict>, ClusterError> {
        let delete = TxnOp::delete(key, None);
        Ok(self
            .compare_and("deleting", key, expected_revision, delete)
            .await?
            .map(|_| ()))
    }

    async fn compare_and(
        &self,
        operation: &'static str,
        key: &str,
        revision: i64,
        then: TxnOp,
    ) -> Result<Result<i64, Conflict>, ClusterError> {
        let transaction = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, revision)])
            .and_then([then])
            .or_else([TxnOp::get(key, None)]);
        let done = self
            .inner
            .connection
            .write(operation, key, |mut client| {
                let transaction = transaction.clone();
                async move { client.txn(transaction).await }
            })
            .await?;
        if done.succeeded() {
            return Ok(Ok(done.header().map_or(0, |header| header.revision())));
        }
        let current = done
            .op_responses()
            .into_iter()
            .find_map(|response| match response {
                TxnOpResponse::Get(read) => read.kvs().first().map(stored),
                TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
            });
        Ok(Err(Conflict { current }))
    }

    /// Writes everything if all of `unchanged` still have the revision they were read at (None: there
    /// was nothing), else nothing. Gives the new revision, or None if something was changed
    /// meanwhile: read again. After an error too, which leaves open whether it was written.
    pub async fn transact(
        &self,
        unchanged: &[(String, Option<i64>)],
        writes: &[Write],
    ) -> Result<Option<i64>, ClusterError> {
        let compares: Vec<Compare> = unchanged
            .iter()
            .map(|(key, revision)| {
                Compare::mod_revision(key.as_str(), CompareOp::Equal, revision.unwrap_or(0))
            })
            .collect();
        let operations: Vec<TxnOp> = writes
            .iter()
            .map(|write| match write {
                Write::Put { key, value } => TxnOp::put(key.as_str(), value.as_str(), None),
                Write::Delete { key } => TxnOp::delete(key.as_str(), None),
            })
            .collect();
        let transaction = Txn::new().when(compares).and_then(operations);
        let object = writes.first().map_or("nothing", Write::key);
        let done = self
            .inner
            .connection
            .write("writing", object, |mut client| {
                let transaction = transaction.clone();
                async move { client.txn(transaction).await }
            })
            .await?;
        let revision = done.header().map_or(0, |header| header.revision());
        Ok(done.succeeded().then_some(revision))
    }

    /// A hint each time something under the prefix may have changed, after reconnects too.
    /// Several changes may give one hint. Ends when the receiver is dropped.
    pub async fn watch(&self, prefix: &str) -> Result<mpsc::Receiver<()>, ClusterError> {
        let (sender, receiver) = mpsc::channel(1);
        let watching = connection::listen(
            self.inner.connection.clone(),
            prefix.to_string(),
            Listener::Hints(sender),
        );
        connection::detach(watching);
        Ok(receiver)
    }

    /// Stands for leadership under `name` for as long as the daemon runs. `Some(epoch)` while
    /// leading; epochs grow from leader to leader, and whatever a leader writes carries its own.
    pub fn campaign(
        &self,
        name: &str,
        me: &ComponentId,
        tasks: &Supervisor,
    ) -> watch::Receiver<Option<i64>> {
        let connection = self.inner.connection.clone();
        campaign::start(connection, self.settings(), name, me, tasks)
    }
}

fn stored(pair: &etcd_client::KeyValue) -> Stored {
    Stored {
        value: String::from_utf8_lossy(pair.value()).into_owned(),
        revision: pair.mod_revision(),
    }
}

/// The pairs under a prefix, and the revision they were read at.
async fn list(
    connection: &Connection,
    prefix: &str,
) -> Result<(Vec<(String, Stored)>, i64), ClusterError> {
    let read = connection
        .read("listing", prefix, |mut client| {
            let prefix = prefix.to_string();
            async move {
                client
                    .get(prefix, Some(GetOptions::new().with_prefix()))
                    .await
            }
        })
        .await?;
    let pairs = read
        .kvs()
        .iter()
        .map(|pair| {
            (
                String::from_utf8_lossy(pair.key()).into_owned(),
                stored(pair),
            )
        })
        .collect();
    Ok((pairs, read.header().map_or(0, |header| header.revision())))
}
