//! The parts that are kept alive, and how they are stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use daemon::Supervisor;
use proto::config::Settings;
use proto::roles::Roles;
use tokio::sync::{Mutex, watch};

use crate::adapters::process::Program;
use crate::adapters::sockets::Listeners;
use crate::board::Board;
use crate::domain::cast::{self, Part};
use crate::keeper::{Keeper, Probe};
use crate::plan::Plan;
use crate::rolling::Wanted;

pub struct Crew {
    pub board: Arc<Board>,
    pub tasks: Supervisor,
    /// For questions to status servers: short deadlines, no proxy.
    pub http: reqwest::Client,
    pub sockets: Arc<Mutex<Listeners>>,
    settings: watch::Receiver<Arc<Settings>>,
    wanted: watch::Receiver<Wanted>,
    programs: BTreeMap<Part, (Program, Probe)>,
    kept: BTreeMap<Part, Stop>,
}

/// The two ends of a keeper: tell it to stop, see that it has.
#[derive(Clone)]
pub struct Stop {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
}

impl Stop {
    /// Stops the part and waits for its end; the keeper has its own deadlines.
    pub async fn stopped(mut self) {
        self.stop.send_replace(true);
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

impl Crew {
    pub fn new(
        plan: &Plan,
        listeners: Listeners,
        settings: watch::Receiver<Arc<Settings>>,
        wanted: watch::Receiver<Wanted>,
        tasks: &Supervisor,
    ) -> anyhow::Result<Crew> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2))
            .build();
        let mut crew = Crew {
            board: Arc::new(Board::new(&plan.file.id)),
            tasks: tasks.clone(),
            http: http.context("cannot make an HTTP client")?,
            sockets: Arc::new(Mutex::new(listeners)),
            settings,
            wanted,
            programs: BTreeMap::new(),
            kept: BTreeMap::new(),
        };
        crew.learn(plan);
        Ok(crew)
    }

    /// Takes in the parts of a plan that were not known.
    fn learn(&mut self, plan: &Plan) {
        for part in &plan.parts {
            if self.programs.contains_key(part) {
                continue;
            }
            let admin = plan.admin(part).map(|address| format!("http://{address}"));
            let log = plan.layout.log(part).display().to_string();
            self.board.add(part, admin, log);
            self.programs.extend(
                plan.program(part)
                    .map(|program| (part.clone(), (program.clone(), plan.probe(part)))),
            );
        }
    }

    /// The same with their sockets.
    pub async fn recast(&mut self, plan: &Plan) {
        self.learn(plan);
        let mut sockets = self.sockets.lock().await;
        for (name, address) in plan.sockets() {
            sockets.learn(name, address);
        }
    }

    /// The daemons that are kept.
    pub fn roles(&self) -> Roles {
        let mut roles = Roles::default();
        for part in self.kept.keys() {
            if let Part::Daemon { role, index } = part {
                roles.add(*role, *index);
            }
        }
        roles
    }

    /// A part that has ended for good.
    pub fn forget(&mut self, part: &Part) {
        self.kept.remove(part);
        self.programs.remove(part);
        self.board.remove(part);
    }

    /// The handle by which a kept part is stopped.
    pub fn stop_of(&self, part: &Part) -> Option<Stop> {
        self.kept.get(part).cloned()
    }

    pub fn settings(&self) -> watch::Receiver<Arc<Settings>> {
        self.settings.clone()
    }

    /// From now on the part is kept alive; one that runs is adopted.
    pub fn keep(&mut self, part: &Part) {
        let Some((program, probe)) = self.programs.get(part) else {
            return;
        };
        let (stop, stop_seen) = watch::channel(false);
        let (ended, ended_seen) = watch::channel(false);
        self.kept.insert(
            part.clone(),
            Stop {
                stop,
                ended: ended_seen,
            },
        );
        let keeper = Keeper {
            part: part.clone(),
            program: program.clone(),
            probe: probe.clone(),
            board: self.board.clone(),
            sockets: self.sockets.clone(),
            settings: self.settings.clone(),
            wanted: self.wanted.clone(),
            http: self.http.clone(),
            stop: stop_seen,
            ended,
        };
        keeper.start(&self.tasks);
    }

    /// Stops the parts wave by wave.
    pub async fn stop(&mut self) {
        let parts: Vec<Part> = self.kept.keys().cloned().collect();
        for wave in cast::stop_waves(&parts) {
            let stops: Vec<Stop> = wave
                .iter()
                .filter_map(|part| self.kept.remove(part))
                .collect();
            for stop in &stops {
                stop.stop.send_replace(true);
            }
            for stop in stops {
                stop.stopped().await;
            }
        }
    }
}
