//! A request's body on its way from its client's connection to whoever passes it on, where the client speaks HTTP/1.
//!
//! The connection reads only what is wanted, a piece at a time: an instance that takes nothing stops its client. Both
//! ends mostly are in one task, and then nobody is woken; a body that goes into a connection of HTTP/2 is in another.

use super::bodies::BodyError;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The end that takes.
#[derive(Debug)]
pub struct Upload(Arc<Mutex<Passage>>);

/// The end that gives.
#[derive(Debug)]
pub struct Giver(Arc<Mutex<Passage>>);

#[derive(Debug)]
struct Passage {
    piece: Option<Frame<Bytes>>,
    /// How much is to be taken, if that is known.
    left: Option<u64>,
    end: End,
    wanted: bool,
    /// Nobody will take any more.
    gone: bool,
    /// Who waits for a piece, and who waits until one is wanted.
    taker: Option<Waker>,
    giver: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// Everything was given.
    Whole,
    /// No more comes, and it is not whole.
    Cut,
}

/// What the taking end does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Wants,
    /// It has enough for now; the context is woken when that changes.
    Waits,
    Gone,
}

/// A body of that length, or of one that its end will tell.
pub fn upload(length: Option<u64>) -> (Giver, Upload) {
    let passage = Arc::new(Mutex::new(Passage {
        piece: None,
        left: length,
        end: End::Open,
        wanted: false,
        gone: false,
        taker: None,
        giver: None,
    }));
    (Giver(passage.clone()), Upload(passage))
}

fn lock(passage: &Mutex<Passage>) -> MutexGuard<'_, Passage> {
    passage.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes another task; this one is under way.
fn wake(waiting: &mut Option<Waker>, cx: &Context<'_>) {
    if let Some(waker) = waiting.take()
        && !waker.will_wake(cx.waker())
    {
        waker.wake();
    }
}

fn wait(waiting: &mut Option<Waker>, cx: &Context<'_>) {
    match waiting {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waiting = Some(cx.waker().clone()),
    }
}

impl Giver {
    pub fn wish(&self, cx: &Context<'_>) -> Wish {
        let mut passage = lock(&self.0);
        if passage.gone {
            return Wish::Gone;
        }
        if passage.wanted {
            return Wish::Wants;
        }
        wait(&mut passage.giver, cx);
        Wish::Waits
    }

    /// Nobody takes any more.
    pub fn is_in_vain(&self) -> bool {
        lock(&self.0).gone
    }

    /// Gives what is wanted. Whoever is in the task of the context looks for it afterwards.
    pub fn give(&self, data: Bytes, is_last: bool, cx: &Context<'_>) {
        let mut passage = lock(&self.0);
        passage.piece = Some(Frame::data(data));
        passage.wanted = false;
        if is_last {
            passage.end = End::Whole;
        }
        wake(&mut passage.taker, cx);
    }

    pub fn end(&self, trailers: Option<HeaderMap>, cx: &Context<'_>) {
        let mut passage = lock(&self.0);
        passage.piece = trailers.map(Frame::trailers);
        passage.wanted = false;
        passage.end = End::Whole;
        wake(&mut passage.taker, cx);
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        let mut passage = lock(&self.0);
        if passage.end == End::Open {
            passage.end = End::Cut;
            if let Some(waker) = passage.taker.take() {
                waker.wake();
            }
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut passage = lock(&self.0);
        if let Some(piece) = passage.piece.take() {
            if let (Some(left), Some(data)) = (&mut passage.left, piece.data_ref()) {
                *left = left.saturating_sub(data.len() as u64);
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        match passage.end {
            End::Whole => Poll::Ready(None),
            End::Cut => Poll::Ready(Some(Err(BodyError::Cut))),
            End::Open => {
                passage.wanted = true;
                wait(&mut passage.taker, cx);
                wake(&mut passage.giver, cx);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let passage = lock(&self.0);
        passage.left == Some(0) || (passage.end == End::Whole && passage.piece.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0)
            .left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut passage = lock(&self.0);
        passage.gone = true;
        passage.piece = None;
        if let Some(waker) = passage.giver.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker;

    fn frame(body: &mut Upload, cx: &mut Context<'_>) -> Poll<Option<String>> {
        let frame = Pin::new(body).poll_frame(cx);
        frame.map(|frame| {
            let data = frame?.ok()?.into_data().ok()?;
            Some(String::from_utf8_lossy(&data).into_owned())
        })
    }

    #[test]
    fn a_piece_is_given_when_it_is_wanted() {
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let (giver, mut body) = upload(Some(3));
        assert_eq!(giver.wish(&cx), Wish::Waits);
        assert!(frame(&mut body, &mut cx).is_pending());
        assert_eq!(giver.wish(&cx), Wish::Wants);
        giver.give(Bytes::from_static(b"ab"), false, &cx);
        assert_eq!(giver.wish(&cx), Wish::Waits);
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(frame(&mut body, &mut cx), Poll::Ready(Some("ab".into())));
        assert_eq!(body.size_hint().exact(), Some(1));
        assert!(frame(&mut body, &mut cx).is_pending());
        giver.give(Bytes::from_static(b"c"), true, &cx);
        drop(giver);
        assert!(!body.is_end_stream());
        assert_eq!(frame(&mut body, &mut cx), Poll::Ready(Some("c".into())));
        assert!(body.is_end_stream());
        assert_eq!(frame(&mut body, &mut cx), Poll::Ready(None));
    }

    #[test]
    fn what_breaks_off_is_no_end() {
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let (giver, mut body) = upload(None);
        drop(giver);
        assert!(!body.is_end_stream());
        let frame = Pin::new(&mut body).poll_frame(&mut cx);
        assert!(matches!(frame, Poll::Ready(Some(Err(BodyError::Cut)))));
    }

    #[test]
    fn who_takes_no_more_is_gone() {
        let waker = noop_waker();
        let cx = Context::from_waker(&waker);
        let (giver, body) = upload(None);
        assert!(!giver.is_in_vain());
        drop(body);
        assert_eq!(giver.wish(&cx), Wish::Gone);
        assert!(giver.is_in_vain());
    }
}
