//! Leadership: one of several equal daemons does what only one may do.
//!
//! The leader is whoever's key exists under `/stackyard/leaders/<name>`; the key hangs on a lease
//! (`cluster/leadership/lease`) that the leader keeps alive from a task of its own. A lease proves nothing to others
//! (the holder may have slept through its end), so the create revision of the key is the epoch:
//! it grows from leader to leader, everything a leader writes carries it, and receivers refuse
//! older ones. A leader that cannot renew gives up *before* its lease ends.
//!
//! A daemon that was killed and is back finds its own old key: component ids are unique, so the
//! key is its predecessor's; it is replaced at once instead of waited for, and the epoch grows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, TxnOpResponse};
use proto::config::Settings;
use proto::ids::ComponentId;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use super::LEADERS;
use super::connection::{AbortOnDrop, ClusterError, Connection, Listener, listen};
use crate::supervise::{Policy, Shutdown, Supervisor};

/// A look at the key in case no hint came.
const LOOK: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(500);

/// What follows from the length of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    length: Duration,
}

impl Lease {
    fn renew_every(self) -> Duration {
        self.length / 5
    }

    /// Without a renewal for this long the leader steps down, well before its lease ends.
    fn give_up_after(self) -> Duration {
        self.length * 7 / 10
    }
}

pub(super) fn start(
    connection: Connection,
    settings: watch::Receiver<Arc<Settings>>,
    name: &str,
    me: &ComponentId,
    tasks: &Supervisor,
) -> watch::Receiver<Option<i64>> {
    let (epoch, seen) = watch::channel(None);
    let candidate = Candidate {
        connection,
        settings,
        key: format!("{LEADERS}{name}"),
        me: me.to_string(),
        epoch,
    };
    let candidate = Arc::new(candidate);
    tasks.spawn("campaign", Policy::Restart, move |shutdown| {
        let candidate = candidate.clone();
        async move { candidate.run(shutdown).await }
    });
    seen
}

struct Candidate {
    connection: Connection,
    settings: watch::Receiver<Arc<Settings>>,
    key: String,
    me: String,
    epoch: watch::Sender<Option<i64>>,
}

/// What came of one attempt.
enum Attempt {
    Leading(i64),
    /// Somebody else leads.
    Taken,
    /// The predecessor of this daemon left its key, created at this revision.
    Own(i64),
}

impl Candidate {
    fn lease(&self) -> Lease {
        let length = self.settings.borrow().duration("cluster/leadership/lease");
        Lease { length }
    }

    async fn run(&self, shutdown: Shutdown) -> anyhow::Result<()> {
        let (hint, mut hinted) = mpsc::channel(1);
        let _watching = AbortOnDrop::spawn(listen(
            self.connection.clone(),
            self.key.clone(),
            Listener::Hints(hint),
        ));
        loop {
            let round = self.round(&mut hinted);
            let failed = tokio::select! {
                result = round => result.is_err(),
                // Resigning needs the lease, which the round below holds: see `Term`.
                () = shutdown.draining() => {
                    self.epoch.send_replace(None);
                    return Ok(());
                }
            };
            self.epoch.send_if_modified(|epoch| epoch.take().is_some());
            if failed {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Gets a lease, tries, leads or waits; returns when it is time for another try.
    async fn round(&self, hinted: &mut mpsc::Receiver<()>) -> Result<(), ClusterError> {
        let term = Term::begin(self.connection.clone(), self.lease()).await?;
        loop {
            match self.attempt(term.id).await? {
                // The answer may have come so late that the lease is in doubt by now.
                Attempt::Leading(_) if term.is_lost() => return Ok(()),
                Attempt::Leading(epoch) => {
                    info!(key = %self.key, epoch, "this component leads");
                    self.epoch.send_replace(Some(epoch));
                    let reason = self.hold(&term, epoch, hinted).await;
                    self.epoch.send_replace(None);
                    warn!(key = %self.key, epoch, reason, "this component leads no more");
                    return Ok(());
                }
                Attempt::Own(created) => {
                    debug!(key = %self.key, created, "the key of this component's predecessor is removed");
                    self.remove(created).await?;
                }
                Attempt::Taken => {
                    let _ = tokio::time::timeout(LOOK, hinted.recv()).await;
                    if term.is_lost() || term.lease != self.lease() {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn attempt(&self, lease: i64) -> Result<Attempt, ClusterError> {
        let transaction = Txn::new()
            .when([Compare::create_revision(
                self.key.as_str(),
                CompareOp::Equal,
                0,
            )])
            .and_then([TxnOp::put(
                self.key.as_str(),
                self.me.as_str(),
                Some(PutOptions::new().with_lease(lease)),
            )])
            .or_else([TxnOp::get(self.key.as_str(), None)]);
        let done = self
            .connection
            .write("campaigning for", &self.key, |mut client| {
                let transaction = transaction.clone();
                async move { client.txn(transaction).await }
            })
            .await?;
        if done.succeeded() {
            return Ok(Attempt::Leading(
                done.header().map_or(0, |header| header.revision()),
            ));
        }
        let holder = done
            .op_responses()
            .into_iter()
            .find_map(|response| match response {
                TxnOpResponse::Get(read) => read.kvs().first().map(|pair| {
                    (
                        pair.value() == self.me.as_bytes(),
                        pair.lease() == lease,
                        pair.create_revision(),
                    )
                }),
                TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
            });
        Ok(match holder {
            // An answer that was lost: the key is ours, on our lease.
            Some((true, true, created)) => Attempt::Leading(created),
            Some((true, false, created)) => Attempt::Own(created),
            Some((false, _, _)) | None => Attempt::Taken,
        })
    }

    async fn remove(&self, created: i64) -> Result<(), ClusterError> {
        let transaction = Txn::new()
            .when([Compare::create_revision(
                self.key.as_str(),
                CompareOp::Equal,
                created,
            )])
            .and_then([TxnOp::delete(self.key.as_str(), None)]);
        self.connection
            .write("removing", &self.key, |mut client| {
                let transaction = transaction.clone();
                async move { client.txn(transaction).await }
            })
            .await
            .map(|_| ())
    }

    /// Leads until the lease is in doubt or the key is no longer ours; says why.
    async fn hold(&self, term: &Term, epoch: i64, hinted: &mut mpsc::Receiver<()>) -> &'static str {
        loop {
            tokio::select! {
                () = term.lost() => return "its lease could not be renewed",
                _ = tokio::time::timeout(LOOK, hinted.recv()) => {}
            }
            if term.lease != self.lease() {
                return "its lease is to have another length";
            }
            let key = &self.key;
            let reading = self
                .connection
                .read("reading", key, |mut client| async move {
                    client.get(key.as_str(), None).await
                });
            // A store that hangs must not keep the leader past its lease.
            let read = tokio::select! {
                () = term.lost() => return "its lease could not be renewed",
                read = reading => read,
            };
            if let Ok(read) = read
                && read
                    .kvs()
                    .first()
                    .is_none_or(|pair| pair.create_revision() != epoch)
            {
                return "its key was removed";
            }
        }
    }
}

/// A lease, kept alive by a task of its own so that renewals wait behind no work. Given back on
/// drop, so that a successor need not wait for its end.
struct Term {
    connection: Connection,
    lease: Lease,
    id: i64,
    valid_until: watch::Receiver<Instant>,
    _renewing: AbortOnDrop,
}

impl Term {
    async fn begin(connection: Connection, lease: Lease) -> Result<Term, ClusterError> {
        let asked = Instant::now();
        let granted = connection
            .read("asking for", "a lease", |mut client| async move {
                let seconds = i64::try_from(lease.length.as_secs()).unwrap_or(i64::MAX);
                client.lease_grant(seconds, None).await
            })
            .await?;
        let id = granted.id();
        let (renewed, valid_until) = watch::channel(asked + lease.give_up_after());
        let renewing = AbortOnDrop::spawn(renew(connection.clone(), lease, id, renewed));
        Ok(Term {
            connection,
            lease,
            id,
            valid_until,
            _renewing: renewing,
        })
    }

    fn is_lost(&self) -> bool {
        Instant::now() >= *self.valid_until.borrow()
    }

    /// Resolves when the last renewal is too old.
    async fn lost(&self) {
        let mut valid_until = self.valid_until.clone();
        loop {
            let until = *valid_until.borrow_and_update();
            if Instant::now() >= until {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                changed = valid_until.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        let (connection, id) = (self.connection.clone(), self.id);
        super::connection::detach(async move {
            let giving_back = connection.read("giving back", "a lease", |mut client| async move {
                client.lease_revoke(id).await
            });
            let _ = giving_back.await;
        });
    }
}

/// Renews until the lease is known to be gone; then it is lost at once.
async fn renew(connection: Connection, lease: Lease, id: i64, renewed: watch::Sender<Instant>) {
    loop {
        tokio::time::sleep(lease.renew_every()).await;
        let asked = Instant::now();
        let once = async {
            let (mut client, generation) = connection.client().await.ok()?;
            let answer = async {
                let (mut keeper, mut stream) = client.lease_keep_alive(id).await?;
                keeper.keep_alive().await?;
                stream.message().await
            };
            match answer.await {
                Ok(answer) => Some(answer.map_or(0, |answer| answer.ttl())),
                Err(error) => {
                    debug!(%error, "a lease was not renewed");
                    let gone = error.to_string().contains("lease not found");
                    connection.discard(generation).await;
                    if gone { Some(0) } else { None }
                }
            }
        };
        match tokio::time::timeout(lease.renew_every(), once).await {
            Ok(Some(ttl)) if ttl > 0 => {
                renewed.send_replace(asked + lease.give_up_after());
            }
            Ok(Some(_)) => {
                renewed.send_replace(asked);
                return;
            }
            Ok(None) | Err(_) => {}
        }
    }
}
