//! What is made of rows and kept between requests. Whoever asks for it has read which version of the rows is in
//! force: that is a small statement, where making it anew is large ones and much work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Things kept of each kind. One more, and all are forgotten: a bound, not a policy.
const MOST_KEPT: usize = 1000;

/// By reference: what was made of rows, and of which version of them.
type Made<V, T> = BTreeMap<String, (V, Arc<T>)>;

/// What is made of rows (`T`), by reference, and of which version of them (`V`) it was made.
pub struct Kept<V, T>(Arc<Mutex<Made<V, T>>>);

impl<V, T> Clone for Kept<V, T> {
    fn clone(&self) -> Self {
        Kept(self.0.clone())
    }
}

impl<V, T> Default for Kept<V, T> {
    fn default() -> Self {
        Kept(Arc::default())
    }
}

impl<V: PartialEq, T> Kept<V, T> {
    /// What was made of rows of this version.
    pub fn get(&self, reference: &str, version: &V) -> Option<Arc<T>> {
        self.latest(reference, |made_from, _| made_from == version)
    }

    /// What was made last, if it is what somebody looks for.
    pub fn latest(&self, reference: &str, is_it: impl FnOnce(&V, &T) -> bool) -> Option<Arc<T>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(reference)
            .filter(|(made_from, made)| is_it(made_from, made))
            .map(|(_, made)| made.clone())
    }

    pub fn put(&self, reference: &str, made_from: V, made: Arc<T>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(reference.to_string(), (made_from, made));
    }
}
