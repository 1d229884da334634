//! The lines of an instance's answer, where they are in what came.
//!
//! **Problem.** Most answers pass with little said anew. To put their headers into a map, and to write them from it again,
//! costs more than all else that is done with an answer.
//!
//! **Approach.** Where each line is, and whether it means something to the router, is noted when the head is read. An
//! answer whose lines need no thought is written from there ([`Lines::write`]); for all others, and for whoever wants to
//! look at headers or to change them, there is the map ([`Lines::to_map`]).
//!
//! **What must stay true.** Both ways say the same: what is left out here is what
//! [`super::forwarding::prepare_response`] and [`super::reply_head`] leave out of a map.

use super::answer_head::Unreadable;
use super::framing::items;
use super::header_room;
use bytes::{BufMut, Bytes};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What the router adds to an answer.
const SPARE: usize = 4;
/// The longest name that a map takes.
const LONGEST_NAME: usize = u16::MAX as usize;

#[derive(Debug, Default)]
pub struct Lines {
    /// All of the head.
    text: Bytes,
    places: Vec<Place>,
    /// What is said of the length is not what counts.
    lengths: Lengths,
    /// Somebody has to look at them.
    needs_thought: bool,
}

/// Where a line is.
#[derive(Debug, Clone, Copy)]
struct Place {
    name: (u32, u32),
    value: (u32, u32),
    what: What,
}

/// What the lengths that were said are in a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lengths {
    #[default]
    AsSaid,
    /// Several that agree.
    Once(u64),
    /// There is a coding, which counts.
    None,
}

/// What a line means to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Passes,
    Date,
    RequestId,
    Length,
    Coding,
    Connection,
    /// It was said to the router.
    OneHop,
    /// It cannot be passed on, or left out, without a look at more than itself.
    NeedsThought,
}

impl What {
    fn of(name: &str) -> What {
        let is = |what: &str| name.eq_ignore_ascii_case(what);
        match name.len() {
            2 if is("te") => What::OneHop,
            4 if is("date") => What::Date,
            // (A header that Connection may name.)
            5 if is("close") => What::NeedsThought,
            7 if is("upgrade") => What::OneHop,
            7 if is("trailer") => What::NeedsThought,
            10 if is("connection") => What::Connection,
            10 if is("keep-alive") => What::OneHop,
            10 if is("set-cookie") => What::NeedsThought,
            14 if is("content-length") => What::Length,
            16 if is("proxy-connection") => What::OneHop,
            17 if is("transfer-encoding") => What::Coding,
            17 if is("x-vcap-request-id") => What::RequestId,
            18 if is("proxy-authenticate") => What::OneHop,
            19 if is("proxy-authorization") => What::OneHop,
            _ => What::Passes,
        }
    }
}

impl Lines {
    /// Takes the lines of a head instead of what it held.
    pub fn take(&mut self, text: Bytes, lines: &[httparse::Header<'_>]) -> Result<(), Unreadable> {
        self.forget();
        let begin = text.as_ptr() as usize;
        let place = |part: &[u8]| {
            // (Nothing may be anywhere.)
            if part.is_empty() {
                return (0, 0);
            }
            // (No head is that long.)
            let at = (part.as_ptr() as usize - begin) as u32;
            (at, at + part.len() as u32)
        };
        for line in lines {
            if line.name.len() > LONGEST_NAME {
                return Err(Unreadable::Header);
            }
            let what = What::of(line.name);
            self.needs_thought |= match what {
                What::NeedsThought => true,
                What::Connection => !items(line.value).all(is_about_itself),
                What::Passes
                | What::Date
                | What::RequestId
                | What::Length
                | What::Coding
                | What::OneHop => false,
            };
            self.places.push(Place {
                name: place(line.name.as_bytes()),
                value: place(line.value),
                what,
            });
        }
        self.text = text;
        Ok(())
    }

    /// Lets go of what came.
    pub fn forget(&mut self) {
        self.text = Bytes::new();
        self.places.clear();
        self.lengths = Lengths::AsSaid;
        self.needs_thought = false;
    }

    pub fn lengths(&mut self, lengths: Lengths) {
        self.lengths = lengths;
    }

    pub fn need_thought(&mut self) {
        self.needs_thought = true;
    }

    /// Whether they can be written as they are.
    pub fn may_pass(&self) -> bool {
        !self.needs_thought
    }

    /// What stands in the comma lists of such lines, all together.
    pub fn listed(&self, what: What) -> impl Iterator<Item = &[u8]> {
        let lines = self.places.iter().filter(move |place| place.what == what);
        lines.flat_map(|place| items(self.at(place.value)))
    }

    fn at(&self, (begin, end): (u32, u32)) -> &[u8] {
        &self.text[begin as usize..end as usize]
    }

    /// Writes those that pass, and the number of the request where they have none. What is said of the body and the
    /// connection is left out. Says whether there was a date.
    pub fn write(&self, out: &mut Vec<u8>, request_id: &[u8]) -> bool {
        let (mut has_date, mut has_id) = (false, false);
        for place in &self.places {
            match place.what {
                What::Passes => {}
                What::Date => has_date = true,
                What::RequestId => has_id = true,
                What::Length
                | What::Coding
                | What::Connection
                | What::OneHop
                | What::NeedsThought => continue,
            }
            let begin = out.len();
            out.put_slice(self.at(place.name));
            out[begin..].make_ascii_lowercase();
            out.put_slice(b": ");
            out.put_slice(self.at(place.value));
            out.put_slice(b"\r\n");
        }
        if !has_id {
            out.put_slice(b"x-vcap-request-id: ");
            out.put_slice(request_id);
            out.put_slice(b"\r\n");
        }
        has_date
    }

    /// All of them, but those that would pass nowhere.
    pub fn to_map(&self) -> Result<HeaderMap, Unreadable> {
        let mut headers = header_room::borrow(self.places.len() + SPARE);
        for place in &self.places {
            let is_passed_by_nobody =
                matches!(place.what, What::Coding | What::Connection | What::OneHop);
            if is_passed_by_nobody && !self.needs_thought {
                continue;
            }
            let name =
                HeaderName::from_bytes(self.at(place.name)).map_err(|_| Unreadable::Header)?;
            let (begin, end) = place.value;
            let value = self.text.slice(begin as usize..end as usize);
            let value = HeaderValue::from_maybe_shared(value).map_err(|_| Unreadable::Header)?;
            headers.append(name, value);
        }
        match self.lengths {
            Lengths::AsSaid => {}
            Lengths::Once(length) => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            Lengths::None => {
                headers.remove(header::CONTENT_LENGTH);
            }
        }
        Ok(headers)
    }
}

/// An item of Connection that names no other header.
fn is_about_itself(item: &[u8]) -> bool {
    item.is_empty()
        || item.eq_ignore_ascii_case(b"close")
        || item.eq_ignore_ascii_case(b"keep-alive")
}

#[cfg(test)]
mod tests {
    use super::super::answer_head::take;
    use super::super::forwarding::prepare_response;
    use super::super::reply_head::{self, Form, Passed, Reply, Size};
    use super::*;
    use bytes::BytesMut;
    use http::{Method, StatusCode};
    use std::collections::BTreeSet;

    fn lines_of(text: &str) -> Lines {
        let mut lines = Lines::default();
        let mut come = BytesMut::from(text);
        let head = take(&mut come, &mut 0, &Method::GET, &mut lines).expect("readable");
        assert!(head.is_some());
        lines
    }

    fn written(headers: &HeaderMap, passed: Option<Passed<'_>>, size: Size) -> BTreeSet<String> {
        let reply = Reply {
            status: StatusCode::OK,
            reason: None,
            headers,
            passed,
            size,
        };
        let form = Form {
            bare: false,
            is_old: false,
            keeps: true,
            trailers: false,
        };
        let mut out = Vec::new();
        reply_head::write(&mut out, &reply, form, b"now");
        let text = String::from_utf8(out).expect("text");
        text.lines().map(str::to_string).collect()
    }

    #[test]
    fn what_passes_says_what_the_map_says() {
        let id = b"id-1";
        for lines in [
            "Server: x\r\nDate: then\r\nContent-Type: a/b\r\nContent-Length: 4\r\nConnection: keep-alive\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 4\r\nKeep-Alive: timeout=5\r\n",
            "X-A: 1\r\nx-b: \r\nX-a: 2\r\nconnection: Close, , KEEP-ALIVE\r\n",
            "content-length: 4\r\ncontent-length: 4\r\nX-Vcap-Request-Id: own\r\nte: x\r\nupgrade: h2c\r\n",
            "proxy-connection: a\r\nproxy-authenticate: b\r\nproxy-authorization: c\r\nx_y: \u{e9}\r\n",
        ] {
            let lines = lines_of(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
            assert!(lines.may_pass());
            for size in [Size::None, Size::Exactly(4), Size::Unknown] {
                let mut headers = lines.to_map().expect("headers");
                prepare_response(&mut headers, &HeaderValue::from_static("id-1"), false);
                let passed = Passed {
                    lines: &lines,
                    request_id: id,
                };
                assert_eq!(
                    written(&HeaderMap::new(), Some(passed), size),
                    written(&headers, None, size)
                );
            }
        }
    }

    #[test]
    fn what_has_to_be_looked_at_does_not_pass() {
        for line in [
            "connection: x-secret",
            "connection: close, upgrade",
            "set-cookie: a=b",
            "trailer: x",
            "Close: x",
        ] {
            let lines = lines_of(&format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n"));
            assert!(!lines.may_pass(), "{line}");
        }
    }

    #[test]
    fn every_byte_that_is_read_is_one_of_a_map() {
        let mut read = (0, 0);
        for byte in 0..=u8::MAX {
            for (begin, end, count) in [
                (
                    &b"HTTP/1.1 200 OK\r\nn"[..],
                    &b"n: v\r\n\r\n"[..],
                    &mut read.0,
                ),
                (
                    &b"HTTP/1.1 200 OK\r\nn: v"[..],
                    &b"v\r\n\r\n"[..],
                    &mut read.1,
                ),
            ] {
                let mut come = BytesMut::from(begin);
                come.put_u8(byte);
                come.put_slice(end);
                let mut lines = Lines::default();
                if take(&mut come, &mut 0, &Method::GET, &mut lines)
                    .is_ok_and(|head| head.is_some())
                {
                    *count += 1;
                    assert!(lines.to_map().is_ok(), "{byte}");
                }
            }
        }
        assert!(read.0 > 70 && read.1 > 200, "{read:?}");
    }
}
