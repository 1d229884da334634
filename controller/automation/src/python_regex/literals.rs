//! Plain texts that a pattern cannot match without: what lets a thousand patterns be searched for
//! in one walk over a text.
//!
//! The extractor of regex-syntax tells the texts that every match *begins* with. A pattern like
//! `.*error` begins with anything, so it is asked about every end of the pattern (`error` is one),
//! and the best answer is taken: a match of the whole holds a match of each of its ends.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Hir, HirKind};

use super::Flags;

/// Texts for one pattern.
const MOST_LITERALS: usize = 16;
/// Bytes of a text that are told.
const LONGEST_LITERAL: usize = 64;
/// Ends of a pattern that are looked at.
const MOST_ENDS: usize = 24;

/// Texts of which every match holds at least one. None: the pattern has no such texts, or is
/// written in words that only the other engine reads.
pub(super) fn required(pattern: &str, flags: Flags) -> Option<Vec<Vec<u8>>> {
    let parsed = ParserBuilder::new()
        .case_insensitive(flags.ignore_case)
        .dot_matches_new_line(flags.dot_all)
        .build()
        .parse(pattern)
        .ok()?;
    let mut whole = &parsed;
    while let HirKind::Capture(group) = whole.kind() {
        whole = &group.sub;
    }
    let parts = match whole.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => std::slice::from_ref(whole),
    };
    (0..parts.len().min(MOST_ENDS))
        .filter_map(|from| beginnings(&Hir::concat(parts[from..].to_vec())))
        .max_by_key(|texts| {
            let shortest = texts.iter().map(Vec::len).min().unwrap_or_default();
            (shortest, std::cmp::Reverse(texts.len()))
        })
}

/// Texts of which every match begins with one.
fn beginnings(part: &Hir) -> Option<Vec<Vec<u8>>> {
    let mut extractor = Extractor::new();
    extractor
        .limit_total(MOST_LITERALS)
        .limit_literal_len(LONGEST_LITERAL);
    let texts: Vec<Vec<u8>> = extractor
        .extract(part)
        .literals()?
        .iter()
        .map(|literal| literal.as_bytes().to_vec())
        .collect();
    let is_useful = !texts.is_empty()
        && texts.len() <= MOST_LITERALS
        && texts.iter().all(|text| !text.is_empty());
    is_useful.then_some(texts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Flags, PythonRegex};

    #[track_caller]
    fn check(pattern: &str, expected: Option<&[&str]>) {
        let found = PythonRegex::search(pattern)
            .expect(pattern)
            .required_literals()
            .map(|texts| {
                texts
                    .iter()
                    .map(|text| String::from_utf8_lossy(text).into_owned())
                    .collect::<Vec<_>>()
            });
        let expected = expected.map(|texts| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        });
        assert_eq!(found, expected, "for {pattern}");
    }

    #[test]
    fn the_most_telling_texts_are_found() {
        check("^host-7$", Some(&["host-7"]));
        check(r"^\d+ .*disk full", Some(&["disk full"]));
        check("(error|failure) on", Some(&["error on", "failure on"]));
        check("(.*panic.*)", Some(&["panic"]));
        check("ab+c", Some(&["ab"]));
        check(r"^[a-z]+\d*$", None);
        check("a|", None);
        check("x?y?", None);
    }

    #[test]
    fn what_may_take_too_much_work_has_no_literals() {
        check(r"(disk) full \1", None);
        check("disk(?! full)", None);
        check("(?:disk)++", None);
        check("disk[ab]{5000}full", None);
    }

    proptest! {
        /// Without one of the texts there is no match: this is what whoever skips a pattern
        /// relies on.
        #[test]
        fn every_match_holds_one_of_them(
            pattern in "(\\(\\?i\\))?([ab\\[\\](){},1-3?*+|.^$-]|\\\\[dwsbBZ.]|ab|ba){0,12}",
            text in "[abAB1 \n-]{0,12}",
            ignore_case: bool,
            dot_all: bool,
            at_start: bool,
        ) {
            let flags = Flags { ignore_case, dot_all, at_start };
            if let Ok(regex) = PythonRegex::compile(&pattern, flags)
                && let Some(literals) = regex.required_literals()
                && regex.is_match(&text).expect("it is always affordable")
            {
                prop_assert!(
                    literals.iter().any(|literal| {
                        text.as_bytes().windows(literal.len()).any(|part| part == literal)
                    }),
                    "{} on {:?}: {:?}", pattern, text, literals
                );
            }
        }
    }
}
