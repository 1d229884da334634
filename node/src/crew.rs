//! The parts that are kept alive, and how they are stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use daemon::Supervisor;
use proto::config::Settings;
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
    sockets: Arc<Mutex<Listeners>>,
    settings: watch::Receiver<Arc<Settings>>,
    wanted: watch::Receiver<Wanted>,
    programs: BTreeMap<Part, (Program, Probe)>,
    kept: BTreeMap<Part, Stop>,
}

/// The two ends of a keeper: tell it to stop, see that it has.
struct Stop {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
}

impl Crew {
    pub fn new(
        plan: &Plan,
        listeners: Listeners,
        settings: watch::Receiver<Arc<Settings>>,
        wanted: watch::Receiver<Wanted>,
        tasks: &Supervisor,
    ) -> anyhow::Result<Crew> {
        let board = Arc::new(Board::new(&plan.file.id));
        let mut programs = BTreeMap::new();
        for part in &plan.parts {
            let admin = plan.admin(part).map(|address| format!("http://{address}"));
            board.add(part, admin, plan.layout.log(part).display().to_string());
            programs.extend(
                plan.program(part)
                    .map(|program| (part.clone(), (program.clone(), plan.probe(part)))),
            );
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2))
            .build();
        Ok(Crew {
            board,
            tasks: tasks.clone(),
            http: http.context("cannot make an HTTP client")?,
            sockets: Arc::new(Mutex::new(listeners)),
            settings,
            wanted,
            programs,
            kept: BTreeMap::new(),
        })
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
            for mut stop in stops {
                // The keeper has its own deadlines.
                let _ = stop.ended.wait_for(|ended| *ended).await;
            }
        }
    }
}
