//! A connection to an instance that speaks HTTP/1, and the one request that is on it.
//!
//! Who waits for the answer reads the socket himself: there is no task for each connection, hence nobody to hand over
//! to and back. (Two tasks for each request cost a tenth of all processor time, and what hyper read ahead for a client
//! that takes nothing was up to 128 KB.) For an idle connection nobody reads at all; whether it still is there is seen
//! when it is wanted ([`Line::is_silent`]).
//!
//! A request's body is passed on whenever the line is asked for anything, also while the answer passes: an instance
//! may answer before it has read all.

use super::bodies::{BodyError, RequestBody};
use super::room;
use crate::domain::answer_head::{self, AnswerHead, Ending, Unreadable};
use crate::domain::answer_lines::Lines;
use crate::domain::chunks::{self, BrokenChunks, Chunks, Piece};
use crate::domain::request_head::{self, Framing};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, Method, Uri};
use http_body::{Body, Frame, SizeHint};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How an instance is reached.
pub enum Socket {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

/// Why a request got no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error("the instance closed the connection before its answer was complete")]
    Closed,
    #[error("the connection to the instance broke")]
    Broken(#[source] io::Error),
    #[error("the answer of the instance cannot be read")]
    Unreadable(#[source] Unreadable),
    #[error("the answer of the instance cannot be read")]
    Chunks(#[from] BrokenChunks),
    #[error("the body of the request does not have the length that was said")]
    Length,
    #[error("the body of the request could not be passed on")]
    Body(#[from] BodyError),
}

pub struct Line {
    socket: Socket,
    /// What has come and was not taken yet.
    come: BytesMut,
    searched: usize,
    /// How many bytes the instance has said.
    heard: u64,
    /// What goes out first, how much of it has gone, and what goes behind it.
    out: Vec<u8>,
    gone: usize,
    piece: Bytes,
    /// Something was written since the last flush.
    unflushed: bool,
    /// Nothing of the request has gone out.
    untouched: bool,
    /// Nothing more can be written.
    broken: Option<io::Error>,
    body: Option<Passing>,
    method: Method,
    answer: Answer,
    /// The headers of the answer, until they were passed on.
    pub lines: Lines,
    /// The instance does not close after this answer.
    kept: bool,
}

/// The body of a request on its way.
struct Passing {
    body: RequestBody,
    /// How much is to come; None: it goes in chunks.
    left: Option<u64>,
    trailers: Vec<HeaderName>,
}

/// Where the answer is.
enum Answer {
    Head,
    Length(u64),
    Chunks(Box<Chunks>),
    Close,
    /// The instance speaks another protocol now.
    Switched,
    /// It was handed out to its end, or there is none to come.
    Over,
}

impl Line {
    pub fn new(socket: Socket) -> Box<Line> {
        Box::new(Line {
            socket,
            come: BytesMut::new(),
            searched: 0,
            heard: 0,
            out: Vec::new(),
            gone: 0,
            piece: Bytes::new(),
            unflushed: false,
            untouched: true,
            broken: None,
            body: None,
            method: Method::GET,
            answer: Answer::Over,
            lines: Lines::default(),
            kept: true,
        })
    }

    /// Whether an idle connection is as it should be: there, and nothing was said that nobody asked for.
    pub fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        let mut nobody = Context::from_waker(Waker::noop());
        Pin::new(&mut self.socket)
            .poll_read(&mut nobody, &mut byte)
            .is_pending()
    }

    /// How many bytes the instance has said on it.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// Begins a request. Its body is untouched until the head has gone out.
    pub fn ask(
        &mut self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        further: impl FnOnce(&mut Vec<u8>),
        body: RequestBody,
    ) {
        let framing = match (body.is_end_stream(), body.size_hint().exact()) {
            (true, _) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Chunked,
        };
        self.out = room::borrow_out();
        self.gone = 0;
        request_head::write(&mut self.out, method, uri, headers, further, framing);
        self.body = match framing {
            Framing::None => None,
            Framing::Length(left) => Some(Passing {
                body,
                left: Some(left),
                trailers: Vec::new(),
            }),
            Framing::Chunked => Some(Passing {
                body,
                left: None,
                trailers: chunks::announced(headers),
            }),
        };
        self.method = method.clone();
        self.searched = 0;
        self.untouched = true;
        self.answer = Answer::Head;
    }

    /// The body of a request of which nothing has gone out; None: something has.
    pub fn take_back(&mut self) -> Option<RequestBody> {
        if !self.untouched {
            return None;
        }
        let passing = self.body.take();
        Some(passing.map_or_else(RequestBody::empty, |passing| passing.body))
    }

    /// The head of the answer. `interim` hears of those before it.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: impl Fn(),
    ) -> Poll<Result<AnswerHead, LineError>> {
        loop {
            self.pass_on(cx)?;
            let (come, searched) = (&mut self.come, &mut self.searched);
            let head = answer_head::take(come, searched, &self.method, &mut self.lines);
            match head.map_err(LineError::Unreadable)? {
                Some(head) if head.is_interim() => interim(),
                Some(head) => {
                    self.begins(&head);
                    return Poll::Ready(Ok(head));
                }
                None => {
                    if ready!(self.poll_fill(cx, 0))? == 0 {
                        return Poll::Ready(Err(self.ended()));
                    }
                }
            }
        }
    }

    fn begins(&mut self, head: &AnswerHead) {
        self.kept = head.kept;
        self.answer = match head.ending {
            _ if head.status == http::StatusCode::SWITCHING_PROTOCOLS => Answer::Switched,
            Ending::None => Answer::Over,
            Ending::Length(length) => Answer::Length(length),
            Ending::Chunked => Answer::Chunks(Box::default()),
            Ending::Close => Answer::Close,
        };
    }

    /// The next piece of the answer's body.
    pub fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LineError>>> {
        if let Err(error) = self.pass_on(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let most = match &mut self.answer {
                Answer::Head | Answer::Switched | Answer::Over => {
                    return Poll::Ready(None);
                }
                Answer::Length(left) if !self.come.is_empty() => {
                    let count = self
                        .come
                        .len()
                        .min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= count as u64;
                    if *left == 0 {
                        self.answer = Answer::Over;
                    }
                    let piece = self.come.split_to(count).freeze();
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Answer::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX),
                Answer::Chunks(chunks) => match chunks.next(&mut self.come) {
                    Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(Piece::Nothing) => usize::MAX,
                    Ok(Piece::End(trailers)) => {
                        self.answer = Answer::Over;
                        let trailers = trailers.map(|trailers| Ok(Frame::trailers(trailers)));
                        return Poll::Ready(trailers);
                    }
                    Err(error) => return Poll::Ready(Some(Err(error.into()))),
                },
                Answer::Close if !self.come.is_empty() => {
                    return Poll::Ready(Some(Ok(Frame::data(self.come.split().freeze()))));
                }
                Answer::Close => usize::MAX,
            };
            match ready!(self.poll_fill(cx, most)) {
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(0) if matches!(self.answer, Answer::Close) => {
                    self.answer = Answer::Over;
                    return Poll::Ready(None);
                }
                Ok(0) => return Poll::Ready(Some(Err(self.ended()))),
                Ok(_) => {}
            }
        }
    }

    /// The answer was handed out to its end.
    pub fn is_over(&self) -> bool {
        matches!(self.answer, Answer::Over)
    }

    /// How much of the answer's body is to come.
    pub fn size_hint(&self) -> SizeHint {
        match self.answer {
            Answer::Length(left) => SizeHint::with_exact(left),
            Answer::Over | Answer::Switched => SizeHint::with_exact(0),
            Answer::Head | Answer::Chunks(_) | Answer::Close => SizeHint::default(),
        }
    }

    /// Makes it fit for the next request, if it can be asked again: both messages ended where they should, and nothing
    /// came after.
    pub fn rests(&mut self) -> bool {
        // (An instance may answer before it has taken the last piece of a body.)
        let done = self.is_over() && self.is_sent() && self.broken.is_none();
        if !done || !self.kept || !self.come.is_empty() {
            return false;
        }
        // (What is left of its part of the room.)
        self.come = BytesMut::new();
        self.lines.forget();
        true
    }

    /// The whole request has gone out, the last piece of its body too.
    fn is_sent(&self) -> bool {
        let is_written = self.out.is_empty() && self.piece.is_empty();
        self.body.is_none() && is_written && !self.unflushed
    }

    /// The socket of an instance that switched to another protocol, and what it has said in it.
    pub fn switched(self) -> Option<(Socket, Bytes)> {
        let switched = matches!(self.answer, Answer::Switched);
        switched.then(|| (self.socket, self.come.freeze()))
    }

    /// Passes on what can be of the request. An instance that takes no more may have answered all the same.
    pub fn pass_on(&mut self, cx: &mut Context<'_>) -> Result<(), LineError> {
        if self.is_sent() || self.broken.is_some() {
            return Ok(());
        }
        loop {
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.broken = Some(error);
                    return Ok(());
                }
                Poll::Pending => return Ok(()),
            }
            if !self.more(cx)? {
                break;
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => self.broken = Some(error),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// Writes what is ready to go.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() || !self.piece.is_empty() {
            let socket = Pin::new(&mut self.socket);
            let out = &self.out[self.gone..];
            let count = if self.piece.is_empty() {
                ready!(socket.poll_write(cx, out))?
            } else if out.is_empty() {
                ready!(socket.poll_write(cx, &self.piece))?
            } else {
                let both = [IoSlice::new(out), IoSlice::new(&self.piece)];
                ready!(socket.poll_write_vectored(cx, &both))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let first = count.min(out.len());
            self.gone += first;
            self.piece.advance(count - first);
            if self.gone == self.out.len() {
                self.gone = 0;
                room::give_back(std::mem::take(&mut self.out));
            }
            self.untouched = false;
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Gets more of the request's body ready. `false`: there is none, or not yet.
    fn more(&mut self, cx: &mut Context<'_>) -> Result<bool, LineError> {
        let Some(passing) = &mut self.body else {
            return Ok(false);
        };
        let frame = match Pin::new(&mut passing.body).poll_frame(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(frame) => frame.transpose()?,
        };
        // Trailers, or nothing: the body is over.
        let (data, trailers) = match frame.map(Frame::into_data) {
            Some(Ok(data)) => (Some(data), None),
            Some(Err(frame)) => (None, frame.into_trailers().ok()),
            None => (None, None),
        };
        let is_over = match (data, &mut passing.left) {
            (Some(data), Some(left)) => {
                let length = data.len() as u64;
                *left = left.checked_sub(length).ok_or(LineError::Length)?;
                self.piece = data;
                *left == 0 && passing.body.is_end_stream()
            }
            (Some(data), None) => {
                if !data.is_empty() {
                    self.out = room::borrow_out();
                    chunks::chunk(&mut self.out, &data);
                }
                false
            }
            (None, Some(1..)) => return Err(LineError::Length),
            (None, Some(0)) => true,
            (None, None) => {
                let announced = &passing.trailers;
                chunks::last_chunk(&mut self.out, trailers.as_ref(), announced);
                true
            }
        };
        if is_over {
            self.body = None;
        }
        Ok(true)
    }

    /// Reads more, much at once where so much is to come.
    fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Result<usize, LineError>> {
        let read = ready!(room::poll_read(&mut self.socket, cx, &mut self.come, most));
        let count = read.map_err(|error| LineError::Broken(self.broken.take().unwrap_or(error)))?;
        self.heard += count as u64;
        Poll::Ready(Ok(count))
    }

    /// The instance will say no more.
    fn ended(&mut self) -> LineError {
        match self.broken.take() {
            Some(error) => LineError::Broken(error),
            None => LineError::Closed,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, out),
            Socket::Secure(socket) => Pin::new(socket).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Secure(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bytes),
            Socket::Secure(socket) => Pin::new(socket).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Socket::Plain(socket) => socket.is_write_vectored(),
            Socket::Secure(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Secure(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Secure(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn only_what_is_done_both_ways_is_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let socket = TcpStream::connect(address).await.expect("a connection");
        let mut line = Line::new(Socket::Plain(socket));
        assert!(line.rests());
        let undone: [fn(&mut Line); 8] = [
            |line| line.answer = Answer::Length(1),
            |line| line.kept = false,
            |line| line.come = BytesMut::from("HTTP/1.1 200 OK"),
            |line| line.out = b"rest of a head".to_vec(),
            |line| line.piece = Bytes::from_static(b"rest of a body"),
            |line| line.unflushed = true,
            |line| line.broken = Some(io::ErrorKind::BrokenPipe.into()),
            |line| {
                line.body = Some(Passing {
                    body: RequestBody::empty(),
                    left: None,
                    trailers: Vec::new(),
                });
            },
        ];
        for (number, spoil) in undone.into_iter().enumerate() {
            let socket = TcpStream::connect(address).await.expect("a connection");
            let mut line = Line::new(Socket::Plain(socket));
            spoil(&mut line);
            assert!(!line.rests(), "spoilt by {number}");
        }
    }
}
