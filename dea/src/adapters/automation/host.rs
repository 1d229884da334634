//! The connection to the host process in a pack's sandbox.

use crate::domain::pack_host::{HostError, HostEvent, Splitter};
use std::io::{self, ErrorKind};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes that may wait for the host. It takes everything at once unless it is stuck.
const MOST_WAITING: usize = 128 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the host ended the connection")]
    Ended,
    #[error("the connection to the host failed")]
    Failed(#[from] io::Error),
    #[error("the host says what makes no sense")]
    Nonsense(#[from] HostError),
    #[error("the host takes nothing any more")]
    Stuck,
}

pub struct HostConnection {
    stream: UnixStream,
    splitter: Splitter,
    /// What is to be sent, kept here so that dropping `next` half-way loses no byte.
    outgoing: Vec<u8>,
    buffer: Vec<u8>,
}

impl HostConnection {
    pub fn new(stream: UnixStream) -> HostConnection {
        HostConnection {
            stream,
            splitter: Splitter::default(),
            outgoing: Vec::new(),
            buffer: vec![0; 64 << 10],
        }
    }

    /// Sends a frame while the next event is waited for.
    pub fn send(&mut self, frame: &[u8]) {
        self.outgoing.extend_from_slice(frame);
        // Most frames go at once; what does not is sent later.
        let _ = self.write();
    }

    /// The next event. Safe to drop half-way (in `select!`).
    pub async fn next(&mut self) -> Result<HostEvent, Broken> {
        loop {
            if let Some(event) = self.splitter.next_event()? {
                return Ok(event);
            }
            if self.outgoing.len() > MOST_WAITING {
                return Err(Broken::Stuck);
            }
            let mut interest = Interest::READABLE;
            if !self.outgoing.is_empty() {
                interest |= Interest::WRITABLE;
            }
            let ready = self.stream.ready(interest).await?;
            if ready.is_writable() {
                self.write()?;
            }
            if ready.is_readable() {
                self.read()?;
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let mut sent = 0;
        let outcome = loop {
            if sent == self.outgoing.len() {
                break Ok(());
            }
            match self.stream.try_write(&self.outgoing[sent..]) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.outgoing.drain(..sent);
        outcome
    }

    fn read(&mut self) -> Result<(), Broken> {
        match self.stream.try_read(&mut self.buffer) {
            Ok(0) => Err(Broken::Ended),
            Ok(length) => {
                self.splitter.push(&self.buffer[..length]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pack_host;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_does_not_fit_at_once_is_sent_while_events_are_awaited() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut host = HostConnection::new(ours);
        let large = pack_host::frame(&json!({"request": "run", "command": "x".repeat(1 << 20)}));
        host.send(&large);
        let answering = async {
            let mut taken = vec![0; large.len()];
            theirs.read_exact(&mut taken).await.expect("all of it");
            assert!(taken == large);
            let pong = pack_host::frame(&json!({"event": "pong"}));
            theirs.write_all(&pong).await.expect("written");
            theirs
        };
        let (event, theirs) = tokio::join!(host.next(), answering);
        assert_eq!(event.expect("an event"), HostEvent::Pong);
        drop(theirs);
        assert!(host.next().await.is_err());
    }
}
