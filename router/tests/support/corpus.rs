//! Requests that could be read in more than one way, by the trick they try.

use super::frames::{get, request};

/// What must happen to a case of HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It is one request, however odd: its instance answers it, and the connection stays in step.
    One,
    /// The router answers by itself, with this status.
    Refused(u16),
    /// Its body turns out to be broken: it is no whole request for anybody, and the connection ends.
    Broken,
}

pub struct Case {
    pub trick: &'static str,
    /// `{p}`: a path of its own; `{s}`: a request that nobody may ever see.
    pub text: String,
    pub judged: Judged,
}

/// A request that hides in a body or behind one.
pub const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// The cases of HTTP/1.
pub fn http1_cases() -> Vec<Case> {
    use Judged::{Broken, One, Refused};
    let mut cases = Vec::new();
    let mut add = |trick, text: String, judged| {
        cases.push(Case {
            trick,
            text,
            judged,
        })
    };
    let post = |headers: &str, body: &str| {
        format!("POST {{p}} HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}")
    };
    let get = |headers: &str| format!("GET {{p}} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    let length = |body: &str| {
        let whole = body.replace("{s}", SMUGGLED);
        format!("Content-Length: {}\r\n", whole.len())
    };

    // Two framings, one for each of two readers.
    for (trick, headers, body) in [
        (
            "CL.TE",
            format!("{}{CHUNKED}", length("0\r\n\r\n{s}")),
            "0\r\n\r\n{s}",
        ),
        (
            "CL.TE",
            format!("{CHUNKED}{}", length("0\r\n\r\n{s}")),
            "0\r\n\r\n{s}",
        ),
        (
            "CL.TE",
            format!("Content-Length: 0\r\n{CHUNKED}"),
            "0\r\n\r\n{s}",
        ),
        (
            "TE.CL",
            format!("Content-Length: 4\r\n{CHUNKED}"),
            "5c\r\n{s}\r\n0\r\n\r\n",
        ),
        (
            "TE.CL",
            format!("{CHUNKED}Content-Length: 3\r\n"),
            "1\r\nZ\r\n0\r\n\r\n{s}",
        ),
        (
            "TE.CL",
            format!("{CHUNKED}Content-Length: 0\r\n"),
            "0\r\n\r\n{s}",
        ),
        (
            "TE.CL",
            format!("{CHUNKED}content-length: 5\r\n"),
            "0\r\n\r\n{s}",
        ),
        (
            "CL.TE",
            "Content-Length: 6\r\nTransfer-Encoding: identity, chunked\r\n".into(),
            "0\r\n\r\nG{s}",
        ),
    ] {
        add(trick, post(&headers, body), Refused(400));
    }
    // One framing that not everybody recognizes.
    for header in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chu nked",
        "Transfer-Encoding: chunked\u{b}",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "Transfer_Encoding: chunked",
        "Transfer-Encoding\u{0}: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "X: y\r\n\tTransfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\rX: y",
        "Transfer-Encoding: chunked\n",
        "Foo: bar\r\n\rTransfer-Encoding: chunked",
    ] {
        let headers = format!("{header}\r\n");
        add("TE.TE", post(&headers, "0\r\n\r\n{s}"), Refused(400));
    }
    // Lengths.
    for header in [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 0",
        "Content-Length: 0\r\ncontent-length: 41",
        "Content-Length: 5, 5",
        "Content-Length: 5,0",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 5.0",
        "Content-Length: 5e0",
        "Content-Length: five",
        "Content-Length:",
        "Content-Length: 18446744073709551621",
        "Content-Length : 5",
        "Content_Length: 5",
        "Content-Length\u{0}: 5",
        "Content-Length:\r\n 5",
        "Content-Length: 5\rX: y",
        "X: y\nContent-Length: 5",
    ] {
        let headers = format!("{header}\r\n");
        add("CL.CL", post(&headers, "{s}"), Refused(400));
    }
    // Bodies where some readers expect none, and none where some expect one.
    add("CL.0", post(&length("{s}"), "{s}"), One);
    add("CL.0", post("Content-Length: 0\r\n", ""), One);
    for method in ["GET", "OPTIONS", "DELETE", "PUT", "PATCH"] {
        let headers = length("{s}");
        let text = format!("{method} {{p}} HTTP/1.1\r\nHost: a\r\n{headers}\r\n{{s}}");
        add("CL.0", text, One);
    }
    add("0.CL", get("Content-Length: 0\r\n"), One);
    add(
        "TE.0",
        get(CHUNKED).replace("GET", "POST") + "0\r\n\r\n",
        One,
    );
    add("TE.0", post(CHUNKED, "23\r\n{s}\r\n0\r\n\r\n"), One);
    add(
        "TE.0",
        post("Transfer-Encoding: CHUNKED\r\n", "23\r\n{s}\r\n0\r\n\r\n"),
        One,
    );
    add(
        "Expect",
        post(&format!("Expect: 100-continue\r\n{}", length("{s}")), "{s}"),
        One,
    );
    add(
        "Expect",
        post(
            &format!("Expect: y 100-continue\r\n{}", length("{s}")),
            "{s}",
        ),
        One,
    );
    add("Expect", get("Expect: 100-continue\r\n"), One);
    // Headers that are of one connection.
    for connection in [
        "Connection: Content-Length",
        "Connection: Host",
        "Connection: Transfer-Encoding",
        "Connection: keep-alive, Cookie",
        "Proxy-Connection: keep-alive",
        "Keep-Alive: timeout=5",
        "TE: chunked",
        "Trailer: Content-Length",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    ] {
        let headers = format!("{connection}\r\n{}", length("{s}"));
        add("hop-by-hop", post(&headers, "{s}"), One);
    }
    // Bodies in pieces whose ends are not seen alike.
    for body in [
        "0\n\n{s}",
        "0\r\n\n{s}",
        "0\r\r\n{s}",
        "1\nZ\n0\n\n{s}",
        "1\r\nZ0\r\n\r\n{s}",
        "1\r\nZZ\r\n0\r\n\r\n{s}",
        "0x0\r\n\r\n{s}",
        "+0\r\n\r\n{s}",
        "-1\r\n\r\n{s}",
        " 0\r\n\r\n{s}",
        "0 \r\n\r\n{s}",
        "1;a\nb\r\nZ\r\n0\r\n\r\n{s}",
        "10000000000000000\r\nZ\r\n0\r\n\r\n{s}",
        "ffffffffffffffff\r\nZ\r\n{s}",
        "\r\n0\r\n\r\n{s}",
        "g\r\n\r\n{s}",
        "0\r\nX: y\n\r\n{s}",
        "0\r\n X: y\r\n\r\n{s}",
        "0\r\nX: y\rZ\r\n\r\n{s}",
        "0;\n\r\n\r\n{s}",
    ] {
        add("chunks", post(CHUNKED, body), Broken);
    }
    for body in [
        "000000\r\n\r\n",
        "0;a=b;c=\"d\"\r\n\r\n",
        "23;x=\"GET /\"\r\n{s}\r\n0\r\n\r\n",
        "0\r\nX-Trailer: y\r\n\r\n",
        "1\r\nZ\r\n20\r\n{t}\r\n00\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nHost: b\r\n\r\n",
    ] {
        // A piece of the request that is hidden, whole pieces of which fit.
        let body = body.replace("{t}", &SMUGGLED[..32]);
        add("chunks", post(CHUNKED, &body), One);
    }
    // Who is asked.
    for head in [
        "GET {p} HTTP/1.1\r\n",
        "GET {p} HTTP/1.0\r\n",
        "GET {p} HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        "GET {p} HTTP/1.1\r\nHost: a\r\nhost: a\r\n",
        "GET {p} HTTP/1.1\r\nHost: a b\r\n",
        "GET {p} HTTP/1.1\r\nHost: a, b\r\n",
        "GET {p} HTTP/1.1\r\nHost: a/smuggled\r\n",
        "GET {p} HTTP/1.1\r\nHost: x@a\r\n",
        "GET {p} HTTP/1.1\r\nHost: a:b\r\n",
        "GET {p} HTTP/1.1\r\n Host: a\r\n",
        "GET {p} HTTP/1.1\r\nHost : a\r\n",
        "GET {p} HTTP/1.1\r\nX: y\r\n\tHost: a\r\n",
        "GET http://b{p} HTTP/1.1\r\nHost: a\r\n",
        "GET http://x@a{p} HTTP/1.1\r\nHost: a\r\n",
        "GET http:// HTTP/1.1\r\nHost: a\r\n",
    ] {
        add("host", format!("{head}\r\n{{s}}"), Refused(400));
    }
    add(
        "host",
        "GET http://a{p} HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        One,
    );
    add(
        "host",
        "GET http://a:80{p} HTTP/1.1\r\nHost: A\r\n\r\n".into(),
        One,
    );
    add("host", get("X-Forwarded-Host: b\r\nX-Host: b\r\n"), One);
    // What a request line and a header are.
    for head in [
        "GET {p} HTTP/1.1\nHost: a\n",
        "GET {p} HTTP/1.1\r\nHost: a\n",
        "GET  {p} HTTP/1.1\r\nHost: a\r\n",
        "GET\t{p}\tHTTP/1.1\r\nHost: a\r\n",
        "GET {p}\r\nHost: a\r\n",
        "GET {p}#x HTTP/1.1\r\nHost: a\r\n",
        "GET {p}\u{0} HTTP/1.1\r\nHost: a\r\n",
        "GET x{p} HTTP/1.1\r\nHost: a\r\n",
        "G\u{1}T {p} HTTP/1.1\r\nHost: a\r\n",
        "GET {p} HTTP/1.1 \r\nHost: a\r\n",
        "GET {p} HTTP/1.1\r\nHost: a\r\nX Y: z\r\n",
        "GET {p} HTTP/1.1\r\nHost: a\r\nX\u{0}: z\r\n",
        "GET {p} HTTP/1.1\r\nHost: a\r\nX: \u{0}\r\n",
        "GET {p} HTTP/1.1\r\nHost: a\r\n: z\r\n",
        "GET {p} HTTP/1.1\r\nHost: a\r\nX\r\n",
        "GET {p} HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n",
        "GET {p} HTTP/1.1\r\nHost: a\r\nX: y\r\r\n",
    ] {
        add("lines", format!("{head}\r\n{{s}}"), Refused(400));
    }
    for (head, status) in [
        ("GET {p} HTTP/0.9\r\nHost: a\r\n", 505),
        ("GET {p}  HTTP/1.1\r\nHost: a\r\n", 505),
        ("GET {p} {p} HTTP/1.1\r\nHost: a\r\n", 505),
        ("GET {p} HTTP/1.2\r\nHost: a\r\n", 505),
        ("GET {p} HTTP/2.0\r\nHost: a\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n", 505),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n", 405),
    ] {
        add("versions", format!("{head}\r\n{{s}}"), Refused(status));
    }
    add(
        "versions",
        format!("POST {{p}} HTTP/1.0\r\nHost: a\r\n{CHUNKED}\r\n0\r\n\r\n{{s}}"),
        Refused(400),
    );
    add("lines", "\r\n\r\n".to_string() + &get(""), One);
    add("lines", get("X-Latin: caf\u{e9}\r\n"), One);
    add("lines", get("Content-Type: a\r\nContent-Type: b\r\n"), One);
    cases
}

/// How a request of HTTP/2 must end that could be written as one of HTTP/1 in more than one way.
#[derive(Debug)]
pub enum Fate {
    Refused(u16),
    /// Reset, or the connection closed.
    Ended,
}

pub type Headers = Vec<(&'static str, &'static str)>;

/// The cases of HTTP/2: each is one block of headers that ends its request.
pub fn http2_cases() -> Vec<(Headers, Fate)> {
    let smuggled = "1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = || request("POST", "a");
    let with = |mut headers: Vec<(&'static str, &'static str)>, name, value| {
        headers.push((name, value));
        headers
    };
    let without = |name: &str| -> Vec<(&'static str, &'static str)> {
        let headers = request("GET", "a").into_iter();
        headers.filter(|(found, _)| *found != name).collect()
    };
    let instead = |name: &'static str, value: &'static str| {
        let mut headers = without(name);
        headers.push((name, value));
        headers
    };
    let smuggled: &'static str = Box::leak(smuggled.to_string().into_boxed_str());
    vec![
        // Hosts.
        (without(":authority"), Fate::Refused(400)),
        (with(get("a"), "host", "b"), Fate::Refused(400)),
        (
            with(with(get("a"), "host", "a"), "host", "a"),
            Fate::Refused(400),
        ),
        (instead(":authority", "user@a"), Fate::Refused(400)),
        (instead(":authority", "a/x"), Fate::Ended),
        (instead(":authority", "a b"), Fate::Ended),
        (instead(":authority", ""), Fate::Ended),
        (
            with(without(":authority"), "host", "a/../b"),
            Fate::Refused(400),
        ),
        (with(without(":authority"), "host", ""), Fate::Refused(400)),
        // Targets and methods.
        (without(":path"), Fate::Ended),
        (instead(":path", ""), Fate::Ended),
        (instead(":path", "x"), Fate::Ended),
        (instead(":path", "*"), Fate::Refused(400)),
        (instead(":path", "http://b/"), Fate::Ended),
        (instead(":path", "/ HTTP/1.1\r\nHost: b"), Fate::Ended),
        (instead(":path", "/a b"), Fate::Ended),
        (instead(":path", "/\n"), Fate::Ended),
        (without(":scheme"), Fate::Ended),
        (instead(":scheme", "ftp"), Fate::Refused(400)),
        (instead(":scheme", "http://b/"), Fate::Ended),
        (without(":method"), Fate::Ended),
        (instead(":method", "GET / HTTP/1.1\r\n"), Fate::Ended),
        (instead(":method", ""), Fate::Ended),
        (instead(":method", "CONNECT"), Fate::Ended),
        (
            vec![(":method", "CONNECT"), (":authority", "a:80")],
            Fate::Refused(405),
        ),
        // Pseudo headers.
        (with(get("a"), ":path", "/again"), Fate::Ended),
        (with(get("a"), ":authority", "b"), Fate::Ended),
        (with(get("a"), ":status", "200"), Fate::Ended),
        (with(get("a"), ":protocol", "websocket"), Fate::Ended),
        (with(get("a"), ":unknown", "1"), Fate::Ended),
        (
            with(with(without(":path"), "x", "1"), ":path", "/"),
            Fate::Ended,
        ),
        // Names and values.
        (with(get("a"), "X-Upper", "1"), Fate::Ended),
        (with(get("a"), "x y", "1"), Fate::Ended),
        (with(get("a"), "x\r\nhost", "b"), Fate::Ended),
        (with(get("a"), "x:y", "1"), Fate::Ended),
        (with(get("a"), "", "1"), Fate::Ended),
        (with(get("a"), "x", smuggled), Fate::Ended),
        (with(get("a"), "x", "1\nhost: b"), Fate::Ended),
        (with(get("a"), "x", "1\r"), Fate::Ended),
        (with(get("a"), "x", "1\0"), Fate::Ended),
        // Headers of one connection (H2.TE among them).
        (with(post(), "transfer-encoding", "chunked"), Fate::Ended),
        (with(post(), "transfer-encoding", "identity"), Fate::Ended),
        (with(get("a"), "connection", "keep-alive"), Fate::Ended),
        (with(get("a"), "connection", "x-forwarded-for"), Fate::Ended),
        (with(get("a"), "keep-alive", "5"), Fate::Ended),
        (with(get("a"), "proxy-connection", "close"), Fate::Ended),
        (with(get("a"), "upgrade", "websocket"), Fate::Ended),
        (with(get("a"), "te", "trailers, chunked"), Fate::Ended),
        (with(get("a"), "te", "chunked"), Fate::Ended),
        (
            with(post(), "transfer_encoding", "chunked"),
            Fate::Refused(400),
        ),
        (with(post(), "content_length", "4"), Fate::Refused(400)),
        // Lengths (H2.CL): of a request without a body, and no number.
        (with(get("a"), "content-length", "4"), Fate::Ended),
        (with(get("a"), "content-length", "+0"), Fate::Ended),
        (with(get("a"), "content-length", "0, 0"), Fate::Ended),
        (with(get("a"), "content-length", " 0"), Fate::Ended),
        (with(get("a"), "content-length", "0x0"), Fate::Ended),
        (
            with(with(get("a"), "content-length", "0"), "content-length", "0"),
            Fate::Refused(400),
        ),
        (
            with(with(get("a"), "content-length", "0"), "content-length", "4"),
            Fate::Ended,
        ),
    ]
}
