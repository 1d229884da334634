//! A client of NATS as anybody could write one: text over TCP. The matrix of permissions needs the
//! server's own refusals, and a foreign registrar is no program of ours.

use anyhow::{Context, bail, ensure};
use serde_json::json;
use std::time::Duration;
use tests::inside::BusLogin;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The server answers at once; this is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Wire {
    stream: BufReader<TcpStream>,
}

/// What came from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Of `-ERR`.
    Refused(String),
    Message {
        subject: String,
        payload: Vec<u8>,
    },
}

impl Wire {
    /// Logs in; an error if the server does not take it.
    pub async fn connect(address: &str, login: &BusLogin) -> anyhow::Result<Wire> {
        let stream = TcpStream::connect(address).await?;
        let mut wire = Wire {
            stream: BufReader::new(stream),
        };
        let greeting = wire.line().await?;
        ensure!(greeting.starts_with("INFO "), "no greeting: {greeting}");
        let connect = json!({
            "verbose": false,
            "pedantic": false,
            "user": login.user,
            "pass": login.password,
            "name": "a test",
            "lang": "text",
            "version": "1",
        });
        wire.send(format!("CONNECT {connect}\r\n").as_bytes())
            .await?;
        match &wire.settle().await?[..] {
            [] => Ok(wire),
            heard => bail!("{} is not let in: {heard:?}", login.user),
        }
    }

    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(PATIENCE, sending)
            .await
            .context("the server takes nothing")??;
        Ok(())
    }

    pub async fn publish(
        &mut self,
        subject: &str,
        reply: &str,
        payload: &[u8],
    ) -> anyhow::Result<()> {
        let mut message = format!("PUB {subject} {reply} {}\r\n", payload.len()).into_bytes();
        message.extend(payload);
        message.extend(b"\r\n");
        self.send(&message).await
    }

    /// Everything that came before the server's answer to a ping, which it gives in order.
    pub async fn settle(&mut self) -> anyhow::Result<Vec<Heard>> {
        self.send(b"PING\r\n").await?;
        let mut heard = Vec::new();
        while let Some(something) = self.next().await? {
            heard.push(something);
        }
        Ok(heard)
    }

    /// The next thing that is said; None: the answer to a ping.
    pub async fn next(&mut self) -> anyhow::Result<Option<Heard>> {
        loop {
            let line = self.line().await?;
            if line == "PONG" {
                return Ok(None);
            } else if line == "PING" {
                self.send(b"PONG\r\n").await?;
            } else if let Some(error) = line.strip_prefix("-ERR ") {
                return Ok(Some(Heard::Refused(error.trim_matches('\'').to_string())));
            } else if let Some(message) = line.strip_prefix("MSG ") {
                let words: Vec<&str> = message.split(' ').collect();
                let [subject, .., length] = words[..] else {
                    bail!("no message: {line}");
                };
                let mut payload = vec![0; length.parse::<usize>()? + 2];
                self.stream.read_exact(&mut payload).await?;
                payload.truncate(payload.len() - 2);
                let subject = subject.to_string();
                return Ok(Some(Heard::Message { subject, payload }));
            }
            // +OK and INFO tell nothing here.
        }
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let count = tokio::time::timeout(PATIENCE, self.stream.read_line(&mut line))
            .await
            .context("the server says nothing")??;
        ensure!(count > 0, "the server ended the connection");
        Ok(line.trim_end().to_string())
    }
}
