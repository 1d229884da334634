//! Headers on their way through: what belongs to one hop only is removed, what the router knows is
//! added (contract §3 rows 19, 22).

use super::decimal::number;
use super::framing::{listed, lists_token};
use super::request_head::line;
use super::request_id::RequestId;
use super::table::Endpoint;
use http::Uri;
use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
pub const X_VCAP_REQUEST_ID: HeaderName = HeaderName::from_static("x-vcap-request-id");
pub const X_CF_APPLICATION_ID: HeaderName = HeaderName::from_static("x-cf-applicationid");
pub const X_CF_INSTANCE_ID: HeaderName = HeaderName::from_static("x-cf-instanceid");
pub const X_CF_INSTANCE_INDEX: HeaderName = HeaderName::from_static("x-cf-instanceindex");
pub const X_CF_APP_INSTANCE: HeaderName = HeaderName::from_static("x-cf-app-instance");
pub const X_CF_PROCESS_INSTANCE: HeaderName = HeaderName::from_static("x-cf-process-instance");
pub const X_CF_ROUTER_ERROR: HeaderName = HeaderName::from_static("x-cf-routererror");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What the client of this request is to the router.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Its ip address, as it is appended to X-Forwarded-For.
    pub address: &'a HeaderValue,
    /// It came over TLS.
    pub secure: bool,
}

/// What the router itself says of a request beside what its client said. It is written behind that: most heads have
/// nothing of it, and to put it into a map first would cost more than to write all of the head.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// None: it is among the client's, with what that said.
    forwarded_for: Option<&'a HeaderValue>,
    /// None: the client said it.
    proto: Option<&'static str>,
    start: Option<u64>,
    id: RequestId,
}

impl Own<'_> {
    pub fn forwarded_for(&self) -> Option<&[u8]> {
        self.forwarded_for.map(HeaderValue::as_bytes)
    }

    pub fn proto(&self) -> Option<&'static str> {
        self.proto
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        if let Some(address) = self.forwarded_for {
            line(out, &X_FORWARDED_FOR, address.as_bytes());
        }
        if let Some(proto) = self.proto {
            line(out, &X_FORWARDED_PROTO, proto.as_bytes());
        }
        if let Some(start) = self.start {
            out.extend_from_slice(b"x-request-start: ");
            number(out, start);
            out.extend_from_slice(b"\r\n");
        }
        line(out, &X_VCAP_REQUEST_ID, self.id.as_bytes());
    }

    /// For whoever looks at all headers together.
    pub fn put_into(&self, headers: &mut HeaderMap) {
        if let Some(address) = self.forwarded_for {
            headers.insert(X_FORWARDED_FOR, address.clone());
        }
        if let Some(proto) = self.proto {
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
        }
        if let Some(start) = self.start {
            headers.insert(X_REQUEST_START, HeaderValue::from(start));
        }
        headers.insert(X_VCAP_REQUEST_ID, self.id.value());
    }
}

/// Makes the request's headers fit for the backend, and says what the router has to add. `upgrade` keeps what asks for a
/// tunnel.
pub fn prepare_request<'a>(
    headers: &mut HeaderMap,
    client: Client<'a>,
    id: RequestId,
    now_ms: u64,
    upgrade: bool,
) -> Own<'a> {
    let marks = Marks::of(headers);
    let upgrade_to = upgrade
        .then(|| headers.get(header::UPGRADE).cloned())
        .flatten();
    let trailers = marks.one_hop && lists_token(headers, header::TE, b"trailers");
    strip_hop_by_hop(headers, marks);
    if marks.lookalike {
        remove_lookalikes(headers);
    }
    if let Some(to) = upgrade_to {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, to);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if marks.of_instances {
        headers.remove(X_CF_APP_INSTANCE);
        headers.remove(X_CF_PROCESS_INSTANCE);
        // Never let a client's own value stand for the router's ([`names`]).
        for name in [X_CF_APPLICATION_ID, X_CF_INSTANCE_ID, X_CF_INSTANCE_INDEX] {
            headers.remove(name);
        }
    }
    if marks.request_id {
        headers.remove(X_VCAP_REQUEST_ID);
    }
    let appended = marks.forwarded_for && append_forwarded_for(headers, client.address);
    let says_proto = marks.forwarded_proto && headers.contains_key(X_FORWARDED_PROTO);
    let says_start = marks.request_start && headers.contains_key(X_REQUEST_START);
    let scheme = if client.secure { "https" } else { "http" };
    Own {
        forwarded_for: (!appended).then_some(client.address),
        proto: (!says_proto).then_some(scheme),
        start: (!says_start).then_some(now_ms),
        id,
    }
}

/// What names the instance to itself, another one for each attempt.
pub fn names(endpoint: &Endpoint) -> impl Iterator<Item = (HeaderName, &str)> {
    let identity = &endpoint.identity;
    let names = [
        (X_CF_APPLICATION_ID, identity.app()),
        (X_CF_INSTANCE_ID, identity.instance_id()),
        (X_CF_INSTANCE_INDEX, identity.instance_index()),
    ];
    // (All are looked at: many at once, which costs less than to stop at the first.)
    let is_value = |text: &&str| {
        let bytes = text.bytes();
        bytes.fold(true, |all, byte| all & matches!(byte, b' '..=b'~'))
    };
    names
        .into_iter()
        .filter_map(move |(name, value)| Some((name, value.filter(is_value)?)))
}

/// Makes the response's headers fit for the client.
pub fn prepare_response(headers: &mut HeaderMap, request_id: &HeaderValue, switching: bool) {
    let upgrade = switching
        .then(|| headers.get(header::UPGRADE).cloned())
        .flatten();
    strip_hop_by_hop(headers, Marks::of(headers));
    // The coding towards the client is chosen by what that client can read.
    headers.remove(header::TRANSFER_ENCODING);
    if switching {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(upgrade) = upgrade {
            headers.insert(header::UPGRADE, upgrade);
        }
    }
    if let Entry::Vacant(id) = headers.entry(X_VCAP_REQUEST_ID) {
        id.insert(request_id.clone());
    }
}

/// Where a plain request should have gone; None if it may stay: those who issue certificates ask for
/// their challenges without TLS.
pub fn secure_location(host: &str, uri: &Uri, port: u16) -> Option<HeaderValue> {
    if uri.path().starts_with("/.well-known/acme-challenge/") {
        return None;
    }
    let host = super::uri::without_port(host);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let port = match port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    HeaderValue::try_from(format!("https://{host}{port}{path}")).ok()
}

/// Which kinds of headers there are that are not passed on as they are. Most heads have none of most kinds, and to ask
/// for each by its name is dearer than to look at all once.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    connection: bool,
    one_hop: bool,
    of_instances: bool,
    lookalike: bool,
    /// What the router says itself.
    forwarded_for: bool,
    forwarded_proto: bool,
    request_start: bool,
    request_id: bool,
}

impl Marks {
    fn of(headers: &HeaderMap) -> Marks {
        let mut marks = Marks::default();
        for name in headers.keys() {
            match *name {
                header::CONNECTION => marks.connection = true,
                header::PROXY_AUTHENTICATE
                | header::PROXY_AUTHORIZATION
                | header::TE
                | header::UPGRADE => marks.one_hop = true,
                _ => {
                    let text = name.as_str();
                    marks.one_hop |= *name == KEEP_ALIVE || *name == PROXY_CONNECTION;
                    marks.of_instances |= is_of_instances(name);
                    marks.lookalike |= text.bytes().fold(false, |any, byte| any | (byte == b'_'));
                    match text.len() {
                        15 => {
                            marks.forwarded_for |= *name == X_FORWARDED_FOR;
                            marks.request_start |= *name == X_REQUEST_START;
                        }
                        17 => {
                            marks.forwarded_proto |= *name == X_FORWARDED_PROTO;
                            marks.request_id |= *name == X_VCAP_REQUEST_ID;
                        }
                        _ => {}
                    }
                }
            }
        }
        marks
    }
}

fn is_of_instances(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-cf-")
}

/// Removes the headers of one hop, and those that Connection names, except what framing and the
/// router's own statements rest on: naming them in Connection is an attempt to strip them.
fn strip_hop_by_hop(headers: &mut HeaderMap, marks: Marks) {
    if marks.connection {
        let named: Vec<HeaderName> = listed(headers, header::CONNECTION)
            // (It goes anyway.)
            .filter(|name| !name.eq_ignore_ascii_case(KEEP_ALIVE.as_str().as_bytes()))
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .filter(|name| !is_protected(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    if !marks.one_hop {
        return;
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// Framing, who asks, and what the router says itself.
pub(super) fn is_protected(name: &HeaderName) -> bool {
    let text = name.as_str();
    matches!(
        *name,
        header::HOST
            | header::CONTENT_LENGTH
            | header::TRANSFER_ENCODING
            | header::COOKIE
            | header::AUTHORIZATION
    ) || text.starts_with("x-forwarded-")
        || text.starts_with("x-cf-")
        || text.starts_with("x-vcap-")
        || text == "x-request-start"
}

/// Many app servers fold `-` and `_` into one: `X_Forwarded_For` would shadow ours.
fn remove_lookalikes(headers: &mut HeaderMap) {
    let lookalikes: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().as_bytes().contains(&b'_'))
        .filter(|name| {
            HeaderName::try_from(name.as_str().replace('_', "-"))
                .is_ok_and(|name| is_protected(&name))
        })
        .cloned()
        .collect();
    for name in lookalikes {
        headers.remove(name);
    }
}

/// Behind those who are said to have forwarded it already, if there are any.
fn append_forwarded_for(headers: &mut HeaderMap, address: &HeaderValue) -> bool {
    let Entry::Occupied(mut said) = headers.entry(X_FORWARDED_FOR) else {
        return false;
    };
    let mut joined = Vec::with_capacity(64);
    for value in said.iter() {
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(address.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        said.insert(value);
    }
    true
}

/// The headers that name an instance, as they are.
pub fn pins(headers: &HeaderMap) -> HeaderMap {
    let named = [X_CF_APP_INSTANCE, X_CF_PROCESS_INSTANCE].map(|name| {
        let value = headers.get(&name)?.clone();
        Some((name, value))
    });
    named.into_iter().flatten().collect()
}

/// Which instance a request insists on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    App { guid: String, index: String },
    Process { guid: String, index: Option<String> },
}

/// An instance header that names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadablePin;

/// Reads `X-Cf-App-Instance` or `X-Cf-Process-Instance`.
pub fn pin(headers: &HeaderMap) -> Result<Option<Pin>, UnreadablePin> {
    // Most requests have no such header: to see that is cheaper than to look for each by its name.
    if !headers.keys().any(is_of_instances) {
        return Ok(None);
    }
    let split = |value: &HeaderValue| {
        let text = value.to_str().map_err(|_| UnreadablePin)?;
        let (guid, index) = match text.split_once(':') {
            Some((guid, index)) => (guid, Some(index)),
            None => (text, None),
        };
        let fine = |text: &str| {
            !text.is_empty()
                && text.len() <= 128
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if !fine(guid)
            || index
                .is_some_and(|index| index.is_empty() || !index.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(UnreadablePin);
        }
        Ok((guid.to_string(), index.map(str::to_string)))
    };
    if let Some(value) = headers.get(X_CF_APP_INSTANCE) {
        let (guid, index) = split(value)?;
        return Ok(Some(Pin::App {
            guid,
            index: index.ok_or(UnreadablePin)?,
        }));
    }
    if let Some(value) = headers.get(X_CF_PROCESS_INSTANCE) {
        let (guid, index) = split(value)?;
        return Ok(Some(Pin::Process { guid, index }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        headers
    }

    fn id() -> RequestId {
        RequestId::of(uuid::Uuid::from_u128(1))
    }

    fn prepared(lines: &[(&'static str, &'static str)], upgrade: bool) -> HeaderMap {
        prepared_for(false, lines, upgrade)
    }

    fn prepared_for(
        secure: bool,
        lines: &[(&'static str, &'static str)],
        upgrade: bool,
    ) -> HeaderMap {
        let mut headers = map(lines);
        let client = Client {
            address: &HeaderValue::from_static("10.1.1.1"),
            secure,
        };
        let own = prepare_request(&mut headers, client, id(), 1700, upgrade);
        own.put_into(&mut headers);
        headers
    }

    #[test]
    fn a_plain_request_is_sent_to_the_same_place_over_tls() {
        let location = |host: &str, uri: &'static str, port| {
            secure_location(host, &Uri::from_static(uri), port)
                .map(|value| value.to_str().unwrap_or_default().to_string())
        };
        let plain = location("a.example.com:8080", "/x?y=1", 8443);
        assert_eq!(plain.as_deref(), Some("https://a.example.com:8443/x?y=1"));
        let usual = location("a.example.com", "/", 443);
        assert_eq!(usual.as_deref(), Some("https://a.example.com/"));
        assert_eq!(location("a", "/.well-known/acme-challenge/t", 443), None);
    }

    #[test]
    fn an_instance_is_told_that_its_client_came_over_tls() {
        let headers = prepared_for(true, &[], false);
        assert_eq!(headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn the_router_adds_what_it_knows() {
        let headers = prepared(&[("x-vcap-request-id", "forged")], false);
        assert_eq!(headers["x-forwarded-for"], "10.1.1.1");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-request-start"], "1700");
        assert_eq!(headers["x-vcap-request-id"], id().as_str());

        let headers = prepared(
            &[
                ("x-forwarded-for", "1.1.1.1"),
                ("x-forwarded-for", "2.2.2.2"),
                ("x-forwarded-proto", "https"),
                ("x-request-start", "5"),
            ],
            false,
        );
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 10.1.1.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-request-start"], "5");
    }

    #[test]
    fn headers_of_one_hop_are_removed_but_protected_ones_stay() {
        let headers = prepared(
            &[
                (
                    "connection",
                    "keep-alive, X-Drop, X-Forwarded-Proto, Authorization",
                ),
                ("keep-alive", "timeout=5"),
                ("x-drop", "1"),
                ("x-forwarded-proto", "https"),
                ("authorization", "bearer x"),
                ("proxy-authorization", "basic x"),
                ("te", "trailers, deflate"),
                ("upgrade", "h2c"),
                ("x_forwarded_for", "9.9.9.9"),
                ("x_harmless", "1"),
            ],
            false,
        );
        for gone in [
            "connection",
            "keep-alive",
            "x-drop",
            "proxy-authorization",
            "upgrade",
            "x_forwarded_for",
        ] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["authorization"], "bearer x");
        assert_eq!(headers["te"], "trailers");
        assert_eq!(headers["x_harmless"], "1");
    }

    #[test]
    fn an_upgrade_keeps_what_it_needs() {
        let headers = prepared(
            &[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket"),
            ],
            true,
        );
        assert_eq!(headers["connection"], "upgrade");
        assert_eq!(headers["upgrade"], "websocket");
    }

    #[test]
    fn the_request_id_reaches_the_client_unless_the_app_set_one() {
        let mut headers = map(&[
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("x-a", "1"),
        ]);
        prepare_response(&mut headers, &HeaderValue::from_static("id-1"), false);
        assert_eq!(headers["x-vcap-request-id"], "id-1");
        assert!(!headers.contains_key("connection") && !headers.contains_key("transfer-encoding"));
        let mut headers = map(&[("x-vcap-request-id", "own")]);
        prepare_response(&mut headers, &HeaderValue::from_static("id-1"), false);
        assert_eq!(headers["x-vcap-request-id"], "own");
    }

    #[test]
    fn instance_headers_are_read() {
        let app = |value| pin(&map(&[("x-cf-app-instance", value)]));
        assert_eq!(
            app("guid-1:2"),
            Ok(Some(Pin::App {
                guid: "guid-1".into(),
                index: "2".into()
            }))
        );
        for bad in ["guid-1", "guid-1:", ":1", "guid-1:x", "a b:1", "g:1:2"] {
            assert_eq!(app(bad), Err(UnreadablePin), "{bad}");
        }
        let process = |value| pin(&map(&[("x-cf-process-instance", value)]));
        assert_eq!(
            process("p-1"),
            Ok(Some(Pin::Process {
                guid: "p-1".into(),
                index: None
            }))
        );
        assert_eq!(
            process("p-1:0"),
            Ok(Some(Pin::Process {
                guid: "p-1".into(),
                index: Some("0".into())
            }))
        );
        assert_eq!(pin(&HeaderMap::new()), Ok(None));
    }
}
