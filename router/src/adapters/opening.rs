//! Does a client without TLS begin with HTTP/2? It says so with its first 24 bytes.
//!
//! They are looked at and left in the socket, so that whoever serves it reads it from its start.
//! Only a client that sends less of them than all is read here, because the kernel cannot be asked to wait
//! for more than it has.

use bytes::BytesMut;
use std::io;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How a client began.
#[derive(Debug)]
pub struct Opening {
    pub http2: bool,
    /// What was read of it.
    pub begun: BytesMut,
}

/// Waits for as many bytes as it takes to know. `begins` is told when the first were there.
pub async fn opening(socket: &mut TcpStream, begins: impl FnOnce()) -> io::Result<Opening> {
    let mut first = [0u8; PREFACE.len()];
    let count = socket.peek(&mut first).await?;
    if let Some(http2) = verdict(&first[..count], count == 0) {
        let begun = BytesMut::new();
        return Ok(Opening { http2, begun });
    }
    begins();
    let mut begun = BytesMut::with_capacity(PREFACE.len());
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
    if !PREFACE.starts_with(begun) || ended {
        return Some(false);
    }
    (begun.len() == PREFACE.len()).then_some(true)
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
