//! The daemons of this machine follow its roles in the cluster store.
//!
//! ```text
//! a role was written ──► domain::recast ──► start:   files, users of bus and store, a keeper
//!   (or a finger on                    └──► retire:  emptied, stopped, then its user goes
//!    the node's socket)
//! ```
//!
//! What was begun is finished by whoever comes next: `cluster.json` names every daemon that has files and a
//! user, those that are leaving too, and the store says which of them are to stay. A node that was killed
//! between any two steps leaves a difference, and its successor sees it.
//!
//! Beware: a daemon's user goes last. Whoever is taken off the bus before he has ended cannot say goodbye.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use daemon::{Cluster, Write};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use nix::sys::signal::Signal;
use proto::bus::Role;
use proto::config::Settings;
use proto::join::{GateAnswer, JoinRequest};
use proto::roles::{self, ROLES, Refused, Roles, Terms, Wish};
use serde::Deserialize;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::adapters::gate::Gate;
use crate::adapters::link::Link;
use crate::adapters::process;
use crate::adapters::sockets::Listeners;
use crate::board::Board;
use crate::crew::{Crew, Stop};
use crate::domain::cast::Part;
use crate::domain::recast::next;
use crate::names::document;
use crate::plan::Plan;
use crate::rolling::{Daemon, Rolling};

/// Looked at by the clock too: a hint may be missed.
const RELOOK: Duration = Duration::from_secs(20);
/// After something failed.
const AGAIN: Duration = Duration::from_secs(2);
/// How often an agent that is emptied is asked how far it is.
const LOOK: Duration = Duration::from_millis(250);
/// How long the last stops of an agent may take when the time to empty it is over.
const LAST_STOPS: Duration = Duration::from_secs(60);
/// How often a change is decided anew because somebody else changed roles too.
pub(crate) const ATTEMPTS: usize = 8;

/// What the node's socket, or another machine at the gate, asks for.
pub enum Asked {
    Roles {
        wishes: Vec<(Role, Wish)>,
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Somebody at the gate, who is believed ([`crate::guests`]).
    Guest {
        guest: Guest,
        reply: oneshot::Sender<GateAnswer>,
    },
    /// A joined machine is to be one no more ([`crate::guests`]).
    Remove {
        machine: String,
        force: bool,
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// This machine is to leave the cluster that it joined ([`crate::joined`]).
    Leave {
        reply: oneshot::Sender<Result<(), String>>,
    },
}

/// What a machine at the gate wants.
pub enum Guest {
    Join(JoinRequest),
    Standing { machine: String, holds: Roles },
    Leave(String),
    Farewell(String),
}

/// How this machine is one of its cluster.
#[derive(Clone)]
pub enum Place {
    /// The cluster began here. `None`: no other machine can join.
    First(Option<Arc<Gate>>),
    Joined(Arc<Link>),
}

/// What this node was started with.
pub struct First {
    /// Written where the store knows nothing of this machine yet.
    pub roles: Roles,
    /// What was asked for besides.
    pub wishes: Vec<(Role, Wish)>,
}

pub struct Recast<'a> {
    pub(crate) plan: Plan,
    pub(crate) crew: &'a mut Crew,
    pub(crate) cluster: Cluster,
    pub(crate) place: Place,
    /// Somebody waits until this machine has left its cluster.
    pub(crate) departure: Option<oneshot::Sender<Result<(), String>>>,
    /// Whose users the store has: by joined machine, its daemons.
    pub(crate) prepared: BTreeMap<String, Roles>,
    /// When the gate was last asked how this machine stands.
    pub(crate) told_at: Option<Instant>,
    /// When it said that it does not know this machine any more.
    pub(crate) withdrawn_at: Option<Instant>,
    rolling: Rolling,
    asked: mpsc::Receiver<Asked>,
    leaving: BTreeSet<Part>,
    /// The board tells of a failure of ours.
    failed: bool,
    ending: FuturesUnordered<BoxFuture<'static, Part>>,
}

/// Those that are restarted for new values: whoever leaves is left alone.
pub fn staying(plan: &Plan, leaving: &BTreeSet<Part>) -> Arc<Vec<Daemon>> {
    let daemons = plan.parts.iter().filter(|part| !leaving.contains(part));
    let daemons = daemons.filter_map(|part| {
        Some(Daemon {
            part: part.clone(),
            program: plan.program(part)?.clone(),
            fingerprint: plan.fingerprint(part),
            owners: plan.owners(&part.component()?),
        })
    });
    Arc::new(daemons.collect())
}

impl<'a> Recast<'a> {
    pub fn new(
        plan: Plan,
        crew: &'a mut Crew,
        cluster: Cluster,
        place: Place,
        rolling: Rolling,
        asked: mpsc::Receiver<Asked>,
    ) -> Recast<'a> {
        Recast {
            plan,
            crew,
            cluster,
            place,
            departure: None,
            prepared: BTreeMap::new(),
            told_at: None,
            withdrawn_at: None,
            rolling,
            asked,
            leaving: BTreeSet::new(),
            failed: false,
            ending: FuturesUnordered::new(),
        }
    }

    /// Until the node stops. What leaves then is stopped with everything else.
    pub async fn follow(mut self, first: First) -> Infallible {
        while let Err(error) = self.begin(&first).await {
            let text = format!("{error:#}");
            warn!(error = %text, "the roles of this machine could not be written");
            if error.downcast_ref::<Refused>().is_some() {
                self.crew.board.fail(text);
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
        let mut hints = None;
        loop {
            if hints.is_none() {
                hints = self.cluster.watch(&self.key()).await.ok();
            }
            let wait = self.round().await;
            tokio::select! {
                hint = hint(&mut hints) => {
                    if hint.is_none() {
                        hints = None;
                    }
                }
                Some(part) = self.ending.next() => {
                    self.gone(&part).await;
                    self.tell_standing().await;
                }
                Some(asked) = self.asked.recv() => self.answer(asked).await,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn key(&self) -> String {
        format!("{ROLES}{}", self.plan.file.machine)
    }

    /// The roles of all machines, with the revisions they were read at.
    pub(crate) async fn stored(&self) -> anyhow::Result<Stored> {
        let pairs = self.cluster.list(ROLES).await?;
        let mut stored = Stored {
            machines: BTreeMap::new(),
            seen: Vec::new(),
        };
        for (key, value) in pairs {
            let machine = key.strip_prefix(ROLES).unwrap_or_default().to_string();
            let roles = serde_json::from_str(&value.value)
                .with_context(|| format!("the roles of {machine} make no sense"))?;
            stored.machines.insert(machine, roles);
            stored.seen.push((key, Some(value.revision)));
        }
        Ok(stored)
    }

    /// Enters this machine, or what was asked of it.
    async fn begin(&self, first: &First) -> anyhow::Result<()> {
        if matches!(self.place, Place::Joined(_)) {
            // Its roles were written by the first machine when it joined.
            return Ok(());
        }
        let stored = self.stored().await?;
        if stored.machines.contains_key(&self.plan.file.machine) {
            return self.write(&first.wishes).await;
        }
        let value = serde_json::to_string(&first.roles)?;
        // Somebody who was faster has written the same.
        let _ = self
            .cluster
            .compare_and_set(&self.key(), None, &value)
            .await?;
        Ok(())
    }

    async fn write(&self, wishes: &[(Role, Wish)]) -> anyhow::Result<()> {
        let machine = &self.plan.file.machine;
        let terms = Terms {
            rows_are_shared: self.plan.rows_are_shared(),
            force: false,
        };
        for _ in 0..ATTEMPTS {
            let stored = self.stored().await?;
            let wanted = roles::change(&stored.machines, machine, wishes, terms)?;
            if stored.machines.get(machine) == Some(&wanted) {
                return Ok(());
            }
            let write = Write::Put {
                key: self.key(),
                value: serde_json::to_string(&wanted)?,
            };
            if self
                .cluster
                .transact(&stored.seen, &[write])
                .await?
                .is_some()
            {
                return Ok(());
            }
        }
        anyhow::bail!("the roles of the cluster change all the time: try again")
    }

    async fn answer(&mut self, asked: Asked) {
        // Who asked may have left.
        match asked {
            Asked::Roles { wishes, reply } => {
                let result = match self.write(&wishes).await {
                    Ok(()) => self.converge().await,
                    Err(error) => Err(error),
                };
                let _ = reply.send(result.map_err(|error| format!("{error:#}")));
            }
            Asked::Guest { guest, reply } => {
                let _ = reply.send(self.receive(guest).await);
            }
            Asked::Remove {
                machine,
                force,
                reply,
            } => {
                let result = self.remove(&machine, force).await;
                let _ = reply.send(result.map_err(|error| format!("{error:#}")));
            }
            Asked::Leave { reply } => self.depart(reply).await,
        }
    }

    /// Makes the machine as it is written; says when to look again.
    async fn round(&mut self) -> Duration {
        match self.converge().await {
            Ok(()) => {
                if std::mem::take(&mut self.failed) {
                    self.crew.board.recovered();
                }
                RELOOK
            }
            Err(error) => {
                self.failed = true;
                let text = format!("{error:#}");
                self.mind_withdrawal();
                error!(error = %text, "this machine is not as its roles say; it is tried again");
                self.crew.board.fail(text);
                AGAIN
            }
        }
    }

    async fn converge(&mut self) -> anyhow::Result<()> {
        if self.told_at.is_none_or(|at| at.elapsed() >= RELOOK) {
            self.take_logins().await?;
        }
        let stored = self.stored().await?;
        let Some(wanted) = stored.machines.get(&self.plan.file.machine) else {
            if self.departure.is_some() {
                return Ok(());
            }
            anyhow::bail!(
                "the cluster store knows no machine {}: what runs goes on",
                self.plan.file.machine
            );
        };
        let mut moves = next(wanted, &self.crew.roles(), &self.leaving);
        let elsewhere = self.elsewhere(&moves.start);
        moves.start.retain(|part| !elsewhere.contains(part));
        if matches!(self.place, Place::Joined(_)) && !moves.start.is_empty() {
            self.take_logins().await?;
        }
        if !moves.start.is_empty() {
            self.take_on(&moves.start).await?;
        }
        for part in moves.retire {
            self.retire(part);
        }
        if let Some(part) = elsewhere.first() {
            anyhow::bail!("{} still ends on another machine", part.name());
        }
        Ok(())
    }

    async fn take_on(&mut self, parts: &[Part]) -> anyhow::Result<()> {
        let mut roles = self.plan.file.roles.clone();
        for part in parts {
            if let Part::Daemon { role, index } = part {
                roles.add(*role, *index);
            }
        }
        self.replan(roles)?;
        if matches!(self.place, Place::First(_)) {
            let users: Vec<_> = parts
                .iter()
                .filter_map(|part| self.plan.store_user(part))
                .collect();
            self.plan.prepare_store(&users).await?;
        }
        self.crew.recast(&self.plan).await;
        self.tell_rolling();
        // With what it is started with; else it would be started twice.
        self.rolling.read().await?;
        for part in parts {
            info!(part = %part.name(), "the machine has a role more");
            self.crew.keep(part);
        }
        Ok(())
    }

    /// Everything that follows from these roles; what runs learns of it.
    pub(crate) fn replan(&mut self, roles: Roles) -> anyhow::Result<()> {
        let plan = self.plan.recast(roles)?;
        let changed = plan.write_files()?;
        if changed.contains(&Part::Nats)
            && let Some(nats) = plan.alive(&Part::Nats)
        {
            // Users are read anew without disturbing the others.
            nats.signal(Signal::SIGHUP);
        }
        self.plan = plan;
        if let Place::First(Some(gate)) = &self.place {
            gate.set_services(self.plan.services());
        }
        Ok(())
    }

    /// Agents that share the machine's memory with one more, or one less, are restarted for it.
    fn tell_rolling(&self) {
        let staying = staying(&self.plan, &self.leaving);
        self.rolling.daemons.send_replace(staying);
    }

    fn retire(&mut self, part: Part) {
        let Some(stop) = self.crew.stop_of(&part) else {
            return;
        };
        info!(part = %part.name(), "the machine has a role less");
        self.leaving.insert(part.clone());
        self.tell_rolling();
        let farewell = Farewell {
            varz: self
                .plan
                .admin(&part)
                .map(|address| format!("http://{address}/varz")),
            password: self.plan.chosen.secret("status").to_string(),
            part,
            board: self.crew.board.clone(),
            http: self.crew.http.clone(),
            sockets: self.crew.sockets.clone(),
            settings: self.crew.settings(),
        };
        self.ending.push(Box::pin(farewell.take(stop)));
    }

    async fn gone(&mut self, part: &Part) {
        self.leaving.remove(part);
        self.crew.forget(part);
        let mut roles = self.plan.file.roles.clone();
        if let Part::Daemon { role, index } = part {
            roles.remove(*role, *index);
        }
        if let Err(error) = self.replan(roles) {
            // Its files stay, and nothing of it runs: the next node sees it as one to be retired.
            let text = format!("{error:#}");
            error!(part = %part.name(), error = %text, "a daemon that left keeps its files");
            self.crew.board.fail(text);
        }
        self.tell_rolling();
        info!(part = %part.name(), "a daemon has left the machine");
    }
}

pub(crate) struct Stored {
    pub(crate) machines: BTreeMap<String, Roles>,
    pub(crate) seen: Vec<(String, Option<i64>)>,
}

async fn hint(hints: &mut Option<mpsc::Receiver<()>>) -> Option<()> {
    match hints {
        Some(hints) => hints.recv().await,
        // Without a watch it is looked by the clock.
        None => std::future::pending().await,
    }
}

/// One daemon's way out.
struct Farewell {
    part: Part,
    board: Arc<Board>,
    http: reqwest::Client,
    sockets: Arc<Mutex<Listeners>>,
    settings: watch::Receiver<Arc<Settings>>,
    varz: Option<String>,
    password: String,
}

/// What an agent says of itself.
#[derive(Deserialize)]
struct Emptied {
    #[serde(default)]
    draining: bool,
    #[serde(default)]
    left: u32,
}

impl Farewell {
    async fn take(self, stop: Stop) -> Part {
        self.board.leaving(&self.part, "it ends".to_string());
        if matches!(
            self.part,
            Part::Daemon {
                role: Role::Dea,
                ..
            }
        ) {
            self.empty().await;
        }
        for socket in self.part.sockets() {
            // Connections that nobody would accept are refused, and go to another one.
            self.sockets.lock().await.forget(&socket);
        }
        stop.stopped().await;
        self.part
    }

    /// Waits until everything runs elsewhere; the agent stops the rest when its time is over.
    async fn empty(&self) {
        let timeout = self.settings.borrow().duration("dea/drain/timeout");
        let begun = Instant::now();
        while begun.elapsed() < timeout + LAST_STOPS {
            match self.ask().await {
                Some(Emptied {
                    draining: true,
                    left: 0,
                }) => return,
                Some(Emptied {
                    draining: true,
                    left,
                }) => self
                    .board
                    .leaving(&self.part, format!("it is emptied: {left} left")),
                // Not told yet, or started anew since.
                Some(_) => self.signal(),
                None => {}
            }
            tokio::time::sleep(LOOK).await;
        }
        warn!(part = %self.part.name(), "an agent is not empty after its time and is stopped");
    }

    fn signal(&self) {
        let pid = self.board.part(&self.part).and_then(|status| status.pid);
        if let Some(identity) = pid.and_then(process::identity) {
            identity.signal(Signal::SIGUSR2);
        }
    }

    async fn ask(&self) -> Option<Emptied> {
        let asking = self.http.get(self.varz.as_ref()?);
        document(asking.basic_auth("status", Some(&self.password))).await
    }
}
