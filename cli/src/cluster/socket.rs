//! Talking to the node process: one JSON document a line, over its Unix socket.

use crate::failure::{Code, Failure, Outcome};
use proto::node::{NodeRequest, NodeStatus};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Longest answer that is read.
const LONGEST: u64 = 4 << 20;

/// Asks the node. None: no node listens there (it never ran, was stopped, or died).
pub async fn ask(
    socket: &Path,
    request: &NodeRequest,
    within: Duration,
) -> Outcome<Option<NodeStatus>> {
    let failed = |what: &str, error: std::io::Error| {
        Failure::failed(format!("{what} the node at {}: {error}", socket.display()))
    };
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(
                Failure::new(Code::NotAllowed, "only root may talk to the node process")
                    .fix("put sudo in front"),
            );
        }
        Err(error) => return Err(failed("connect to", error)),
    };
    let exchange = async {
        let (reading, mut writing) = stream.into_split();
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        writing.write_all(&line).await?;
        let mut answer = String::new();
        let mut reading = BufReader::new(tokio::io::AsyncReadExt::take(reading, LONGEST));
        reading.read_line(&mut answer).await?;
        Ok::<String, std::io::Error>(answer)
    };
    let answer = match tokio::time::timeout(within, exchange).await {
        Ok(Ok(answer)) => answer,
        // It went away while we asked.
        Ok(Err(error))
            if matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ) =>
        {
            return Ok(None);
        }
        Ok(Err(error)) => return Err(failed("talk to", error)),
        Err(_) => {
            return Err(Failure::new(
                Code::TimedOut,
                format!(
                    "the node at {} did not answer within {}s",
                    socket.display(),
                    within.as_secs()
                ),
            ));
        }
    };
    if answer.trim().is_empty() {
        return Ok(None);
    }
    serde_json::from_str(&answer).map(Some).map_err(|error| {
        Failure::failed(format!("the node's answer makes no sense: {error}"))
            .fix("yard and stackyard must be of the same version")
    })
}

/// The process that listens there.
pub async fn pid(socket: &Path) -> Option<u32> {
    let stream = UnixStream::connect(socket).await.ok()?;
    u32::try_from(stream.peer_cred().ok()?.pid()?).ok()
}

/// Whether a process is there and more than a zombie.
pub fn lives(pid: u32) -> bool {
    // `pid (name) state …`; the name may hold anything, also parentheses.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_are_told_from_the_dead() {
        assert!(lives(std::process::id()));
        assert!(!lives(u32::MAX));
    }
}
