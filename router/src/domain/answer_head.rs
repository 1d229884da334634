//! The head of an instance's answer, and how the body after it ends.
//!
//! **Problem.** A connection to an instance is used again for other people's requests, so where an answer ends
//! must not be in doubt; instances are apps, which may say anything.
//!
//! **Approach.** Lenient in what is harmless (line ends, a repeated but equal length), strict in what decides the
//! end: lengths that disagree and codings other than `chunked` are errors. Of length and `chunked` the coding counts
//! (RFC 9112 section 6.3) and the length goes. Who closes after an answer, or ends it by closing, is not asked again.

use super::answer_lines::{Lengths, Lines, What};
use super::framing::{MAX_HEADERS, parse_length};
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};

/// The largest head.
pub const MAX_HEAD: usize = 128 << 10;

/// How the body of an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    Chunked,
    /// With the connection.
    Close,
}

/// A head that was read.
#[derive(Debug)]
pub struct AnswerHead {
    pub status: StatusCode,
    /// What the instance says beside its status, where that is not the usual.
    pub reason: Option<Bytes>,
    pub ending: Ending,
    /// The connection may be used again after it.
    pub kept: bool,
}

impl AnswerHead {
    /// Another answer follows (100, 103, …).
    pub fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Why an answer cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("it is not HTTP/1: {0}")]
    NotHttp(httparse::Error),
    #[error("its status is not one")]
    Status,
    #[error("its head is larger than {MAX_HEAD} bytes")]
    TooLarge,
    #[error("a header of it cannot be passed on")]
    Header,
    #[error("its Content-Length is not one number")]
    Length,
    #[error("its Transfer-Encoding is not chunked")]
    Coding,
}

/// Takes the head that `come` begins with, if it is complete, and its headers into `lines`. `searched` is how far was
/// looked for its end, 0 at first.
pub fn take(
    come: &mut BytesMut,
    searched: &mut usize,
    asked: &Method,
    lines: &mut Lines,
) -> Result<Option<AnswerHead>, Unreadable> {
    let Some(end) = end_of(come, searched) else {
        return if come.len() > MAX_HEAD {
            Err(Unreadable::TooLarge)
        } else {
            Ok(None)
        };
    };
    *searched = 0;
    if end > MAX_HEAD {
        return Err(Unreadable::TooLarge);
    }
    read(come.split_to(end).freeze(), asked, lines).map(Some)
}

/// Behind the first empty line that is not at the beginning.
fn end_of(bytes: &[u8], searched: &mut usize) -> Option<usize> {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let blank = bytes.iter().take_while(|byte| is_end(byte)).count();
    let mut from = (*searched).max(blank);
    while let Some(found) = memchr::memchr(b'\n', bytes.get(from..).unwrap_or_default()) {
        let next = from + found + 1;
        match bytes.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            // The rest is not there yet.
            Some([] | [b'\r']) => {
                *searched = next - 1;
                return None;
            }
            _ => from = next,
        }
    }
    *searched = bytes.len();
    None
}

fn read(bytes: Bytes, asked: &Method, lines: &mut Lines) -> Result<AnswerHead, Unreadable> {
    let mut parsed_lines =
        [const { std::mem::MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut answer,
        &bytes,
        &mut parsed_lines,
    );
    match parsed {
        Ok(httparse::Status::Complete(end)) if end == bytes.len() => {}
        Ok(_) => return Err(Unreadable::NotHttp(httparse::Error::NewLine)),
        Err(error) => return Err(Unreadable::NotHttp(error)),
    }
    let (Some(version), Some(code)) = (answer.version, answer.code) else {
        return Err(Unreadable::Status);
    };
    let status = StatusCode::from_u16(code).map_err(|_| Unreadable::Status)?;
    let reason = answer.reason.filter(|reason| {
        let is_usual = status.canonical_reason() == Some(reason);
        !reason.is_empty() && !is_usual
    });
    let reason = reason.map(|reason| bytes.slice_ref(reason.as_bytes()));
    lines.take(bytes.clone(), answer.headers)?;
    let chunked = chunked(lines)?;
    let ending = ending(asked, status, version, chunked, lines)?;
    let says = |what: &[u8]| {
        let mut said = lines.listed(What::Connection);
        said.any(|item| item.eq_ignore_ascii_case(what))
    };
    let kept = match version {
        0 => says(b"keep-alive"),
        _ => !says(b"close"),
    };
    // (What headers say of a body that does not follow, or of a switch, is not said anew.)
    if asked == Method::HEAD || status == StatusCode::SWITCHING_PROTOCOLS {
        lines.need_thought();
    }
    Ok(AnswerHead {
        status,
        reason,
        ending,
        kept: kept && ending != Ending::Close,
    })
}

fn ending(
    asked: &Method,
    status: StatusCode,
    version: u8,
    chunked: bool,
    lines: &mut Lines,
) -> Result<Ending, Unreadable> {
    if chunked && version == 0 {
        return Err(Unreadable::Coding);
    }
    let length = match chunked {
        true => {
            lines.lengths(Lengths::None);
            None
        }
        false => length(lines)?,
    };
    let bare = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(match length {
        _ if bare || asked == Method::HEAD => Ending::None,
        _ if chunked => Ending::Chunked,
        Some(0) => Ending::None,
        Some(length) => Ending::Length(length),
        None => Ending::Close,
    })
}

/// Whether the body is in chunks. `identity`, which older servers say, is no coding.
fn chunked(lines: &Lines) -> Result<bool, Unreadable> {
    let mut chunked = false;
    for coding in lines.listed(What::Coding) {
        if coding.eq_ignore_ascii_case(b"chunked") && !chunked {
            chunked = true;
        } else if !coding.eq_ignore_ascii_case(b"identity") || chunked {
            return Err(Unreadable::Coding);
        }
    }
    Ok(chunked)
}

/// The length, said once or more times but the same; said once then.
fn length(lines: &mut Lines) -> Result<Option<u64>, Unreadable> {
    let mut length = None;
    let mut times = 0;
    for text in lines.listed(What::Length) {
        let said = parse_length(text).map_err(|_| Unreadable::Length)?;
        if length.is_some_and(|length| length != said) {
            return Err(Unreadable::Length);
        }
        length = Some(said);
        times += 1;
    }
    if let Some(length) = length.filter(|_| times > 1) {
        lines.lengths(Lengths::Once(length));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn of(text: &str, asked: Method) -> Result<AnswerHead, Unreadable> {
        with_headers(text, asked).map(|(head, _)| head)
    }

    fn with_headers(text: &str, asked: Method) -> Result<(AnswerHead, HeaderMap), Unreadable> {
        let (mut come, mut lines) = (BytesMut::from(text), Lines::default());
        let head = take(&mut come, &mut 0, &asked, &mut lines)?.expect("a complete head");
        assert!(come.is_empty(), "{come:?} is left");
        Ok((head, lines.to_map()?))
    }

    fn ending_of(lines: &str) -> Result<(Ending, bool), Unreadable> {
        let head = of(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"), Method::GET)?;
        Ok((head.ending, head.kept))
    }

    #[test]
    fn a_head_is_read_and_what_follows_stays() {
        let mut come = BytesMut::from(
            "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nX-A: 1\r\nx-a: 2\r\n\r\nabc",
        );
        let mut lines = Lines::default();
        let head = take(&mut come, &mut 0, &Method::GET, &mut lines)
            .expect("readable")
            .expect("complete");
        assert_eq!((head.status.as_u16(), &head.reason), (404, &None));
        assert_eq!(head.ending, Ending::Length(3));
        assert!(head.kept && !head.is_interim());
        let headers = lines.to_map().expect("headers");
        let both: Vec<_> = headers.get_all("x-a").iter().collect();
        assert_eq!(both, ["1", "2"]);
        assert_eq!(&come[..], b"abc");
    }

    #[test]
    fn a_head_may_come_in_any_pieces() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "\r\nHTTP/1.1 200\nx: y\n\n",
            "HTTP/1.0 200 OK\n\r\n",
        ] {
            let (mut come, mut searched) = (BytesMut::new(), 0);
            for (at, byte) in text.bytes().enumerate() {
                come.extend_from_slice(&[byte]);
                let head = take(
                    &mut come,
                    &mut searched,
                    &Method::GET,
                    &mut Lines::default(),
                );
                let head = head.expect("readable");
                assert_eq!(head.is_some(), at + 1 == text.len(), "{text:?} at {at}");
            }
            assert_eq!(searched, 0);
        }
    }

    #[test]
    fn how_a_body_ends() {
        use Ending::*;
        let cases = [
            ("content-length: 5\r\n", Ok((Length(5), true))),
            ("content-length: 0\r\n", Ok((None, true))),
            (
                "content-length: 5\r\ncontent-length: 5\r\n",
                Ok((Length(5), true)),
            ),
            ("content-length: 5, 5\r\n", Ok((Length(5), true))),
            (
                "content-length: 5\r\ncontent-length: 6\r\n",
                Err(Unreadable::Length),
            ),
            ("content-length: +5\r\n", Err(Unreadable::Length)),
            ("content-length: \r\n", Err(Unreadable::Length)),
            ("transfer-encoding: Chunked\r\n", Ok((Chunked, true))),
            (
                "transfer-encoding: chunked\r\ncontent-length: x\r\n",
                Ok((Chunked, true)),
            ),
            (
                "transfer-encoding: gzip, chunked\r\n",
                Err(Unreadable::Coding),
            ),
            (
                "transfer-encoding: chunked, chunked\r\n",
                Err(Unreadable::Coding),
            ),
            (
                "transfer-encoding: chunked, identity\r\n",
                Err(Unreadable::Coding),
            ),
            (
                "transfer-encoding: identity\r\ncontent-length: 2\r\n",
                Ok((Length(2), true)),
            ),
            ("", Ok((Close, false))),
            (
                "content-length: 5\r\nconnection: Keep-Alive, Close\r\n",
                Ok((Length(5), false)),
            ),
        ];
        for (lines, wanted) in cases {
            assert_eq!(ending_of(lines), wanted, "{lines:?}");
        }
    }

    #[test]
    fn a_reason_of_its_own_is_kept() {
        let head = of("HTTP/1.1 404 No such shop\r\n\r\n", Method::GET).expect("readable");
        assert_eq!(head.reason.as_deref(), Some(&b"No such shop"[..]));
        let head = of("HTTP/1.1 404\r\n\r\n", Method::GET).expect("readable");
        assert_eq!(head.reason, None);
    }

    #[test]
    fn a_length_is_said_once() {
        let twice = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n";
        let (_, headers) = with_headers(twice, Method::GET).expect("readable");
        assert_eq!(headers.get_all("content-length").iter().count(), 1);
        let coded = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n";
        let (_, headers) = with_headers(coded, Method::GET).expect("readable");
        assert!(!headers.contains_key("content-length"));
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_say() {
        let of = |status: &str, asked| {
            with_headers(
                &format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\n"),
                asked,
            )
            .expect("readable")
        };
        for status in [
            "100 Continue",
            "103 Early Hints",
            "204 No Content",
            "304 Not Modified",
        ] {
            assert_eq!(of(status, Method::GET).0.ending, Ending::None, "{status}");
        }
        let (head, headers) = of("200 OK", Method::HEAD);
        assert_eq!(head.ending, Ending::None);
        assert_eq!(headers["content-length"], "5");
        assert!(of("100 Continue", Method::GET).0.is_interim());
        assert!(!of("101 Switching Protocols", Method::GET).0.is_interim());
    }

    #[test]
    fn older_servers_close_unless_they_say_otherwise() {
        let kept = |line: &str| {
            of(
                &format!("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n{line}\r\n"),
                Method::GET,
            )
            .expect("readable")
            .kept
        };
        assert!(!kept(""));
        assert!(kept("connection: keep-alive\r\n"));
        let coded = of(
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            Method::GET,
        );
        assert_eq!(coded.map(|head| head.ending), Err(Unreadable::Coding));
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let of = |text: &str| of(text, Method::GET).map(|_| ());
        assert!(matches!(
            of("SSH-2.0-x\r\n\r\n"),
            Err(Unreadable::NotHttp(_))
        ));
        assert!(matches!(
            of("HTTP/1.1 099 x\r\n\r\n"),
            Err(Unreadable::Status | Unreadable::NotHttp(_))
        ));
        assert!(matches!(
            of("HTTP/1.1 200 OK\r\na b: c\r\n\r\n"),
            Err(Unreadable::NotHttp(_))
        ));
        let mut long = BytesMut::from("HTTP/1.1 200 OK\r\nx: ");
        long.resize(MAX_HEAD + 1, b'x');
        assert_eq!(
            take(&mut long, &mut 0, &Method::GET, &mut Lines::default()).map(|_| ()),
            Err(Unreadable::TooLarge)
        );
        long.extend_from_slice(b"\r\n\r\n");
        assert_eq!(
            take(&mut long, &mut 0, &Method::GET, &mut Lines::default()).map(|_| ()),
            Err(Unreadable::TooLarge)
        );
    }
}
