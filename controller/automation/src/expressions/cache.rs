//! A bounded cache of compiled things, keyed by their source text.
//!
//! Two generations: new entries go to the young one; when it is full it becomes the old one and the
//! old one is dropped; what is used again in time moves back. That keeps the bound and the warm set
//! without a list of uses to maintain, and a hit in the young generation takes only a read lock.
//! Sources longer than [`LONGEST_KEY`] are compiled each time: they are rare, and the bound is one
//! of memory.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

/// The longest source text that is kept.
pub(crate) const LONGEST_KEY: usize = 32 * 1024;

pub(crate) struct Cache<K, V> {
    generation_size: usize,
    generations: RwLock<Generations<K, V>>,
}

struct Generations<K, V> {
    young: HashMap<K, Arc<V>>,
    old: HashMap<K, Arc<V>>,
}

impl<K: Eq + Hash, V> Cache<K, V> {
    /// A cache of at most `capacity` entries.
    pub(crate) fn new(capacity: usize) -> Cache<K, V> {
        Cache {
            generation_size: (capacity / 2).max(1),
            generations: RwLock::new(Generations {
                young: HashMap::new(),
                old: HashMap::new(),
            }),
        }
    }

    pub(crate) fn get<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        {
            // Nothing below can leave the maps half changed, so a poisoned lock is still sound.
            let generations = self
                .generations
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(value) = generations.young.get(key) {
                return Some(Arc::clone(value));
            }
            generations.old.get(key)?;
        }
        let mut generations = self
            .generations
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // Another thread may have moved or dropped the entry between the two locks.
        if let Some(value) = generations.young.get(key) {
            return Some(Arc::clone(value));
        }
        let value = generations.old.remove(key)?;
        self.insert_young(&mut generations, key.to_owned(), Arc::clone(&value));
        Some(value)
    }

    pub(crate) fn insert(&self, key: K, value: Arc<V>) {
        let mut generations = self
            .generations
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        self.insert_young(&mut generations, key, value);
    }

    fn insert_young(&self, generations: &mut Generations<K, V>, key: K, value: Arc<V>) {
        if generations.young.len() >= self.generation_size {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, value);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let generations = self.generations.read().unwrap();
        generations.young.len() + generations.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_its_capacity() {
        let cache: Cache<String, usize> = Cache::new(10);
        for number in 0..1000 {
            cache.insert(number.to_string(), Arc::new(number));
            assert!(cache.len() <= 10);
        }
        assert_eq!(cache.get("999").as_deref(), Some(&999));
        assert_eq!(cache.get("0"), None);
    }

    #[test]
    fn what_is_used_again_outlives_what_is_not() {
        let cache: Cache<String, usize> = Cache::new(10);
        cache.insert("warm".into(), Arc::new(0));
        for number in 1..1000 {
            cache.insert(number.to_string(), Arc::new(number));
            assert_eq!(cache.get("warm").as_deref(), Some(&0));
        }
    }
}
