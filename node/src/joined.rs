//! What the node of a joined machine does besides keeping its daemons.
//!
//! Its roles are in the cluster store like those of every machine, and it follows them the same way
//! ([`crate::recast`]). What it lacks is the right to make logins: it asks the gate for those of its daemons before it
//! starts them, and tells it when they have ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use daemon::Supervisor;
use proto::join::{Identity, Joined, Standing};
use proto::node::ClusterFile;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::adapters::files;
use crate::adapters::layout;
use crate::adapters::link::{Caller, Link, LinkError};
use crate::plan::Plan;
use crate::recast::{Place, Recast};

/// How long instances of a machine that was removed are left running: their agents are lost for the cluster by then,
/// others have started, and routers have forgotten these.
const GRACE: Duration = Duration::from_secs(120);

/// The link of this machine to its cluster.
pub fn link(plan: &Plan, joined: &Joined, tasks: &Supervisor) -> anyhow::Result<Arc<Link>> {
    let identity: Identity = files::read_json(&plan.layout.identity())?.context(
        "this machine has lost the key by which its cluster knows it: `yard node join` with a new token",
    )?;
    let caller = Caller::new(joined.gate, &joined.fingerprint)?;
    Ok(Link::new(caller, identity, tasks))
}

impl Recast<'_> {
    /// Asks for the logins of what this machine is to run, and keeps them.
    pub(crate) async fn take_logins(&mut self) -> anyhow::Result<()> {
        let Place::Joined(link) = &self.place else {
            return Ok(());
        };
        let link = link.clone();
        let standing = link.standing(&self.crew.roles()).await?;
        self.told_at = Some(Instant::now());
        let path = self.plan.layout.standing();
        if files::read_json::<Standing>(&path)?.as_ref() == Some(&standing) {
            return Ok(());
        }
        files::write_json(&path, &standing, 0o600)?;
        if let Some(joined) = &self.plan.file.joined
            && joined.routers != standing.routers
        {
            let file = ClusterFile {
                joined: Some(Joined {
                    routers: standing.routers.clone(),
                    ..joined.clone()
                }),
                ..self.plan.file.clone()
            };
            layout::keep_cluster_file(&self.plan.layout.home, &file)?;
            self.plan.file = file;
        }
        self.replan(self.plan.file.roles.clone())?;
        link.listen(&self.plan.linked()).await
    }

    /// A machine that was removed stops: its instances are started elsewhere once its agents are lost, and until then
    /// whoever uses them is served.
    pub(crate) fn mind_withdrawal(&mut self) {
        let Place::Joined(link) = &self.place else {
            return;
        };
        if !link.is_withdrawn() {
            return;
        }
        let since = *self.withdrawn_at.get_or_insert_with(|| {
            error!(
                stops_in_s = GRACE.as_secs(),
                "this machine was removed from its cluster: it stops"
            );
            Instant::now()
        });
        if since.elapsed() >= GRACE {
            self.crew.board.request_stop();
        }
    }

    /// Something has ended: the cluster need not know its logins any more. On the first machine nobody is asked.
    pub(crate) async fn tell_standing(&mut self) {
        if !matches!(self.place, Place::Joined(_)) {
            return;
        }
        if let Err(error) = self.take_logins().await {
            // It is told with the next question.
            warn!(error = %format!("{error:#}"), "the cluster was not told what this machine has no more");
        }
        self.depart_if_empty().await;
    }

    /// `yard node leave`: the answer is given when nothing is left, and then the node stops.
    pub(crate) async fn depart(&mut self, reply: oneshot::Sender<Result<(), String>>) {
        let Place::Joined(link) = &self.place else {
            let why = "this machine joined no cluster: `yard down` stops the one that began here";
            let _ = reply.send(Err(why.to_string()));
            return;
        };
        match link.leave().await {
            Ok(()) => info!("this machine leaves its cluster"),
            Err(LinkError::Refused(refused)) if refused.withdrawn => {
                info!("the cluster does not know this machine any more: it stops");
                let _ = reply.send(Ok(()));
                return;
            }
            Err(error) => {
                let _ = reply.send(Err(format!("{:#}", anyhow::Error::from(error))));
                return;
            }
        }
        self.departure = Some(reply);
        self.depart_if_empty().await;
    }

    async fn depart_if_empty(&mut self) {
        let Place::Joined(link) = &self.place else {
            return;
        };
        if self.crew.roles().iter().next().is_some() {
            return;
        }
        let Some(reply) = self.departure.take() else {
            return;
        };
        let farewell = link.farewell().await;
        let _ = reply.send(farewell.map_err(|error| format!("{:#}", anyhow::Error::from(error))));
    }
}
