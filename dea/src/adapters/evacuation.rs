//! Emptying the agent, as an operator asks: `yard.dea.{id}.drain`, or SIGUSR2 to the process.
//!
//! The process stays when it is empty: its node would only start another, and that one would take work.
//! It is told to take work again, or started anew.

use super::agent::{Agent, TaskWish, Wish};
use super::automation::sensors::SensorCommand;
use super::automation::unit::PackCommand;
use crate::domain::instance::StopCause;
use anyhow::Context;
use daemon::{Received, Shutdown};
use proto::bus::catalogue;
use proto::bus::dea::{Drain, DrainAgent, DrainReply};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often it is looked whether its time is over.
const LOOK: Duration = Duration::from_millis(250);

impl Agent {
    pub async fn listen_for_drains(self: &Arc<Self>) {
        let drains = catalogue::dea_drain(&self.id).filter();
        self.answer("drain", drains, drain).await;
    }

    /// How far it is emptied; `None`: it takes work.
    pub fn told_drain(&self) -> Option<Drain> {
        let timeout = self.setting().duration("dea/drain/timeout");
        let table = self.table();
        table.evacuation.told(timeout, table.left())
    }

    fn begin_drain(&self, asked: &'static str) {
        {
            let mut table = self.table();
            if !table.evacuation.begin(self.now()) {
                return;
            }
            let packs: Vec<String> = table.packs.keys().cloned().collect();
            for sandbox in packs {
                table.retire(&sandbox, "the agent is being emptied");
            }
            tracing::info!(asked, left = table.left(), "the agent is being emptied");
        }
        self.tell_drain();
    }

    fn end_drain(&self) {
        if self.table().evacuation.end() {
            tracing::info!("the agent takes work again");
            self.tell_drain();
        }
    }

    /// Everybody learns at once: the controllers of the agent, the health manager of its instances,
    /// automation of its sensors and sandboxes.
    fn tell_drain(&self) {
        self.nudges.advertise.notify_one();
        self.nudges.beat.notify_one();
        self.nudges.report.notify_one();
    }

    /// Its time is over: what is left stops, and is started elsewhere if somebody has room.
    fn stop_rest(&self) {
        let mut table = self.table();
        tracing::warn!(
            left = table.left(),
            "the time to empty the agent is over: what is left is stopped"
        );
        for instance in table.instances.keys() {
            table.wish(instance, Wish::Stop(StopCause::AgentEvacuation));
        }
        for task in table.tasks.values() {
            let _ = task.stop.try_send(TaskWish::Stop(
                "the agent was emptied and its time was over".to_string(),
            ));
        }
        for pack in table.packs.values_mut() {
            pack.closing = true;
            let _ = pack.commands.try_send(PackCommand::Shutdown);
        }
        for sensor in table.sensors.values() {
            let _ = sensor.commands.try_send(SensorCommand::Stop);
        }
    }
}

fn drain(agent: &Arc<Agent>, received: Received<DrainAgent>) {
    if received.message.drain {
        agent.begin_drain("by a command");
    } else {
        agent.end_drain();
    }
    let reply = DrainReply {
        drain: agent.told_drain(),
    };
    agent.tasks.spawn_once("answer", async move {
        if received.wants_reply()
            && let Err(error) = received.respond(&reply).await
        {
            tracing::debug!(%error, "an answer was not sent");
        }
    });
}

/// Keeps the bound, and hears the signal.
pub async fn run(agent: Arc<Agent>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut asked = signal(SignalKind::user_defined2()).context("cannot listen to SIGUSR2")?;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = asked.recv() => agent.begin_drain("by SIGUSR2"),
            () = shutdown.cancelled() => return Ok(()),
        }
        let timeout = agent.setting().duration("dea/drain/timeout");
        let over = agent
            .table()
            .evacuation
            .must_stop_rest(agent.now(), timeout);
        if over {
            agent.stop_rest();
        }
    }
}
