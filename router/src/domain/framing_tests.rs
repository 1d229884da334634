//! A corpus of raw requests, and properties of the inspector over every way to cut them up.

use super::*;
use proptest::prelude::*;

fn judge(bytes: &[u8]) -> Result<(), Stop> {
    let mut inspector = Inspector::new(16 * 1024);
    let verdict = inspector.feed(bytes);
    match verdict.why {
        Stop::None if verdict.pass == bytes.len() => Ok(()),
        why => Err(why),
    }
}

#[test]
fn requests_that_can_be_read_in_one_way_pass() {
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8000));
    let cases: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
        b"GET / HTTP/1.1\r\nhOsT: a.example.com:8080\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET //a/%2F/../b;c=d?e=f;g HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a.example.com/x HTTP/1.1\r\nHost: A.example.com\r\n\r\n",
        b"GET http://a.example.com:80/x HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
        b"GET http://a.example.com?x HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Tab:\ta\t\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Name: caf\xc3\xa9\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nA;x=y\r\n0123456789\r\n000\r\nX-T: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        long_path.as_bytes(),
    ];
    for case in cases {
        assert_eq!(judge(case), Ok(()), "{}", case.escape_ascii());
    }
}

#[test]
fn ambiguous_requests_are_refused() {
    use Fault::*;
    let cases: &[(&[u8], Fault)] = &[
        (b"GET / HTTP/1.1\nHost: a\n\n", BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\n\n", BareLineFeed),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", BareCarriageReturn),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", BareCarriageReturn),
        (b"GET / HTTP/1.1\r\n\r\n", MissingHost),
        (b"GET / HTTP/1.0\r\n\r\n", MissingHost),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", MissingHost),
        (b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", MissingHost),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", RepeatedHost),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", RepeatedHost),
        (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: [a\r\n\r\n", InvalidHost),
        (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", HostDisagrees),
        (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", HostDisagrees),
        (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        (b"GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Connect),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", RepeatedContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\n", RepeatedContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", InvalidContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", InvalidContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", InvalidContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", InvalidContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", InvalidContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", InvalidContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", LengthAndCoding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", LengthAndCoding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", TransferCoding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", TransferCoding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", TransferCoding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", TransferCoding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", TransferCoding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", TransferCoding),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", CodingInOldVersion),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n", LookalikeFraming),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 3\r\n\r\n", LookalikeFraming),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", HeaderName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: b\r\n\r\n", HeaderName),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", HeaderName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", ObsoleteFold),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", ObsoleteFold),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", HeaderValue),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Version),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Version),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", RequestLine),
        (b"G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n", RequestLine),
        (b"GET /\r\n\r\n", RequestLine),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", RequestLine),
    ];
    for (case, fault) in cases {
        assert_eq!(
            judge(case),
            Err(Stop::Refused(*fault)),
            "{}",
            case.escape_ascii()
        );
    }
}

#[test]
fn broken_chunks_are_noticed() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bodies: &[&[u8]] = &[
        b"\r\n",
        b"g\r\n",
        b"3\nabc\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n",
        b"3 \r\nabc\r\n",
        b"-1\r\n",
        b"0x3\r\nabc\r\n",
        b"1111111111111111\r\n",
        b"3;a\nb\r\nabc\r\n",
        b"0\r\nX: 1\n\r\n",
        b"0\r\n X: 1\r\n\r\n",
    ];
    for body in bodies {
        let bytes = [head.as_slice(), body].concat();
        assert_eq!(
            judge(&bytes),
            Err(Stop::BrokenBody),
            "{}",
            body.escape_ascii()
        );
    }
}

#[test]
fn large_heads_are_refused_when_they_pass_the_limit() {
    let mut inspector = Inspector::new(1000);
    let held = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(2000));
    assert_eq!(
        inspector.feed(held.as_bytes()).why,
        Stop::Refused(Fault::TooLarge)
    );
    let mut inspector = Inspector::new(1000);
    let whole = format!("{held}\r\n\r\n");
    assert_eq!(
        inspector.feed(whole.as_bytes()).why,
        Stop::Refused(Fault::TooLarge)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(MAX_HEADERS)
    );
    assert_eq!(
        judge(many.as_bytes()),
        Err(Stop::Refused(Fault::TooManyHeaders))
    );
}

#[test]
fn after_an_upgrade_request_bytes_wait_for_the_answer() {
    let head = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let bytes = [head.as_slice(), b"\x81\x00early"].concat();
    let mut inspector = Inspector::new(1000);
    assert_eq!(
        inspector.feed(&bytes),
        Verdict {
            pass: head.len(),
            why: Stop::Undecided
        }
    );
    inspector.decide(true);
    assert_eq!(
        inspector.feed(b"\x81\x00early"),
        Verdict {
            pass: 7,
            why: Stop::None
        }
    );

    let mut inspector = Inspector::new(1000);
    assert_eq!(inspector.feed(head).why, Stop::Undecided);
    inspector.decide(false);
    assert_eq!(
        inspector.feed(b"nonsense\r\n\r\n").why,
        Stop::Refused(Fault::RequestLine)
    );
}

/// Feeds in pieces, holding back what may not pass, as the socket's reader does.
fn feed_in_pieces(bytes: &[u8], cuts: &[usize]) -> (usize, Stop, u64) {
    let mut inspector = Inspector::new(16 * 1024);
    let mut held: Vec<u8> = Vec::new();
    let mut passed = 0;
    let mut why = Stop::None;
    let mut at = 0;
    let ends = cuts
        .iter()
        .map(|cut| cut % (bytes.len() + 1))
        .chain([bytes.len()]);
    let mut ends: Vec<usize> = ends.collect();
    ends.sort_unstable();
    for end in ends {
        held.extend_from_slice(&bytes[at..end]);
        at = end;
        let verdict = inspector.feed(&held);
        passed += verdict.pass;
        held.drain(..verdict.pass);
        why = verdict.why;
        if matches!(why, Stop::Refused(_) | Stop::BrokenBody) {
            break;
        }
    }
    (passed, why, inspector.heads())
}

proptest! {
    #[test]
    fn the_verdict_does_not_depend_on_how_the_bytes_arrive(
        which in 0usize..6,
        cuts in proptest::collection::vec(0usize..4000, 0..12),
    ) {
        let streams: [&[u8]; 6] = [
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab\ncdGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nX: 1\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcx\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
        ];
        let whole = feed_in_pieces(streams[which], &[]);
        let pieces = feed_in_pieces(streams[which], &cuts);
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn no_bytes_make_it_panic_or_pass_more_than_was_fed(bytes in proptest::collection::vec(any::<u8>(), 0..600), cuts in proptest::collection::vec(0usize..600, 0..6)) {
        let (passed, _, _) = feed_in_pieces(&bytes, &cuts);
        prop_assert!(passed <= bytes.len());
    }
}
