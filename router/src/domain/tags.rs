//! The tags of a registration, in as little room as they need.
//!
//! A table holds them for every endpoint and hardly ever looks at them. As a map of two texts each they take several
//! times the room of what they say; here they are one text.

use std::collections::BTreeMap;

/// Stands between names and values; what has it within is left out.
const SEPARATOR: char = '\u{1f}';
/// Stands for the app's guid, which is the value of a tag of most instances, too.
const APP: char = '\u{1e}';

/// Names with values, ordered by name.
#[derive(Debug, Clone, Copy)]
pub struct Tags<'a> {
    text: &'a str,
    app: &'a str,
}

impl<'a> Tags<'a> {
    /// Writes them down so that [`Tags::read`] finds them.
    pub fn write(tags: &BTreeMap<String, String>, app: &str, text: &mut String) {
        let taken = |part: &str| part.contains([SEPARATOR, APP]);
        for (name, value) in tags {
            if taken(name) || taken(value) {
                continue;
            }
            text.push_str(name);
            text.push(SEPARATOR);
            match !app.is_empty() && value == app {
                true => text.push(APP),
                false => text.push_str(value),
            }
            text.push(SEPARATOR);
        }
    }

    pub fn read(text: &'a str, app: &'a str) -> Tags<'a> {
        Tags { text, app }
    }

    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let (mut parts, app) = (self.text.split_terminator(SEPARATOR), self.app);
        std::iter::from_fn(move || {
            let (name, value) = (parts.next()?, parts.next()?);
            let is_app = value.len() == APP.len_utf8() && value.starts_with(APP);
            Some((name, if is_app { app } else { value }))
        })
    }

    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<const N: usize>(tags: [(&str, &str); N]) -> BTreeMap<String, String> {
        tags.map(|(name, value)| (name.to_string(), value.to_string()))
            .into()
    }

    #[test]
    fn what_went_in_comes_out() {
        let tags = map([
            ("component", "dea"),
            ("empty", ""),
            ("", "nameless"),
            ("process_id", "p-1"),
        ]);
        for app in ["", "p-1", "dea"] {
            let mut text = String::new();
            Tags::write(&tags, app, &mut text);
            let packed = Tags::read(&text, app);
            assert_eq!(packed.to_map(), tags, "{app}");
            assert_eq!(packed.get("process_id"), Some("p-1"));
            assert_eq!(packed.get("empty"), Some(""));
            assert_eq!(packed.get("dea"), None, "a value is no name");
        }
        assert_eq!(Tags::read("", "p-1").iter().count(), 0);
    }

    #[test]
    fn a_tag_that_cannot_be_kept_takes_no_other_with_it() {
        let tags = map([
            ("a", "1\u{1f}b"),
            ("b", "\u{1e}"),
            ("c\u{1f}", "2"),
            ("d", "3"),
        ]);
        let mut text = String::new();
        Tags::write(&tags, "app", &mut text);
        let packed = Tags::read(&text, "app");
        assert_eq!(packed.iter().collect::<Vec<_>>(), [("d", "3")]);
    }
}
