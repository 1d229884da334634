//! An answer that is packed with gzip as it passes.
//!
//! What has come is sent on when the instance has no more for the moment, so that packing holds nothing back, and
//! when much of it has come, so that one answer does not keep a thread from the others.

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http_body::{Body, Frame};
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A level that gains most of what there is to gain and takes half the time of the usual one.
const LEVEL: Compression = Compression::new(4);
/// So much is packed before anything else is done.
const AT_ONCE: usize = 64 << 10;

pub struct Packing {
    /// None: the last of it was handed out.
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// What the encoder has and did not give back.
    held: usize,
    /// They come after the last byte.
    trailers: Option<HeaderMap>,
}

impl Packing {
    pub fn begin() -> Box<Packing> {
        Box::new(Packing {
            encoder: Some(GzEncoder::new(Vec::new(), LEVEL)),
            held: 0,
            trailers: None,
        })
    }

    /// Everything was handed out.
    pub fn is_over(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }

    /// The next packed piece of a body.
    pub fn poll<B: Body<Data = Bytes> + Unpin>(
        &mut self,
        body: &mut B,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        loop {
            let Some(encoder) = &mut self.encoder else {
                let trailers = self.trailers.take();
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            };
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        encoder.write_all(&data).expect("a Vec takes everything");
                        self.held += data.len();
                        if self.held >= AT_ONCE {
                            return Poll::Ready(Some(Ok(Frame::data(self.given()))));
                        }
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        return Poll::Ready(Some(Ok(Frame::data(self.last()))));
                    }
                },
                Poll::Ready(None) => return Poll::Ready(Some(Ok(Frame::data(self.last())))),
                Poll::Pending if self.held > 0 => {
                    return Poll::Ready(Some(Ok(Frame::data(self.given()))));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// What has come so far, complete enough to be read.
    fn given(&mut self) -> Bytes {
        self.held = 0;
        let Some(encoder) = &mut self.encoder else {
            return Bytes::new();
        };
        encoder.flush().expect("a Vec takes everything");
        Bytes::from(std::mem::take(encoder.get_mut()))
    }

    fn last(&mut self) -> Bytes {
        let encoder = self.encoder.take();
        let rest = encoder.map(|encoder| encoder.finish().expect("a Vec takes everything"));
        Bytes::from(rest.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::io::Read;

    /// Pieces, with pauses where there is none.
    struct Pieces(VecDeque<Option<Frame<Bytes>>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.pop_front() {
                Some(Some(frame)) => Poll::Ready(Some(Ok(frame))),
                Some(None) => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    fn data(text: &str) -> Option<Frame<Bytes>> {
        Some(Frame::data(Bytes::from(text.to_string())))
    }

    fn next(packing: &mut Packing, pieces: &mut Pieces) -> Poll<Option<Frame<Bytes>>> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let polled = packing.poll(pieces, &mut context);
        polled.map(|frame| frame.map(|frame| frame.unwrap_or_else(|never| match never {})))
    }

    /// What a client can read of what it has got.
    fn read(packed: &[u8]) -> String {
        let mut text = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(packed);
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = decoder.read(&mut piece) {
            text.extend_from_slice(&piece[..read]);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn nothing_is_held_back_while_the_instance_pauses() {
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-sum"),
            http::HeaderValue::from_static("1"),
        )]);
        let mut pieces = Pieces(VecDeque::from([
            data("one "),
            data("two "),
            None,
            None,
            data("three"),
            Some(Frame::trailers(trailers.clone())),
        ]));
        let mut packing = Packing::begin();
        let mut packed = Vec::new();
        let Poll::Ready(Some(frame)) = next(&mut packing, &mut pieces) else {
            panic!("what has come is sent on");
        };
        packed.extend_from_slice(&frame.into_data().unwrap());
        assert_eq!(read(&packed), "one two ");
        assert!(next(&mut packing, &mut pieces).is_pending());
        let Poll::Ready(Some(frame)) = next(&mut packing, &mut pieces) else {
            panic!("the rest");
        };
        packed.extend_from_slice(&frame.into_data().unwrap());
        assert_eq!(read(&packed), "one two three");
        assert!(!packing.is_over());
        let Poll::Ready(Some(frame)) = next(&mut packing, &mut pieces) else {
            panic!("the trailers");
        };
        assert_eq!(frame.into_trailers().unwrap(), trailers);
        assert!(packing.is_over());
        assert!(matches!(next(&mut packing, &mut pieces), Poll::Ready(None)));
    }

    #[test]
    fn a_long_answer_goes_on_in_pieces() {
        let piece = "a line of text\n".repeat(1000);
        let mut pieces = Pieces((0..20).map(|_| data(&piece)).collect());
        let mut packing = Packing::begin();
        let (mut packed, mut frames) = (Vec::new(), 0);
        while let Poll::Ready(Some(frame)) = next(&mut packing, &mut pieces) {
            packed.extend_from_slice(&frame.into_data().unwrap());
            frames += 1;
        }
        assert!(packing.is_over() && frames >= 4, "{frames}");
        assert!(packed.len() < piece.len());
        assert_eq!(read(&packed), piece.repeat(20));
    }
}
