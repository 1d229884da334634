//! The node's socket: `yard` asks for the state and for the end.
//!
//! Everybody on the machine may ask for the state; only root and the node's own user may stop, and
//! they are heard also while others crowd the socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use daemon::{Policy, Supervisor};
use proto::node::{NodeRequest, NodeStatus};
use proto::roles::{self, Refused, Wish};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::debug;

use super::gate::{self, Gate};
use crate::board::Board;
use crate::domain::machines::joined_roles;
use crate::recast::Asked;

/// Longest request line.
const LIMIT: u64 = 64 * 1024;
/// A client that says nothing, or does not read its answer, for this long is left.
const SILENCE: Duration = Duration::from_secs(60);
/// A machine that leaves is emptied first.
const DEPARTURE: Duration = Duration::from_secs(1800);
/// Clients without a right to stop, at once; more are sent away.
const CROWD: usize = 64;

/// Listens; a socket left by a predecessor is replaced.
pub fn serve(
    path: &Path,
    board: &Arc<Board>,
    recasts: mpsc::Sender<Asked>,
    gate: Option<Arc<Gate>>,
    tasks: &Supervisor,
) -> anyhow::Result<()> {
    let _ = std::fs::remove_file(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    let listener = Arc::new(listener);
    let (board, supervisor) = (board.clone(), tasks.clone());
    let crowd = Arc::new(Semaphore::new(CROWD));
    tasks.spawn("control-socket", Policy::Restart, move |shutdown| {
        let (listener, board, supervisor) = (listener.clone(), board.clone(), supervisor.clone());
        let (crowd, recasts, gate) = (crowd.clone(), recasts.clone(), gate.clone());
        async move {
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted?.0,
                    () = shutdown.cancelled() => return Ok(()),
                };
                let may_stop = may_stop(&stream);
                let place = crowd.clone().try_acquire_owned().ok();
                if place.is_none() && !may_stop {
                    continue;
                }
                let desk = Desk {
                    board: board.clone(),
                    recasts: recasts.clone(),
                    gate: gate.clone(),
                };
                supervisor.spawn_once("control-client", async move {
                    let _place = place;
                    if let Err(error) = answer(stream, may_stop, &desk).await {
                        debug!(%error, "a client of the node's socket was left");
                    }
                });
            }
        }
    });
    Ok(())
}

fn may_stop(client: &UnixStream) -> bool {
    client
        .peer_cred()
        .is_ok_and(|client| client.uid() == 0 || client.uid() == nix::unistd::geteuid().as_raw())
}

/// Whom requests are passed on to.
struct Desk {
    board: Arc<Board>,
    recasts: mpsc::Sender<Asked>,
    gate: Option<Arc<Gate>>,
}

async fn answer(stream: UnixStream, may_stop: bool, desk: &Desk) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader.take(LIMIT));
    loop {
        let mut line = String::new();
        let read = tokio::time::timeout(SILENCE, lines.read_line(&mut line));
        if read.await.map_err(std::io::Error::other)?? == 0 {
            return Ok(());
        }
        let reply = match serde_json::from_str::<NodeRequest>(&line) {
            Ok(request) => desk.reply(request, may_stop).await,
            Err(error) => desk.refused(&format!("this is no request: {error}")),
        };
        let mut text = serde_json::to_string(&reply).map_err(std::io::Error::other)?;
        text.push('\n');
        tokio::time::timeout(SILENCE, writer.write_all(text.as_bytes()))
            .await
            .map_err(std::io::Error::other)??;
        lines.get_mut().set_limit(LIMIT);
    }
}

impl Desk {
    async fn reply(&self, request: NodeRequest, may_stop: bool) -> NodeStatus {
        let done = match request {
            NodeRequest::Status => return self.board.status(),
            NodeRequest::Stop if may_stop => {
                self.board.request_stop();
                return self.board.stopped().await;
            }
            NodeRequest::Stop => Err("only root may stop the cluster".to_string()),
            _ if !may_stop => Err("only root may change machines and their roles here".to_string()),
            NodeRequest::Roles { counts } => self.recast(&counts).await,
            NodeRequest::Token { roles, ttl_s } => match self.token(&roles, ttl_s) {
                Ok(token) => {
                    return NodeStatus {
                        told: Some(token),
                        ..self.board.status()
                    };
                }
                Err(why) => Err(why),
            },
            NodeRequest::Remove { machine, force } => {
                self.ask(SILENCE, |reply| Asked::Remove {
                    machine,
                    force,
                    reply,
                })
                .await
            }
            NodeRequest::Leave => self.ask(DEPARTURE, |reply| Asked::Leave { reply }).await,
        };
        match done {
            Ok(()) => self.board.status(),
            Err(why) => self.refused(&why),
        }
    }

    fn token(&self, roles: &[String], ttl_s: u64) -> Result<String, String> {
        let gate = self.gate.as_ref().ok_or_else(gate::no_gate)?;
        let roles = joined_roles(roles).map_err(|refused| refused.to_string())?;
        let token = gate.issue(&roles, Duration::from_secs(ttl_s));
        token
            .map(|token| token.to_string())
            .map_err(|error| format!("{error:#}"))
    }

    async fn recast(&self, counts: &BTreeMap<String, u32>) -> Result<(), String> {
        let wishes = counts
            .iter()
            .map(|(name, count)| Ok((roles::parse(name)?, Wish::Exactly(*count))))
            .collect::<Result<Vec<_>, Refused>>()
            .map_err(|refused| refused.to_string())?;
        self.ask(SILENCE, |reply| Asked::Roles { wishes, reply })
            .await
    }

    /// Hands the wish to whoever follows the roles, and waits for what comes of it.
    async fn ask(
        &self,
        patience: Duration,
        asked: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Asked,
    ) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let gone = || "the cluster is being stopped".to_string();
        let sent = tokio::time::timeout(SILENCE, self.recasts.send(asked(reply))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return Err(gone());
        }
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err("the cluster store is not reached: try again in a moment".to_string()),
        }
    }

    fn refused(&self, why: &str) -> NodeStatus {
        NodeStatus {
            refused: Some(why.to_string()),
            ..self.board.status()
        }
    }
}
