//! Agents that call: those of other machines cannot be reached, and come with the ticket of a session instead.
//!
//! ```text
//! session ── the ticket it was given ──▶ Calls ◀── Called{ticket} ── agent, through the gate
//! ```
//! The controller tells both sides of a ticket at once, so either may be first. Whoever comes with another ticket waits in
//! vain and is forgotten; what is said in the session is not listened to here.

use anyhow::Context;
use daemon::{Shutdown, Supervisor};
use proto::inside::{FromInstance, Splitter};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

/// How long a caller may take to show the ticket, and may then wait for whoever has the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// Callers that have not shown a ticket yet, and as many that wait.
const MOST: usize = 256;

/// Who waits for whom, by tickets.
#[derive(Default)]
pub struct Calls {
    tickets: Mutex<BTreeMap<String, Side>>,
}

enum Side {
    /// A session for its agent.
    Waits(oneshot::Sender<TcpStream>),
    /// An agent for its session.
    Came(TcpStream, Instant),
}

impl Calls {
    fn tickets(&self) -> MutexGuard<'_, BTreeMap<String, Side>> {
        self.tickets
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The call of the agent that has this ticket. Safe to drop: nobody is waited for then.
    pub async fn of(&self, ticket: &str) -> Option<TcpStream> {
        let comes = {
            let mut tickets = self.tickets();
            if let Some(Side::Came(stream, _)) = tickets.remove(ticket) {
                return Some(stream);
            }
            let (sender, comes) = oneshot::channel();
            tickets.insert(ticket.to_string(), Side::Waits(sender));
            comes
        };
        let _forgotten = Forgotten {
            calls: self,
            ticket,
        };
        comes.await.ok()
    }

    fn came(&self, ticket: String, stream: TcpStream, now: Instant) {
        let mut tickets = self.tickets();
        if let Some(Side::Waits(session)) = tickets.remove(&ticket) {
            // Err: the session gave up this moment.
            let _ = session.send(stream);
            return;
        }
        tickets.retain(|_, side| match side {
            Side::Waits(_) => true,
            Side::Came(_, since) => now.saturating_duration_since(*since) < PATIENCE,
        });
        if tickets.len() < MOST {
            tickets.insert(ticket, Side::Came(stream, now));
        }
    }
}

/// Nobody waits with that ticket any more.
struct Forgotten<'a> {
    calls: &'a Calls,
    ticket: &'a str,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.calls.tickets().remove(self.ticket);
    }
}

/// Takes calls until the daemon ends.
pub async fn serve(
    listener: std::io::Result<std::net::TcpListener>,
    calls: Arc<Calls>,
    tasks: Supervisor,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener.context("cloning the socket for calls")?)?;
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let Ok(place) = places.clone().try_acquire_owned() else {
                        tracing::warn!(most = MOST, "a call was refused: too many say nothing");
                        continue;
                    };
                    let calls = calls.clone();
                    tasks.spawn_once("call", async move {
                        let _place = place;
                        match tokio::time::timeout(PATIENCE, ticket(stream)).await {
                            Ok(Some((ticket, stream))) => calls.came(ticket, stream, Instant::now()),
                            Ok(None) | Err(_) => tracing::debug!("a caller showed no ticket"),
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a call could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = shutdown.draining() => return Ok(()),
        }
    }
}

/// What a caller shows. An agent says nothing more until it is spoken to.
async fn ticket(mut stream: TcpStream) -> Option<(String, TcpStream)> {
    let mut splitter = Splitter::default();
    let mut buffer = [0; 1024];
    loop {
        match FromInstance::next(&mut splitter) {
            Ok(Some(FromInstance::Called { ticket })) => return Some((ticket, stream)),
            Ok(Some(_)) | Err(_) => return None,
            Ok(None) => {}
        }
        match stream.read(&mut buffer).await {
            Ok(length) if length > 0 => splitter.push(&buffer[..length]),
            Ok(_) | Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn stream() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap()
    }

    fn known(calls: &Calls) -> Vec<String> {
        calls.tickets().keys().cloned().collect()
    }

    #[tokio::test]
    async fn those_with_the_same_ticket_meet_whoever_is_first() {
        let calls = Calls::default();
        let now = Instant::now();
        calls.came("agent first".into(), stream().await, now);
        assert!(calls.of("agent first").await.is_some());

        let agents = async {
            while calls.tickets().is_empty() {
                tokio::task::yield_now().await;
            }
            calls.came("another".into(), stream().await, now);
            calls.came("session first".into(), stream().await, now);
        };
        let (session, ()) = tokio::join!(calls.of("session first"), agents);
        assert!(session.is_some());
        assert_eq!(known(&calls), ["another"]);
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_forgotten() {
        let calls = Calls::default();
        let now = Instant::now();
        calls.came("old".into(), stream().await, now);
        calls.came("new".into(), stream().await, now + PATIENCE);
        assert_eq!(known(&calls), ["new"]);
        let gave_up = tokio::time::timeout(Duration::from_millis(1), calls.of("gone"));
        assert!(gave_up.await.is_err());
        assert_eq!(known(&calls), ["new"]);
    }
}
