//! The strict front: is there exactly one way to read these bytes as requests?
//!
//! **Problem.** A proxy and the app behind it must agree where a request ends. If they do not, a
//! client can hide a second request in the first ("smuggling") and have it answered to somebody
//! else. Readers of HTTP let several ambiguous heads through: repeated Content-Length,
//! doubled `chunked`, no or two Hosts, bare line feeds. Once parsed into a header map the evidence is
//! partly gone, so the check must see the raw bytes.
//!
//! **Approach.** [`Inspector`] takes what a client sends apart (head → body by length or chunks → next
//! head). A head is read once, and becomes a request only if nothing in it is ambiguous; what is
//! passed on is written anew from that request, so that nobody behind reads the raw bytes again.
//!
//! ```text
//!   Head ──ok, no body──▶ Head        any head ──fault──▶ Refused (for good)
//!    ├──ok, length──▶ Sized ──▶ Head
//!    └──ok, chunked─▶ Chunked ──▶ Head      └──fault──▶ Broken (for good)
//! ```
//!
//! **What a newcomer gets wrong.** Looking at a head when its blank line arrives is not enough: a bare
//! line feed must be refused when it is seen, or a peer that takes it for a line end reads a
//! different head. And after an upgrade request the next bytes belong to nobody until the answer
//! is known: who serves the client does not ask for the next head before.

use super::chunks::{Chunks, Piece};
use super::header_room;
use super::refusal::Fault;
use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri, Version};

/// Most headers of one request.
pub const MAX_HEADERS: usize = 100;
/// What the router adds to a request.
const SPARE: usize = 8;
/// The longest target that can be handled.
const MAX_TARGET: usize = u16::MAX as usize - 1;

/// How the body after a head is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    None,
    Length(u64),
    Chunked,
}

/// A request whose head was accepted.
#[derive(Debug)]
pub struct Asked {
    pub request: Request<()>,
    pub body: BodyFraming,
    /// It asks to turn the connection into something else (not h2c, which the router ignores).
    pub upgrade: bool,
    /// The client may ask again on this connection.
    pub keeps: bool,
    /// The client waits with the body until it is told to go on.
    pub expects: bool,
}

/// Reads one complete head (request line, headers, blank line), if there is one way to.
pub fn read_head(bytes: &Bytes) -> Result<Asked, Fault> {
    check_line_ends(bytes)?;
    let mut lines =
        [const { std::mem::MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, &mut lines) {
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
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Fault::RequestLine);
    };
    if method == "CONNECT" {
        return Err(Fault::Connect);
    }

    let mut headers = header_room::borrow(parsed.headers.len() + SPARE);
    let mut host: Option<&str> = None;
    let mut length: Option<u64> = None;
    let (mut chunked, mut expects) = (false, false);
    let mut upgrade_to: Option<&[u8]> = None;
    let (mut says_upgrade, mut says_close, mut says_keep) = (false, false, false);
    for line in parsed.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Fault::HeaderName)?;
        match name {
            header::HOST => {
                if host.is_some() {
                    return Err(Fault::RepeatedHost);
                }
                host = Some(check_host(line.value)?);
            }
            header::CONTENT_LENGTH => {
                if length.is_some() {
                    return Err(Fault::RepeatedContentLength);
                }
                length = Some(parse_length(line.value)?);
            }
            header::TRANSFER_ENCODING => {
                if chunked || !line.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::TransferCoding);
                }
                chunked = true;
            }
            header::UPGRADE => upgrade_to = Some(line.value),
            header::CONNECTION => {
                says_upgrade |= has_token(line.value, b"upgrade");
                says_close |= has_token(line.value, b"close");
                says_keep |= has_token(line.value, b"keep-alive");
            }
            header::EXPECT => expects = line.value.eq_ignore_ascii_case(b"100-continue"),
            _ => {
                if matches!(name.as_str(), "content_length" | "transfer_encoding") {
                    return Err(Fault::LookalikeFraming);
                }
            }
        }
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value))
            .map_err(|_| Fault::HeaderValue)?;
        headers.append(name, value);
    }
    let host = host.ok_or(Fault::MissingHost)?;
    check_target(method, target, host)?;
    if chunked && length.is_some() {
        return Err(Fault::LengthAndCoding);
    }
    let is_old = version == 0;
    if chunked && is_old {
        return Err(Fault::CodingInOldVersion);
    }
    if target.len() > MAX_TARGET {
        return Err(Fault::TargetTooLong);
    }
    let mut request = Request::new(());
    *request.method_mut() =
        Method::from_bytes(method.as_bytes()).map_err(|_| Fault::RequestLine)?;
    *request.uri_mut() =
        Uri::from_maybe_shared(bytes.slice_ref(target.as_bytes())).map_err(|_| Fault::Target)?;
    *request.headers_mut() = headers;
    if is_old {
        *request.version_mut() = Version::HTTP_10;
    }
    Ok(Asked {
        request,
        body: match (chunked, length) {
            (true, _) => BodyFraming::Chunked,
            (false, Some(0) | None) => BodyFraming::None,
            (false, Some(length)) => BodyFraming::Length(length),
        },
        upgrade: !is_old && says_upgrade && upgrade_to.is_some_and(|to| !has_token(to, b"h2c")),
        keeps: !says_close && (!is_old || says_keep),
        expects: expects && !is_old,
    })
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

/// Which bytes stand in hosts.
const OF_HOSTS: [bool; 256] = {
    let others = b"-._~!$&'()*+;=:[]%";
    let mut fine = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        fine[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut place = 0;
    while place < others.len() {
        fine[others[place] as usize] = true;
        place += 1;
    }
    fine
};

pub(super) fn check_host(value: &[u8]) -> Result<&str, Fault> {
    if value.is_empty() {
        return Err(Fault::MissingHost);
    }
    if value.len() > 512 || !value.iter().all(|byte| OF_HOSTS[usize::from(*byte)]) {
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
pub(super) fn items(list: &[u8]) -> impl Iterator<Item = &[u8]> {
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

/// What comes next of what a client sent.
#[derive(Debug)]
pub enum Step {
    /// Nothing, before more has come.
    Nothing,
    Head(Asked),
    /// A piece of the body.
    Data(Bytes),
    /// The chunked body is over; these came after the last of it.
    End(Option<HeaderMap>),
    /// A head may not pass. Nothing of this client passes any more.
    Refused(Fault),
    /// The body broke its framing. Nothing passes any more.
    Broken,
}

#[derive(Debug)]
enum State {
    Head,
    Sized { left: u64 },
    Chunked(Box<Chunks>),
    Refused(Fault),
    Broken,
}

/// Follows one client connection. See the module's head.
#[derive(Debug)]
pub struct Inspector {
    state: State,
    /// Largest head.
    limit: usize,
    /// How far the incomplete head was searched for its end.
    searched: usize,
    /// Bytes of the head under way have been seen.
    in_head: bool,
}

impl Inspector {
    pub fn new(max_head: usize) -> Self {
        Inspector {
            state: State::Head,
            limit: max_head,
            searched: 0,
            in_head: false,
        }
    }

    /// A head has begun and is not complete.
    pub fn in_head(&self) -> bool {
        self.in_head
    }

    /// Between two requests: no byte of the next has come.
    pub fn between_requests(&self) -> bool {
        matches!(self.state, State::Head) && !self.in_head
    }

    /// Whether the body under way is broken somewhere in what has come. Asked before any of it is passed on: whoever gets
    /// the beginning of a broken body may answer it, and that is no answer to the client's request.
    pub fn breaks(&self, come: &[u8]) -> bool {
        match &self.state {
            State::Chunked(chunks) => chunks.breaks(come),
            State::Broken => true,
            State::Head | State::Sized { .. } | State::Refused(_) => false,
        }
    }

    /// How much may come next at most that belongs together.
    pub fn most(&self) -> usize {
        match self.state {
            State::Sized { left } => usize::try_from(left).unwrap_or(usize::MAX),
            State::Chunked(_) => usize::MAX,
            State::Head | State::Refused(_) | State::Broken => 0,
        }
    }

    /// How much of a sized body is to come.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Sized { left } => Some(left),
            State::Head | State::Chunked(_) | State::Refused(_) | State::Broken => None,
        }
    }

    /// Takes the next of what has come. What an incomplete head has so far stays.
    pub fn next(&mut self, come: &mut BytesMut) -> Step {
        match &mut self.state {
            State::Refused(fault) => Step::Refused(*fault),
            State::Broken => Step::Broken,
            _ if come.is_empty() => Step::Nothing,
            State::Head => match self.head(come) {
                Ok(Some(asked)) => Step::Head(asked),
                Ok(None) => Step::Nothing,
                Err(fault) => {
                    self.in_head = false;
                    self.state = State::Refused(fault);
                    Step::Refused(fault)
                }
            },
            State::Sized { left } => {
                let taken = come.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Head;
                }
                Step::Data(come.split_to(taken).freeze())
            }
            State::Chunked(chunks) => match chunks.next(come) {
                Ok(Piece::Data(data)) => Step::Data(data),
                Ok(Piece::Nothing) => Step::Nothing,
                Ok(Piece::End(trailers)) => {
                    self.state = State::Head;
                    Step::End(trailers)
                }
                Err(_) => {
                    self.state = State::Broken;
                    Step::Broken
                }
            },
        }
    }

    fn head(&mut self, come: &mut BytesMut) -> Result<Option<Asked>, Fault> {
        // Empty lines before a request line are tolerated by everybody; they are part of the head.
        let blank = leading_blank_lines(come);
        self.in_head = come.len() > blank;
        let Some(end) = self.end_of_head(come, blank)? else {
            return Ok(None);
        };
        self.searched = 0;
        self.in_head = false;
        let mut head = come.split_to(end).freeze();
        head.advance(blank);
        let asked = read_head(&head)?;
        self.state = match asked.body {
            BodyFraming::None => State::Head,
            BodyFraming::Length(left) => State::Sized { left },
            BodyFraming::Chunked => State::Chunked(Box::new(Chunks::strict())),
        };
        Ok(Some(asked))
    }

    /// Behind the head that begins with so many blanks, if it is complete.
    fn end_of_head(&mut self, bytes: &[u8], blank: usize) -> Result<Option<usize>, Fault> {
        let mut from = self.searched.max(blank);
        while let Some(found) = memchr::memchr(b'\n', bytes.get(from..).unwrap_or_default()) {
            let at = from + found;
            if at == 0 || bytes[at - 1] != b'\r' {
                return Err(Fault::BareLineFeed);
            }
            if at + 1 > self.limit {
                return Err(Fault::TooLarge);
            }
            if at >= blank + 3 && &bytes[at - 3..=at] == b"\r\n\r\n" {
                return Ok(Some(at + 1));
            }
            from = at + 1;
        }
        if bytes.len() > self.limit {
            return Err(Fault::TooLarge);
        }
        self.searched = bytes.len();
        Ok(None)
    }
}

/// Bytes of `\r\n` pairs at the start (at most four are looked at: more is no request).
fn leading_blank_lines(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < 8 && bytes[at..].starts_with(b"\r\n") {
        at += 2;
    }
    at
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
