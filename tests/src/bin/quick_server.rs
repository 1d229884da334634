//! A server that listens as soon as it runs: what else a start takes is the platform's. It answers every request with
//! the identity of its instance (`CF_INSTANCE_GUID`), at the port that `PORT` says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_default();
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    let body = std::env::var("CF_INSTANCE_GUID").unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for stream in listener.incoming() {
        let (stream, answer) = (stream?, answer.clone());
        std::thread::spawn(move || serve(stream, answer.as_bytes()));
    }
    Ok(())
}

/// Requests without bodies, one after the other, until the client leaves.
fn serve(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut held = Vec::new();
    let mut piece = [0; 4096];
    loop {
        while let Some(at) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            held.drain(..at + 4);
            stream.write_all(answer)?;
        }
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            count => held.extend_from_slice(&piece[..count]),
        }
    }
}
