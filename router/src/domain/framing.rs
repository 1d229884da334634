//! The strict front: is there exactly one way to read these bytes as requests?
//!
//! **Problem.** A proxy and the app behind it must agree where a request ends. If they do not, a
//! client can hide a second request in the first ("smuggling") and have it answered to somebody
//! else. hyper as a server lets several ambiguous heads through: repeated Content-Length,
//! doubled `chunked`, no or two Hosts, bare line feeds. Once parsed into a header map the evidence is
//! partly gone, so the check must see the raw bytes.
//!
//! **Approach.** [`Inspector`] stands between socket and hyper and is fed every byte. It follows
//! the client's framing (head → body by length or chunks → next head) and lets bytes of a head
//! pass only when the head is complete and [`check_head`] found it unambiguous. The bytes
//! themselves are never changed: either hyper reads exactly what was judged, or it never sees it.
//!
//! ```text
//!   Head ──ok, no body──▶ Head           Head ──ok, upgrade──▶ Undecided ──▶ Tunnel | Head
//!    │                                     (after its body, if it has one)
//!    ├──ok, length──▶ Sized ──▶ Head
//!    ├──ok, chunked─▶ Chunk* ──▶ Head      any ──fault──▶ Refused (for good)
//! ```
//!
//! **What a newcomer gets wrong.** Looking at a head when its blank line arrives is not enough: a bare
//! line feed must be refused when it is seen, or a peer that takes it for a line end reads a
//! different head. And after an upgrade request the next bytes belong to nobody until the answer
//! is known: they are held back.

use super::chunks::{ChunkPart, step_chunk};
use super::refusal::Fault;
use http::header::{HeaderMap, HeaderName};

/// Most headers of one request: hyper's own bound.
pub const MAX_HEADERS: usize = 100;

/// How the body after a head is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    None,
    Length(u64),
    Chunked,
}

/// What the inspector needs to know of an accepted head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub body: BodyFraming,
    /// It asks to turn the connection into something else (not h2c, which the router ignores).
    pub upgrade: bool,
}

/// Judges one complete head (request line, headers, blank line).
pub fn check_head(bytes: &[u8]) -> Result<Head, Fault> {
    check_line_ends(bytes)?;
    let mut headers =
        [const { std::mem::MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(end)) if end == bytes.len() => {}
        Ok(_) => return Err(Fault::RequestLine),
        Err(httparse::Error::HeaderName) => return Err(name_or_fold(bytes)),
        Err(httparse::Error::HeaderValue | httparse::Error::NewLine) => {
            return Err(Fault::HeaderValue);
        }
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::TooManyHeaders),
        Err(httparse::Error::Version) => return Err(Fault::Version),
        Err(_) => return Err(Fault::RequestLine),
    }
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(Fault::RequestLine);
    };
    if method == "CONNECT" {
        return Err(Fault::Connect);
    }

    let mut host: Option<&str> = None;
    let mut length: Option<u64> = None;
    let mut chunked = false;
    let mut upgrade_to: Option<&[u8]> = None;
    let mut connection_upgrade = false;
    for header in request.headers.iter() {
        // Length first: most headers are none of these, and comparing case-insensitively is dear.
        let name = header.name;
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                if host.is_some() {
                    return Err(Fault::RepeatedHost);
                }
                host = Some(check_host(header.value)?);
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                if length.is_some() {
                    return Err(Fault::RepeatedContentLength);
                }
                length = Some(parse_length(header.value)?);
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::TransferCoding);
                }
                chunked = true;
            }
            7 if name.eq_ignore_ascii_case("upgrade") => upgrade_to = Some(header.value),
            10 if name.eq_ignore_ascii_case("connection") => {
                connection_upgrade |= has_token(header.value, b"upgrade");
            }
            14 | 17
                if name.eq_ignore_ascii_case("content_length")
                    || name.eq_ignore_ascii_case("transfer_encoding") =>
            {
                return Err(Fault::LookalikeFraming);
            }
            _ => {}
        }
    }
    let host = host.ok_or(Fault::MissingHost)?;
    check_target(method, target, host)?;
    if chunked && length.is_some() {
        return Err(Fault::LengthAndCoding);
    }
    if chunked && version == 0 {
        return Err(Fault::CodingInOldVersion);
    }
    let body = match (chunked, length) {
        (true, _) => BodyFraming::Chunked,
        (false, Some(0) | None) => BodyFraming::None,
        (false, Some(length)) => BodyFraming::Length(length),
    };
    let upgrade =
        version == 1 && connection_upgrade && upgrade_to.is_some_and(|to| !has_token(to, b"h2c"));
    Ok(Head { body, upgrade })
}

/// Every line ends with CR LF, and neither stands alone.
fn check_line_ends(bytes: &[u8]) -> Result<(), Fault> {
    for at in memchr::memchr2_iter(b'\r', b'\n', bytes) {
        match bytes[at] {
            b'\n' if at == 0 || bytes[at - 1] != b'\r' => return Err(Fault::BareLineFeed),
            b'\r' if bytes.get(at + 1) != Some(&b'\n') => return Err(Fault::BareCarriageReturn),
            _ => {}
        }
    }
    Ok(())
}

/// A line that starts with a blank continues the one before in the old grammar.
fn name_or_fold(bytes: &[u8]) -> Fault {
    let folded = bytes
        .windows(2)
        .any(|pair| pair[0] == b'\n' && (pair[1] == b' ' || pair[1] == b'\t'));
    if folded {
        Fault::ObsoleteFold
    } else {
        Fault::HeaderName
    }
}

pub(super) fn parse_length(value: &[u8]) -> Result<u64, Fault> {
    // No sign, no list, nothing that another parser could read differently.
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Fault::InvalidContentLength);
    }
    Ok(value
        .iter()
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

pub(super) fn check_host(value: &[u8]) -> Result<&str, Fault> {
    if value.is_empty() {
        return Err(Fault::MissingHost);
    }
    let fine = |b: &u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:[]%".contains(b);
    if value.len() > 512 || !value.iter().all(fine) {
        return Err(Fault::InvalidHost);
    }
    let text = std::str::from_utf8(value).map_err(|_| Fault::InvalidHost)?;
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or(Fault::InvalidHost)?;
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(Fault::InvalidHost);
            }
            match rest.strip_prefix(':') {
                Some(port) => (address, port),
                None if rest.is_empty() => (address, ""),
                None => return Err(Fault::InvalidHost),
            }
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    if name.is_empty() {
        return Err(Fault::MissingHost);
    }
    let port_is_fine = port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    if !port_is_fine || (!text.starts_with('[') && name.contains(['[', ']'])) {
        return Err(Fault::InvalidHost);
    }
    Ok(text)
}

fn check_target(method: &str, target: &str, host: &str) -> Result<(), Fault> {
    if target.bytes().any(|b| b <= 0x20 || b == 0x7f || b == b'#') {
        return Err(Fault::Target);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(());
    }
    let (scheme, rest) = target.split_once("://").ok_or(Fault::Target)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Fault::Target);
    }
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    if authority.is_empty() {
        return Err(Fault::Target);
    }
    if same_host(authority, host, scheme.eq_ignore_ascii_case("https")) {
        Ok(())
    } else {
        Err(Fault::HostDisagrees)
    }
}

/// Whether an authority and a Host name the same, given which port is the scheme's own.
pub(super) fn same_host(authority: &str, host: &str, secure: bool) -> bool {
    let default = if secure { ":443" } else { ":80" };
    let bare = |name: &str| {
        name.strip_suffix(default)
            .unwrap_or(name)
            .to_ascii_lowercase()
    };
    bare(authority) == bare(host)
}

/// What stands in a comma list.
fn items(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

/// Whether a comma list holds the token, without regard to case.
pub fn has_token(list: &[u8], token: &[u8]) -> bool {
    items(list).any(|item| item.eq_ignore_ascii_case(token))
}

/// What stands in the comma lists of a header, all together.
pub(super) fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lists = headers.get_all(name).into_iter();
    lists.flat_map(|list| items(list.as_bytes()))
}

/// The same for [`has_token`].
pub(super) fn lists_token(headers: &HeaderMap, name: HeaderName, token: &[u8]) -> bool {
    listed(headers, name).any(|item| item.eq_ignore_ascii_case(token))
}

/// What to do with the bytes just fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// That many of the fed bytes may pass now; the rest must be kept and fed again, together with
    /// what comes next (see [`Inspector::feed`]).
    pub pass: usize,
    pub why: Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Everything passes.
    None,
    /// A head is incomplete.
    HeadIncomplete,
    /// An upgrade request went through: wait for its answer.
    Undecided,
    /// A head may not pass. Nothing of this client passes any more.
    Refused(Fault),
    /// The body broke its framing. Nothing passes any more.
    BrokenBody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Sized { left: u64, upgrade: bool },
    Chunked { part: ChunkPart, upgrade: bool },
    Undecided,
    Tunnel,
    Refused(Fault),
    Broken,
}

/// Follows one client connection. See the module's head.
#[derive(Debug)]
pub struct Inspector {
    state: State,
    /// Largest head.
    limit: usize,
    /// How far the held head was searched for its end.
    searched: usize,
    /// Heads that passed.
    heads: u64,
    /// Bytes of the head under way have been seen.
    in_head: bool,
}

impl Inspector {
    pub fn new(max_head: usize) -> Self {
        Inspector {
            state: State::Head,
            limit: max_head,
            searched: 0,
            heads: 0,
            in_head: false,
        }
    }

    /// Heads that passed so far.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// A head has begun and is not complete.
    pub fn in_head(&self) -> bool {
        self.in_head
    }

    /// Between two requests: no byte of the next has come.
    pub fn between_requests(&self) -> bool {
        matches!(self.state, State::Head) && !self.in_head
    }

    pub fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Tunnel)
    }

    pub fn is_undecided(&self) -> bool {
        matches!(self.state, State::Undecided)
    }

    /// The upgrade was answered: 101 makes a tunnel, anything else goes on with requests.
    pub fn decide(&mut self, tunnel: bool) {
        if let State::Undecided = self.state {
            self.state = if tunnel { State::Tunnel } else { State::Head };
        }
    }

    /// Looks at `bytes`: what was held back last time followed by what is new.
    pub fn feed(&mut self, bytes: &[u8]) -> Verdict {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match self.state {
                State::Tunnel => {
                    return Verdict {
                        pass: bytes.len(),
                        why: Stop::None,
                    };
                }
                State::Undecided => {
                    return Verdict {
                        pass: at,
                        why: Stop::Undecided,
                    };
                }
                State::Refused(fault) => {
                    return Verdict {
                        pass: at,
                        why: Stop::Refused(fault),
                    };
                }
                State::Broken => {
                    return Verdict {
                        pass: at,
                        why: Stop::BrokenBody,
                    };
                }
                _ if rest.is_empty() => {
                    return Verdict {
                        pass: at,
                        why: Stop::None,
                    };
                }
                State::Head => match self.feed_head(rest) {
                    HeadStep::Passed(length) => at += length,
                    HeadStep::Incomplete => {
                        return Verdict {
                            pass: at,
                            why: Stop::HeadIncomplete,
                        };
                    }
                    HeadStep::Refused(fault) => self.state = State::Refused(fault),
                },
                State::Sized { left, upgrade } => {
                    let taken = left.min(rest.len() as u64);
                    at += taken as usize;
                    self.state = if taken == left {
                        after(upgrade)
                    } else {
                        State::Sized {
                            left: left - taken,
                            upgrade,
                        }
                    };
                }
                State::Chunked { part, upgrade } => match step_chunk(part, rest) {
                    Some((taken, Some(part))) => {
                        at += taken;
                        self.state = State::Chunked { part, upgrade };
                    }
                    Some((taken, None)) => {
                        at += taken;
                        self.state = after(upgrade);
                    }
                    None => self.state = State::Broken,
                },
            }
        }
    }

    fn feed_head(&mut self, rest: &[u8]) -> HeadStep {
        // Empty lines before a request line are tolerated by everybody; they are part of the head.
        let blank = leading_blank_lines(rest);
        self.in_head = rest.len() > blank;
        let mut from = self.searched.max(blank);
        while let Some(found) = memchr::memchr(b'\n', rest.get(from..).unwrap_or_default()) {
            let at = from + found;
            if at == 0 || rest[at - 1] != b'\r' {
                return HeadStep::Refused(Fault::BareLineFeed);
            }
            if at + 1 > self.limit {
                return HeadStep::Refused(Fault::TooLarge);
            }
            if at >= blank + 3 && &rest[at - 3..=at] == b"\r\n\r\n" {
                self.searched = 0;
                return match check_head(&rest[blank..=at]) {
                    Ok(head) => {
                        self.heads += 1;
                        self.in_head = false;
                        self.state = match head.body {
                            BodyFraming::None => after(head.upgrade),
                            BodyFraming::Length(left) => State::Sized {
                                left,
                                upgrade: head.upgrade,
                            },
                            BodyFraming::Chunked => State::Chunked {
                                part: ChunkPart::START,
                                upgrade: head.upgrade,
                            },
                        };
                        HeadStep::Passed(at + 1)
                    }
                    Err(fault) => HeadStep::Refused(fault),
                };
            }
            from = at + 1;
        }
        if rest.len() > self.limit {
            return HeadStep::Refused(Fault::TooLarge);
        }
        self.searched = rest.len();
        HeadStep::Incomplete
    }
}

enum HeadStep {
    Passed(usize),
    Incomplete,
    Refused(Fault),
}

/// Bytes of `\r\n` pairs at the start (at most four are looked at: more is no request).
fn leading_blank_lines(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < 8 && bytes[at..].starts_with(b"\r\n") {
        at += 2;
    }
    at
}

fn after(upgrade: bool) -> State {
    if upgrade {
        State::Undecided
    } else {
        State::Head
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
