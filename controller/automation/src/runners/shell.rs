//! Quoting for POSIX shells.

use std::borrow::Cow;

/// The text as one word of a shell command. Words of harmless characters stay as they are, so that
/// command lines remain readable.
pub fn quote(text: &str) -> Cow<'_, str> {
    let harmless =
        |character: char| character.is_ascii_alphanumeric() || "@%+=:,./-_".contains(character);
    if !text.is_empty() && text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', "'\"'\"'")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a shell makes of one quoted word: quotes removed, nothing expanded.
    fn unquoted(word: &str) -> String {
        let mut text = String::new();
        let mut open: Option<char> = None;
        for character in word.chars() {
            match open {
                Some(quote) if character == quote => open = None,
                Some(_) => text.push(character),
                None if character == '\'' || character == '"' => open = Some(character),
                None => text.push(character),
            }
        }
        text
    }

    #[test]
    fn only_what_needs_quotes_gets_them() {
        assert_eq!(quote("/opt/a-b_c.sh"), "/opt/a-b_c.sh");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("two words"), "'two words'");
        assert_eq!(quote("$(rm -rf /)"), "'$(rm -rf /)'");
        assert_eq!(quote("it's"), "'it'\"'\"'s'");
        assert_eq!(quote("é"), "'é'");
    }

    proptest! {
        #[test]
        fn a_quoted_word_is_that_word(text in "[a-z '\"$`\\\\\n*é]{0,20}") {
            prop_assert_eq!(unquoted(&quote(&text)), text);
        }
    }
}
