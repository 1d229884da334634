//! A client of HTTP/2 that says exactly what it is told to say, frame by frame.

use super::SOON;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Headers as literals, never indexed: what they are is what is sent.
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            length(&mut bytes, text.len());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

fn length(bytes: &mut Vec<u8>, length: usize) {
    if length < 127 {
        bytes.push(length as u8);
        return;
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// A block of headers that is small and means much: one header of 4,000 bytes goes into the table, each byte after it
/// stands for it.
pub fn bomb(host: &str) -> Vec<u8> {
    let mut bytes = block(&get(host));
    bytes.extend([0x40, 1, b'x']);
    length(&mut bytes, 4000);
    bytes.extend([b'y'; 4000]);
    bytes.extend([0xbe; 12_000]);
    bytes
}

pub fn get(host: &str) -> Vec<(&str, &str)> {
    request("GET", host)
}

pub fn request<'a>(method: &'a str, host: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", host),
        (":path", "/"),
    ]
}

#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    Answered {
        status: u16,
        body: String,
    },
    /// Reset, with this code.
    Reset(u32),
    /// The connection was closed, with this code if there was one.
    Closed(Option<u32>),
}

pub struct FrameClient<S = TcpStream> {
    pub socket: S,
}

impl FrameClient {
    /// Connects and says what a client says first.
    pub async fn connect(address: SocketAddr) -> FrameClient {
        FrameClient::with_settings(address, &[]).await
    }

    pub async fn with_settings(address: SocketAddr, settings: &[(u16, u32)]) -> FrameClient {
        FrameClient::on(TcpStream::connect(address).await.unwrap(), settings).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FrameClient<S> {
    /// Says what a client says first.
    pub async fn on(socket: S, settings: &[(u16, u32)]) -> FrameClient<S> {
        let mut client = FrameClient { socket };
        let mut payload = Vec::new();
        // No table: every status is said in full.
        for (name, value) in [(1, 0)].iter().chain(settings) {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &payload));
        client.send(&bytes).await;
        client
    }

    /// Whether it could be sent.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).await.is_ok()
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        assert!(self.try_send(bytes).await);
    }

    pub async fn headers(&mut self, stream: u32, flags: u8, headers: &[(&str, &str)]) {
        let bytes = frame(HEADERS, flags | END_HEADERS, stream, &block(headers));
        self.send(&bytes).await;
    }

    /// The next frame; settings and pings are acknowledged on the way. `None` when it was closed.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.socket.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.socket.read_exact(&mut payload).await.ok()?;
            let found = Frame {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                payload,
            };
            if matches!(found.kind, SETTINGS | PING) && found.flags & ACK == 0 {
                self.try_send(&frame(
                    found.kind,
                    ACK,
                    0,
                    if found.kind == PING {
                        &found.payload
                    } else {
                        &[]
                    },
                ))
                .await;
                continue;
            }
            return Some(found);
        }
    }

    /// Waits for the end of a request.
    pub async fn end(&mut self, stream: u32) -> End {
        let waiting = async {
            let mut status = 0;
            let mut body = Vec::new();
            let mut goaway = None;
            while let Some(frame) = self.next().await {
                if frame.kind == GOAWAY {
                    let code = &frame.payload[4..8];
                    goaway = Some(u32::from_be_bytes(code.try_into().unwrap()));
                }
                if frame.stream != stream {
                    continue;
                }
                match frame.kind {
                    HEADERS if status == 0 => status = status_of(&frame.payload),
                    DATA => body.extend_from_slice(&frame.payload),
                    RST_STREAM => {
                        return End::Reset(u32::from_be_bytes(frame.payload.try_into().unwrap()));
                    }
                    _ => {}
                }
                if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                    let body = String::from_utf8_lossy(&body).into_owned();
                    return End::Answered { status, body };
                }
            }
            End::Closed(goaway)
        };
        tokio::time::timeout(SOON, waiting)
            .await
            .expect("an end in time")
    }

    /// Reads until the router closes; gives the code it said goodbye with.
    pub async fn closed(&mut self, within: Duration) -> Option<u32> {
        let waiting = async {
            let mut code = None;
            while let Some(frame) = self.next().await {
                if frame.kind == GOAWAY {
                    code = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
                }
            }
            code
        };
        tokio::time::timeout(within, waiting)
            .await
            .expect("the end of the connection in time")
    }
}

/// The status that a block of an answer begins with.
fn status_of(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let mut at = 0;
    while block[at] & 0xe0 == 0x20 {
        at += 1;
    }
    match block[at] {
        indexed @ 0x88..=0x8e => INDEXED[usize::from(indexed - 0x88)],
        // A literal under the name of :status.
        0x48 | 0x08 => {
            let length = usize::from(block[at + 1] & 0x7f);
            let text = &block[at + 2..at + 2 + length];
            if block[at + 1] & 0x80 == 0 {
                std::str::from_utf8(text).unwrap().parse().unwrap()
            } else {
                digits(text)
            }
        }
        other => panic!("no status: {other:#x}"),
    }
}

/// Digits in HPACK's Huffman code: five bits for 0 to 2, six for the others.
fn digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let value = |bits: &[u8]| {
        bits.iter()
            .fold(0u16, |sum, bit| sum << 1 | u16::from(*bit))
    };
    let (mut at, mut number) = (0, 0);
    while at + 5 <= bits.len() {
        let five = value(&bits[at..at + 5]);
        let digit = if five <= 2 {
            at += 5;
            five
        } else if at + 6 <= bits.len() && (0x19..=0x1f).contains(&value(&bits[at..at + 6])) {
            let six = value(&bits[at..at + 6]);
            at += 6;
            six - 0x19 + 3
        } else {
            break;
        };
        number = number * 10 + digit;
    }
    number
}
