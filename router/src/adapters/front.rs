//! The client's socket as hyper sees it: every byte went through the
//! [`Inspector`](crate::domain::framing::Inspector) first.
//!
//! In the common case a whole head arrives with one read: it is read straight into hyper's buffer,
//! judged there, and nothing is copied or kept. Only an incomplete head is kept here.
//!
//! A refused head is replaced by a harmless request of our own, whose number is told to the
//! handler ([`ClientConnection::refuse`]): so the answer keeps its place behind those of earlier,
//! pipelined requests and gets its log line like any other. Nothing of the client is read as HTTP
//! any more after that. At the end the rest of its bytes is read and thrown away for a moment, because
//! closing a socket with unread bytes makes the kernel destroy the answer on its way.

use super::client::ClientConnection;
use super::clock::Clock;
use crate::domain::framing::{Inspector, Stop};
use bytes::{Buf, BytesMut};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Stands in hyper's stream for a head that was refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";
/// How much may arrive before an upgrade is answered.
const EARLY_BYTES: usize = 16 * 1024;
/// How long, and how much, to listen to a client that is being closed on.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 1 << 20;

pub struct Front<S> {
    socket: S,
    client: Arc<ClientConnection>,
    clock: Clock,
    inspector: Inspector,
    /// Bytes read and not yet handed on; the first `passed` of them may go.
    held: BytesMut,
    passed: usize,
    refused: bool,
    /// The client sent all it will send.
    ended: bool,
    linger: Option<(Pin<Box<tokio::time::Sleep>>, usize)>,
    write_closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Front<S> {
    /// `begun` was read from the socket already.
    pub fn new(
        socket: S,
        client: Arc<ClientConnection>,
        clock: Clock,
        max_head: usize,
        begun: BytesMut,
    ) -> Front<S> {
        let mut front = Front {
            socket,
            client,
            clock,
            inspector: Inspector::new(max_head),
            held: begun,
            passed: 0,
            refused: false,
            ended: false,
            linger: None,
            write_closed: false,
        };
        if !front.held.is_empty() {
            front.judge_held();
        }
        front
    }

    /// Tells the others what the last bytes meant. `heads` is the count before them.
    fn report(&mut self, heads: u64) {
        if self.inspector.heads() != heads {
            self.client.head_complete(self.clock.now());
        }
        if self.inspector.in_head() {
            self.client.head_begins(self.clock.now());
        }
        if self.inspector.is_undecided() {
            self.client.asks_upgrade(self.inspector.heads());
        }
        self.client
            .is_between_requests(self.inspector.between_requests());
    }

    /// Puts the stand-in for a refused head behind what may still go.
    fn refuse(&mut self, fault: Option<crate::domain::refusal::Fault>) {
        self.refused = true;
        self.client.is_between_requests(false);
        self.client.refuse(self.inspector.heads() + 1, fault);
        self.client.head_complete(self.clock.now());
        self.held.truncate(self.passed);
        self.held.extend_from_slice(STAND_IN);
        self.passed = self.held.len();
    }

    /// Acts on a verdict about bytes that are all in `held` from `passed` on.
    fn act(&mut self, why: Stop) {
        match why {
            Stop::Refused(fault) => {
                if !self.refused {
                    self.refuse(Some(fault));
                }
            }
            Stop::BrokenBody => {
                // No read error: hyper would drop the connection without the answer that says why.
                self.refused = true;
                self.client.is_between_requests(false);
                self.client.break_body();
            }
            Stop::None | Stop::HeadIncomplete | Stop::Undecided => {}
        }
    }

    /// Reads more into `held`. Ready with the number of bytes.
    fn read_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = [0u8; 4096];
        let mut buffer = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        let new = buffer.filled();
        self.held.extend_from_slice(new);
        self.ended |= new.is_empty();
        Poll::Ready(Ok(new.len()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Front<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.passed > 0 {
                let count = this.passed.min(out.remaining());
                out.put_slice(&this.held[..count]);
                this.held.advance(count);
                this.passed -= count;
                if this.held.is_empty() {
                    // An idle connection keeps no buffer here.
                    this.held = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if this.refused || this.client.body_timed_out() {
                // (Or a body that broke: whoever passes it on was told.) The answer is under way; hyper closes after it.
                return Poll::Pending;
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            if this.inspector.is_tunnel() && this.held.is_empty() {
                return Pin::new(&mut this.socket).poll_read(cx, out);
            }
            if this.inspector.is_undecided() {
                this.client.reader.register(cx.waker());
                match this.client.take_decision() {
                    Some(tunnel) => {
                        this.inspector.decide(tunnel);
                        this.judge_held();
                        continue;
                    }
                    None if this.held.len() >= EARLY_BYTES => return Poll::Pending,
                    None => {
                        ready!(this.read_more(cx))?;
                        continue;
                    }
                }
            }
            if this.inspector.in_head() {
                this.client.reader.register(cx.waker());
                if this.client.head_timed_out() {
                    this.refuse(None);
                    continue;
                }
            }
            if !this.held.is_empty() {
                if ready!(this.read_more(cx))? == 0 {
                    return Poll::Ready(Ok(()));
                }
                this.judge_held();
                continue;
            }
            let before = out.filled().len();
            ready!(Pin::new(&mut this.socket).poll_read(cx, out))?;
            if out.filled().len() == before {
                this.ended = true;
                return Poll::Ready(Ok(()));
            }
            let heads = this.inspector.heads();
            let verdict = this.inspector.feed(&out.filled()[before..]);
            this.report(heads);
            let passes = before + verdict.pass;
            this.held.extend_from_slice(&out.filled()[passes..]);
            out.set_filled(passes);
            this.act(verdict.why);
            if verdict.pass > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Front<S> {
    /// A tunnel may be as slow as it likes. An answer that was held back for its reader goes on when he moves: hyper
    /// asks for its body before it writes, not after.
    fn note_reader(&self, waits: bool, cx: &Context<'_>) {
        if waits && !self.inspector.is_tunnel() {
            self.client.awaits_reader(self.clock.now());
        } else if self.client.reader_moves() {
            cx.waker().wake_by_ref();
        }
    }

    /// Waits for the next request, of which no byte has come, without a buffer for it. `false`: there is none.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.held.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let count = ready!(self.read_more(cx))?;
        if count > 0 {
            self.judge_held();
        }
        Poll::Ready(Ok(count > 0))
    }

    fn judge_held(&mut self) {
        let heads = self.inspector.heads();
        let verdict = self.inspector.feed(&self.held);
        self.passed = verdict.pass;
        self.report(heads);
        self.act(verdict.why);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Front<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.note_reader(written.is_pending(), cx);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bytes);
        this.note_reader(written.is_pending(), cx);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        // Under TLS a write may be taken though the socket takes nothing.
        this.note_reader(flushed.is_pending(), cx);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What ends is not to be taken for what waits.
        this.client.is_between_requests(false);
        if !this.write_closed {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
            this.write_closed = true;
        }
        // Between requests nothing is unread, so there is nothing to wait for.
        let unread =
            this.refused || !(this.inspector.between_requests() || this.inspector.is_tunnel());
        if this.ended || !unread {
            return Poll::Ready(Ok(()));
        }
        let (timer, left) = this
            .linger
            .get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER)), LINGER_BYTES));
        loop {
            if timer.as_mut().poll(cx).is_ready() || *left == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut piece = [0u8; 4096];
            let mut buffer = ReadBuf::new(&mut piece);
            match Pin::new(&mut this.socket).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => *left = left.saturating_sub(buffer.filled().len()),
            }
        }
    }
}
