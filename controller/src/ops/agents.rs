//! Agents: emptied before their machine is worked on, and taken back.

use super::{Ops, Refusal, authorize, by, now};
use crate::domain::access::{Action, Actor, Object};
use crate::runtime::NotTold;
use crate::store::audit_events::{self, On};
use proto::bus::dea::Drain;
use proto::ids::DeaId;
use serde_json::json;

impl Ops {
    /// Empties an agent, or lets it take work again; how far it is.
    pub async fn drain_agent(
        &self,
        actor: &Actor,
        name: &str,
        drain: bool,
    ) -> Result<Option<Drain>, Refusal> {
        authorize(actor, Action::Administer, &Object::Platform, "Agent")?;
        let dea = DeaId::new(name).map_err(|_| Refusal::NotFound("Agent"))?;
        let told = (self.live.drain)(dea.clone(), drain).await;
        let state = told.map_err(|error| match error {
            NotTold::Unknown => Refusal::NotFound("Agent"),
            NotTold::Unreached(source) => {
                tracing::warn!(%dea, error = &source as &dyn std::error::Error, "an agent was not told of its drain");
                Refusal::Unavailable(format!(
                    "The agent {dea} does not answer: only one that runs can be emptied"
                ))
            }
        })?;
        self.audit_drain(actor, &dea, drain).await;
        Ok(state)
    }

    /// The agent was told: if the database is away, the log keeps who told it.
    async fn audit_drain(&self, actor: &Actor, dea: &DeaId, drain: bool) {
        let kind = if drain {
            "audit.agent.drain"
        } else {
            "audit.agent.undrain"
        };
        let record = async {
            let mut tx = self.store.write("audit the emptying of an agent").await?;
            let target = On::agent(dea.as_str());
            audit_events::record(&mut tx, kind, by(actor), target, json!({}), now()).await?;
            tx.commit().await
        };
        if let Err(error) = record.await {
            tracing::error!(error = &error as &dyn std::error::Error, actor = %actor.name, %dea, kind, "the emptying of an agent was not audited");
        }
    }
}
