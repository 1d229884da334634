//! The tags of a registration, in as little room as they need.
//!
//! A table holds them for every endpoint and hardly ever looks at them. As a map of two texts each they take several
//! times the room of what they say; here they are one text.

use std::collections::BTreeMap;

/// Stands between names and values; what has it within is left out.
const SEPARATOR: char = '\u{1f}';

/// Names with values, ordered by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags(Box<str>);

impl Tags {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut parts = self.0.split_terminator(SEPARATOR);
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }

    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }
}

impl From<&BTreeMap<String, String>> for Tags {
    fn from(tags: &BTreeMap<String, String>) -> Tags {
        let mut text = String::new();
        let whole = |(name, value): &(&String, &String)| {
            !name.contains(SEPARATOR) && !value.contains(SEPARATOR)
        };
        for (name, value) in tags.iter().filter(whole) {
            for part in [name, value] {
                text.push_str(part);
                text.push(SEPARATOR);
            }
        }
        Tags(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_in_comes_out() {
        let tags: BTreeMap<String, String> = [
            ("component", "dea"),
            ("empty", ""),
            ("", "nameless"),
            ("process_id", "p-1"),
        ]
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .into();
        let packed = Tags::from(&tags);
        assert_eq!(packed.to_map(), tags);
        assert_eq!(packed.get("process_id"), Some("p-1"));
        assert_eq!(packed.get("empty"), Some(""));
        assert_eq!(packed.get("dea"), None, "a value is no name");
        assert_eq!(Tags::from(&BTreeMap::new()), Tags::default());
        assert_eq!(Tags::default().iter().count(), 0);
    }

    #[test]
    fn a_tag_that_cannot_be_kept_takes_no_other_with_it() {
        let tags: BTreeMap<String, String> = [("a", "1\u{1f}b"), ("c\u{1f}", "2"), ("d", "3")]
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .into();
        let packed = Tags::from(&tags);
        assert_eq!(packed.iter().collect::<Vec<_>>(), [("d", "3")]);
    }
}
