//! An answer as it is written to a client that speaks HTTP/1.
//!
//! What its headers say of the framing of its body and of the connection is said anew: only who writes it knows.

use super::answer_lines::Lines;
use super::chunks::announced;
use super::decimal::number;
use super::request_head::line;
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode};

/// What the client has asked, as far as its answer's form depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// It wants no body.
    pub bare: bool,
    /// It speaks HTTP/1.0.
    pub is_old: bool,
    /// It may ask again after this answer.
    pub keeps: bool,
    /// It takes trailers.
    pub trailers: bool,
}

impl Form {
    pub fn of(request: &http::Request<()>, keeps: bool) -> Form {
        let te = request.headers().get(header::TE);
        Form {
            bare: *request.method() == Method::HEAD,
            is_old: request.version() == http::Version::HTTP_10,
            keeps,
            trailers: te.is_some_and(|te| te.as_bytes() == b"trailers"),
        }
    }
}

/// How much of a body there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    None,
    Exactly(u64),
    Unknown,
}

/// How a body is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// It is not.
    None,
    Length(u64),
    /// With these trailers, if they come.
    Chunked(Vec<HeaderName>),
    /// Its end is that of the connection.
    Close,
}

impl Framing {
    pub fn is_chunked(&self) -> bool {
        matches!(self, Framing::Chunked(_))
    }

    /// Takes so many bytes from what is to come. `false`: they are too many.
    pub fn take(&mut self, count: usize) -> bool {
        let Framing::Length(left) = self else {
            return true;
        };
        match left.checked_sub(count as u64) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        }
    }
}

/// The head that was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    pub framing: Framing,
    /// The client may ask again on this connection.
    pub keeps: bool,
}

/// An answer's head.
pub struct Reply<'a> {
    pub status: StatusCode,
    /// The words beside the status, where they are not the usual ones.
    pub reason: Option<&'a [u8]>,
    pub headers: &'a HeaderMap,
    /// What an instance said, where that passes as it is; there are no other headers then.
    pub passed: Option<Passed<'a>>,
    pub size: Size,
}

/// Lines that pass as they are.
#[derive(Clone, Copy)]
pub struct Passed<'a> {
    pub lines: &'a Lines,
    /// Said where they do not say one.
    pub request_id: &'a [u8],
}

/// Writes the head; `date` is said if the answer has none.
pub fn write(out: &mut Vec<u8>, reply: &Reply<'_>, form: Form, date: &[u8]) -> Written {
    let status = reply.status;
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    let framing = framing(reply, form);
    let keeps = form.keeps && framing != Framing::Close && !says_close(reply.headers);
    out.reserve(USUAL);
    match (form.is_old, status, reply.reason) {
        (false, StatusCode::OK, None) => out.extend_from_slice(b"HTTP/1.1 200 OK\r\n"),
        (is_old, _, reason) => {
            out.extend_from_slice(if is_old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
            out.extend_from_slice(status.as_str().as_bytes());
            out.push(b' ');
            let usual = status.canonical_reason().unwrap_or("<none>");
            out.extend_from_slice(reason.unwrap_or(usual.as_bytes()));
            out.extend_from_slice(b"\r\n");
        }
    }
    let chunked = matches!(framing, Framing::Chunked(_));
    let mut length_said = false;
    let passed = reply.passed.as_ref();
    let mut date_said = passed.is_some_and(|passed| passed.lines.write(out, passed.request_id));
    for (name, value) in reply.headers {
        match *name {
            header::CONTENT_LENGTH => {
                // To HEAD it is said what it would be.
                if !form.bare || length_said || is_bodiless(status) {
                    continue;
                }
                length_said = true;
            }
            header::TRANSFER_ENCODING => continue,
            header::CONNECTION if !switches => continue,
            header::TRAILER if !chunked => continue,
            header::DATE => date_said = true,
            _ => {}
        }
        line(out, name, value.as_bytes());
    }
    match (&framing, reply.size) {
        (Framing::Length(length), _) => said_length(out, *length),
        (Framing::Chunked(_), _) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        (Framing::Close, _) => {}
        (Framing::None, _) if is_bodiless(status) || length_said => {}
        (Framing::None, Size::Exactly(length)) => said_length(out, length),
        (Framing::None, Size::None) if !form.bare => said_length(out, 0),
        (Framing::None, Size::None | Size::Unknown) => {}
    }
    match (switches, keeps, form.is_old) {
        (true, ..) | (false, true, false) | (false, false, true) => {}
        (false, true, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (false, false, false) => out.extend_from_slice(b"connection: close\r\n"),
    }
    if !date_said {
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Written { framing, keeps }
}

/// More than most heads.
const USUAL: usize = 512;

fn framing(reply: &Reply<'_>, form: Form) -> Framing {
    if form.bare || is_bodiless(reply.status) {
        return Framing::None;
    }
    match reply.size {
        Size::None => Framing::None,
        Size::Exactly(length) => Framing::Length(length),
        Size::Unknown if form.is_old => Framing::Close,
        Size::Unknown => Framing::Chunked(match form.trailers {
            true => announced(reply.headers),
            false => Vec::new(),
        }),
    }
}

/// Whether answers of this status have no body, whatever they say.
fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn says_close(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

fn said_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    number(out, length);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const PLAIN: Form = Form {
        bare: false,
        is_old: false,
        keeps: true,
        trailers: false,
    };

    fn written(
        status: u16,
        lines: &[(&'static str, &'static str)],
        size: Size,
        form: Form,
    ) -> (String, Written) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let reply = Reply {
            status: StatusCode::from_u16(status).expect("a status"),
            reason: None,
            headers: &headers,
            passed: None,
            size,
        };
        let mut out = Vec::new();
        let written = write(&mut out, &reply, form, b"now");
        (String::from_utf8(out).expect("text"), written)
    }

    #[test]
    fn the_framing_is_said_once_and_is_what_is_written() {
        let said = [("content-length", "9"), ("transfer-encoding", "chunked")];
        let of = |size, form| written(200, &said, size, form);
        let begin = "HTTP/1.1 200 OK\r\n";
        let end = "date: now\r\n\r\n";
        let (text, told) = of(Size::Exactly(5), PLAIN);
        assert_eq!(text, format!("{begin}content-length: 5\r\n{end}"));
        assert_eq!((told.framing, told.keeps), (Framing::Length(5), true));
        let (text, told) = of(Size::None, PLAIN);
        assert_eq!(text, format!("{begin}content-length: 0\r\n{end}"));
        assert_eq!(told.framing, Framing::None);
        let (text, told) = of(Size::Unknown, PLAIN);
        assert_eq!(text, format!("{begin}transfer-encoding: chunked\r\n{end}"));
        assert_eq!(told.framing, Framing::Chunked(Vec::new()));
    }

    #[test]
    fn to_a_question_for_the_head_the_length_is_said_and_nothing_follows() {
        let form = Form {
            bare: true,
            ..PLAIN
        };
        let (text, told) = written(200, &[("content-length", "9")], Size::None, form);
        assert!(text.contains("content-length: 9\r\n"), "{text}");
        assert_eq!(told.framing, Framing::None);
        let (text, _) = written(200, &[], Size::Exactly(4), form);
        assert!(text.contains("content-length: 4\r\n"), "{text}");
        let (text, _) = written(200, &[], Size::None, form);
        assert!(!text.contains("content-length"), "{text}");
    }

    #[test]
    fn some_answers_have_no_body_and_no_length() {
        for status in [204, 304, 101] {
            let (text, told) = written(status, &[("content-length", "9")], Size::None, PLAIN);
            assert!(!text.contains("content-length"), "{text}");
            assert_eq!(told.framing, Framing::None, "{status}");
        }
    }

    #[test]
    fn an_older_client_is_kept_only_where_the_end_is_known() {
        let old = |keeps| Form {
            is_old: true,
            keeps,
            ..PLAIN
        };
        let (text, told) = written(200, &[], Size::Unknown, old(true));
        assert_eq!(text, "HTTP/1.0 200 OK\r\ndate: now\r\n\r\n");
        assert_eq!((told.framing, told.keeps), (Framing::Close, false));
        let (text, told) = written(200, &[], Size::Exactly(1), old(true));
        assert!(
            told.keeps && text.contains("connection: keep-alive"),
            "{text}"
        );
        let (text, told) = written(200, &[], Size::Exactly(1), old(false));
        assert!(!told.keeps && !text.contains("connection"), "{text}");
    }

    #[test]
    fn the_end_is_announced() {
        let last = Form {
            keeps: false,
            ..PLAIN
        };
        let (text, told) = written(404, &[("date", "then")], Size::None, last);
        assert_eq!(
            text,
            "HTTP/1.1 404 Not Found\r\ndate: then\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        assert!(!told.keeps);
        let (text, told) = written(400, &[("connection", "close")], Size::None, PLAIN);
        assert!(!told.keeps && text.matches("close").count() == 1, "{text}");
    }

    #[test]
    fn a_switch_says_what_it_must() {
        let lines = [("connection", "upgrade"), ("upgrade", "websocket")];
        let (text, _) = written(101, &lines, Size::None, PLAIN);
        let wanted = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\ndate: now\r\n\r\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn trailers_go_to_who_takes_them() {
        let lines = [("trailer", "x-sum, content-length")];
        let form = |trailers| Form { trailers, ..PLAIN };
        let (text, told) = written(200, &lines, Size::Unknown, form(true));
        assert!(text.contains("trailer: x-sum"), "{text}");
        assert_eq!(
            told.framing,
            Framing::Chunked(vec![HeaderName::from_static("x-sum")])
        );
        let (_, told) = written(200, &lines, Size::Unknown, form(false));
        assert_eq!(told.framing, Framing::Chunked(Vec::new()));
        let (text, _) = written(200, &lines, Size::Exactly(1), form(true));
        assert!(!text.contains("trailer"), "{text}");
    }
}
