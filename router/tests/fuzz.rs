//! Bounded runs of broken input, from a seed: the same every time. `STACKYARD_TRIALS` makes them that many times longer.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use bytes::BytesMut;
use http::{HeaderValue, Method};
use proto::bus::router::Registration;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use router::domain::announcement::Announcement;
use router::domain::answer_head::{self, Ending};
use router::domain::answer_lines::Lines;
use router::domain::chunks::{Chunks, Piece};
use router::domain::forwarding::prepare_response;
use router::domain::frames::FrameWatch;
use router::domain::framing::{Inspector, Step};
use router::domain::http2::{Asked, to_http1};
use router::domain::proxy_header::{self, Said};
use router::domain::refusal::Fault;
use router::domain::table::Registry;
use support::corpus::{SMUGGLED, http1_cases};

/// Rounds of each run.
fn rounds() -> usize {
    let times = std::env::var("STACKYARD_TRIALS").ok();
    30_000 * times.and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Pieces that matter to those who read HTTP.
const PIECES: [&str; 16] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: b\r\n",
    "0\r\n\r\n",
    "HTTP/1.1",
    "chunked",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "%00",
];

/// Changes a few places: bytes, pieces in, pieces out, pieces twice.
fn mutated(bytes: &[u8], pieces: &[&str], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..12)).min(bytes.len());
        match random.random_range(0..4) {
            0 if at < bytes.len() => bytes[at] = random.random(),
            1 => {
                let piece = pieces.choose(random).unwrap().bytes();
                bytes.splice(at..at, piece);
            }
            2 => {
                bytes.drain(at..end);
            }
            _ => {
                let twice = bytes[at..end].to_vec();
                bytes.splice(at..at, twice);
            }
        }
    }
    bytes
}

/// Why nothing more is taken of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    None,
    HeadIncomplete,
    Refused(Fault),
    BrokenBody,
}

/// What is read of a stream that arrives in these pieces, and how it ends: heads and bodies as bytes, and as what they
/// were taken for.
fn inspected(bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<String>, Stop) {
    let mut inspector = Inspector::new(16 * 1024);
    let (mut come, mut passed, mut read) = (BytesMut::new(), Vec::new(), Vec::new());
    let mut why = Stop::None;
    for some in bytes.chunks(piece.max(1)) {
        come.extend_from_slice(some);
        loop {
            let before = come.clone();
            match inspector.next(&mut come) {
                Step::Nothing if inspector.in_head() => why = Stop::HeadIncomplete,
                Step::Nothing => why = Stop::None,
                Step::Head(asked) => {
                    passed.extend_from_slice(&before[..before.len() - come.len()]);
                    read.push(format!("{:?} {:?}", asked.request, asked.body));
                    continue;
                }
                Step::Data(data) => {
                    passed.extend_from_slice(&data);
                    continue;
                }
                Step::End(trailers) => {
                    read.push(format!("{trailers:?}"));
                    continue;
                }
                Step::Refused(fault) => return (passed, read, Stop::Refused(fault)),
                Step::Broken => return (passed, read, Stop::BrokenBody),
            }
            break;
        }
    }
    (passed, read, why)
}

/// The first head of what passed has one Host and at most one framing, to a reader that knows of no rule but lines.
fn is_plain(passed: &[u8]) -> bool {
    let text = String::from_utf8_lossy(passed).to_ascii_lowercase();
    let Some((head, _)) = text.trim_start_matches("\r\n").split_once("\r\n\r\n") else {
        return true;
    };
    let count = |name: &str| {
        head.split(['\r', '\n'])
            .skip(1)
            .filter(|line| line.trim_start().starts_with(name))
            .count()
    };
    let framings = count("content-length:") + count("transfer-encoding:");
    count("host:") == 1
        && framings <= 1
        && head.matches('\n').count() == head.matches("\r\n").count()
}

#[test]
fn broken_requests_do_not_panic_and_pass_in_one_way_only() {
    let mut random = StdRng::seed_from_u64(0x5ca1_ab1e);
    let cases: Vec<Vec<u8>> = http1_cases()
        .iter()
        .map(|case| {
            let text = case.text.replace("{p}", "/").replace("{s}", SMUGGLED);
            text.into_bytes()
        })
        .collect();
    let (mut passing, rounds) = (0, rounds());
    for _ in 0..rounds {
        let bytes = mutated(cases.choose(&mut random).unwrap(), &PIECES, &mut random);
        let whole = inspected(&bytes, bytes.len());
        let piece = random.random_range(1..40);
        assert_eq!(whole, inspected(&bytes, piece), "{}", bytes.escape_ascii());
        assert!(is_plain(&whole.0), "{}", bytes.escape_ascii());
        passing += usize::from(!whole.0.is_empty());
    }
    assert!(passing > rounds / 20, "some pass: {passing}");
}

/// What was read of an answer that comes in these pieces: what its head says of its end and the body so far; None: it
/// cannot be read.
fn read_answer(bytes: &[u8], piece: usize) -> Option<(Option<Ending>, Vec<u8>, bool)> {
    let (mut come, mut searched, mut lines) = (BytesMut::new(), 0, Lines::default());
    let (mut ending, mut chunks) = (None, Chunks::default());
    let (mut body, mut over) = (Vec::new(), false);
    for some in bytes.chunks(piece.max(1)) {
        come.extend_from_slice(some);
        if ending.is_none() {
            let head =
                answer_head::take(&mut come, &mut searched, &Method::GET, &mut lines).ok()?;
            if head.is_some() {
                say_the_same_passed_and_as_headers(&lines);
            }
            ending = head.map(|head| head.ending);
        }
        while ending == Some(Ending::Chunked) && !over {
            match chunks.next(&mut come).ok()? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::Nothing => break,
                Piece::End(_) => over = true,
            }
        }
    }
    Some((ending, body, over))
}

/// Whether or not an answer's lines pass as they are, a client is told the same.
fn say_the_same_passed_and_as_headers(lines: &Lines) {
    let mut headers = lines.to_map().expect("what is read can be put into a map");
    if !lines.may_pass() {
        return;
    }
    let mut out = Vec::new();
    lines.write(&mut out, b"id");
    prepare_response(&mut headers, &HeaderValue::from_static("id"), false);
    headers.remove("content-length");
    let mut expected: Vec<Vec<u8>> = headers
        .iter()
        .map(|(name, value)| [name.as_str().as_bytes(), b": ", value.as_bytes()].concat())
        .collect();
    let mut written: Vec<Vec<u8>> = out
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r\n").expect("a line").to_vec())
        .collect();
    expected.sort();
    written.sort();
    assert_eq!(written, expected, "{}", out.escape_ascii());
}

#[test]
fn broken_answers_do_not_panic_and_are_read_in_one_way_only() {
    let mut random = StdRng::seed_from_u64(0x5ca1_ab1e);
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0a;x\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n",
        "HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\nTE: a\r\nX-Vcap-Request-Id: y\r\nX-B: c\r\nUpgrade: d\r\n\r\n",
    ];
    let (mut whole, rounds) = (0, rounds());
    for _ in 0..rounds {
        let answer = answers.choose(&mut random).unwrap().as_bytes();
        let bytes = mutated(answer, &PIECES, &mut random);
        let read = read_answer(&bytes, bytes.len());
        let piece = random.random_range(1..40);
        assert_eq!(read, read_answer(&bytes, piece), "{}", bytes.escape_ascii());
        whole += usize::from(read.is_some_and(|(_, _, over)| over));
    }
    assert!(whole > rounds / 80, "some are whole: {whole}");
}

#[test]
fn broken_registrations_do_not_panic_and_leave_a_table_that_answers() {
    let mut random = StdRng::seed_from_u64(0x5ca1_ab1e);
    let message = br#"{"uris":["a.example.com/b","*.c.example.com"],"host":"10.0.0.1","port":80,"tls_port":443,"app":"g","private_instance_id":"i","private_instance_index":"0","tags":{"component":"dea"},"server_cert_domain_san":"i.internal","protocol":"http2","route_service_url":"https://x.example.com/y","stale_threshold_in_seconds":120,"isolation_segment":"s","availability_zone":"z","endpoint_updated_at_ns":1700000000000000000,"options":{"loadbalancing":"hash","hash_header":"X-User","hash_balance":1.5},"yard_returns":true}"#;
    let pieces = [
        "null",
        "\"\"",
        "[]",
        "{}",
        "-1",
        "1e400",
        "99999999999999999999",
        "\\u0000",
        "*.",
        "..",
        "/",
        "http://",
        "\"",
        ",",
        ":",
        "true",
    ];
    let mut registry = Registry::default();
    let (mut decoded, mut taken, rounds) = (0, 0, rounds());
    for now in 0..rounds as u64 {
        let bytes = mutated(message, &pieces, &mut random);
        let Ok(message) = serde_json::from_slice::<Registration>(&bytes) else {
            continue;
        };
        decoded += 1;
        let Ok(announcement) = Announcement::read(&message, random.random()) else {
            continue;
        };
        taken += 1;
        match random.random_range(0..3) {
            0 => registry.unregister(&announcement, now),
            _ => registry.register(&announcement, now),
        };
        if now % 1000 == 0 {
            registry.prune(now, 500);
        }
        for name in &announcement.names {
            let host = name.host().trim_start_matches("*.");
            registry.table().lookup(host, name.path());
        }
    }
    assert!(
        decoded > rounds / 50 && taken > decoded / 10,
        "{decoded} {taken}"
    );
    registry.prune(u64::MAX / 2, 500);
    registry.prune(u64::MAX - 1, 500);
}

/// What HTTP/2 has of one hop, and what HTTP/1 would take for framing.
const NEVER_PASSED: [&str; 5] = [
    "connection",
    "transfer-encoding",
    "keep-alive",
    "transfer_encoding",
    "content_length",
];

#[test]
fn heads_of_http2_that_pass_can_be_written_in_one_way_only() {
    let mut random = StdRng::seed_from_u64(0x5ca1_ab1e);
    let targets = [
        "https://a/x?q=1",
        "http://a:80/",
        "/x",
        "*",
        "a:443",
        "ftp://a/",
        "https://u@a/",
    ];
    let methods = ["GET", "POST", "OPTIONS", "CONNECT"];
    let names = [
        "host",
        "cookie",
        "te",
        "content-length",
        "upgrade",
        "x-a",
        NEVER_PASSED[0],
        NEVER_PASSED[1],
        NEVER_PASSED[2],
        NEVER_PASSED[3],
        NEVER_PASSED[4],
    ];
    let values = [
        "a",
        "a:443",
        "trailers",
        "5",
        "5, 5",
        "websocket",
        "chunked",
        "",
    ];
    let (mut passing, rounds) = (0, rounds());
    for _ in 0..rounds {
        let target = mutated(
            targets.choose(&mut random).unwrap().as_bytes(),
            &PIECES,
            &mut random,
        );
        let target = match random.random_range(0..3) {
            0 => target,
            _ => targets.choose(&mut random).unwrap().as_bytes().to_vec(),
        };
        let mut request = http::Request::builder()
            .method(*methods.choose(&mut random).unwrap())
            .uri(&*target);
        for _ in 0..random.random_range(0..4) {
            let value = values.choose(&mut random).unwrap().as_bytes();
            let value = match random.random_range(0..4) {
                0 => mutated(value, &PIECES, &mut random),
                _ => value.to_vec(),
            };
            request = request.header(*names.choose(&mut random).unwrap(), value);
        }
        if random.random_range(0..4) == 0 {
            let protocol = ["websocket", "connect-udp"].choose(&mut random).unwrap();
            request = request.extension(hyper::ext::Protocol::from_static(protocol));
        }
        // (hyper lets no others through.)
        let Ok(request) = request.body(()) else {
            continue;
        };
        let told = format!("{request:?}");
        let was_connect = request.method() == http::Method::CONNECT;
        let (mut head, ()) = request.into_parts();
        let Ok(asked) = to_http1(&mut head) else {
            continue;
        };
        passing += 1;
        let count = |name: &str| head.headers.get_all(name).iter().count();
        assert_eq!(count("host"), 1, "{told}");
        assert!(
            count("content-length") <= 1 && count("cookie") <= 1,
            "{told}"
        );
        assert!(NEVER_PASSED.iter().all(|name| count(name) == 0), "{told}");
        assert_eq!(asked == Asked::WebSocket, was_connect, "{told}");
        assert_ne!(head.method, http::Method::CONNECT, "{told}");
        assert!(
            head.uri.scheme().is_none() && head.uri.authority().is_none(),
            "{told}"
        );
        let path = head.uri.to_string();
        assert!(path.starts_with('/') || path == "*", "{told}");
    }
    assert!(passing > rounds / 50, "some pass: {passing}");
}

#[test]
fn frames_are_judged_alike_in_whatever_pieces_they_come() {
    let mut random = StdRng::seed_from_u64(0x5ca1_ab1e);
    let mut stream = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    for kind in 0..=9 {
        let payload = vec![kind; usize::from(kind) * 3];
        stream.extend([0, 0, payload.len() as u8, kind, 4, 0, 0, 0, 1]);
        stream.extend(payload);
    }
    let frames: Vec<String> = (0..10)
        .map(|kind| {
            String::from_utf8(vec![0, 0, 0, kind, 0, 0, 0, 0, 1])
                .unwrap()
                .repeat(200)
        })
        .collect();
    let pieces: Vec<&str> = frames.iter().map(String::as_str).collect();
    let mut offences = 0;
    for _ in 0..rounds() / 10 {
        let mut bytes = stream.clone();
        for _ in 0..random.random_range(0..20) {
            let piece = pieces.choose(&mut random).unwrap();
            bytes.extend(piece.as_bytes());
        }
        let bytes = mutated(&bytes, &pieces, &mut random);
        let mut whole = FrameWatch::new(0);
        let judged = whole.feed(&bytes, 0);
        let mut pieced = FrameWatch::new(0);
        let piece = random.random_range(1..50);
        let again = bytes
            .chunks(piece)
            .try_for_each(|some| pieced.feed(some, 0));
        assert_eq!(judged, again);
        assert_eq!(whole.amid(), pieced.amid());
        offences += usize::from(judged.is_err());
    }
    assert!(offences > 0, "some are let go");
}

#[test]
fn broken_proxy_headers_do_not_panic_and_take_no_byte_of_the_client() {
    let mut random = StdRng::seed_from_u64(0x5ca1_ab1e);
    let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\nGET / HTTP/1.1\r\n".to_vec();
    let binary = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x04\xd2\0\x50"[..],
        b"GET / HTTP/1.1\r\n",
    ]
    .concat();
    let mut read = 0;
    for _ in 0..rounds() {
        let whole = [&line, &binary].choose(&mut random).copied().unwrap();
        let bytes = mutated(whole, &PIECES, &mut random);
        let said = proxy_header::read(&bytes);
        match said {
            Said::Header { length, .. } => {
                read += 1;
                assert!(length <= bytes.len(), "{}", bytes.escape_ascii());
                // What follows does not matter, and nothing less would do.
                assert_eq!(proxy_header::read(&bytes[..length]), said);
                let shorter = proxy_header::read(&bytes[..length - 1]);
                let Said::Incomplete { more } = shorter else {
                    panic!("{shorter:?}: {}", bytes.escape_ascii());
                };
                assert_eq!(more, 1, "{}", bytes.escape_ascii());
            }
            Said::Incomplete { more } => assert!(more > 0),
            Said::Nothing | Said::Malformed => {}
        }
    }
    assert!(read > 0, "some can be read");
}
