//! How a connection begins: perhaps with what a load balancer says of its client (the PROXY protocol), and
//! perhaps, without TLS, with HTTP/2, which a client says with its first 24 bytes.
//!
//! The first bytes are looked at and left in the socket, so that whoever serves it reads it from its start.
//! Only a client that sends less of them than all is read here, because the kernel cannot be asked to wait
//! for more than it has.

use crate::domain::proxy_header::{Said, read};
use bytes::{Buf, BytesMut};
use std::io;
use std::net::SocketAddr;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What came before a client's own bytes.
#[derive(Debug, Default)]
pub struct Announced {
    /// Who the client is.
    pub source: Option<SocketAddr>,
    /// What was read and turned out to be the client's own.
    pub begun: BytesMut,
}

/// Reads what a load balancer says, if it says anything.
pub async fn announced(socket: &mut TcpStream) -> io::Result<Announced> {
    let mut first = [0u8; 128];
    let count = socket.peek(&mut first).await?;
    if count == 0 || read(&first[..count]) == Said::Nothing {
        return Ok(Announced::default());
    }
    let mut begun = BytesMut::new();
    loop {
        let more = match read(&begun) {
            Said::Incomplete { more } => more,
            Said::Nothing => {
                return Ok(Announced {
                    source: None,
                    begun,
                });
            }
            Said::Header { length, source } => {
                begun.advance(length);
                return Ok(Announced { source, begun });
            }
            Said::Malformed => {
                let why = "what a load balancer says of a client cannot be read";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        };
        let wanted = more.min(first.len());
        let count = socket.read(&mut first[..wanted]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        begun.extend_from_slice(&first[..count]);
    }
}

/// How a client began.
#[derive(Debug)]
pub struct Opening {
    pub http2: bool,
    /// What was read of it.
    pub begun: BytesMut,
}

/// Waits for as many bytes as it takes to know. `begun` was read already; `begins` is told when the first
/// were there.
pub async fn opening(
    socket: &mut TcpStream,
    mut begun: BytesMut,
    begins: impl FnOnce(),
) -> io::Result<Opening> {
    if begun.is_empty() {
        let mut first = [0u8; PREFACE.len()];
        let count = socket.peek(&mut first).await?;
        if let Some(http2) = verdict(&first[..count], count == 0) {
            return Ok(Opening { http2, begun });
        }
    } else if let Some(http2) = verdict(&begun, false) {
        return Ok(Opening { http2, begun });
    }
    begins();
    loop {
        let mut piece = [0u8; PREFACE.len()];
        let wanted = PREFACE.len() - begun.len();
        let count = socket.read(&mut piece[..wanted]).await?;
        begun.extend_from_slice(&piece[..count]);
        if let Some(http2) = verdict(&begun, count == 0) {
            return Ok(Opening { http2, begun });
        }
    }
}

/// `None` while it can be either.
fn verdict(begun: &[u8], ended: bool) -> Option<bool> {
    if begun.starts_with(PREFACE) {
        return Some(true);
    }
    (ended || !PREFACE.starts_with(begun)).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_told_from_a_request() {
        assert_eq!(verdict(PREFACE, false), Some(true));
        assert_eq!(verdict(b"PRI * HTTP/2.0\r\n\r\n", false), None);
        assert_eq!(verdict(b"P", false), None);
        assert_eq!(verdict(b"P", true), Some(false));
        assert_eq!(verdict(b"PROPFIND / HTTP/1.1\r\n", false), Some(false));
        assert_eq!(verdict(b"", true), Some(false));
    }
}
