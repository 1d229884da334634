//! Under which names instances of apps are registered at an address.
//!
//! Addresses are kept as their hash: two of the same would be told each other's names, which is one look more for whoever
//! asks and no mistake. Most have one name, and that one is shared with the table: as texts of its own the index took as much
//! room as the endpoints.

use super::RouteName;
use crate::domain::identity::At;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};

#[derive(Debug, Default)]
pub(super) struct Tenants {
    names: HashMap<u64, Names>,
    hasher: RandomState,
}

#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "it is rare, and all would take the room of a vector"
)]
enum Names {
    One(RouteName),
    /// Ordered.
    Many(Box<Vec<RouteName>>),
}

impl Names {
    fn as_slice(&self) -> &[RouteName] {
        match self {
            Names::One(name) => std::slice::from_ref(name),
            Names::Many(names) => names,
        }
    }
}

impl Tenants {
    fn key(&self, at: At<'_>) -> u64 {
        self.hasher.hash_one(at)
    }

    pub(super) fn names(&self, at: At<'_>) -> &[RouteName] {
        let names = self.names.get(&self.key(at));
        names.map_or(&[], Names::as_slice)
    }

    pub(super) fn add(&mut self, at: At<'_>, name: &RouteName) {
        match self.names.entry(self.key(at)) {
            Entry::Vacant(place) => {
                place.insert(Names::One(name.clone()));
            }
            Entry::Occupied(mut known) => match known.get_mut() {
                Names::One(one) if one == name => {}
                Names::One(one) => {
                    let mut names = vec![one.clone(), name.clone()];
                    names.sort_unstable();
                    known.insert(Names::Many(Box::new(names)));
                }
                Names::Many(names) => {
                    if let Err(place) = names.binary_search(name) {
                        names.insert(place, name.clone());
                    }
                }
            },
        }
    }

    pub(super) fn remove(&mut self, at: At<'_>, name: &RouteName) {
        let Entry::Occupied(mut known) = self.names.entry(self.key(at)) else {
            return;
        };
        match known.get_mut() {
            Names::One(one) if one == name => {
                known.remove();
            }
            Names::One(_) => {}
            Names::Many(names) => {
                if let Ok(place) = names.binary_search(name) {
                    names.remove(place);
                }
                if let [one] = names.as_slice() {
                    let one = one.clone();
                    known.insert(Names::One(one));
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.names
            .values()
            .map(|names| names.as_slice().len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_and_go() {
        let mut tenants = Tenants::default();
        let at = |port| At {
            host: "10.0.0.1",
            port,
        };
        let names = ["c", "a", "b"].map(|uri| RouteName::parse(uri).unwrap());
        for name in names.iter().chain(&names) {
            tenants.add(at(1), name);
        }
        tenants.add(at(2), &names[0]);
        let told = |tenants: &Tenants, port| {
            let names = tenants.names(at(port)).iter();
            names.map(RouteName::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(&tenants, 1), ["a", "b", "c"]);
        assert_eq!(told(&tenants, 2), ["c"]);
        for (name, left) in names.iter().zip([&["a", "b"][..], &["b"], &[]]) {
            tenants.remove(at(1), name);
            tenants.remove(at(1), name);
            assert_eq!(told(&tenants, 1), left);
        }
        assert_eq!(tenants.count(), 1);
    }
}
