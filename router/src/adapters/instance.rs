//! The body of an instance's answer, whichever HTTP the instance speaks. At its end the connection goes back to those
//! that can be used again ([`super::backends`]).

use super::backends::{Backends, Turn};
use super::line::{Line, LineError, Socket};
use crate::domain::answer_lines::Lines;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub enum InstanceBody {
    Http1(OnLine),
    Http2 {
        body: Incoming,
        /// It counts for its connection until it ends.
        _turn: Turn,
    },
}

/// Why an answer is not whole.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    #[error(transparent)]
    Http1(#[from] LineError),
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

/// An answer on a connection of its own. Its drop keeps the connection for the next request, if that is possible.
pub struct OnLine {
    line: Option<Box<Line>>,
    /// Of the endpoint.
    number: u64,
    home: Arc<Backends>,
}

impl OnLine {
    pub fn new(line: Box<Line>, number: u64, home: Arc<Backends>) -> OnLine {
        OnLine {
            line: Some(line),
            number,
            home,
        }
    }
}

impl Drop for OnLine {
    fn drop(&mut self) {
        if let Some(mut line) = self.line.take()
            && line.rests()
        {
            self.home.keep(self.number, line);
        }
    }
}

impl InstanceBody {
    /// The socket of an instance that switched to another protocol, and what it has said in it.
    pub fn switched(self) -> Option<(Socket, Bytes)> {
        match self {
            InstanceBody::Http1(mut answer) => answer.line.take()?.switched(),
            InstanceBody::Http2 { .. } => None,
        }
    }

    /// The headers of the answer, unless they are with it already.
    pub fn lines(&mut self) -> Option<&mut Lines> {
        match self {
            InstanceBody::Http1(answer) => Some(&mut answer.line.as_mut()?.lines),
            InstanceBody::Http2 { .. } => None,
        }
    }

    /// Passes on what can be of a request's body that is still under way.
    pub fn pass_on(&mut self, cx: &mut Context<'_>) -> Result<(), InstanceError> {
        if let InstanceBody::Http1(OnLine {
            line: Some(line), ..
        }) = self
        {
            line.pass_on(cx)?;
        }
        Ok(())
    }
}

impl Body for InstanceBody {
    type Data = Bytes;
    type Error = InstanceError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InstanceError>>> {
        match self.get_mut() {
            InstanceBody::Http1(answer) => match &mut answer.line {
                Some(line) => line.poll_piece(cx).map_err(InstanceError::Http1),
                None => Poll::Ready(None),
            },
            InstanceBody::Http2 { body, .. } => {
                Pin::new(body).poll_frame(cx).map_err(InstanceError::Http2)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            InstanceBody::Http1(answer) => answer.line.as_ref().is_none_or(|line| line.is_over()),
            InstanceBody::Http2 { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            InstanceBody::Http1(answer) => match &answer.line {
                Some(line) => line.size_hint(),
                None => SizeHint::with_exact(0),
            },
            InstanceBody::Http2 { body, .. } => body.size_hint(),
        }
    }
}
