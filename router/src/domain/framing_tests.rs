//! A corpus of raw requests, and properties of the inspector over every way to cut them up.

use super::*;
use proptest::prelude::*;

/// Why nothing more is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    None,
    HeadIncomplete,
    Refused(Fault),
    BrokenBody,
}

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    targets: Vec<String>,
    body: Vec<u8>,
    trailers: usize,
}

/// Takes what there is to take.
fn take(inspector: &mut Inspector, come: &mut BytesMut, read: &mut Read) -> Stop {
    loop {
        match inspector.next(come) {
            Step::Nothing if inspector.in_head() => return Stop::HeadIncomplete,
            Step::Nothing => return Stop::None,
            Step::Head(asked) => read.targets.push(asked.request.uri().to_string()),
            Step::Data(data) => read.body.extend_from_slice(&data),
            Step::End(trailers) => read.trailers += trailers.map_or(0, |trailers| trailers.len()),
            Step::Refused(fault) => return Stop::Refused(fault),
            Step::Broken => return Stop::BrokenBody,
        }
    }
}

fn judge(bytes: &[u8]) -> Result<(), Stop> {
    let mut inspector = Inspector::new(16 * 1024);
    let mut come = BytesMut::from(bytes);
    match take(&mut inspector, &mut come, &mut Read::default()) {
        Stop::None if come.is_empty() => Ok(()),
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
fn a_break_is_seen_in_all_that_has_come() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, breaks) in [
        ("3\r\nab", false),
        ("3\r\nabc\r\n0\r\n\r\nnonsense\n", false),
        ("3\r\nabcX\r\n0\r\n\r\n", true),
        ("3\r\nabc\r\n1\r\nd\r\n g\r\n", true),
    ] {
        let mut inspector = Inspector::new(1000);
        let mut come = BytesMut::from(format!("{head}{body}").as_str());
        assert!(matches!(inspector.next(&mut come), Step::Head(_)));
        assert_eq!(inspector.breaks(&come), breaks, "{body:?}");
    }
}

#[test]
fn large_heads_are_refused_when_they_pass_the_limit() {
    let held = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(2000));
    for end in ["", "\r\n\r\n"] {
        let mut come = BytesMut::from(format!("{held}{end}").as_str());
        let step = Inspector::new(1000).next(&mut come);
        assert!(matches!(step, Step::Refused(Fault::TooLarge)), "{step:?}");
    }
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
fn a_target_may_not_be_longer_than_can_be_handled() {
    let of = |length: usize| {
        let head = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length));
        read_head(&head.into()).map(|_| ())
    };
    assert_eq!(of(MAX_TARGET - 1), Ok(()));
    assert_eq!(of(MAX_TARGET), Err(Fault::TargetTooLong));
}

fn asked(text: &str) -> Asked {
    read_head(&Bytes::copy_from_slice(text.as_bytes())).expect("a request")
}

#[test]
fn a_head_becomes_a_request() {
    let asked = asked(
        "POST /a?b=%2F HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: \t2 \r\nContent-Length: 3\r\n\r\n",
    );
    let request = &asked.request;
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.uri(), "/a?b=%2F");
    assert_eq!(request.version(), Version::HTTP_11);
    let values: Vec<_> = request.headers().get_all("x-a").iter().collect();
    assert_eq!(values, ["1", "2"]);
    assert_eq!(asked.body, BodyFraming::Length(3));
    assert!(asked.keeps && !asked.upgrade && !asked.expects);
}

#[test]
fn what_a_client_says_of_its_connection_is_told() {
    let of = |version: &str, lines: &str| {
        asked(&format!("GET / HTTP/1.{version}\r\nHost: a\r\n{lines}\r\n"))
    };
    let keeps = [
        ("1", "", true),
        ("1", "Connection: x, Close\r\n", false),
        (
            "1",
            "Connection: close\r\nConnection: keep-alive\r\n",
            false,
        ),
        ("0", "", false),
        ("0", "Connection: Keep-Alive\r\n", true),
        ("0", "Connection: keep-alive, close\r\n", false),
    ];
    for (version, lines, kept) in keeps {
        assert_eq!(of(version, lines).keeps, kept, "1.{version} {lines:?}");
    }
    let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    assert!(of("1", upgrade).upgrade && !of("0", upgrade).upgrade);
    assert!(!of("1", "Upgrade: websocket\r\n").upgrade);
    assert!(!of("1", "Connection: upgrade\r\nUpgrade: h2c\r\n").upgrade);
    let expects = "Expect: 100-Continue\r\n";
    assert!(of("1", expects).expects && !of("0", expects).expects);
}

/// Takes in pieces, as the socket's reader does: what was read, what is left, and why nothing more is taken.
fn take_in_pieces(bytes: &[u8], cuts: &[usize]) -> (Read, usize, Stop) {
    let mut inspector = Inspector::new(16 * 1024);
    let (mut come, mut read) = (BytesMut::new(), Read::default());
    let mut why = Stop::None;
    let mut at = 0;
    let ends = cuts
        .iter()
        .map(|cut| cut % (bytes.len() + 1))
        .chain([bytes.len()]);
    let mut ends: Vec<usize> = ends.collect();
    ends.sort_unstable();
    for end in ends {
        come.extend_from_slice(&bytes[at..end]);
        at = end;
        why = take(&mut inspector, &mut come, &mut read);
        if matches!(why, Stop::Refused(_) | Stop::BrokenBody) {
            // (How much had come by then is a matter of the pieces.)
            return (read, 0, why);
        }
    }
    (read, come.len(), why)
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
        let whole = take_in_pieces(streams[which], &[]);
        let pieces = take_in_pieces(streams[which], &cuts);
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn no_bytes_make_it_panic_or_give_more_than_came(bytes in proptest::collection::vec(any::<u8>(), 0..600), cuts in proptest::collection::vec(0usize..600, 0..6)) {
        let (read, left, _) = take_in_pieces(&bytes, &cuts);
        prop_assert!(read.body.len() + left <= bytes.len());
    }
}
