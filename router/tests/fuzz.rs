//! Bounded runs of broken input, from a seed: the same every time.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use proto::bus::router::Registration;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use router::domain::announcement::Announcement;
use router::domain::framing::{Inspector, Stop};
use router::domain::table::Registry;
use support::corpus::{SMUGGLED, http1_cases};

const ROUNDS: usize = 30_000;
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

/// What is passed on of a stream that arrives in these pieces, and how it ends.
fn inspected(bytes: &[u8], piece: usize) -> (Vec<u8>, Stop) {
    let mut inspector = Inspector::new(16 * 1024);
    let (mut held, mut passed, mut why) = (Vec::new(), Vec::new(), Stop::None);
    for some in bytes.chunks(piece.max(1)) {
        held.extend_from_slice(some);
        let verdict = inspector.feed(&held);
        passed.extend(held.drain(..verdict.pass));
        why = verdict.why;
        if matches!(why, Stop::Refused(_) | Stop::BrokenBody) {
            break;
        }
    }
    (passed, why)
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
    let mut passing = 0;
    for _ in 0..ROUNDS {
        let bytes = mutated(cases.choose(&mut random).unwrap(), &PIECES, &mut random);
        let whole = inspected(&bytes, bytes.len());
        let piece = random.random_range(1..40);
        assert_eq!(whole, inspected(&bytes, piece), "{}", bytes.escape_ascii());
        assert!(is_plain(&whole.0), "{}", bytes.escape_ascii());
        passing += usize::from(!whole.0.is_empty());
    }
    assert!(passing > ROUNDS / 20, "some pass: {passing}");
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
    let (mut decoded, mut taken) = (0, 0);
    for now in 0..ROUNDS as u64 {
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
            let host = name.host.trim_start_matches("*.");
            registry.table().lookup(host, &name.path);
        }
    }
    assert!(
        decoded > ROUNDS / 50 && taken > decoded / 10,
        "{decoded} {taken}"
    );
    registry.prune(u64::MAX / 2, 500);
    registry.prune(u64::MAX - 1, 500);
}
