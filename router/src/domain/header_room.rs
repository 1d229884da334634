//! Maps of headers that are used again by their thread. One has room for a dozen or more, which is dear to ask of the
//! allocator for each request and each answer; what it held is gone when it is lent again.

use http::HeaderMap;
use std::cell::RefCell;

/// So many are kept, and none with more room.
const MOST: usize = 64;
const LARGEST: usize = 48;

thread_local! {
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

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
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
}
