//! Room that a thread lends to its connections: what comes is read into it, and only what is not taken at once stays with
//! a connection. So those who wait hold nothing, and those who are served one after the other use the same, which the
//! processor has at hand.
//!
//! What was read is shared out of the room without a copy. What stays of it keeps its part of the room from being used
//! again, until it goes; so heads, which stay as long as their requests, are read apart from bodies.

use bytes::BytesMut;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread::LocalKey;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// What is read at once: of what begins, and of a longer body.
const PIECE: usize = 8 << 10;
const LARGE_PIECE: usize = 64 << 10;
/// How much room is made at once for the first.
const ROOM: usize = 16 << 10;
/// Larger room is not kept.
const KEPT: usize = 64 << 10;

thread_local! {
    static HEADS: Cell<BytesMut> = Cell::default();
    static BODIES: Cell<BytesMut> = Cell::default();
    static OUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn lend(most: usize) -> (&'static LocalKey<Cell<BytesMut>>, BytesMut) {
    let (lent, piece, size) = match most > PIECE {
        true => (&BODIES, most.min(LARGE_PIECE), LARGE_PIECE),
        false => (&HEADS, PIECE, ROOM),
    };
    let mut room = lent.take();
    // (What little is left of it would only make many reads of one.)
    if room.capacity() < piece / 2 {
        room.reserve(size);
    }
    (lent, room)
}

/// Reads what there is behind what has come and was not taken: how much it was. Much at once where `most` is to come.
pub fn poll_read<S: AsyncRead + Unpin>(
    socket: &mut S,
    cx: &mut Context<'_>,
    come: &mut BytesMut,
    most: usize,
) -> Poll<io::Result<usize>> {
    let (lent, mut room) = lend(most);
    let read = poll_read_buf(Pin::new(socket), cx, &mut room);
    if let Poll::Ready(Ok(count)) = read {
        if come.is_empty() {
            *come = room.split();
        } else {
            append(come, &room, count);
            room.clear();
        }
    }
    lent.set(room);
    Poll::Ready(ready!(read))
}

/// (Not in place: what is a part of the room would grow to all of it.)
fn append(come: &mut BytesMut, more: &[u8], count: usize) {
    let all = come.len() + count;
    if come.capacity() < all {
        let mut grown = BytesMut::with_capacity(all.next_power_of_two());
        grown.extend_from_slice(come);
        *come = grown;
    }
    come.extend_from_slice(more);
}

/// Room for what goes out, empty.
pub fn borrow_out() -> Vec<u8> {
    OUT.take()
}

/// Gives it back when all has gone.
pub fn give_back(mut out: Vec<u8>) {
    out.clear();
    if out.capacity() <= KEPT {
        OUT.set(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn read(text: &str, come: &mut BytesMut, most: usize) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let mut socket = text.as_bytes();
        match poll_read(&mut socket, &mut cx, come, most) {
            Poll::Ready(Ok(count)) => count,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_comes_is_put_behind_what_was_not_taken() {
        for most in [PIECE, LARGE_PIECE] {
            let (mut one, mut other) = (BytesMut::new(), BytesMut::new());
            assert_eq!(read("GET ", &mut one, most), 4);
            assert_eq!(read("POST ", &mut other, most), 5);
            for piece in ["/ ", "HTTP/1.1", "\r\n"] {
                assert_eq!(read(piece, &mut one, most), piece.len());
            }
            assert_eq!(one, "GET / HTTP/1.1\r\n");
            assert_eq!(other, "POST ");
            assert!(one.capacity() < 64, "it does not grow to all of the room");
            assert_eq!(read("", &mut one, most), 0);
        }
    }

    #[test]
    fn room_that_nobody_holds_is_used_again() {
        let mut come = BytesMut::new();
        read("x", &mut come, PIECE);
        let (begin, mut used) = (come.as_ptr() as usize, 1);
        while used < 2 * ROOM {
            come = BytesMut::new();
            used += read(&"x".repeat(1000), &mut come, PIECE);
            let at = come.as_ptr() as usize;
            assert!((begin..begin + ROOM).contains(&at), "after {used} bytes");
        }
    }
}
