//! Which certificate belongs to the name that a client asks for.
//!
//! As RFC 6125 has it: a name that is written out wins; a wildcard stands for exactly one label. Where
//! several certificates hold the same name, the one that was added first keeps it, so that the choice
//! does not depend on the order of a hash.

use std::collections::HashMap;

/// Certificates by the names they are valid for.
#[derive(Debug)]
pub struct ServerNames<T> {
    exact: HashMap<Box<str>, T>,
    /// By what follows the first label.
    wildcard: HashMap<Box<str>, T>,
    fallback: Option<T>,
}

impl<T> Default for ServerNames<T> {
    fn default() -> Self {
        ServerNames {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            fallback: None,
        }
    }
}

impl<T: Clone> ServerNames<T> {
    /// Adds a certificate for a name like `a.example.com` or `*.example.com`.
    pub fn add(&mut self, name: &str, certificate: &T) {
        let name = folded(name);
        let (names, name) = match name.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent),
            None => (&mut self.exact, name.as_str()),
        };
        names
            .entry(name.into())
            .or_insert_with(|| certificate.clone());
    }

    /// For clients that ask for no name, or for one that nobody has.
    pub fn set_fallback(&mut self, certificate: T) {
        self.fallback = Some(certificate);
    }

    pub fn find(&self, asked: Option<&str>) -> Option<T> {
        let named = asked.and_then(|asked| {
            let asked = folded(asked);
            self.exact.get(asked.as_str()).or_else(|| {
                let (_, parent) = asked.split_once('.')?;
                self.wildcard.get(parent)
            })
        });
        named.or(self.fallback.as_ref()).cloned()
    }
}

fn folded(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> ServerNames<u8> {
        let mut names = ServerNames::default();
        names.add("*.Example.com", &1);
        names.add("shop.example.com", &2);
        names.add("shop.example.com", &3);
        names
    }

    #[test]
    fn a_written_name_wins_and_the_first_keeps_it() {
        assert_eq!(names().find(Some("SHOP.example.com")), Some(2));
        assert_eq!(names().find(Some("shop.example.com.")), Some(2));
    }

    #[test]
    fn a_wildcard_is_one_label() {
        assert_eq!(names().find(Some("a.example.com")), Some(1));
        assert_eq!(names().find(Some("a.b.example.com")), None);
        assert_eq!(names().find(Some("example.com")), None);
    }

    #[test]
    fn the_fallback_is_for_everybody_else() {
        let mut names = names();
        assert_eq!(names.find(None), None);
        names.set_fallback(9);
        assert_eq!(names.find(None), Some(9));
        assert_eq!(names.find(Some("other.org")), Some(9));
        assert_eq!(names.find(Some("a.example.com")), Some(1));
    }
}
