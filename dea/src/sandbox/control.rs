//! The agent's side of a supervisor's socket.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use dea_shim::protocol::{Reply, Request, Splitter, frame_json, kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::time::error::Elapsed;

use super::SandboxError;

/// A connection on which requests are answered in their order.
pub(super) struct Control {
    id: String,
    stream: UnixStream,
    splitter: Splitter,
}

impl Control {
    pub(super) async fn connect(id: &str, socket: &Path) -> Result<Control, SandboxError> {
        let gone = |_| SandboxError::Gone { id: id.to_owned() };
        let stream = UnixStream::connect(socket).await.map_err(gone)?;
        Ok(Control {
            id: id.to_owned(),
            stream,
            splitter: Splitter::default(),
        })
    }

    /// Sends a request and waits for its reply; a refusal is an error.
    pub(super) async fn ask(
        &mut self,
        request: &Request,
        operation: &'static str,
        within: Duration,
    ) -> Result<Reply, SandboxError> {
        self.ask_with(request, None, operation, within).await
    }

    /// The same, for a request that comes with a descriptor.
    pub(super) async fn ask_with(
        &mut self,
        request: &Request,
        passed: Option<OwnedFd>,
        operation: &'static str,
        within: Duration,
    ) -> Result<Reply, SandboxError> {
        let exchange = async {
            self.send(request, passed).await?;
            self.receive().await
        };
        let reply = tokio::time::timeout(within, exchange).await;
        self.judge(reply, operation, within)
    }

    /// Sends a request whose reply is fetched later, after those of the requests before it.
    pub(super) async fn tell(
        &mut self,
        request: &Request,
        operation: &'static str,
        within: Duration,
    ) -> Result<(), SandboxError> {
        let sent = tokio::time::timeout(within, self.send(request, None)).await;
        sent.map_err(|_| self.late(operation, within))?
    }

    /// The reply to the oldest request that was told; a refusal is an error.
    pub(super) async fn reply(
        &mut self,
        operation: &'static str,
        within: Duration,
    ) -> Result<Reply, SandboxError> {
        let reply = tokio::time::timeout(within, self.receive()).await;
        self.judge(reply, operation, within)
    }

    fn late(&self, operation: &'static str, within: Duration) -> SandboxError {
        SandboxError::Timeout {
            id: self.id.clone(),
            operation,
            within,
        }
    }

    fn judge(
        &self,
        reply: Result<Result<Reply, SandboxError>, Elapsed>,
        operation: &'static str,
        within: Duration,
    ) -> Result<Reply, SandboxError> {
        match reply.map_err(|_| self.late(operation, within))?? {
            Reply::Failed { problem } => Err(SandboxError::Refused {
                id: self.id.clone(),
                problem: format!("{operation}: {problem}"),
            }),
            reply => Ok(reply),
        }
    }

    fn gone(&self) -> SandboxError {
        SandboxError::Gone {
            id: self.id.clone(),
        }
    }

    async fn send(
        &mut self,
        request: &Request,
        passed: Option<OwnedFd>,
    ) -> Result<(), SandboxError> {
        let frame = frame_json(kind::REQUEST, request);
        let sent = match &passed {
            None => 0,
            Some(passed) => {
                let stream = &self.stream;
                let send =
                    || sys::process::send_with_descriptor(stream.as_fd(), &frame, passed.as_fd());
                let sent = stream.async_io(Interest::WRITABLE, send).await;
                sent.map_err(|_| self.gone())?
            }
        };
        let written = self.stream.write_all(&frame[sent..]).await;
        written.map_err(|_| self.gone())
    }

    async fn receive(&mut self) -> Result<Reply, SandboxError> {
        let mut buffer = [0u8; 4096];
        loop {
            let next = self.splitter.next_json::<Reply>(kind::REPLY);
            let next = next.map_err(|error| SandboxError::Refused {
                id: self.id.clone(),
                problem: error.to_string(),
            })?;
            if let Some(reply) = next {
                return Ok(reply);
            }
            match self.stream.read(&mut buffer).await {
                Ok(length) if length > 0 => self.splitter.push(&buffer[..length]),
                _ => return Err(self.gone()),
            }
        }
    }

    /// After [`Request::Listen`] was answered: the parts, for reading events.
    pub(super) fn into_parts(self) -> (UnixStream, Splitter) {
        (self.stream, self.splitter)
    }
}
