//! How a daemon introduces itself (contract §2.1): an announcement at boot, an answer to every
//! `vcap.component.discover`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto::bus::component::Component;
use proto::bus::{Role, catalogue};
use proto::ids::ComponentId;
use time::OffsetDateTime;
use time::macros::format_description;
use tracing::warn;

use crate::bus::Bus;
use crate::mishaps::Mishaps;
use crate::supervise::{Policy, Supervisor};

/// Who this process is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    role: Role,
    index: u32,
    id: ComponentId,
    admin: SocketAddr,
    uuid: String,
    started: Instant,
    start: String,
}

impl Identity {
    pub(crate) fn new(role: Role, index: u32, id: ComponentId, admin: SocketAddr) -> Identity {
        let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000");
        Identity {
            role,
            index,
            id,
            admin,
            uuid: format!("{index}-{:032x}", rand::random::<u128>()),
            started: Instant::now(),
            start: OffsetDateTime::now_utc()
                .format(&format)
                .unwrap_or_default(),
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// As announced. Without the login to `/varz`: everybody may read this message.
    pub(crate) fn component(&self) -> Component {
        Component {
            kind: self.role.component_type().to_string(),
            index: self.index,
            uuid: self.uuid.clone(),
            host: self.admin.to_string(),
            credentials: Vec::new(),
            start: self.start.clone(),
            uptime: uptime(self.started.elapsed()),
            yard_id: Some(self.id.to_string()),
            mishaps: Vec::new(),
        }
    }
}

/// `0d:0h:1m:2s`
fn uptime(alive: Duration) -> String {
    let seconds = alive.as_secs();
    format!(
        "{}d:{}h:{}m:{}s",
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Announces once the bus is there, and answers whoever asks, also with what befell the machine.
pub(crate) fn introduce(identity: &Identity, mishaps: &Mishaps, bus: &Bus, tasks: &Supervisor) {
    let (id, connection) = (identity.clone(), bus.clone());
    tasks.spawn("component-announce", Policy::Restart, move |shutdown| {
        let (id, bus) = (id.clone(), connection.clone());
        async move {
            let mut status = bus.status();
            tokio::select! {
                there = status.wait_for(|status| status.connected) => { there?; }
                () = shutdown.cancelled() => return Ok(()),
            }
            bus.publish(&catalogue::component_announce(), &id.component())
                .await?;
            shutdown.cancelled().await;
            Ok(())
        }
    });
    let (id, mishaps, connection) = (identity.clone(), mishaps.clone(), bus.clone());
    tasks.spawn("component-discover", Policy::Restart, move |shutdown| {
        let (id, mishaps, bus) = (id.clone(), mishaps.clone(), connection.clone());
        async move {
            let mut questions = bus
                .subscribe(&catalogue::component_discover().filter())
                .await?;
            loop {
                let question = tokio::select! {
                    question = questions.next() => question,
                    () = shutdown.cancelled() => return Ok(()),
                };
                let Some(question) = question else {
                    anyhow::bail!("the subscription ended")
                };
                let answer = Component {
                    mishaps: mishaps.all(),
                    ..id.component()
                };
                if let Err(error) = question.respond(&answer).await {
                    warn!(%error, "a question who is there was not answered");
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_has_the_contracts_forms_and_no_login() {
        let id = ComponentId::new("router-1").unwrap();
        let identity = Identity::new(Role::Router, 1, id, "127.0.0.1:4330".parse().unwrap());
        let component = identity.component();
        assert_eq!(component.kind, "Router");
        assert!(component.uuid.starts_with("1-") && component.uuid.len() == 34);
        assert_eq!(component.host, "127.0.0.1:4330");
        assert!(component.credentials.is_empty());
        assert_eq!(component.start.len(), "2026-01-02 03:04:05 +0000".len());
        assert_eq!(uptime(Duration::from_secs(90_061)), "1d:1h:1m:1s");
    }
}
