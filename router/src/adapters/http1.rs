//! A client that speaks HTTP/1: one task, which reads its requests, has them answered one after the other, and writes
//! the answers.
//!
//! ```text
//!   socket ──▶ Inspector (strict front) ──▶ proxy::handle ──▶ reply_head ──▶ socket
//!                  └── pieces of a body ──▶ upload ──▶ ▲
//! ```
//!
//! A server of a library stood here before. What the strict front must see was read twice then, and each request
//! passed through layers that this router has no use for. (HTTP/2 has one still: [`super::http2`].)
//!
//! Who waits costs next to nothing: what comes is read into room that the thread lends, and what goes out is written
//! from room that it lends ([`super::room`]). Only what is incomplete, or is not taken, stays with the connection.
//!
//! A refused head is answered by a request of our own that stands in for it, whose number is told to the handler
//! ([`ClientConnection::refuse`]): so the answer gets its log line like any other. Nothing of the client is read as HTTP
//! any more after that. At the end the rest of its bytes is read and thrown away for a moment, because closing a socket
//! with unread bytes makes the kernel destroy the answer on its way.

use super::bodies::{ClientBody, ResponseBody};
use super::client::{ClientConnection, Overdue};
use super::clock::http_date;
use super::proxy::{Worker, handle};
use super::room;
use super::server::{next_look, patience};
use super::tunnel::{Duplex, Switched};
use super::upload::{Giver, Wish, upload};
use crate::domain::chunks;
use crate::domain::framing::{Asked, BodyFraming, Inspector, Step};
use crate::domain::header_room;
use crate::domain::refusal::Fault;
use crate::domain::reply_head::{self, Form, Framing, Passed, Reply, Size};
use crate::domain::table::Millis;
use bytes::{Buf, Bytes, BytesMut};
use daemon::Shutdown;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use hyper::ext::ReasonPhrase;
use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::ReusableBoxFuture;

/// A piece of an answer up to this size is copied behind what goes before it: that is cheaper than to name two places.
const SMALL: usize = 4 << 10;
/// So much is gathered before it is written.
const ENOUGH: usize = 16 << 10;
/// So many handlings are kept to be used again.
const ANSWERED_MOST: usize = 64;
/// After so long without a word a client is looked at less often.
const QUIET: Duration = Duration::from_millis(400);
/// How long, and how much, to listen to a client that is being closed on.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 1 << 20;

thread_local! {
    /// What requests were answered in, to be used again: it is large, and hot.
    static ANSWERED: RefCell<Vec<Answering>> = const { RefCell::new(Vec::new()) };
}

/// A request's handling. One that has ended holds nothing.
type Answering = ReusableBoxFuture<'static, Response<ResponseBody>>;

/// How a conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All was said.
    Over,
    /// The client is gone, or must see that its answer is not whole.
    Broken,
    /// It is a tunnel now.
    Tunnel,
}

/// Serves a client until it goes, is let go or the daemon ends. `begun` was read of it already.
pub async fn serve<S: Duplex + 'static>(
    worker: Arc<Worker>,
    socket: S,
    begun: BytesMut,
    client: Arc<ClientConnection>,
    shutdown: Shutdown,
) {
    let mut talk = Conversation::new(worker, socket, begun, client);
    let end = {
        let draining = shutdown.draining();
        tokio::pin!(draining);
        let mut is_draining = false;
        let look = tokio::time::sleep(talk.until_look());
        tokio::pin!(look);
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(end) = talk.poll(cx) {
                    return Poll::Ready(end);
                }
                if std::mem::take(&mut talk.awoke) {
                    look.as_mut().reset(Instant::now() + talk.until_look());
                }
                if !is_draining && draining.as_mut().poll(cx).is_ready() {
                    is_draining = true;
                    talk.is_last = true;
                } else if look.as_mut().poll(cx).is_ready() {
                    if talk.look() == Look::Enough {
                        return Poll::Ready(End::Broken);
                    }
                    look.as_mut().reset(Instant::now() + talk.until_look());
                } else {
                    return Poll::Pending;
                }
            }
        })
        .await
    };
    match end {
        // (In a box: who waits needs no room for it.)
        End::Over => Box::pin(talk.close()).await,
        End::Broken => {}
        End::Tunnel => talk.switch(),
    }
}

struct Conversation<S> {
    socket: S,
    worker: Arc<Worker>,
    client: Arc<ClientConnection>,
    requests: Inspector,
    /// What came and was not taken yet.
    come: BytesMut,
    /// What goes out, how much of it has gone, what goes behind it, and whether that is a chunk whose line ends.
    out: Vec<u8>,
    gone: usize,
    piece: Bytes,
    ends_line: bool,
    unflushed: bool,
    /// Requests that were begun.
    number: u64,
    turn: Option<Turn>,
    /// Nothing is asked after the request under way.
    is_last: bool,
    /// The client was looked at less often, and has said something.
    awoke: bool,
    is_quiet: bool,
    /// Something of the client was not read, and will not be.
    unread: bool,
    /// The client has said all it will say.
    ended: bool,
}

/// A request and its answer.
struct Turn {
    form: Form,
    answering: Option<Answering>,
    /// More of the body is to come.
    upload: Option<Giver>,
    /// The client waits to be told to go on.
    expects: bool,
    framing: Framing,
    /// None: nothing more is to be written.
    body: Option<ResponseBody>,
    /// The answer is not whole.
    broke_off: bool,
    switches: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Fine,
    /// The client is let go at once.
    Enough,
}

impl<S: Duplex + 'static> Conversation<S> {
    fn new(
        worker: Arc<Worker>,
        socket: S,
        begun: BytesMut,
        client: Arc<ClientConnection>,
    ) -> Conversation<S> {
        let max_head = worker.policy.load().max_header_bytes;
        Conversation {
            socket,
            worker,
            client,
            requests: Inspector::new(max_head),
            come: begun,
            out: Vec::new(),
            gone: 0,
            piece: Bytes::new(),
            ends_line: false,
            unflushed: false,
            number: 0,
            turn: None,
            is_last: false,
            awoke: false,
            is_quiet: false,
            unread: false,
            ended: false,
        }
    }

    fn until_look(&self) -> Duration {
        let usual = next_look(&self.worker.policy.load());
        match self.is_quiet {
            true => usual,
            false => usual.min(QUIET),
        }
    }

    /// Looks at the client's time.
    fn look(&mut self) -> Look {
        let policy = self.worker.policy.load();
        let now = self.worker.clock.now();
        let patience = patience(&policy, self.worker.crowd.is_full());
        drop(policy);
        self.is_quiet = self.client.is_quiet(now, QUIET.as_millis() as Millis);
        match self.client.overdue(now, patience) {
            Overdue::Fine => {}
            Overdue::Idle => self.is_last = true,
            Overdue::Head => {
                self.client.time_out_head();
                self.refuse(None);
            }
            Overdue::Body => self.client.time_out_body(),
            Overdue::Reader => {
                tracing::debug!(peer = %self.client.peer, "a client does not read its answer");
                return Look::Enough;
            }
        }
        Look::Fine
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if self.turn.is_some()
                && let Err(end) = ready!(self.poll_turn(cx))
            {
                return Poll::Ready(end);
            }
            if self.is_last {
                return Poll::Ready(End::Over);
            }
            match self.requests.next(&mut self.come) {
                Step::Head(asked) => self.begin(asked),
                Step::Refused(fault) => self.refuse(Some(fault)),
                Step::Nothing => {
                    if self.requests.in_head() {
                        self.client.head_begins(self.worker.clock.now());
                    }
                    match ready!(self.poll_read(cx)) {
                        Ok(1..) => self.awoke |= std::mem::take(&mut self.is_quiet),
                        Ok(0) => return Poll::Ready(End::Over),
                        Err(_) => return Poll::Ready(End::Broken),
                    }
                }
                // (The body of a request is read before the next.)
                Step::Data(_) | Step::End(_) | Step::Broken => return Poll::Ready(End::Broken),
            }
        }
    }

    fn begin(&mut self, asked: Asked) {
        self.client.head_complete(self.worker.clock.now());
        self.number += 1;
        if asked.upgrade {
            self.client.asks_upgrade(self.number);
        }
        let (giver, body) = match asked.body {
            BodyFraming::None => (None, ClientBody::None),
            BodyFraming::Length(_) | BodyFraming::Chunked => {
                let (giver, body) = upload(self.requests.left());
                (Some(giver), ClientBody::Http1(body))
            }
        };
        let form = Form::of(&asked.request, asked.keeps);
        let request = asked.request.map(|()| body);
        self.turn = Some(Turn {
            answering: Some(self.handle(request)),
            upload: giver,
            expects: asked.expects,
            ..Turn::of(form)
        });
        if self.requests.breaks(&self.come) {
            self.break_body();
        }
    }

    /// What was passed on so far of the body must not look like a whole one.
    fn break_body(&mut self) {
        self.unread = true;
        self.is_last = true;
        self.client.break_body();
        if let Some(turn) = &mut self.turn {
            turn.upload = None;
        }
    }

    /// Has a head answered that may not pass; `None`: it did not come in time.
    fn refuse(&mut self, fault: Option<Fault>) {
        self.is_last = true;
        self.unread = true;
        self.number += 1;
        self.client.refuse(self.number, fault);
        self.client.head_complete(self.worker.clock.now());
        let request = Request::new(());
        let form = Form::of(&request, false);
        self.turn = Some(Turn {
            answering: Some(self.handle(request.map(|()| ClientBody::None))),
            ..Turn::of(form)
        });
    }

    fn handle(&self, request: Request<ClientBody>) -> Answering {
        let handling = handle(self.worker.clone(), self.client.clone(), request);
        match ANSWERED.with_borrow_mut(Vec::pop) {
            Some(mut answered) => {
                answered.set(handling);
                answered
            }
            None => ReusableBoxFuture::new(handling),
        }
    }

    /// Ready when the answer was written, and the next request may come.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            let Some(turn) = &mut self.turn else {
                return Poll::Ready(Ok(()));
            };
            if let Some(mut answering) = turn.answering.take() {
                match answering.poll(cx) {
                    Poll::Ready(answer) => {
                        ANSWERED.with_borrow_mut(|answered| {
                            if answered.len() < ANSWERED_MOST {
                                answered.push(answering);
                            }
                        });
                        self.answer(cx, answer);
                    }
                    Poll::Pending => turn.answering = Some(answering),
                }
            }
            if let Poll::Ready(end) = self.poll_answer(cx) {
                return Poll::Ready(end);
            }
            if !self.poll_upload(cx)? {
                return Poll::Pending;
            }
        }
    }

    /// Begins the answer with its head.
    fn answer(&mut self, cx: &mut Context<'_>, answer: Response<ResponseBody>) {
        // What has come of a body that nobody wants is read, if that is all of it.
        if self.upload_is_in_vain() {
            self.skip_body(cx);
        }
        let is_last = self.is_last || self.upload_is_in_vain();
        let Some(turn) = &mut self.turn else {
            return;
        };
        let (head, mut body) = answer.into_parts();
        let size = match (body.is_end_stream(), body.size_hint().exact()) {
            (true, _) => Size::None,
            (false, Some(length)) => Size::Exactly(length),
            (false, None) => Size::Unknown,
        };
        let reason = head.extensions.get::<ReasonPhrase>();
        let mut passed = body.passed();
        let reply = Reply {
            status: head.status,
            reason: reason.map(ReasonPhrase::as_bytes),
            headers: &head.headers,
            passed: passed.as_ref().map(|(lines, id)| Passed {
                lines,
                request_id: id.as_bytes(),
            }),
            size,
        };
        turn.form.keeps &= !is_last;
        if self.out.capacity() == 0 {
            self.out = room::borrow_out();
        }
        let written = http_date(|date| reply_head::write(&mut self.out, &reply, turn.form, date));
        // (They hold the room that they were read into.)
        if let Some((lines, _)) = &mut passed {
            lines.forget();
        }
        turn.switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
        header_room::give_back(head.headers);
        turn.form.keeps = written.keeps;
        turn.body = (written.framing != Framing::None).then_some(body);
        turn.framing = written.framing;
    }

    fn upload_is_in_vain(&self) -> bool {
        let upload = self.turn.as_ref().and_then(|turn| turn.upload.as_ref());
        upload.is_some_and(Giver::is_in_vain)
    }

    /// Throws away what has come of the body: if that is all of it, the connection can be used again.
    fn skip_body(&mut self, cx: &mut Context<'_>) {
        let mut may_read = true;
        loop {
            match self.requests.next(&mut self.come) {
                Step::Data(_) if !self.requests.between_requests() => {}
                Step::Data(_) | Step::End(_) => break,
                Step::Nothing if std::mem::take(&mut may_read) => {
                    if !matches!(self.poll_read(cx), Poll::Ready(Ok(1..))) {
                        return;
                    }
                }
                Step::Nothing | Step::Head(_) | Step::Refused(_) | Step::Broken => return,
            }
        }
        if let Some(turn) = &mut self.turn {
            turn.upload = None;
        }
    }

    /// Writes what there is of the answer. Ready when it was written to its end.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            let gathered = self.gather(cx);
            let sent = self.poll_send(cx);
            let Some(turn) = &mut self.turn else {
                return Poll::Ready(Ok(()));
            };
            match sent {
                Poll::Ready(Ok(())) if turn.broke_off => return Poll::Ready(Err(End::Broken)),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Broken)),
                Poll::Pending => {
                    // (The last of a request's body, too, which has come from the client already.)
                    if let Some(body) = &mut turn.body {
                        turn.broke_off |= body.pass_on(cx).is_err();
                    }
                    return Poll::Pending;
                }
            }
            if turn.answering.is_none() && turn.body.is_none() {
                return Poll::Ready(self.finish(cx));
            }
            if !gathered {
                return Poll::Pending;
            }
        }
    }

    /// Gets more of the answer's body ready. `false`: there is none for now.
    fn gather(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(turn) = &mut self.turn else {
            return false;
        };
        let mut gathered = false;
        while let Some(body) = &mut turn.body {
            if self.out.len() - self.gone >= ENOUGH || !self.piece.is_empty() {
                break;
            }
            if self.out.capacity() == 0 {
                self.out = room::borrow_out();
            }
            let frame = match body.is_end_stream() {
                true => None,
                false => match Pin::new(body).poll_frame(cx) {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => break,
                },
            };
            gathered = true;
            let over = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if turn.framing.take(data.len()) => {
                        self.piece = add(&mut self.out, &turn.framing, data);
                        self.ends_line = turn.framing.is_chunked() && !self.piece.is_empty();
                        false
                    }
                    // More than was said.
                    Ok(_) => {
                        turn.broke_off = true;
                        true
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok();
                        turn.broke_off |= !end(&mut self.out, &turn.framing, trailers.as_ref());
                        true
                    }
                },
                None => {
                    turn.broke_off |= !end(&mut self.out, &turn.framing, None);
                    true
                }
                Some(Err(error)) => {
                    tracing::debug!(peer = %self.client.peer, %error, "an answer broke off");
                    turn.broke_off = true;
                    true
                }
            };
            if over {
                turn.body = None;
            }
        }
        gathered
    }

    /// Writes what is ready to go.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gone < self.out.len() || !self.piece.is_empty() || self.ends_line {
            let head = &self.out[self.gone..];
            let socket = Pin::new(&mut self.socket);
            let written = if self.piece.is_empty() && !self.ends_line {
                socket.poll_write(cx, head)
            } else {
                let tail: &[u8] = if self.ends_line { b"\r\n" } else { b"" };
                let all = [head, &self.piece, tail].map(IoSlice::new);
                socket.poll_write_vectored(cx, &all)
            };
            let count = match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.client.awaits_reader(self.worker.clock.now());
                    return Poll::Pending;
                }
            };
            self.client.reader_moves();
            self.unflushed = true;
            self.sent(count);
        }
        if self.unflushed {
            // Under TLS a write may be taken though the socket takes nothing.
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.client.awaits_reader(self.worker.clock.now());
                    return Poll::Pending;
                }
            }
            self.client.reader_moves();
            self.gone = 0;
            room::give_back(std::mem::take(&mut self.out));
        }
        Poll::Ready(Ok(()))
    }

    /// So many bytes of what was ready have gone.
    fn sent(&mut self, mut count: usize) {
        let of_out = count.min(self.out.len() - self.gone);
        self.gone += of_out;
        count -= of_out;
        let of_piece = count.min(self.piece.len());
        self.piece.advance(of_piece);
        count -= of_piece;
        if self.ends_line && self.piece.is_empty() && self.gone == self.out.len() {
            // What is left of the end of the line goes with what comes next.
            self.ends_line = false;
            self.out.clear();
            self.out.extend_from_slice(&b"\r\n"[count.min(2)..]);
            self.gone = 0;
        }
    }

    /// The answer was written.
    fn finish(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if self.turn.as_ref().is_some_and(|turn| turn.upload.is_some()) {
            self.skip_body(cx);
        }
        let Some(turn) = self.turn.take() else {
            return Ok(());
        };
        if turn.switches {
            return Err(End::Tunnel);
        }
        self.unread |= turn.upload.is_some();
        self.is_last |= !turn.form.keeps || turn.upload.is_some();
        Ok(())
    }

    /// Reads what is wanted of the request's body; if there is none, whether the client is still there. `true`: whoever
    /// passes the body on has something to do.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Some(turn) = &mut self.turn else {
            return Ok(false);
        };
        let Some(giver) = &turn.upload else {
            let may_read = self.come.is_empty() && !self.unread;
            return match may_read.then(|| self.poll_read(cx)) {
                Some(Poll::Ready(Ok(0) | Err(_))) => Err(End::Broken),
                Some(Poll::Ready(Ok(_)) | Poll::Pending) | None => Ok(false),
            };
        };
        match giver.wish(cx) {
            Wish::Wants => {}
            Wish::Waits | Wish::Gone => return Ok(false),
        }
        if std::mem::take(&mut turn.expects) && turn.answering.is_some() {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            if let Poll::Ready(Err(_)) = self.poll_send(cx) {
                return Err(End::Broken);
            }
        }
        loop {
            let step = self.requests.next(&mut self.come);
            let is_last = self.requests.between_requests();
            let Some(turn) = &mut self.turn else {
                return Ok(false);
            };
            match (step, &turn.upload) {
                (Step::Data(data), Some(giver)) => {
                    giver.give(data, is_last, cx);
                    if is_last {
                        turn.upload = None;
                    }
                    return Ok(true);
                }
                (Step::End(trailers), Some(giver)) => {
                    giver.end(trailers, cx);
                    turn.upload = None;
                    return Ok(true);
                }
                (Step::Nothing, _) => match self.poll_read(cx) {
                    Poll::Pending => return Ok(false),
                    Poll::Ready(Ok(1..)) => {
                        if self.requests.breaks(&self.come) {
                            self.break_body();
                            return Ok(true);
                        }
                    }
                    Poll::Ready(Ok(0) | Err(_)) => return Err(End::Broken),
                },
                (Step::Broken, _) => {
                    self.break_body();
                    return Ok(true);
                }
                (Step::Head(_) | Step::Refused(_) | Step::Data(_) | Step::End(_), _) => {
                    return Err(End::Broken);
                }
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let most = self.requests.most();
        let read = room::poll_read(&mut self.socket, cx, &mut self.come, most);
        self.ended |= matches!(read, Poll::Ready(Ok(0)));
        read
    }

    /// Says the end, and listens for a moment to a client that has more to say.
    async fn close(mut self) {
        // What ends is not to be taken for what waits.
        let within = self.worker.policy.load().send_timeout;
        let ended = tokio::time::timeout(within, self.socket.shutdown()).await;
        let is_unread = self.unread || !self.come.is_empty() || !self.requests.between_requests();
        if self.ended || !is_unread || !matches!(ended, Ok(Ok(()))) {
            return;
        }
        let listening = async {
            let mut left = LINGER_BYTES;
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = self.socket.read(&mut piece).await {
                left = left.saturating_sub(count);
                if left == 0 {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, listening).await;
    }

    fn switch(self) {
        self.client.switches(Switched {
            socket: Box::new(self.socket),
            said: self.come.freeze(),
        });
    }
}

impl Turn {
    fn of(form: Form) -> Turn {
        Turn {
            form,
            answering: None,
            upload: None,
            expects: false,
            framing: Framing::None,
            body: None,
            broke_off: false,
            switches: false,
        }
    }
}

/// Puts a piece of a body behind what goes before it; a large one is given back, to go beside it.
fn add(out: &mut Vec<u8>, framing: &Framing, data: Bytes) -> Bytes {
    match (framing.is_chunked(), data.len()) {
        (_, 0) => {}
        (true, ..=SMALL) => chunks::chunk(out, &data),
        (false, ..=SMALL) => out.extend_from_slice(&data),
        (true, length) => {
            chunks::chunk_begin(out, length);
            return data;
        }
        (false, _) => return data,
    }
    Bytes::new()
}

/// Puts the end of a body there. `false`: it may not end here.
fn end(out: &mut Vec<u8>, framing: &Framing, trailers: Option<&HeaderMap>) -> bool {
    match framing {
        Framing::Chunked(announced) => chunks::last_chunk(out, trailers, announced),
        Framing::Length(1..) => return false,
        Framing::Length(0) | Framing::None | Framing::Close => {}
    }
    true
}
