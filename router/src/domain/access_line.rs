//! One line per request, in gorouter's format (contract §3, "Access log line"), so that existing
//! parsers keep working. What is missing is `"-"`; quotes and control characters in what a client
//! sent are escaped: a line is a line.
//!
//! What a request said is copied when it arrives, into one text: its headers change on their way, and to hold on to
//! them would hold on to the buffer they were read into.

use super::decimal::{digits, number};
use super::forwarding::{Own, X_FORWARDED_FOR, X_FORWARDED_PROTO};
use super::identity::At;
use super::log_rules::LogRules;
use super::table::Endpoint;
use http::header::{self, HeaderMap, HeaderName};
use http::{Request, Uri, Version};
use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What is known when a request is over.
#[derive(Debug, Clone, Default)]
pub struct Access {
    said: Texts,
    /// Nanoseconds since 1970, of the request's arrival.
    arrived: u128,
    protocol: &'static str,
    remote: Option<SocketAddr>,
    /// 0 if the client went away before there was one.
    pub status: u16,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// From arrival until the last byte of the answer.
    pub response_time: Duration,
    /// The part of it that was not spent waiting for the instance.
    pub router_time: Duration,
    /// The instance that the request was with last.
    pub served_by: Option<Arc<Endpoint>>,
    pub router_error: Option<String>,
    pub failed_attempts: u32,
    /// More headers of the request, named as in the log.
    extra: Vec<(String, Option<String>)>,
    /// It is written as JSON.
    json: bool,
}

/// What a request says of itself.
#[derive(Debug, Clone, Copy)]
enum Said {
    Host,
    Method,
    Target,
    Referer,
    UserAgent,
    ForwardedFor,
    ForwardedProto,
    RequestId,
}

/// The texts of a request, one behind the other.
#[derive(Debug, Clone, Default)]
struct Texts {
    all: String,
    /// Where each begins and ends.
    places: [Option<(u32, u32)>; Said::RequestId as usize + 1],
}

thread_local! {
    /// Room for texts, to be used again by the thread.
    static ROOM: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// The second of the last line, and how it is written: many lines are of the same.
    static SECOND: RefCell<(u64, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
}

impl Drop for Texts {
    fn drop(&mut self) {
        let mut all = std::mem::take(&mut self.all);
        if !(Texts::USUAL..=Texts::LARGEST).contains(&all.capacity()) {
            return;
        }
        all.clear();
        // (A thread that ends has none.)
        let _ = ROOM.try_with(|room| {
            let mut room = room.borrow_mut();
            if room.len() < Texts::KEPT {
                room.push(all);
            }
        });
    }
}

impl Texts {
    /// More than the texts of most requests.
    const USUAL: usize = 384;
    /// So many are kept, and none with more room.
    const KEPT: usize = 64;
    const LARGEST: usize = 1024;

    fn begin() -> Texts {
        let all = ROOM.with_borrow_mut(Vec::pop);
        Texts {
            all: all.unwrap_or_else(|| String::with_capacity(Texts::USUAL)),
            places: Default::default(),
        }
    }

    fn put(&mut self, what: Said, write: impl FnOnce(&mut String)) {
        let begin = self.all.len() as u32;
        write(&mut self.all);
        self.places[what as usize] = Some((begin, self.all.len() as u32));
    }

    fn get(&self, what: Said) -> Option<&str> {
        let (begin, end) = self.places[what as usize]?;
        self.all.get(begin as usize..end as usize)
    }

    fn put_header(&mut self, what: Said, headers: &HeaderMap, name: HeaderName) {
        if let Some(value) = headers.get(name) {
            self.put_text(what, value.as_bytes());
        }
    }

    fn put_text(&mut self, what: Said, text: &[u8]) {
        self.put(what, |out| match std::str::from_utf8(text) {
            Ok(text) => out.push_str(text),
            Err(_) => out.push_str(&String::from_utf8_lossy(text)),
        });
    }
}

impl Access {
    /// A request as the client sent it.
    pub fn of<B>(
        rules: &LogRules,
        request: &Request<B>,
        host: &str,
        request_id: &str,
        peer: SocketAddr,
        arrived: u128,
    ) -> Access {
        let protocol = match request.version() {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        };
        let mut access = Access::begin(rules, protocol, request_id, peer, arrived);
        let said = &mut access.said;
        let headers = request.headers();
        said.put(Said::Host, |out| out.push_str(host));
        said.put(Said::Method, |out| out.push_str(request.method().as_str()));
        said.put(Said::Target, |out| put_target(out, rules, request.uri()));
        if let Some(referer) = headers.get(header::REFERER) {
            let referer = String::from_utf8_lossy(referer.as_bytes());
            said.put(Said::Referer, |out| out.push_str(&rules.shown(&referer)));
        }
        said.put_header(Said::UserAgent, headers, header::USER_AGENT);
        access
    }

    /// A request of which nothing can be said but who sent it.
    pub fn unreadable(
        rules: &LogRules,
        request_id: &str,
        peer: SocketAddr,
        arrived: u128,
    ) -> Access {
        let mut access = Access::begin(rules, "-", request_id, peer, arrived);
        for what in [Said::Method, Said::Target] {
            access.said.put(what, |out| out.push('-'));
        }
        access
    }

    fn begin(
        rules: &LogRules,
        protocol: &'static str,
        request_id: &str,
        peer: SocketAddr,
        arrived: u128,
    ) -> Access {
        let mut said = Texts::begin();
        said.put(Said::RequestId, |out| out.push_str(request_id));
        Access {
            said,
            arrived,
            protocol,
            remote: rules.source_address.then_some(peer),
            json: rules.json,
            ..Access::default()
        }
    }

    /// Notes the headers as they are sent, with those of the router's own that are not among them.
    pub fn forwarded(&mut self, rules: &LogRules, headers: &HeaderMap, own: Option<&Own<'_>>) {
        let said = &mut self.said;
        if rules.forwarded_for {
            match own.and_then(Own::forwarded_for) {
                Some(address) => said.put_text(Said::ForwardedFor, address),
                None => said.put_header(Said::ForwardedFor, headers, X_FORWARDED_FOR),
            }
        }
        match own.and_then(Own::proto) {
            Some(proto) => said.put(Said::ForwardedProto, |out| out.push_str(proto)),
            None => said.put_header(Said::ForwardedProto, headers, X_FORWARDED_PROTO),
        }
        self.extra = rules.extra(headers);
    }

    /// The second of its arrival, since 1970.
    pub fn second(&self) -> u64 {
        (self.arrived / 1_000_000_000) as u64
    }

    /// The app that the request went to.
    pub fn app(&self) -> Option<&str> {
        self.served_by.as_ref()?.identity.app()
    }

    /// Which instance of the app.
    pub fn index(&self) -> Option<&str> {
        self.served_by.as_ref()?.identity.instance_index()
    }

    fn instance(&self) -> Option<&str> {
        self.served_by.as_ref()?.identity.instance_id()
    }

    fn backend(&self) -> Option<At<'_>> {
        self.served_by
            .as_ref()
            .map(|endpoint| endpoint.identity.at())
    }

    fn line(&self, out: &mut Vec<u8>) {
        plain(out, self.said.get(Said::Host).unwrap_or_default());
        out.extend_from_slice(b" - [");
        rfc3339(out, self.arrived);
        out.extend_from_slice(b"] \"");
        escaped(out, self.said.get(Said::Method).unwrap_or_default());
        out.push(b' ');
        escaped(out, self.said.get(Said::Target).unwrap_or_default());
        out.push(b' ');
        out.extend_from_slice(self.protocol.as_bytes());
        out.extend_from_slice(b"\" ");
        for count in [
            u64::from(self.status),
            self.request_bytes,
            self.response_bytes,
        ] {
            number(out, count);
            out.push(b' ');
        }
        quoted(out, self.said.get(Said::Referer));
        out.push(b' ');
        quoted(out, self.said.get(Said::UserAgent));
        out.push(b' ');
        match self.remote {
            // (As it displays itself, in a tenth of the time.)
            Some(SocketAddr::V4(remote)) => {
                out.push(b'"');
                for (place, octet) in remote.ip().octets().into_iter().enumerate() {
                    if place > 0 {
                        out.push(b'.');
                    }
                    number(out, octet.into());
                }
                out.push(b':');
                number(out, remote.port().into());
                out.push(b'"');
            }
            remote => shown(out, remote),
        }
        out.push(b' ');
        match self.backend() {
            Some(At { host, port }) => {
                out.push(b'"');
                out.extend_from_slice(host.as_bytes());
                out.push(b':');
                number(out, port.into());
                out.push(b'"');
            }
            None => shown(out, None::<At<'_>>),
        }
        let said = |what| self.said.get(what);
        field(out, "x_forwarded_for", said(Said::ForwardedFor));
        field(out, "x_forwarded_proto", said(Said::ForwardedProto));
        field(out, "vcap_request_id", said(Said::RequestId));
        out.extend_from_slice(b" response_time:");
        seconds(out, self.response_time);
        out.extend_from_slice(b" gorouter_time:");
        seconds(out, self.router_time);
        field(out, "app_id", self.app());
        field(out, "app_index", self.index());
        field(out, "instance_id", self.instance());
        if self.failed_attempts > 0 {
            let _ = write!(out, " failed_attempts:{}", self.failed_attempts);
        }
        field(out, "x_cf_routererror", self.router_error.as_deref());
        for (name, value) in &self.extra {
            field(out, name, value.as_deref());
        }
        out.push(b'\n');
    }

    /// The same as an object in one line. What is missing is null.
    fn json_line(&self, out: &mut Vec<u8>) {
        let said = |what| self.said.get(what);
        let mut time = Vec::new();
        rfc3339(&mut time, self.arrived);
        let time = String::from_utf8_lossy(&time);
        let mut line = serde_json::json!({
            "host": said(Said::Host).unwrap_or_default(),
            "time": time,
            "method": said(Said::Method),
            "uri": said(Said::Target),
            "protocol": self.protocol,
            "status": self.status,
            "request_bytes": self.request_bytes,
            "response_bytes": self.response_bytes,
            "referer": said(Said::Referer),
            "user_agent": said(Said::UserAgent),
            "remote_address": self.remote.map(|remote| remote.to_string()),
            "backend_address": self.backend().map(|backend| backend.to_string()),
            "x_forwarded_for": said(Said::ForwardedFor),
            "x_forwarded_proto": said(Said::ForwardedProto),
            "vcap_request_id": said(Said::RequestId),
            "response_time": self.response_time.as_secs_f64(),
            "gorouter_time": self.router_time.as_secs_f64(),
            "app_id": self.app(),
            "app_index": self.index(),
            "instance_id": self.instance(),
            "failed_attempts": self.failed_attempts,
            "x_cf_routererror": self.router_error,
        });
        if let Some(fields) = line.as_object_mut() {
            for (name, value) in &self.extra {
                fields
                    .entry(name.clone())
                    .or_insert_with(|| value.clone().into());
            }
        }
        let _ = writeln!(out, "{line}");
    }

    /// As it is to be written.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.json {
            true => self.json_line(out),
            false => self.line(out),
        }
    }
}

/// As the client wrote it.
fn put_target(out: &mut String, rules: &LogRules, uri: &Uri) {
    match (uri.scheme(), uri.authority(), uri.path_and_query()) {
        (None, None, Some(target)) => out.push_str(&rules.shown(target.as_str())),
        _ => out.push_str(&rules.shown(&uri.to_string())),
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    quoted(out, value);
}

fn quoted(out: &mut Vec<u8>, value: Option<&str>) {
    out.push(b'"');
    match value {
        Some(value) if !value.is_empty() => escaped(out, value),
        _ => out.push(b'-'),
    }
    out.push(b'"');
}

/// What needs no escape.
fn shown(out: &mut Vec<u8>, value: Option<impl Display>) {
    let _ = match value {
        Some(value) => write!(out, "\"{value}\""),
        None => write!(out, "\"-\""),
    };
}

fn plain(out: &mut Vec<u8>, value: &str) {
    if value.is_empty() {
        out.push(b'-')
    } else {
        escaped(out, value)
    }
}

fn escaped(out: &mut Vec<u8>, value: &str) {
    let harmless = |byte: u8| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    // (All are looked at: many at once, which costs less than to stop at the first.)
    if value.bytes().fold(true, |all, byte| all & harmless(byte)) {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Seconds to the microsecond.
fn seconds(out: &mut Vec<u8>, time: Duration) {
    let micros = time.as_secs() * 1_000_000 + u64::from(time.subsec_nanos() + 500) / 1000;
    number(out, micros / 1_000_000);
    out.push(b'.');
    digits(out, (micros % 1_000_000) as u32, 6);
}

/// `2006-01-02T15:04:05.999999999Z` of nanoseconds since 1970.
fn rfc3339(out: &mut Vec<u8>, unix_nanos: u128) {
    // (Enough until 2554, and a division of half the width costs a tenth.)
    let unix_nanos = u64::try_from(unix_nanos).unwrap_or(u64::MAX);
    let (second, nanos) = (unix_nanos / 1_000_000_000, unix_nanos % 1_000_000_000);
    SECOND.with_borrow_mut(|(written, text)| {
        // (At the beginning none is written.)
        if *written != second || text.is_empty() {
            *written = second;
            text.clear();
            date_and_time(text, second as i64);
        }
        out.extend_from_slice(text);
    });
    digits(out, nanos as u32, 9);
    out.push(b'Z');
}

/// `2006-01-02T15:04:05.` of seconds since 1970.
fn date_and_time(out: &mut Vec<u8>, seconds: i64) {
    let days = seconds.div_euclid(86_400);
    let of_day = seconds.rem_euclid(86_400);
    // Days to a date in the proleptic Gregorian calendar, counting years from March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let of_day = of_day as u32;
    let parts = [
        (year as u32, 4, b'-'),
        (month as u32, 2, b'-'),
        (day as u32, 2, b'T'),
        (of_day / 3600, 2, b':'),
        (of_day / 60 % 60, 2, b':'),
        (of_day % 60, 2, b'.'),
    ];
    for (number, width, behind) in parts {
        digits(out, number, width);
        out.push(behind);
    }
}

#[cfg(test)]
mod tests {
    use super::super::announcement::Announcement;
    use super::*;
    use http::HeaderValue;
    use proto::bus::router::Registration;
    use proto::config::Settings;

    fn endpoint(instance_id: Option<&str>) -> Arc<Endpoint> {
        let registration = Registration {
            uris: vec!["a.example.com".into()],
            host: "10.0.0.1".into(),
            port: Some(80),
            app: Some("app-1".into()),
            private_instance_id: instance_id.map(str::to_string),
            private_instance_index: Some("0".into()),
            ..Registration::default()
        };
        let announcement = Announcement::read(&registration, false).expect("a registration");
        Arc::new(Endpoint::new(1, announcement.identity))
    }

    fn access(rules: &LogRules, target: &str) -> Access {
        let mut request = Request::builder()
            .uri(target)
            .header("user-agent", "evil\tagent")
            .header("x-user", "dora")
            .body(())
            .expect("a request");
        let mut access = Access::of(
            rules,
            &request,
            "a.example.com",
            "id-1",
            "127.0.0.1:5".parse().expect("an address"),
            1_700_000_000_123_456_789,
        );
        let headers = request.headers_mut();
        headers.insert("x-forwarded-for", HeaderValue::from_static("127.0.0.1"));
        headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
        access.forwarded(rules, headers, None);
        Access {
            status: 200,
            response_bytes: 5,
            response_time: Duration::from_nanos(1_500_499),
            router_time: Duration::from_micros(2_000_100),
            served_by: Some(endpoint(None)),
            ..access
        }
    }

    fn written(access: &Access) -> String {
        let mut line = Vec::new();
        access.write(&mut line);
        String::from_utf8(line).expect("text")
    }

    #[test]
    fn a_line_has_gorouters_shape() {
        let rules = LogRules::read(&Settings::default());
        assert_eq!(
            written(&access(&rules, "/x\"z?y=1")),
            "a.example.com - [2023-11-14T22:13:20.123456789Z] \"GET /x\\\"z?y=1 HTTP/1.1\" 200 0 5 \"-\" \
             \"evil\\u0009agent\" \"127.0.0.1:5\" \"10.0.0.1:80\" x_forwarded_for:\"127.0.0.1\" \
             x_forwarded_proto:\"http\" vcap_request_id:\"id-1\" response_time:0.001500 gorouter_time:2.000100 \
             app_id:\"app-1\" app_index:\"0\" instance_id:\"-\" x_cf_routererror:\"-\"\n"
        );
    }

    #[test]
    fn what_is_not_known_is_missing() {
        let rules = LogRules::read(&Settings::default());
        let peer = "127.0.0.1:5".parse().expect("an address");
        assert_eq!(
            written(&Access::unreadable(&rules, "id-1", peer, 0)),
            "- - [1970-01-01T00:00:00.000000000Z] \"- - -\" 0 0 0 \"-\" \"-\" \"127.0.0.1:5\" \"-\" \
             x_forwarded_for:\"-\" x_forwarded_proto:\"-\" vcap_request_id:\"id-1\" response_time:0.000000 \
             gorouter_time:0.000000 app_id:\"-\" app_index:\"-\" instance_id:\"-\" x_cf_routererror:\"-\"\n"
        );
    }

    #[test]
    fn a_line_of_json_says_the_same() {
        let mut rules = LogRules {
            json: true,
            source_address: false,
            headers: vec![HeaderName::from_static("x-user")],
            ..LogRules::read(&Settings::default())
        };
        let json = written(&access(&rules, "/x\"?y=1"));
        assert_eq!(json.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(read["uri"], "/x\"?y=1");
        assert_eq!(read["status"], 200);
        assert_eq!(read["time"], "2023-11-14T22:13:20.123456789Z");
        assert_eq!(read["x_user"], "dora");
        assert_eq!(read["remote_address"], serde_json::Value::Null);
        assert_eq!(read["backend_address"], "10.0.0.1:80");
        rules.json = false;
        let plain = written(&access(&rules, "/"));
        assert!(plain.contains("\" \"-\" \"10.0.0.1:80\" "), "{plain}");
        assert!(plain.ends_with(" x_user:\"dora\"\n"), "{plain}");
    }

    #[test]
    fn no_header_takes_the_place_of_what_the_router_says() {
        let rules = LogRules {
            json: true,
            headers: vec![HeaderName::from_static("status")],
            ..LogRules::read(&Settings::default())
        };
        let read: serde_json::Value =
            serde_json::from_str(&written(&access(&rules, "/"))).expect("JSON");
        assert_eq!(read["status"], 200);
    }

    #[test]
    fn addresses_are_written_as_they_display_themselves() {
        for peer in ["127.0.0.1:5", "10.200.0.255:65535", "[::1]:80"] {
            let line = written(&Access {
                remote: Some(peer.parse().expect("an address")),
                ..Access::default()
            });
            assert!(line.contains(&format!(" \"{peer}\" ")), "{line}");
        }
    }

    #[test]
    fn dates_are_right() {
        let of = |nanos| {
            let mut text = Vec::new();
            rfc3339(&mut text, nanos);
            String::from_utf8(text).expect("text")
        };
        assert_eq!(of(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            of(951_782_400_000_000_000),
            "2000-02-29T00:00:00.000000000Z"
        );
        assert_eq!(
            of(4_102_444_799_000_000_001),
            "2099-12-31T23:59:59.000000001Z"
        );
    }
}
