//! Keeps one part alive: adopt or start, watch, ask how it is, start again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::{Policy, Supervisor};
use nix::sys::signal::Signal;
use proto::config::Settings;
use proto::node::ComponentState;
use tokio::sync::{Mutex, watch};
use tracing::{info, warn};

use crate::adapters::log_file;
use crate::adapters::process::{self, Living, Program};
use crate::adapters::sockets::Listeners;
use crate::board::Board;
use crate::domain::cast::Part;
use crate::domain::{restart, rolling};
use crate::rolling::Wanted;

/// How a part says that it can work.
#[derive(Debug, Clone)]
pub enum Probe {
    /// It accepts connections.
    Accepts(std::net::SocketAddr),
    /// `/readyz` of its status server.
    Ready(std::net::SocketAddr),
    /// `/health` of etcd.
    Etcd(std::net::SocketAddr),
}

/// Everything to keep one part.
#[derive(Clone)]
pub struct Keeper {
    pub part: Part,
    pub program: Program,
    pub probe: Probe,
    pub board: Arc<Board>,
    pub sockets: Arc<Mutex<Listeners>>,
    /// Follows the cluster store once that is there.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Values that it is started with.
    pub wanted: watch::Receiver<Wanted>,
    pub http: reqwest::Client,
    /// Turned to true, nothing is started any more and the part is stopped.
    pub stop: watch::Receiver<bool>,
    /// Turned to true once the part has ended for good.
    pub ended: watch::Sender<bool>,
}

/// While it is not ready it is asked often: `yard up` waits for it.
const ASK_UNREADY: Duration = Duration::from_millis(150);
const ASK_READY: Duration = Duration::from_secs(1);
/// A part that answers nothing at all for this long is hung and is killed.
const HUNG: Duration = Duration::from_secs(90);

impl Keeper {
    /// Spawns the task. It ends when the part has been stopped.
    pub fn start(self, tasks: &Supervisor) {
        tasks.spawn("keeper", Policy::Restart, move |shutdown| {
            let keeper = self.clone();
            async move {
                keeper.keep().await;
                // Its part has ended; a task that returned would be started again.
                shutdown.cancelled().await;
                Ok(())
            }
        });
    }

    async fn keep(&self) {
        let mut history = restart::History::default();
        let mut stop = self.stop.clone();
        let name = self.part.name();
        let mut first = true;
        while !*stop.borrow() {
            let adopted = if std::mem::take(&mut first) {
                process::find(&self.program)
            } else {
                None
            };
            let begun = Instant::now();
            let how = match adopted {
                Some(identity) => {
                    info!(part = %name, pid = identity.pid, "a part that runs is adopted");
                    for socket in self.part.sockets() {
                        let mut sockets = self.sockets.lock().await;
                        if sockets.address(socket).is_some()
                            && !sockets.copy_from(socket, identity.pid)
                        {
                            warn!(part = %name, socket, "the listening socket of an adopted part cannot be kept over its next restart");
                        }
                    }
                    self.live(Living::Adopted { identity }).await
                }
                None => match self.launch().await {
                    Ok(living) => {
                        info!(part = %name, pid = living.identity().pid, "a part was started");
                        self.live(living).await
                    }
                    Err(error) => format!("{error:#}"),
                },
            };
            if *stop.borrow() {
                break;
            }
            let settings = self.settings.borrow().clone();
            let policy = restart::Policy {
                first_delay: settings.duration("node/restart/first_delay"),
                max_delay: settings.duration("node/restart/max_delay"),
            };
            let wait = history.died(begun.elapsed(), policy);
            warn!(part = %name, %how, lived_s = begun.elapsed().as_secs(), wait_ms = wait.as_millis() as u64, "a part died and is started again");
            let last = log_file::last_line(&self.program.log);
            let detail = if last.is_empty() {
                how
            } else {
                format!("{how}: {last}")
            };
            self.board
                .ended(&self.part, ComponentState::Restarting, detail);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        self.board
            .ended(&self.part, ComponentState::Stopped, String::new());
        self.ended.send_replace(true);
        info!(part = %name, "a part has stopped");
    }

    async fn launch(&self) -> anyhow::Result<Living> {
        let mut passed = Vec::new();
        for name in self.part.sockets() {
            let mut sockets = self.sockets.lock().await;
            if let Err(error) = sockets.open(name) {
                let address = sockets
                    .address(name)
                    .map(|address| address.to_string())
                    .unwrap_or_default();
                anyhow::bail!("{address} is taken by another program ({error})");
            }
            passed.extend(
                sockets
                    .share(name)
                    .map(|descriptor| (name.to_string(), descriptor)),
            );
        }
        let wanted = self.wanted.borrow().get(&self.part).cloned();
        let environment = wanted.map_or_else(Vec::new, |values| rolling::environment(&values));
        Ok(process::start(&self.program, passed, environment)?)
    }

    /// Watches one life; says how it ended.
    async fn live(&self, mut living: Living) -> String {
        let identity = living.identity();
        self.board.started(&self.part, identity.pid);
        let mut stop = self.stop.clone();
        let asking = self.ask_for_ever(identity);
        tokio::select! {
            how = living.ended() => return how,
            () = asking => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        if !*stop.borrow() {
            warn!(part = %self.part.name(), "a part is hung and is killed");
            identity.signal_group(Signal::SIGKILL);
            return format!("no answer for {HUNG:?}: {}", living.ended().await);
        }
        identity.signal(Signal::SIGTERM);
        if let Ok(how) = tokio::time::timeout(self.part.stop_deadline(), living.ended()).await {
            return how;
        }
        warn!(part = %self.part.name(), "a part did not stop in time and is killed");
        identity.signal_group(Signal::SIGKILL);
        let _ = tokio::time::timeout(Duration::from_secs(5), living.ended()).await;
        "killed".to_string()
    }

    /// Returns only when the part is hung.
    async fn ask_for_ever(&self, identity: process::Identity) {
        let mut answered = Instant::now();
        loop {
            let answer = self.ask().await;
            if !identity.is_alive() {
                // Its end is seen elsewhere; an answer could come from its successor.
                std::future::pending::<()>().await;
            }
            let wait = match answer {
                Some((ready, detail)) => {
                    answered = Instant::now();
                    self.board.health(&self.part, ready, detail);
                    if ready { ASK_READY } else { ASK_UNREADY }
                }
                None if answered.elapsed() > HUNG => return,
                None => {
                    self.board
                        .health(&self.part, false, "it does not answer yet".to_string());
                    ASK_UNREADY
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether it is ready, and what it waits for; `None` without an answer.
    async fn ask(&self) -> Option<(bool, String)> {
        match &self.probe {
            Probe::Accepts(address) => {
                let connecting = tokio::net::TcpStream::connect(address);
                tokio::time::timeout(Duration::from_secs(2), connecting)
                    .await
                    .ok()?
                    .ok()?;
                Some((true, String::new()))
            }
            Probe::Etcd(address) => {
                let answer = self
                    .http
                    .get(format!("http://{address}/health"))
                    .send()
                    .await
                    .ok()?;
                let healthy = answer.status().is_success();
                Some((
                    healthy,
                    if healthy {
                        String::new()
                    } else {
                        "it has no leader yet".to_string()
                    },
                ))
            }
            Probe::Ready(address) => {
                let answer = self
                    .http
                    .get(format!("http://{address}/readyz"))
                    .send()
                    .await
                    .ok()?;
                let ready = answer.status().is_success();
                let document: serde_json::Value = answer.json().await.unwrap_or_default();
                let waiting = document["waiting"].as_object().map(|parts| {
                    parts
                        .values()
                        .filter_map(|detail| detail.as_str())
                        .collect::<Vec<_>>()
                        .join("; ")
                });
                Some((ready, waiting.unwrap_or_default()))
            }
        }
    }
}
