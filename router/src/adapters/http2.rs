//! A client that speaks HTTP/2.
//!
//! ```text
//!   socket ──▶ Watched (counts frames) ──▶ hyper ──▶ strict front (domain::http2) ──▶ proxy
//! ```
//!
//! What bounds a client: hyper's decoder ends the connection of one that sends a header block larger than
//! it may have several times over, more CONTINUATION frames than that takes, or too many requests that are
//! reset before they are looked at, and holds at most one window of a body; the rest is
//! [`FrameWatch`]'s and the clock's. All of a connection's requests run in its own task.

use super::answers::refuse;
use super::bodies::{ClientBody, ResponseBody};
use super::client::{ClientConnection, Overdue};
use super::clock::Clock;
use super::crew::{Crew, Inbox};
use super::proxy::{Worker, handle};
use super::server::{next_look, patience};
use super::streams::Streams;
use crate::domain::forwarding::X_VCAP_REQUEST_ID;
use crate::domain::frames::FrameWatch;
use crate::domain::http2::{Asked, to_http1};
use crate::domain::policy::Http2;
use crate::domain::refusal::{EndpointFault, Refusal};
use crate::domain::websocket::{Answer, Offer};
use bytes::{Buf, BytesMut};
use daemon::Shutdown;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a client may send of one body, and of all together, before the instances took it.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Most of one answer that waits here for the client's window.
const SEND_BUFFER: usize = 64 << 10;
/// Most requests that are taken back before they were looked at.
const UNSEEN_RESETS: usize = 20;
/// Most requests of a connection that may be malformed.
const MALFORMED: usize = 100;
/// A client that said nothing for so long is asked whether it is there.
const ASK_AFTER: Duration = Duration::from_secs(60);

fn builder(settings: &Http2, inbox: Inbox) -> Builder<Inbox> {
    let mut builder = Builder::new(inbox);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(settings.max_header_bytes)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(UNSEEN_RESETS)
        .max_local_error_reset_streams(MALFORMED)
        .keep_alive_interval(ASK_AFTER)
        .enable_connect_protocol();
    builder
}

/// Serves a client until it goes, is let go or the daemon ends. `begun` was read of it already.
pub async fn serve<S>(
    worker: Arc<Worker>,
    socket: S,
    begun: BytesMut,
    client: Arc<ClientConnection>,
    shutdown: Shutdown,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = client.peer;
    let streams = Streams::new(client.clone());
    let socket = Watched::new(socket, begun, client, streams.clone(), worker.clock);
    let service = {
        let (worker, streams) = (worker.clone(), streams.clone());
        service_fn(move |request| serve_request(worker.clone(), streams.clone(), request))
    };
    let inbox = Inbox::default();
    let connection = builder(&worker.policy.load().http2, inbox.clone())
        .serve_connection(TokioIo::new(socket), service);
    let mut crew = Crew::new(Box::pin(connection), inbox);
    let draining = shutdown.draining();
    tokio::pin!(draining);
    let mut is_draining = false;
    let mut dismissed = None;
    let look = tokio::time::sleep(next_look(&worker.policy.load()));
    tokio::pin!(look);
    loop {
        tokio::select! {
            biased;
            ended = &mut crew => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "an HTTP/2 connection broke");
                }
                return;
            }
            () = draining.as_mut(), if !is_draining => {
                is_draining = true;
                crew.connection().as_mut().graceful_shutdown();
            }
            () = look.as_mut() => {
                let policy = worker.policy.load();
                let now = worker.clock.now();
                let patience = patience(&policy, worker.crowd.is_full());
                match streams.overdue(now, patience) {
                    // (Bodies were told by `overdue`.)
                    Overdue::Fine | Overdue::Body => {}
                    Overdue::Idle => match dismissed {
                        None => {
                            dismissed = Some(now);
                            crew.connection().as_mut().graceful_shutdown();
                        }
                        // It does not take what it asked for, or does not hang up.
                        Some(since) if now.saturating_sub(since) >= patience.send => return,
                        Some(_) => {}
                    },
                    overdue @ (Overdue::Head | Overdue::Reader) => {
                        tracing::debug!(%peer, ?overdue, "a client takes too long");
                        return;
                    }
                }
                look.as_mut().reset(tokio::time::Instant::now() + next_look(&policy));
            }
        }
    }
}

async fn serve_request(
    worker: Arc<Worker>,
    streams: Arc<Streams>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    // From here to the exchange that `handle` begins nothing waits: the request cannot be forgotten.
    let client = streams.begin(worker.clock.now());
    let (mut head, body) = request.into_parts();
    let offer = match to_http1(&mut head) {
        Ok(Asked::Request) => None,
        Ok(Asked::WebSocket) => {
            client.asks_upgrade(FIRST);
            Some(Offer::make(&mut head.headers, rand::random()))
        }
        Err(fault) => {
            client.refuse(FIRST, Some(fault));
            None
        }
    };
    let request = Request::from_parts(head, ClientBody::Http2(body));
    let mut answer = handle(worker, client, request).await;
    if let Some(offer) = offer {
        answer = switched(&offer, answer);
    }
    // Said of a connection in HTTP/1; here it is one request's.
    answer.headers_mut().remove(http::header::CONNECTION);
    Ok(answer)
}

/// What a client that asked for a WebSocket is answered. hyper opens the tunnel with a success, and drops it (the
/// instance's side with it) with anything else.
fn switched(offer: &Offer, mut answer: Response<ResponseBody>) -> Response<ResponseBody> {
    match offer.judge(answer.status(), answer.headers_mut()) {
        Answer::Refused => answer,
        Answer::Switched => {
            *answer.status_mut() = StatusCode::OK;
            answer
        }
        Answer::Misunderstood(why) => {
            let refusal = Refusal::EndpointFailure {
                why: why.to_string(),
                fault: EndpointFault::Broken,
            };
            let id = answer.headers().get(X_VCAP_REQUEST_ID).cloned();
            refuse(refusal, None, id.as_ref())
        }
    }
}

/// Each request is the first of its own.
const FIRST: u64 = 1;

/// The client's socket as hyper sees it: every frame is counted.
struct Watched<S> {
    socket: S,
    begun: BytesMut,
    client: Arc<ClientConnection>,
    streams: Arc<Streams>,
    clock: Clock,
    watch: FrameWatch,
    amid: Option<u64>,
}

impl<S> Watched<S> {
    fn new(
        socket: S,
        begun: BytesMut,
        client: Arc<ClientConnection>,
        streams: Arc<Streams>,
        clock: Clock,
    ) -> Watched<S> {
        let now = clock.now();
        streams.owes_head(true, now);
        let watch = FrameWatch::new(now);
        Watched {
            socket,
            begun,
            client,
            streams,
            clock,
            amid: watch.amid(),
            watch,
        }
    }

    fn look_at(&mut self, bytes: &[u8]) -> io::Result<()> {
        let now = self.clock.now();
        self.watch.feed(bytes, now).map_err(|offence| {
            tracing::debug!(peer = %self.client.peer, %offence, "an HTTP/2 client is let go");
            metrics::counter!("http2_offenders_total").increment(1);
            io::Error::other(offence)
        })?;
        let amid = self.watch.amid();
        if self.amid != amid {
            self.amid = amid;
            self.streams.owes_head(amid.is_some(), now);
        }
        Ok(())
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => self.client.awaits_reader(self.clock.now()),
            Poll::Ready(Ok(count)) => {
                self.watch.wrote(*count);
                self.client.reader_moves();
            }
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        if this.begun.is_empty() {
            ready!(Pin::new(&mut this.socket).poll_read(cx, out))?;
        } else {
            let count = this.begun.len().min(out.remaining());
            out.put_slice(&this.begun[..count]);
            this.begun.advance(count);
        }
        Poll::Ready(this.look_at(&out.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.note(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bytes);
        this.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        // Under TLS a write may be taken though the socket takes nothing.
        if flushed.is_pending() {
            this.client.awaits_reader(this.clock.now());
        } else {
            this.client.reader_moves();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
