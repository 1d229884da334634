//! What a template will ask for: the names it uses and the keys of the datastore.

use std::collections::BTreeSet;

/// Names and keys that one template, or all templates of a value, may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Names outside the template, without those the language itself has (`range`).
    pub names: BTreeSet<String>,
    /// Keys of the system's datastore.
    pub system_keys: BTreeSet<String>,
    /// Keys of the user's datastore, without the user's name.
    pub user_keys: BTreeSet<String>,
    /// The datastore is read under keys that only the rendering knows (`st2kv.system[name]`).
    pub computed_keys: bool,
}

impl References {
    /// From the dotted paths a template reads.
    pub(crate) fn of_paths(
        paths: impl IntoIterator<Item = String>,
        is_global: impl Fn(&str) -> bool,
    ) -> References {
        let mut references = References::default();
        for path in paths {
            let name = path.split('.').next().unwrap_or_default();
            if is_global(name) {
                continue;
            }
            references.names.insert(name.to_owned());
            if name != "st2kv" {
                continue;
            }
            let mut scope_and_key = path.splitn(3, '.').skip(1);
            let keys = match scope_and_key.next() {
                Some("system") => Some(&mut references.system_keys),
                Some("user") => Some(&mut references.user_keys),
                Some(_) | None => None,
            };
            match (keys, scope_and_key.next()) {
                // `a.split` may be the key `a` and a method of its text.
                (Some(keys), Some(key)) => keys.extend(prefixes(key)),
                (Some(_) | None, None) | (None, Some(_)) => references.computed_keys = true,
            }
        }
        references
    }

    /// Adds what another template reads.
    pub fn extend(&mut self, other: References) {
        self.names.extend(other.names);
        self.system_keys.extend(other.system_keys);
        self.user_keys.extend(other.user_keys);
        self.computed_keys |= other.computed_keys;
    }
}

/// `a.b.c`, `a.b` and `a`.
fn prefixes(key: &str) -> impl Iterator<Item = String> {
    std::iter::successors(Some(key), |key| Some(key.rsplit_once('.')?.0)).map(str::to_owned)
}
