//! One client on one connection that is kept, as plain as can be: its own time must not hide the router's.

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Client {
    port: u16,
    socket: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub async fn connect(port: u16) -> anyhow::Result<Client> {
        let socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        Ok(Client {
            port,
            socket,
            read: Vec::new(),
        })
    }

    /// Asks for `/` of a host: the status of the answer, which is read whole.
    pub async fn get(&mut self, host: &str) -> anyhow::Result<u16> {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.socket.write_all(request.as_bytes()).await?;
        self.read.clear();
        let (end, head) = loop {
            if let Some(at) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.read[..at]).to_ascii_lowercase();
                break (at + 4, head);
            }
            self.more().await?;
        };
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("this is no answer: {head}"))?;
        let field = |name: &str| {
            let mut lines = head.lines();
            lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
        };
        let length: usize = field("content-length")
            .with_context(|| format!("an answer of unknown length: {head}"))?
            .parse()?;
        while self.read.len() < end + length {
            self.more().await?;
        }
        if field("connection") == Some("close") {
            *self = Client::connect(self.port).await?;
        }
        Ok(status)
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        let count = self.socket.read_buf(&mut self.read).await?;
        ensure!(count > 0, "port {} closed the connection", self.port);
        Ok(())
    }
}
