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

use crate::board::Board;
use crate::recast::Asked;

/// Longest request line.
const LIMIT: u64 = 64 * 1024;
/// A client that says nothing, or does not read its answer, for this long is left.
const SILENCE: Duration = Duration::from_secs(60);
/// Clients without a right to stop, at once; more are sent away.
const CROWD: usize = 64;

/// Listens; a socket left by a predecessor is replaced.
pub fn serve(
    path: &Path,
    board: &Arc<Board>,
    recasts: mpsc::Sender<Asked>,
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
        let (crowd, recasts) = (crowd.clone(), recasts.clone());
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
                let (board, recasts) = (board.clone(), recasts.clone());
                supervisor.spawn_once("control-client", async move {
                    let _place = place;
                    if let Err(error) = answer(stream, may_stop, &board, &recasts).await {
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

async fn answer(
    stream: UnixStream,
    may_stop: bool,
    board: &Board,
    recasts: &mpsc::Sender<Asked>,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader.take(LIMIT));
    loop {
        let mut line = String::new();
        let read = tokio::time::timeout(SILENCE, lines.read_line(&mut line));
        if read.await.map_err(std::io::Error::other)?? == 0 {
            return Ok(());
        }
        let reply = match serde_json::from_str::<NodeRequest>(&line) {
            Ok(NodeRequest::Status) => board.status(),
            Ok(NodeRequest::Stop) if may_stop => {
                board.request_stop();
                board.stopped().await
            }
            Ok(NodeRequest::Stop) => refused(board, "only root may stop the cluster"),
            Ok(NodeRequest::Roles { counts }) if may_stop => match recast(recasts, &counts).await {
                Ok(()) => board.status(),
                Err(why) => refused(board, &why),
            },
            Ok(NodeRequest::Roles { .. }) => refused(board, "only root may change roles here"),
            Err(error) => refused(board, &format!("this is no request: {error}")),
        };
        let mut text = serde_json::to_string(&reply).map_err(std::io::Error::other)?;
        text.push('\n');
        tokio::time::timeout(SILENCE, writer.write_all(text.as_bytes()))
            .await
            .map_err(std::io::Error::other)??;
        lines.get_mut().set_limit(LIMIT);
    }
}

/// Hands the wish to whoever follows the roles, and waits for what comes of it.
async fn recast(
    recasts: &mpsc::Sender<Asked>,
    counts: &BTreeMap<String, u32>,
) -> Result<(), String> {
    let wishes = counts
        .iter()
        .map(|(name, count)| Ok((roles::parse(name)?, Wish::Exactly(*count))))
        .collect::<Result<Vec<_>, Refused>>()
        .map_err(|refused| refused.to_string())?;
    let (reply, answer) = oneshot::channel();
    let gone = || "the cluster is being stopped".to_string();
    let asked = Asked { wishes, reply };
    let sent = tokio::time::timeout(SILENCE, recasts.send(asked)).await;
    if !matches!(sent, Ok(Ok(()))) {
        return Err(gone());
    }
    match tokio::time::timeout(SILENCE, answer).await {
        Ok(answer) => answer.unwrap_or_else(|_| Err(gone())),
        Err(_) => Err("the cluster store is not reached: try again in a moment".to_string()),
    }
}

fn refused(board: &Board, why: &str) -> NodeStatus {
    NodeStatus {
        error: Some(why.to_string()),
        ..board.status()
    }
}
