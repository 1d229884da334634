//! Maps of headers that are used again by their thread. One has room for a dozen or more, which is dear to ask of the
//! allocator for each request and each answer; what it held is gone when it is lent again. The values that the router
//! itself puts into them are small parts of common room.

use bytes::BytesMut;
use http::header::InvalidHeaderValue;
use http::{HeaderMap, HeaderValue};
use std::cell::RefCell;

/// So many are kept, and none with more room.
const MOST: usize = 64;
const LARGEST: usize = 48;
/// How much room is made at once for values. (Little: as long as one of them is held, all of it is.)
const VALUES_ROOM: usize = 1 << 10;

thread_local! {
    static VALUES: RefCell<BytesMut> = RefCell::default();
    static MAPS: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// An empty map with room for so many.
pub fn borrow(count: usize) -> HeaderMap {
    let lent = MAPS.with_borrow_mut(Vec::pop);
    match lent {
        Some(map) if map.capacity() >= count => map,
        Some(_) | None => HeaderMap::with_capacity(count),
    }
}

/// Takes a map that is not needed any more.
pub fn give_back(mut map: HeaderMap) {
    if map.capacity() == 0 || map.capacity() > LARGEST {
        return;
    }
    map.clear();
    MAPS.with_borrow_mut(|maps| {
        if maps.len() < MOST {
            maps.push(map);
        }
    });
}

/// A value of a header.
pub fn value(write: impl FnOnce(&mut BytesMut)) -> Result<HeaderValue, InvalidHeaderValue> {
    VALUES.with_borrow_mut(|room| {
        if room.capacity() < VALUES_ROOM / 16 {
            room.reserve(VALUES_ROOM);
        }
        write(room);
        HeaderValue::from_maybe_shared(room.split().freeze())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HOST, VIA};

    #[test]
    fn a_map_is_lent_again_without_what_it_held() {
        let mut map = borrow(10);
        let room = map.capacity();
        map.append(HOST, HeaderValue::from_static("a"));
        map.append(VIA, HeaderValue::from_static("b"));
        map.append(VIA, HeaderValue::from_static("c"));
        give_back(map);
        let map = borrow(5);
        assert!(map.is_empty() && !map.contains_key(HOST));
        assert_eq!(map.capacity(), room, "it is the same");
        assert!(borrow(5).capacity() >= 5);
        give_back(HeaderMap::with_capacity(LARGEST * 2));
        assert!(borrow(1).capacity() <= LARGEST);
    }

    #[test]
    fn values_share_their_room() {
        let of = |text: &'static str| value(|out| out.extend_from_slice(text.as_bytes()));
        let values: Vec<_> = ["a", "", "b c", "\u{7f}"].map(of).into_iter().collect();
        assert_eq!(values[0].as_ref().expect("a value"), "a");
        assert_eq!(values[1].as_ref().expect("a value"), "");
        assert_eq!(values[2].as_ref().expect("a value"), "b c");
        assert!(values[3].is_err());
        let long = "x".repeat(3 * VALUES_ROOM);
        let written = value(|out| out.extend_from_slice(long.as_bytes()));
        assert_eq!(written.expect("a value"), long.as_str());
    }
}
