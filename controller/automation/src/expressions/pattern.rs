//! Regular expressions as Python's `re` reads them, within bounds of time.
//!
//! Packs, rules and chat aliases were written for `re`. fancy-regex has look-around and
//! back-references; what differs is spelling (`\Z`, a lone `{`, `[` within a class, `$` before a
//! last newline) and is translated. Bounds: a pattern may compile to so much and no more, steps of
//! back-tracking are counted, and text times pattern may only grow to a limit, because even the
//! linear engine is slow when both are large.

use std::sync::OnceLock;

use fancy_regex::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may take.
const LARGEST_PROGRAM: usize = 2 * 1024 * 1024;
/// Steps of back-tracking in one match.
const MOST_BACKTRACKS: usize = 100_000;
/// Bytes of text times the weight of the pattern, for one search through the text.
const MOST_EFFORT: u64 = 256 * 1024 * 1024;
/// Bytes of text for a pattern that cannot be matched in linear time.
const LONGEST_HARD_TEXT: usize = 64 * 1024;
/// Bytes of a pattern.
const LONGEST_PATTERN: usize = 16 * 1024;

/// Why a pattern cannot be used, or not on this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is not a regular expression.
    #[error("\"{pattern}\" is not a regular expression: {reason}")]
    Invalid {
        /// The pattern as it was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Matching it on this text takes too long.
    #[error("Matching \"{pattern}\" on {length} bytes of text takes too much work.")]
    TooMuchWork {
        /// The pattern as it was given.
        pattern: String,
        /// Bytes of the text.
        length: usize,
    },
}

/// Where a pattern has to match, and how it reads letters and dots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PatternOptions {
    /// `re.IGNORECASE`
    pub ignore_case: bool,
    /// `re.DOTALL`
    pub dot_matches_newline: bool,
    /// Only at the start of the text, as `re.match` does.
    pub at_start: bool,
}

/// A compiled pattern.
#[derive(Debug)]
pub struct Pattern {
    source: String,
    options: PatternOptions,
    weight: u64,
    hard: bool,
    regex: Regex,
    /// For text that ends in a newline, where `$` has a second place to match.
    before_last_newline: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// Compiles a pattern written for Python.
    ///
    /// # Errors
    /// The pattern is not a regular expression, or too large to be compiled.
    pub fn compile(source: &str, options: PatternOptions) -> Result<Pattern, PatternError> {
        let invalid = |reason: String| PatternError::Invalid {
            pattern: source.chars().take(200).collect(),
            reason,
        };
        if source.len() > LONGEST_PATTERN {
            return Err(invalid(format!(
                "it is longer than {LONGEST_PATTERN} bytes"
            )));
        }
        let regex = build(source, options, false).map_err(|error| invalid(error.to_string()))?;
        Ok(Pattern {
            source: source.to_owned(),
            options,
            weight: weight(source),
            hard: ["(?=", "(?!", "(?<=", "(?<!", "(?>", "(?P=", "(?("]
                .iter()
                .any(|construct| source.contains(construct))
                || source
                    .as_bytes()
                    .windows(2)
                    .any(|pair| pair[0] == b'\\' && matches!(pair[1], b'1'..=b'9')),
            regex,
            before_last_newline: OnceLock::new(),
        })
    }

    /// Whether the text matches.
    ///
    /// # Errors
    /// Matching takes too much work.
    pub fn is_match(&self, text: &str) -> Result<bool, PatternError> {
        self.regex_for(text)?
            .is_match(text)
            .map_err(|_| self.too_much_work(text))
    }

    /// The first match and its groups; a group that took no part is absent.
    ///
    /// # Errors
    /// Matching takes too much work.
    pub fn captures<'text>(
        &self,
        text: &'text str,
    ) -> Result<Option<Captures<'text>>, PatternError> {
        let captures = self
            .regex_for(text)?
            .captures(text)
            .map_err(|_| self.too_much_work(text))?;
        Ok(captures.map(|captures| Captures::of(&captures)))
    }

    /// Calls `each` for every match from left to right, until it fails.
    ///
    /// # Errors
    /// Matching takes too much work, or what `each` failed with.
    pub fn each_match<'text, E: From<PatternError>>(
        &self,
        text: &'text str,
        mut each: impl FnMut(Captures<'text>) -> Result<(), E>,
    ) -> Result<(), E> {
        for captures in self.regex_for(text)?.captures_iter(text) {
            let captures = captures.map_err(|_| self.too_much_work(text))?;
            each(Captures::of(&captures))?;
        }
        Ok(())
    }

    /// Names of the groups, by their number; the whole match is number 0.
    pub fn group_names(&self) -> impl Iterator<Item = Option<&str>> {
        self.regex.capture_names()
    }

    fn regex_for(&self, text: &str) -> Result<&Regex, PatternError> {
        let effort = self.weight.saturating_mul(text.len() as u64);
        if effort > MOST_EFFORT || (self.hard && text.len() > LONGEST_HARD_TEXT) {
            return Err(self.too_much_work(text));
        }
        if text.ends_with('\n') && self.source.contains('$') {
            let variant = self
                .before_last_newline
                .get_or_init(|| build(&self.source, self.options, true).ok());
            if let Some(variant) = variant {
                return Ok(variant);
            }
        }
        Ok(&self.regex)
    }

    fn too_much_work(&self, text: &str) -> PatternError {
        PatternError::TooMuchWork {
            pattern: self.source.chars().take(200).collect(),
            length: text.len(),
        }
    }
}

/// One match: the whole of it, and its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captures<'text> {
    /// Where the whole match starts, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The whole match, then the groups.
    pub groups: Vec<Option<&'text str>>,
}

impl<'text> Captures<'text> {
    fn of(captures: &fancy_regex::Captures<'text, str>) -> Captures<'text> {
        let (start, end) = captures
            .get(0)
            .map_or((0, 0), |all| (all.start(), all.end()));
        Captures {
            start,
            end,
            groups: captures
                .iter()
                .map(|group| group.map(|group| group.as_str()))
                .collect(),
        }
    }
}

fn build(
    source: &str,
    options: PatternOptions,
    before_last_newline: bool,
) -> Result<Regex, fancy_regex::Error> {
    let mut pattern = translate(source, before_last_newline);
    if options.at_start {
        pattern = format!(r"\A(?:{pattern})");
    }
    RegexBuilder::new(&pattern)
        .case_insensitive(options.ignore_case)
        .dot_matches_new_line(options.dot_matches_newline)
        .backtrack_limit(MOST_BACKTRACKS)
        .delegate_size_limit(LARGEST_PROGRAM)
        .delegate_dfa_size_limit(LARGEST_PROGRAM)
        .build()
}

/// The pattern in the spelling of fancy-regex.
fn translate(source: &str, before_last_newline: bool) -> String {
    let mut out = String::with_capacity(source.len() + 8);
    let mut in_class = false;
    let mut rest = source;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        rest = after;
        match character {
            '\\' => {
                let escaped = after.chars().next();
                rest = &after[escaped.map_or(0, char::len_utf8)..];
                match escaped {
                    Some('Z') if !in_class => out.push_str(r"\z"),
                    Some(plain @ ('<' | '>')) => out.push(plain),
                    escaped => {
                        out.push('\\');
                        out.extend(escaped);
                    }
                }
            }
            '[' if in_class => out.push_str(r"\["),
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(character);
            }
            '[' => {
                in_class = true;
                out.push('[');
                if let Some(after) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = after;
                }
                // Python takes a bracket that closes right after the opening one literally.
                if let Some(after) = rest.strip_prefix(']') {
                    out.push_str(r"\]");
                    rest = after;
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '$' if !in_class && before_last_newline => out.push_str(r"(?=\n?\z)"),
            '{' if !in_class => match repetition(after) {
                Some((least, most, length)) => {
                    out.push('{');
                    out.push_str(if least.is_empty() { "0" } else { least });
                    if let Some(most) = most {
                        out.push(',');
                        out.push_str(most);
                    }
                    out.push('}');
                    rest = &after[length..];
                }
                None => out.push_str(r"\{"),
            },
            character => out.push(character),
        }
    }
    out
}

/// `2}`, `2,}`, `,3}` or `2,3}` at the start of a text: both bounds, and how long it is.
fn repetition(text: &str) -> Option<(&str, Option<&str>, usize)> {
    let end = text.find('}')?;
    let (least, most) = match text[..end].split_once(',') {
        Some((least, most)) => (least, Some(most)),
        None => (&text[..end], None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let sound = digits(least) && most.is_none_or(digits) && !(least.is_empty() && most.is_none());
    sound.then_some((least, most, end + 1))
}

/// About how many states a pattern has: its atoms, each as often as it is repeated by count.
fn weight(source: &str) -> u64 {
    let mut open: Vec<u64> = vec![];
    let mut total: u64 = 1;
    let mut last_atom: u64 = 0;
    let mut in_class = false;
    let mut rest = source;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        rest = after;
        if in_class {
            match character {
                '\\' => rest = skip_one(after),
                ']' => in_class = false,
                _ => {}
            }
            continue;
        }
        match character {
            '(' => {
                open.push(total);
                total = 0;
                last_atom = 0;
            }
            ')' => {
                last_atom = total.max(1);
                total = total.max(1).saturating_add(open.pop().unwrap_or(0));
            }
            '{' => {
                if let Some((least, most, length)) = repetition(after) {
                    rest = &after[length..];
                    let count = [Some(least), most]
                        .into_iter()
                        .flatten()
                        .map(|digits| match digits {
                            "" => 1,
                            digits => digits.parse().unwrap_or(u64::MAX),
                        })
                        .fold(1, u64::max);
                    total = total.saturating_add(last_atom.saturating_mul(count - 1));
                }
            }
            '*' | '+' | '?' | '|' => {}
            '[' => {
                in_class = true;
                rest = after.strip_prefix('^').unwrap_or(after);
                rest = rest.strip_prefix(']').unwrap_or(rest);
                total = total.saturating_add(1);
                last_atom = 1;
            }
            character => {
                if character == '\\' {
                    rest = skip_one(after);
                }
                total = total.saturating_add(1);
                last_atom = 1;
            }
        }
    }
    open.into_iter().fold(total, u64::saturating_add)
}

fn skip_one(text: &str) -> &str {
    let mut characters = text.chars();
    characters.next();
    characters.as_str()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn pattern(source: &str) -> Pattern {
        Pattern::compile(source, PatternOptions::default()).unwrap()
    }

    #[test]
    fn patterns_of_python_match_as_in_python() {
        for (source, text, expected) in [
            (r"^v(\d+\.)?(\d+\.)?(\*|\d+)$", "v0.10.1", true),
            (r"end$", "the end\n", true),
            (r"end$", "the end\n\n", false),
            (r"end\Z", "the end\n", false),
            (r"end\Z", "the end", true),
            (r"{", "a { b", true),
            (r#"{"a": \d}"#, r#"{"a": 1}"#, true),
            (r"^a{,2}$", "aa", true),
            (r"^a{,2}$", "aaa", false),
            (r"^a{2,}$", "aaaa", true),
            (r"a{x}", "a{x}", true),
            (r"[[]", "[", true),
            (r"[a&&b]", "&", true),
            (r"[]a]", "]", true),
            (r"[^]a]", "]", false),
            (r"\<tag\>", "<tag>", true),
            (r"(?P<word>\w+) (?P=word)", "the the", true),
            (r"foo(?!bar)", "foobar", false),
            (r"(?<=x)y", "xy", true),
            (r"(?i)ABC", "abc", true),
            (r"a.b", "a\nb", false),
            (r"é+", "éé", true),
        ] {
            assert_eq!(
                pattern(source).is_match(text),
                Ok(expected),
                "{source} on {text:?}"
            );
        }
    }

    #[test]
    fn options_are_those_of_re() {
        let options = PatternOptions {
            ignore_case: true,
            dot_matches_newline: true,
            at_start: true,
        };
        let pattern = Pattern::compile("a.b|c", options).unwrap();
        assert_eq!(pattern.is_match("A\nB"), Ok(true));
        assert_eq!(pattern.is_match("xa b"), Ok(false));
        assert_eq!(pattern.is_match("xc"), Ok(false));
    }

    #[test]
    fn groups_are_numbered_and_named() {
        let pattern = pattern(r"(?P<key>\w+)(=(\w+))?");
        let captures = pattern.captures("  a=1").unwrap().unwrap();
        assert_eq!((captures.start, captures.end), (2, 5));
        assert_eq!(
            captures.groups,
            [Some("a=1"), Some("a"), Some("=1"), Some("1")]
        );
        let captures = pattern.captures("b").unwrap().unwrap();
        assert_eq!(captures.groups, [Some("b"), Some("b"), None, None]);
        let names: Vec<_> = pattern.group_names().collect();
        assert_eq!(names, [None, Some("key"), None, None]);
    }

    #[test]
    fn the_weight_of_a_pattern_follows_its_counted_repetitions() {
        for (source, expected) in [
            ("abc", 4),
            ("a{10}", 11),
            ("(ab){10}", 21),
            ("((a{10}){10}){10}", 1001),
            (r"\d{1,3}\.\d{1,3}", 8),
            ("[a-z]{2,5}", 6),
            ("a{99999999999999999999999}", u64::MAX),
        ] {
            assert_eq!(weight(source), expected, "{source}");
        }
    }

    #[test]
    fn hostile_patterns_end_in_time() {
        let long = "a".repeat(30_000);
        for source in [
            r"(a+)+$",
            r"^(a|a)*\1b$",
            r"(?=(a+)+)b\1",
            r"(x+x+)+y",
            r"(a|b)*a(a|b){5000}",
            r"((a{0,100}){0,100}){0,100}",
            r"(?:(?=a*)a)*b",
            r"(\w{1000}){1000}",
        ] {
            let begun = Instant::now();
            if let Ok(pattern) = Pattern::compile(source, PatternOptions::default()) {
                let _ = pattern.is_match(&format!("{long}c"));
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{source}");
        }
    }

    #[test]
    fn a_match_that_takes_too_long_is_an_error() {
        let pattern = pattern(r"^(a|a)*\1b$");
        let text = "a".repeat(1000);
        assert_eq!(
            pattern.is_match(&text).unwrap_err().to_string(),
            r#"Matching "^(a|a)*\1b$" on 1000 bytes of text takes too much work."#
        );
    }

    proptest! {
        #[test]
        fn what_is_escaped_matches_itself(text in "[ -~]{1,20}") {
            let escaped: String = text
                .chars()
                .flat_map(|character| {
                    let plain = character.is_ascii_alphanumeric() || character == ' ';
                    [(!plain).then_some('\\'), Some(character)].into_iter().flatten()
                })
                .collect();
            prop_assert_eq!(pattern(&escaped).is_match(&text), Ok(true));
        }

        #[test]
        fn no_pattern_panics(source in "[ab\\[\\](){},0-9?*+|\\\\^$.=!<>&~-]{0,20}", text in "[ab\\n]{0,10}") {
            if let Ok(pattern) = Pattern::compile(&source, PatternOptions::default()) {
                let _ = pattern.is_match(&text);
            }
        }
    }
}
