//! Tells an agent that somebody is about to come into one of its instances.

use super::Runtime;
use crate::domain::ssh::choose;
use crate::ops::ssh::Entering;
use proto::bus::catalogue;
use proto::bus::dea::{EnterInstance, EnterReply};
use std::net::SocketAddr;
use std::time::Duration;

/// The agent only writes the ticket down.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// From here to the proxy and from there to the agent.
const TICKET_SECONDS: u64 = 30;

impl Runtime {
    /// Where the ticket is good, or a sentence why it is nowhere. None: the agent calls the proxy, and shows it there.
    pub async fn enter(&self, entering: Entering) -> Result<Option<SocketAddr>, String> {
        let chosen = {
            let state = self.shared.state();
            choose(
                state.picture.observed.of_process(&entering.process),
                entering.wanted,
            )?
        };
        let message = EnterInstance {
            instance: chosen.instance,
            ticket: entering.ticket,
            seconds: TICKET_SECONDS,
        };
        let topic = catalogue::dea_enter(&chosen.dea);
        let asked = self
            .shared
            .bus
            .request::<_, EnterReply>(&topic, &message, ANSWER_WITHIN);
        match asked.await {
            Ok(EnterReply {
                address: Some(address),
                ..
            }) => Ok(Some(address)),
            Ok(EnterReply { calls: true, .. }) => Ok(None),
            Ok(EnterReply { problem, .. }) => Err(format!(
                "The agent {} lets nobody in: {}",
                chosen.dea,
                problem.unwrap_or_else(|| "it does not say why".to_string())
            )),
            Err(error) => {
                tracing::warn!(dea = %chosen.dea, error = &error as &dyn std::error::Error, "an agent could not be asked to let somebody in");
                Err(format!("The agent {} does not answer", chosen.dea))
            }
        }
    }
}
