//! Bodies on their way through. Nothing is buffered here: a frame is asked for when the other side
//! can take it, which is what backpressure is.

use super::client::ClientConnection;
use super::clock::Clock;
use super::exchange::Exchange;
use super::instance::{InstanceBody, InstanceError};
use super::packing::Packing;
use super::upload::Upload;
use crate::domain::answer_lines::Lines;
use crate::domain::request_id::RequestId;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// How long a client that waits for "100 Continue" waits for the instance to say so.
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// The body of a request as it comes from its client.
#[derive(Debug)]
pub enum ClientBody {
    None,
    Http1(Upload),
    Http2(Incoming),
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            ClientBody::None => Poll::Ready(None),
            ClientBody::Http1(body) => Pin::new(body).poll_frame(cx),
            ClientBody::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Read),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ClientBody::None => true,
            ClientBody::Http1(body) => body.is_end_stream(),
            ClientBody::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ClientBody::None => SizeHint::with_exact(0),
            ClientBody::Http1(body) => body.size_hint(),
            ClientBody::Http2(body) => body.size_hint(),
        }
    }
}

/// What the router sends to an instance.
#[derive(Debug)]
pub struct RequestBody {
    /// `None` for a request without a body, which can be sent again.
    inner: Option<ClientBody>,
    progress: Option<Arc<RequestProgress>>,
    client: Option<(Arc<ClientConnection>, Clock)>,
    gate: Option<(Arc<Gate>, Pin<Box<Sleep>>)>,
}

/// Why a request's body cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// What was passed on so far must not look like a whole body to the instance.
    #[error("the client broke the framing of its body")]
    Framing,
    #[error("the client sent no more of its body for too long")]
    Timeout,
    #[error("the client's body is longer than its route lets in")]
    TooLong,
    #[error("the client left before its body was complete")]
    Cut,
    #[error("the client's body cannot be read")]
    Read(#[source] hyper::Error),
}

/// How far the request's body is.
#[derive(Debug)]
pub struct RequestProgress {
    pub bytes: AtomicU64,
    /// More is too much.
    most: u64,
}

impl RequestProgress {
    pub fn up_to(most: u64) -> RequestProgress {
        RequestProgress {
            bytes: AtomicU64::new(0),
            most,
        }
    }

    pub fn is_over(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.most
    }
}

/// Holds a body back until the instance wants it.
#[derive(Debug, Default)]
pub struct Gate {
    open: AtomicBool,
    waker: AtomicWaker,
}

impl Gate {
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl RequestBody {
    pub fn empty() -> RequestBody {
        RequestBody {
            inner: None,
            progress: None,
            client: None,
            gate: None,
        }
    }

    pub fn of(
        body: ClientBody,
        progress: Arc<RequestProgress>,
        client: Arc<ClientConnection>,
        clock: Clock,
    ) -> RequestBody {
        RequestBody {
            inner: Some(body),
            progress: Some(progress),
            client: Some((client, clock)),
            gate: None,
        }
    }

    /// Sends nothing before the gate opens or a second has passed.
    pub fn behind(mut self, gate: Arc<Gate>) -> RequestBody {
        self.gate = Some((gate, Box::pin(tokio::time::sleep(CONTINUE_TIMEOUT))));
        self
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some((gate, timer)) = &mut this.gate {
            gate.waker.register(cx.waker());
            if !gate.open.load(Ordering::Acquire) && timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.gate = None;
        }
        if let Some((client, _)) = &this.client {
            client.body.register(cx.waker());
            if client.body_is_broken() {
                return Poll::Ready(Some(Err(BodyError::Framing)));
            }
            if client.body_timed_out() {
                return Poll::Ready(Some(Err(BodyError::Timeout)));
            }
        }
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(inner).poll_frame(cx);
        if let Some((client, clock)) = &this.client {
            match polled {
                Poll::Pending => client.awaits_body(clock.now()),
                Poll::Ready(_) => client.body_moves(),
            }
        }
        if let (Poll::Ready(frame), Some(progress)) = (&polled, &this.progress) {
            if let Some(data) = frame
                .as_ref()
                .and_then(|frame| frame.as_ref().ok()?.data_ref())
            {
                progress
                    .bytes
                    .fetch_add(data.len() as u64, Ordering::Relaxed);
            }
            if progress.is_over() {
                return Poll::Ready(Some(Err(BodyError::TooLong)));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some((client, _)) = &self.client {
            client.body_moves();
        }
    }
}

/// What the router sends to a client.
pub enum ResponseBody {
    /// A text of the router's own.
    Own {
        text: Option<Bytes>,
        exchange: Option<Box<Exchange>>,
    },
    /// An instance's answer.
    Instance {
        inner: InstanceBody,
        exchange: Box<Exchange>,
        complete: bool,
        /// It broke off, which is not told yet.
        failed: Option<InstanceError>,
        /// It is packed on its way.
        packing: Option<Box<Packing>>,
        /// Its lines pass as they are, with this number of the request.
        passes: Option<RequestId>,
    },
    /// A tunnel begins: nothing is left to say.
    None,
}

impl ResponseBody {
    /// The lines of an instance's answer that pass as they are, and the number of its request.
    pub fn passed(&mut self) -> Option<(&mut Lines, RequestId)> {
        let ResponseBody::Instance { inner, passes, .. } = self else {
            return None;
        };
        let id = passes.take()?;
        Some((inner.lines()?, id))
    }

    /// The client takes nothing at the moment: what can be is passed on of a request's body that is still under way.
    pub fn pass_on(&mut self, cx: &mut Context<'_>) -> Result<(), InstanceError> {
        match self {
            ResponseBody::Instance { inner, .. } => inner.pass_on(cx),
            ResponseBody::Own { .. } | ResponseBody::None => Ok(()),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = InstanceError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InstanceError>>> {
        match self.get_mut() {
            ResponseBody::None => Poll::Ready(None),
            ResponseBody::Own { text, exchange } => {
                let text = text.take();
                if let (Some(text), Some(exchange)) = (&text, exchange.as_mut()) {
                    exchange.sent(text.len());
                }
                Poll::Ready(text.map(|text| Ok(Frame::data(text))))
            }
            ResponseBody::Instance {
                inner,
                exchange,
                complete,
                failed,
                packing,
                ..
            } => {
                if let Some(error) = failed.take() {
                    return Poll::Ready(Some(Err(error)));
                }
                exchange.more_is_wanted();
                let polled = match packing {
                    None => Pin::new(&mut *inner).poll_frame(cx),
                    Some(packing) => packing.poll(inner, cx),
                };
                match &polled {
                    Poll::Ready(Some(Ok(frame))) => {
                        exchange.piece_is_given();
                        if let Some(data) = frame.data_ref() {
                            exchange.sent(data.len());
                        }
                        *complete = match packing {
                            None => inner.is_end_stream(),
                            Some(packing) => packing.is_over(),
                        };
                    }
                    Poll::Ready(None) => *complete = true,
                    Poll::Ready(Some(Err(_))) => exchange.broke_off(),
                    Poll::Pending => {}
                }
                // With an error hyper drops what it has not written yet: that goes first.
                match polled {
                    Poll::Ready(Some(Err(error))) => {
                        *failed = Some(error);
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    polled => polled,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::None => true,
            ResponseBody::Own { text, .. } => text.is_none(),
            ResponseBody::Instance { inner, packing, .. } => match packing {
                None => inner.is_end_stream(),
                Some(packing) => packing.is_over(),
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::None => SizeHint::with_exact(0),
            ResponseBody::Own { text, .. } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            ResponseBody::Instance { inner, packing, .. } => match packing {
                None => inner.size_hint(),
                Some(_) => SizeHint::default(),
            },
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let ResponseBody::Instance {
            inner,
            complete,
            exchange,
            ..
        } = self
            && !*complete
            && !inner.is_end_stream()
        {
            exchange.broke_off();
        }
    }
}
