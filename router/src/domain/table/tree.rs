//! The pools of a table by the hash of their host: a tree whose copies share all that is the same.
//!
//! **Approach.** Four bits of the hash lead from branch to branch; a leaf is split when it holds too many pools. A change
//! copies the leaf and the branches above it, as far as a snapshot shares them: some tens of pointers, however large the
//! table is. A copy of the whole is a copy of its root.
//!
//! **Why not a map of shards.** A shard is copied as a whole: many shards make snapshots dear, few make changes so.

use super::{Pool, RouteName};
use std::cmp::Reverse;
use std::sync::Arc;

const BITS: u32 = 4;
const WIDTH: usize = 1 << BITS;
/// Beyond, a leaf is split. (A request waits for each branch on its way to come from memory, and sees at once about where
/// in a leaf its host is; a change copies the leaf, which costs what three branches do.)
const MOST: usize = 64;
/// With no more below a branch it is one leaf again.
const LEAST: usize = 24;

#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Ordered by hash; of the same hash, the longest path first.
    Leaf(Arc<[Place]>),
    Branch(Arc<[Node; WIDTH]>),
}

#[derive(Debug, Clone)]
pub(super) struct Place {
    hash: u64,
    pool: Arc<Pool>,
}

impl Place {
    fn order(&self) -> (u64, Reverse<usize>) {
        (self.hash, Reverse(self.pool.name.path().len()))
    }
}

impl Default for Node {
    fn default() -> Node {
        Node::Leaf(Arc::default())
    }
}

/// The child of a branch so far below the root.
fn child(hash: u64, depth: u32) -> usize {
    (hash >> (depth * BITS)) as usize % WIDTH
}

impl Node {
    /// The pools of a host with their paths, the longest path first.
    pub(super) fn of<'a>(
        &'a self,
        hash: u64,
        host: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Arc<Pool>)> {
        let (mut node, mut depth) = (self, 0);
        let leaf = loop {
            match node {
                Node::Leaf(leaf) => break leaf,
                Node::Branch(children) => node = &children[child(hash, depth)],
            }
            depth += 1;
        };
        let places = &leaf[first_of(leaf, hash)..];
        let is_of_host = move |place: &&Place| place.hash == hash;
        // (Where a host has several routes most of them are not meant.)
        if let Some(only) = places.first().filter(is_of_host)
            && places.get(1).filter(is_of_host).is_none()
        {
            only.pool.expect_use();
        }
        places
            .iter()
            .take_while(is_of_host)
            .filter_map(move |place| Some((place.pool.name.path_at(host)?, &place.pool)))
    }

    /// Replaces, adds or (with `None`) removes the pool of a name. Says whether there was one.
    pub(super) fn put(&mut self, hash: u64, name: &RouteName, pool: Option<Arc<Pool>>) -> bool {
        self.put_below(hash, 0, name, pool)
    }

    fn put_below(
        &mut self,
        hash: u64,
        depth: u32,
        name: &RouteName,
        pool: Option<Arc<Pool>>,
    ) -> bool {
        match self {
            Node::Branch(children) => {
                let children = Arc::make_mut(children);
                let removes = pool.is_none();
                let was = children[child(hash, depth)].put_below(hash, depth + 1, name, pool);
                if removes && let Some(leaf) = joined(children) {
                    *self = Node::Leaf(leaf);
                }
                was
            }
            Node::Leaf(leaf) => {
                let others = leaf.iter().filter(|place| place.pool.name != *name);
                let mut places: Vec<Place> = others.cloned().collect();
                let was = places.len() < leaf.len();
                if let Some(pool) = pool {
                    let place = Place { hash, pool };
                    let at = places.partition_point(|other| other.order() <= place.order());
                    places.insert(at, place);
                }
                *self = leaf_of(places, depth);
                was
            }
        }
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        Iter {
            branches: vec![std::slice::from_ref(self).iter()],
            leaf: [].iter(),
        }
    }
}

/// Where the places of a hash begin, or would. Hashes are spread evenly, so it is near where the hash is among all.
fn first_of(leaf: &[Place], hash: u64) -> usize {
    let guess = (u128::from(hash) * leaf.len() as u128) >> u64::BITS;
    let mut at = guess as usize;
    while at > 0 && leaf[at - 1].hash >= hash {
        at -= 1;
    }
    while at < leaf.len() && leaf[at].hash < hash {
        at += 1;
    }
    at
}

/// These in one leaf or, if they are too many, below a branch. (Where all have the same hash no branch would part them.)
fn leaf_of(places: Vec<Place>, depth: u32) -> Node {
    let is_one_hash =
        places.first().map(|place| place.hash) == places.last().map(|place| place.hash);
    if places.len() <= MOST || is_one_hash {
        return Node::Leaf(places.into());
    }
    let mut parts: [Vec<Place>; WIDTH] = Default::default();
    for place in places {
        parts[child(place.hash, depth)].push(place);
    }
    Node::Branch(Arc::new(parts.map(|part| leaf_of(part, depth + 1))))
}

/// What is below a branch, if so little is left of it.
fn joined(children: &[Node; WIDTH]) -> Option<Arc<[Place]>> {
    let mut left = 0;
    for node in children {
        match node {
            Node::Leaf(leaf) => left += leaf.len(),
            Node::Branch(_) => return None,
        }
    }
    if left > LEAST {
        return None;
    }
    let leaves = children.iter().flat_map(|node| match node {
        Node::Leaf(leaf) => &leaf[..],
        Node::Branch(_) => &[],
    });
    let mut places: Vec<Place> = leaves.cloned().collect();
    places.sort_by_key(Place::order);
    Some(places.into())
}

pub(super) struct Iter<'a> {
    branches: Vec<std::slice::Iter<'a, Node>>,
    leaf: std::slice::Iter<'a, Place>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Arc<Pool>;

    fn next(&mut self) -> Option<&'a Arc<Pool>> {
        loop {
            if let Some(place) = self.leaf.next() {
                return Some(&place.pool);
            }
            match self.branches.last_mut()?.next() {
                Some(Node::Leaf(leaf)) => self.leaf = leaf.iter(),
                Some(Node::Branch(children)) => self.branches.push(children.iter()),
                None => {
                    self.branches.pop();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicUsize;

    fn pool(name: &RouteName, turn: usize) -> Arc<Pool> {
        let empty = Pool::of(name.clone(), Box::default());
        Arc::new(Pool {
            turn: AtomicUsize::new(turn),
            ..empty
        })
    }

    /// Names of a few hosts; hashes that agree in many bits, and some that are the same.
    fn name(number: u8) -> (u64, RouteName) {
        let (host, path) = (number / 4, number % 4);
        let hash = u64::from(host % 23) << (4 * (host % 15));
        let uri = format!("h{host}.test{}", "/p".repeat(usize::from(path)));
        (hash, RouteName::parse(&uri).unwrap())
    }

    fn depth(node: &Node) -> usize {
        match node {
            Node::Leaf(_) => 0,
            Node::Branch(children) => 1 + children.iter().map(depth).max().unwrap_or(0),
        }
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_holds_and_copies_stay_as_they_were(
            steps in proptest::collection::vec((any::<u8>(), any::<bool>()), 0..400)
        ) {
            let mut tree = Node::default();
            let mut model: BTreeMap<RouteName, usize> = BTreeMap::new();
            let mut copies = Vec::new();
            let content = |tree: &Node| -> BTreeMap<RouteName, usize> {
                tree.iter().map(|pool| (pool.name.clone(), pool.turn())).collect()
            };
            for (time, (number, puts)) in steps.into_iter().enumerate() {
                let (hash, name) = name(number);
                let pool = puts.then(|| pool(&name, time));
                let was = tree.put(hash, &name, pool);
                prop_assert_eq!(was, model.remove(&name).is_some());
                if puts {
                    model.insert(name.clone(), time);
                }
                if time % 50 == 0 {
                    copies.push((tree.clone(), tree.iter().count()));
                }
                let found: Vec<usize> = tree.of(hash, name.host()).map(|(path, _)| path.len()).collect();
                let mut expected: Vec<usize> = model.keys()
                    .filter(|known| known.host() == name.host())
                    .map(|known| known.path().len())
                    .collect();
                expected.reverse();
                prop_assert_eq!(found, expected);
            }
            for (copy, count) in copies {
                prop_assert_eq!(copy.iter().count(), count);
            }
            prop_assert_eq!(content(&tree), model.clone());
            for number in 0..=u8::MAX {
                let (hash, name) = name(number);
                tree.put(hash, &name, None);
            }
            prop_assert_eq!((tree.iter().count(), depth(&tree)), (0, 0));
        }
    }

    #[test]
    fn many_routes_of_one_host_are_one_leaf() {
        let mut tree = Node::default();
        for number in 0..100 {
            let name = RouteName::parse(&format!("a.test/{number}")).unwrap();
            tree.put(7, &name, Some(pool(&name, 0)));
        }
        assert_eq!((depth(&tree), tree.of(7, "a.test").count()), (0, 100));
    }
}
