//! One session at an agent.

use super::calls::Calls;
use super::controller::{Controller, NotLetIn};
use proto::inside::{FromInstance, NoMessage, Opening, Splitter, ToInstance};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// To connect, and to hear that it is open. An agent that looks a name up and connects for the user takes longest.
const OPENED_WITHIN: Duration = Duration::from_secs(30);
const PIECE: usize = 32 * 1024;

/// Why there is no session, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum NoSession {
    #[error(transparent)]
    NotLetIn(#[from] NotLetIn),
    /// A sentence for the user.
    #[error("{0}")]
    Refused(String),
    #[error("the connection to the agent failed")]
    Broken(#[from] io::Error),
    #[error("the agent says what makes no sense")]
    Nonsense(#[from] NoMessage),
    #[error("the agent did not answer within {OPENED_WITHIN:?}")]
    Late,
}

/// What is heard of a session.
pub struct Listening {
    stream: OwnedReadHalf,
    splitter: Splitter,
    buffer: Vec<u8>,
}

/// What is told to it.
pub struct Telling {
    stream: OwnedWriteHalf,
}

/// Opens a session in the permit's instance.
pub async fn open(
    controller: &Controller,
    calls: &Calls,
    permit: &str,
    opening: Opening,
) -> Result<(Listening, Telling), NoSession> {
    let entry = controller.entry(permit).await?;
    let opening = async {
        let stream = match entry.address {
            Some(address) => TcpStream::connect(address).await?,
            None => calls.of(&entry.ticket).await.ok_or(NoSession::Late)?,
        };
        // A key that is pressed is a packet, and is waited for.
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let mut telling = Telling { stream: writer };
        let mut listening = Listening {
            stream: reader,
            splitter: Splitter::default(),
            buffer: vec![0; PIECE],
        };
        let ticket = entry.ticket;
        telling.tell(ToInstance::Hello { ticket }).await?;
        telling.tell(ToInstance::Open(opening)).await?;
        match listening.next().await? {
            Some(FromInstance::Opened) => Ok((listening, telling)),
            Some(FromInstance::Refused { problem }) => Err(NoSession::Refused(problem)),
            Some(_) => Err(NoSession::Refused(
                "the agent began with something else".into(),
            )),
            None => Err(NoSession::Refused("the agent hung up".into())),
        }
    };
    tokio::time::timeout(OPENED_WITHIN, opening)
        .await
        .unwrap_or(Err(NoSession::Late))
}

impl Listening {
    /// The next message; None: the agent hung up. Safe to drop half-way.
    pub async fn next(&mut self) -> Result<Option<FromInstance>, NoSession> {
        loop {
            if let Some(message) = FromInstance::next(&mut self.splitter)? {
                return Ok(Some(message));
            }
            match self.stream.read(&mut self.buffer).await? {
                0 => return Ok(None),
                length => self.splitter.push(&self.buffer[..length]),
            }
        }
    }
}

impl Telling {
    pub async fn tell(&mut self, message: ToInstance) -> io::Result<()> {
        self.stream.write_all(&message.encode()).await
    }
}
