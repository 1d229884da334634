//! Chunked bodies: the steps through their framing, and a reader that takes them apart, for the requests of clients
//! ([`super::framing`]) and for the answers of instances; and how they are written.

use super::forwarding::is_protected;
use super::framing::listed;
use super::request_head::line;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Most bytes of one chunk's size line, and of all trailers together.
const MAX_CHUNK_LINE: usize = 4096;
const MAX_TRAILERS: usize = 64 * 1024;
/// Most trailers that are passed on.
const MAX_TRAILER_LINES: usize = 64;

/// Where in its framing a chunked body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkPart {
    /// Hex digits of the size; `digits` read so far.
    Size {
        value: u64,
        digits: u8,
        line: usize,
    },
    /// After `;` or blank, up to CR.
    Extension {
        value: u64,
        line: usize,
    },
    SizeLineFeed {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataLineFeed,
    /// At the start of a trailer line, or in one; `empty` while the line has no byte.
    Trailer {
        empty: bool,
        total: usize,
    },
    TrailerLineFeed {
        last: bool,
        total: usize,
    },
}

impl ChunkPart {
    const START: ChunkPart = ChunkPart::Size {
        value: 0,
        digits: 0,
        line: 0,
    };
}

/// One step through chunked framing: bytes taken and the part that follows, `None` in its place at
/// the end of the body. `None` altogether is broken framing. `rest` is not empty.
fn step_chunk(part: ChunkPart, rest: &[u8]) -> Option<(usize, Option<ChunkPart>)> {
    let byte = rest[0];
    let next = |part| Some((1, Some(part)));
    match part {
        ChunkPart::Size {
            value,
            digits,
            line,
        } => match (byte as char).to_digit(16) {
            Some(digit) if digits < 15 => next(ChunkPart::Size {
                value: value * 16 + u64::from(digit),
                digits: digits + 1,
                line: line + 1,
            }),
            Some(_) => None,
            None if digits == 0 => None,
            None => match byte {
                b'\r' => next(ChunkPart::SizeLineFeed { value }),
                b';' => next(ChunkPart::Extension {
                    value,
                    line: line + 1,
                }),
                _ => None,
            },
        },
        ChunkPart::Extension { value, line } => match byte {
            b'\r' => next(ChunkPart::SizeLineFeed { value }),
            b'\n' | 0 => None,
            _ if line >= MAX_CHUNK_LINE => None,
            _ => next(ChunkPart::Extension {
                value,
                line: line + 1,
            }),
        },
        ChunkPart::SizeLineFeed { value } => match (byte, value) {
            (b'\n', 0) => next(ChunkPart::Trailer {
                empty: true,
                total: 0,
            }),
            (b'\n', left) => next(ChunkPart::Data { left }),
            _ => None,
        },
        ChunkPart::Data { left } => {
            let taken = left.min(rest.len() as u64);
            let part = if taken == left {
                ChunkPart::DataReturn
            } else {
                ChunkPart::Data { left: left - taken }
            };
            Some((taken as usize, Some(part)))
        }
        ChunkPart::DataReturn if byte == b'\r' => next(ChunkPart::DataLineFeed),
        ChunkPart::DataReturn => None,
        ChunkPart::DataLineFeed if byte == b'\n' => next(ChunkPart::START),
        ChunkPart::DataLineFeed => None,
        ChunkPart::Trailer { empty, total } => match byte {
            b'\r' => next(ChunkPart::TrailerLineFeed {
                last: empty,
                total: total + 1,
            }),
            b'\n' | 0 => None,
            // A trailer line that starts with a blank would be a fold.
            b' ' | b'\t' if empty => None,
            _ if total >= MAX_TRAILERS => None,
            _ => next(ChunkPart::Trailer {
                empty: false,
                total: total + 1,
            }),
        },
        ChunkPart::TrailerLineFeed { last, total } => match (byte, last) {
            (b'\n', true) => Some((1, None)),
            (b'\n', false) => next(ChunkPart::Trailer {
                empty: true,
                total: total + 1,
            }),
            _ => None,
        },
    }
}

/// What comes next of a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Data(Bytes),
    /// Nothing, before more has come.
    Nothing,
    /// It is over; these came after the last of it.
    End(Option<HeaderMap>),
}

/// The framing of the body is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its chunks are broken")]
pub struct BrokenChunks;

/// Takes a chunked body apart.
#[derive(Debug)]
pub struct Chunks {
    part: ChunkPart,
    trailers: BytesMut,
    /// Nothing is let through that somebody could read differently.
    is_strict: bool,
}

impl Default for Chunks {
    fn default() -> Self {
        Chunks {
            part: ChunkPart::START,
            trailers: BytesMut::new(),
            is_strict: false,
        }
    }
}

impl Chunks {
    /// For clients, who are not to be understood better than others would understand them.
    pub fn strict() -> Chunks {
        Chunks {
            is_strict: true,
            ..Chunks::default()
        }
    }

    /// The next piece of what has come. After the end there is none to ask for.
    pub fn next(&mut self, come: &mut BytesMut) -> Result<Piece, BrokenChunks> {
        while let Some(&first) = come.first() {
            let is_data = matches!(self.part, ChunkPart::Data { .. });
            let (taken, next) = match step_chunk(self.part, come) {
                Some(step) => step,
                None => (1, Some(self.padded(first)?)),
            };
            if is_data {
                self.part = next.ok_or(BrokenChunks)?;
                return Ok(Piece::Data(come.split_to(taken).freeze()));
            }
            if let ChunkPart::Trailer { .. } | ChunkPart::TrailerLineFeed { .. } = self.part {
                self.trailers.extend_from_slice(&come[..taken]);
            }
            come.advance(taken);
            match next {
                Some(part) => self.part = part,
                None => return Ok(Piece::End(self.read_trailers())),
            }
        }
        Ok(Piece::Nothing)
    }

    /// Whether what has come breaks the framing before the body ends.
    pub fn breaks(&self, come: &[u8]) -> bool {
        let (mut part, mut rest) = (self.part, come);
        while !rest.is_empty() {
            match step_chunk(part, rest) {
                Some((taken, Some(next))) => (part, rest) = (next, &rest[taken..]),
                Some((_, None)) => return false,
                None => return true,
            }
        }
        false
    }

    /// Some servers fill their sizes up with blanks.
    fn padded(&self, byte: u8) -> Result<ChunkPart, BrokenChunks> {
        match (self.part, byte) {
            (
                ChunkPart::Size {
                    value,
                    digits: 1..,
                    line,
                },
                b' ' | b'\t',
            ) if !self.is_strict => Ok(ChunkPart::Extension { value, line }),
            _ => Err(BrokenChunks),
        }
    }

    /// Trailers that cannot be read are left out: the body before them is whole.
    fn read_trailers(&mut self) -> Option<HeaderMap> {
        let mut lines = [httparse::EMPTY_HEADER; MAX_TRAILER_LINES];
        let httparse::Status::Complete((_, lines)) =
            httparse::parse_headers(&self.trailers, &mut lines).ok()?
        else {
            return None;
        };
        let mut trailers = HeaderMap::with_capacity(lines.len());
        for line in lines {
            let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
            trailers.append(name, HeaderValue::from_bytes(line.value).ok()?);
        }
        (!trailers.is_empty()).then_some(trailers)
    }
}

/// One chunk of a body.
pub fn chunk(out: &mut impl BufMut, data: &[u8]) {
    chunk_begin(out, data.len());
    out.put_slice(data);
    out.put_slice(b"\r\n");
}

/// What stands before a chunk of this length. Behind it is an end of a line.
pub fn chunk_begin(out: &mut impl BufMut, length: usize) {
    out.put_slice(format!("{length:x}\r\n").as_bytes());
}

/// The end of a chunked body. Of the trailers those go that were announced, as the standard wants it.
pub fn last_chunk(out: &mut impl BufMut, trailers: Option<&HeaderMap>, announced: &[HeaderName]) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if announced.contains(name) {
            line(out, name, value.as_bytes());
        }
    }
    out.put_slice(b"\r\n");
}

/// The trailers that a head announces, without those that would change its meaning.
pub fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    listed(headers, header::TRAILER)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !means_more(name))
        .collect()
}

fn means_more(name: &HeaderName) -> bool {
    let is_of_the_message = matches!(
        *name,
        header::TRAILER
            | header::TE
            | header::CONNECTION
            | header::UPGRADE
            | header::CONTENT_ENCODING
            | header::CONTENT_TYPE
            | header::CONTENT_RANGE
            | header::SET_COOKIE
            | header::CACHE_CONTROL
            | header::MAX_FORWARDS
    );
    is_of_the_message || is_protected(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body and its trailers, when it comes in pieces of that size.
    fn read(text: &str, size: usize) -> Result<(String, Option<HeaderMap>), BrokenChunks> {
        let (mut chunks, mut come) = (Chunks::default(), BytesMut::new());
        let mut body = String::new();
        for piece in text.as_bytes().chunks(size) {
            come.extend_from_slice(piece);
            loop {
                match chunks.next(&mut come)? {
                    Piece::Data(data) => body.push_str(&String::from_utf8_lossy(&data)),
                    Piece::Nothing => break,
                    Piece::End(trailers) => return Ok((body, trailers)),
                }
            }
        }
        panic!("{text:?} has no end");
    }

    #[test]
    fn a_body_is_taken_apart_whatever_way_it_comes() {
        let text = "5\r\nhello\r\n00A;x=\"y\"\r\n, wonderful\r\n1  \r\n!\r\n0\r\n\r\n"
            .replace("wonderful", "wonderfu");
        for size in 1..text.len() {
            let (body, trailers) = read(&text, size).expect("whole");
            assert_eq!(body, "hello, wonderfu!");
            assert!(trailers.is_none());
        }
    }

    #[test]
    fn trailers_come_with_the_end() {
        for size in [1, 3, 100] {
            let (body, trailers) =
                read("1\r\nx\r\n0\r\nGrpc-Status: 0\r\nx-a: b\r\n\r\n", size).expect("whole");
            assert_eq!(body, "x");
            let trailers = trailers.expect("trailers");
            assert_eq!(trailers["grpc-status"], "0");
            assert_eq!(trailers["x-a"], "b");
        }
    }

    #[test]
    fn what_follows_a_body_stays() {
        let mut come = BytesMut::from("0\r\n\r\nHTTP/1.1");
        assert_eq!(Chunks::default().next(&mut come), Ok(Piece::End(None)));
        assert_eq!(&come[..], b"HTTP/1.1");
    }

    #[test]
    fn broken_chunks_are_told() {
        for text in [
            "x\r\n",
            "\r\n",
            " 5\r\n",
            "5\n",
            "1\r\nxy\r\n",
            "ffffffffffffffff\r\n",
            "0\r\n fold\r\n\r\n",
        ] {
            assert_eq!(read(text, 100), Err(BrokenChunks), "{text:?}");
        }
    }

    #[test]
    fn chunks_have_their_length_before_them() {
        let mut out = BytesMut::new();
        chunk(&mut out, &[b'x'; 26]);
        assert_eq!(out, format!("1a\r\n{}\r\n", "x".repeat(26)));
    }

    #[test]
    fn only_announced_trailers_go_on() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "trailer",
            HeaderValue::from_static("X-Sum, content-length, x-forwarded-for"),
        );
        let announced = announced(&headers);
        assert_eq!(announced, ["x-sum"]);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("5"));
        trailers.insert("x-other", HeaderValue::from_static("6"));
        let mut out = BytesMut::new();
        last_chunk(&mut out, Some(&trailers), &announced);
        assert_eq!(&out[..], b"0\r\nx-sum: 5\r\n\r\n");
    }
}
