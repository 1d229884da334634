//! How clients of HTTP/1 are spoken with: what is kept and what is closed, and what is written to whom.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::time::Duration;
use support::*;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn an_older_client_is_kept_if_it_asks_for_that() {
    let (router, backend) = (TestRouter::start().await, Backend::saying("old").await);
    router.route("a", backend.address);
    let mut client = router.connect().await;
    for _ in 0..3 {
        client
            .send("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n")
            .await;
        let answer = client.answer().await;
        assert!(answer.head.starts_with("HTTP/1.0 200 OK"), "{answer:?}");
        assert_eq!(answer.header("connection"), Some("keep-alive"));
        assert_eq!(answer.body, "old");
    }
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "old");
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_older_client_sees_the_end_of_an_answer_without_a_length() {
    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, _| async move {
        while peer.request().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
                .await;
        }
    })
    .await;
    router.route("a", backend.address);
    let mut client = router.connect().await;
    client
        .send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.header("transfer-encoding"), None, "{answer:?}");
    let body = client
        .read_until(|read| (read.len() >= 3).then_some(3))
        .await;
    assert_eq!(body, b"abc");
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn after_a_refusal_the_connection_is_kept_where_the_body_has_come() {
    let (router, backend) = (TestRouter::start().await, Backend::saying("ok").await);
    router.route("a", backend.address);
    let mut client = router.connect().await;
    for body in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        client
            .send(format!("POST / HTTP/1.1\r\nHost: none\r\n{body}"))
            .await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (404, None));
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.answer().await.body, "ok");
    }
    // Nobody waits for the rest of what nobody wants.
    client
        .send("POST / HTTP/1.1\r\nHost: none\r\nContent-Length: 500\r\n\r\nhello")
        .await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (404, Some("close"))
    );
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_target_that_is_too_long_is_told() {
    let router = TestRouter::with(|policy| policy.max_header_bytes = 200_000).await;
    let request = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000));
    assert_eq!(router.ask(&request).await.status, 414);
}

#[tokio::test]
async fn many_requests_at_once_are_answered_in_their_order() {
    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            let path = request.head.split(' ').nth(1).unwrap().to_string();
            let length = path.len();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}"
            ))
            .await;
        }
    })
    .await;
    router.route("a", backend.address);
    let mut client = router.connect().await;
    let requests: String = (0..500)
        .map(|number| match number % 3 {
            0 => format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
            _ => format!(
                "PUT /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            ),
        })
        .collect();
    client.send(requests).await;
    for number in 0..500 {
        assert_eq!(client.answer().await.body, format!("/{number}"));
    }
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn trailers_go_to_who_takes_them() {
    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, _| async move {
        while peer.request().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\nX-Other: 8\r\n\r\n")
                .await;
        }
    })
    .await;
    router.route("a", backend.address);
    let mut client = router.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "3\r\nabc\r\n0\r\n\r\n");
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\n\r\n")
        .await;
    client.head().await;
    let wanted = b"3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n";
    let body = client
        .read_until(|read| (read.len() >= wanted.len()).then_some(wanted.len()))
        .await;
    assert_eq!(
        body.escape_ascii().to_string(),
        wanted.escape_ascii().to_string()
    );
}

#[tokio::test]
async fn an_answer_has_one_date() {
    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, number| async move {
        let own = match number {
            0 => "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
            _ => "",
        };
        peer.request().await;
        peer.send(format!(
            "HTTP/1.1 200 OK\r\n{own}Connection: close\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
    })
    .await;
    router.route("a", backend.address);
    let first = router.get("a", "/").await;
    assert_eq!(first.header("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    for answer in [first, router.get("a", "/").await] {
        assert_eq!(answer.head.matches("date: ").count(), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn a_large_answer_in_chunks_is_whole_to_who_reads_slowly() {
    const PIECES: usize = 200;
    let router = TestRouter::start().await;
    let backend = Backend::start(|mut peer, _| async move {
        while peer.request().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            for piece in 0..PIECES {
                // Of all sizes: what is copied, and what goes beside.
                let text = char::from(b'a' + (piece % 26) as u8).to_string();
                let text = text.repeat(1 + piece * 97);
                peer.send(format!("{:x}\r\n{text}\r\n", text.len())).await;
            }
            peer.send("0\r\n\r\n").await;
        }
    })
    .await;
    router.route("a", backend.address);
    let mut client = router.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let body = client
        .read_until(|read| read.ends_with(b"0\r\n\r\n").then_some(read.len()))
        .await;
    let (mut rest, mut read) = (&body[..], Vec::new());
    loop {
        let at = rest.windows(2).position(|end| end == b"\r\n").unwrap();
        let size = std::str::from_utf8(&rest[..at]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        read.extend_from_slice(&rest[at + 2..at + 2 + size]);
        assert_eq!(&rest[at + 2 + size..][..2], b"\r\n");
        rest = &rest[at + 4 + size..];
    }
    let wanted: Vec<u8> = (0..PIECES)
        .flat_map(|piece| vec![b'a' + (piece % 26) as u8; 1 + piece * 97])
        .collect();
    assert!(read == wanted, "{} of {}", read.len(), wanted.len());
}

#[tokio::test]
async fn a_body_goes_up_while_its_answer_is_not_read() {
    const SIZE: usize = 8 << 20;
    let router = TestRouter::start().await;
    let (told, mut taken) = tokio::sync::mpsc::channel::<usize>(1);
    let backend = Backend::start(move |peer, _| {
        let told = told.clone();
        async move {
            let mut peer = peer;
            peer.head().await;
            let mut count = std::mem::take(&mut peer.read).len();
            // Answers at once, more than anybody holds, while the body comes.
            let (mut reading, mut writing) = peer.socket.into_split();
            let answering = tokio::spawn(async move {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", SIZE * 4);
                writing.write_all(head.as_bytes()).await.unwrap();
                let _ = writing.write_all(&vec![b'x'; SIZE * 4]).await;
            });
            let mut piece = vec![0; 65_536];
            while count < SIZE {
                let read = tokio::io::AsyncReadExt::read(&mut reading, &mut piece).await;
                count += read.unwrap();
            }
            told.send(count).await.unwrap();
            let _ = answering.await;
        }
    })
    .await;
    router.route("a", backend.address);
    let mut client = router.connect().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"
        ))
        .await;
    client.send(vec![b'y'; SIZE]).await;
    let count = tokio::time::timeout(SOON, taken.recv()).await;
    assert_eq!(count, Ok(Some(SIZE)));
    let answer = client.answer().await;
    assert_eq!(answer.body.len(), SIZE * 4);
}
