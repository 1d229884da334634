//! Regular expressions and file-name patterns written for Python, within bounds of time.
//!
//! Packs, rules and chat aliases were written for `re`. fancy-regex has its look-around and
//! back-references; what is spelled differently is translated ([`notation`]). Bounds: a pattern may
//! compile to so much and no more, steps of back-tracking are counted, and text times pattern may
//! only grow to a limit, because even the linear engine is slow when both are large.
//!
//! What a newcomer gets wrong: `$` also matches before a newline at the end of the text, so such a
//! text may need a second form of the pattern (`before_newline`).

mod literals;
mod notation;
mod weight;

use std::sync::OnceLock;

use fancy_regex::{Regex, RegexBuilder};

/// Groups of a match.
pub type Captures<'text> = fancy_regex::Captures<'text, str>;

/// Bytes that a compiled pattern may take.
const LARGEST_PROGRAM: usize = 2 * 1024 * 1024;
/// Steps of back-tracking in one match. A plain pattern takes about one per character.
const MOST_BACKTRACKS: usize = 100_000;
/// Bytes of text times the weight of the pattern, for one search through the text.
const MOST_EFFORT: u64 = 256 * 1024 * 1024;
/// Bytes of text for a pattern that cannot be matched in linear time.
const LONGEST_HARD_TEXT: usize = 64 * 1024;
/// Bytes of a pattern.
const LONGEST_PATTERN: usize = 16 * 1024;
/// Bytes of a text for which [`PythonRegex::required_literals`] hold.
pub(crate) const LONGEST_INDEXED_TEXT: usize = 64 * 1024;

/// Why a pattern cannot be used, or not on this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
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
pub struct Flags {
    /// `re.IGNORECASE`
    pub ignore_case: bool,
    /// `re.DOTALL`
    pub dot_all: bool,
    /// Only at the start of the text, as `re.match` does.
    pub at_start: bool,
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct PythonRegex {
    source: String,
    flags: Flags,
    weight: u64,
    is_hard: bool,
    regex: Regex,
    /// For text that ends in a newline, if `$` occurs: there it has a second place to match.
    before_newline: Option<OnceLock<Option<Regex>>>,
    literals: OnceLock<Option<Vec<Vec<u8>>>>,
}

impl PythonRegex {
    /// `re.compile(pattern).search`
    ///
    /// # Errors
    /// As [`PythonRegex::compile`].
    pub fn search(pattern: &str) -> Result<Self, RegexError> {
        Self::compile(pattern, Flags::default())
    }

    /// `re.compile(pattern, flags)`
    ///
    /// # Errors
    /// The pattern is not a regular expression, or too large to be compiled.
    pub fn compile(source: &str, flags: Flags) -> Result<Self, RegexError> {
        check_length(source)?;
        let translated = notation::translate(source);
        let invalid = |error| invalid(source, &error);
        // Inside the group that holds it to the start, a parenthesis too many would pass.
        let mut regex = build(&translated, flags).map_err(invalid)?;
        if flags.at_start {
            regex = build(&notation::at_start(&translated), flags).map_err(invalid)?;
        }
        Ok(PythonRegex {
            source: source.to_owned(),
            flags,
            weight: weight::weight(source),
            is_hard: weight::is_hard(source),
            regex,
            before_newline: source.contains('$').then(OnceLock::new),
            literals: OnceLock::new(),
        })
    }

    /// `fnmatch.fnmatchcase`: `*`, `?`, `[a-z]`, `[!a-z]`, over the whole text.
    ///
    /// # Errors
    /// The pattern is too large to be compiled.
    pub fn wildcard(pattern: &str) -> Result<Self, RegexError> {
        check_length(pattern)?;
        let translated = notation::translate_wildcard(pattern);
        let flags = Flags {
            dot_all: true,
            ..Flags::default()
        };
        Ok(PythonRegex {
            source: pattern.to_owned(),
            flags,
            weight: weight::weight(&translated),
            is_hard: false,
            regex: build(&translated, flags).map_err(|error| invalid(pattern, &error))?,
            before_newline: None,
            literals: OnceLock::new(),
        })
    }

    /// Whether the text matches.
    ///
    /// # Errors
    /// Matching takes too much work.
    pub fn is_match(&self, text: &str) -> Result<bool, RegexError> {
        self.check_effort(text)?;
        let matches = |regex: &Regex| regex.is_match(text).map_err(|_| self.too_much_work(text));
        if matches(&self.regex)? {
            return Ok(true);
        }
        match self.for_last_newline(text) {
            // That form is matched by steps, which may be too many: not if it cannot match.
            Some(regex) if !self.lacks_literals(text) => matches(regex),
            _ => Ok(false),
        }
    }

    /// The groups of the first match.
    ///
    /// # Errors
    /// Matching takes too much work.
    pub fn captures<'text>(&self, text: &'text str) -> Result<Option<Captures<'text>>, RegexError> {
        self.check_effort(text)?;
        self.for_last_newline(text)
            .unwrap_or(&self.regex)
            .captures(text)
            .map_err(|_| self.too_much_work(text))
    }

    /// Calls `each` for every match from left to right, until it fails.
    ///
    /// # Errors
    /// Matching takes too much work, or what `each` failed with.
    pub fn each_match<'text, E: From<RegexError>>(
        &self,
        text: &'text str,
        mut each: impl FnMut(Captures<'text>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_effort(text)?;
        let regex = self.for_last_newline(text).unwrap_or(&self.regex);
        for captures in regex.captures_iter(text) {
            each(captures.map_err(|_| self.too_much_work(text))?)?;
        }
        Ok(())
    }

    /// Names of the groups, by their number; the whole match is number 0.
    pub fn group_names(&self) -> impl Iterator<Item = Option<&str>> {
        self.regex.capture_names()
    }

    /// Texts of which every match holds at least one; none if they cannot be told. A text of at
    /// most [`LONGEST_INDEXED_TEXT`] bytes that holds none of them does not match, and finding
    /// that out never takes too much work.
    pub(crate) fn required_literals(&self) -> Option<&[Vec<u8>]> {
        let find = || {
            let always_affordable =
                self.weight.saturating_mul(LONGEST_INDEXED_TEXT as u64) <= MOST_EFFORT;
            if self.is_hard || !always_affordable {
                return None;
            }
            literals::required(self.regex.as_str(), self.flags)
        };
        self.literals.get_or_init(find).as_deref()
    }

    fn lacks_literals(&self, text: &str) -> bool {
        let is_in_text = |literal: &Vec<u8>| {
            let parts = text.as_bytes().windows(literal.len());
            parts.into_iter().any(|part| part == literal)
        };
        self.required_literals()
            .is_some_and(|literals| !literals.iter().any(is_in_text))
    }

    fn check_effort(&self, text: &str) -> Result<(), RegexError> {
        let effort = self.weight.saturating_mul(text.len() as u64);
        if effort > MOST_EFFORT || (self.is_hard && text.len() > LONGEST_HARD_TEXT) {
            return Err(self.too_much_work(text));
        }
        Ok(())
    }

    /// The form of the pattern for a text with a newline at its end, if that makes a difference.
    fn for_last_newline(&self, text: &str) -> Option<&Regex> {
        let form = self.before_newline.as_ref()?;
        if !text.ends_with('\n') {
            return None;
        }
        form.get_or_init(|| {
            let mut pattern = notation::translate_for_last_newline(&self.source);
            if self.flags.at_start {
                pattern = notation::at_start(&pattern);
            }
            // Only its size can keep it from being compiled; then `$` is the very end.
            build(&pattern, self.flags).ok()
        })
        .as_ref()
    }

    fn too_much_work(&self, text: &str) -> RegexError {
        RegexError::TooMuchWork {
            pattern: shown(&self.source),
            length: text.len(),
        }
    }
}

fn shown(source: &str) -> String {
    source.chars().take(200).collect()
}

fn check_length(source: &str) -> Result<(), RegexError> {
    if source.len() <= LONGEST_PATTERN {
        return Ok(());
    }
    Err(RegexError::Invalid {
        pattern: shown(source),
        reason: format!("it is longer than {LONGEST_PATTERN} bytes"),
    })
}

fn invalid(source: &str, error: &fancy_regex::Error) -> RegexError {
    RegexError::Invalid {
        pattern: shown(source),
        reason: error.to_string(),
    }
}

fn build(pattern: &str, flags: Flags) -> Result<Regex, fancy_regex::Error> {
    RegexBuilder::new(pattern)
        .case_insensitive(flags.ignore_case)
        .dot_matches_new_line(flags.dot_all)
        .backtrack_limit(MOST_BACKTRACKS)
        .delegate_size_limit(LARGEST_PROGRAM)
        .delegate_dfa_size_limit(LARGEST_PROGRAM)
        .build()
}

#[cfg(test)]
mod tests;
