//! Regular expressions and file-name patterns written for Python.
//!
//! The engine is `fancy-regex`: look-around and back-references as in Python, and a limit of work,
//! so that a pattern of a pack cannot stop the controller. Simple patterns take linear time.
//!
//! Python's notation differs in details that packs use: a brace that is no repetition is a plain
//! brace, a bracket inside a class is a plain bracket, letters like `/` or `"` may carry a needless
//! backslash, `\Z` is the end of the text, and `$` also matches before a newline at the end.

use fancy_regex::{Regex, RegexBuilder};

/// Groups of a match.
pub type Captures<'t> = fancy_regex::Captures<'t, str>;

/// Steps of the backtracking engine for one match. A plain pattern takes about one per character.
const WORK: usize = 200_000;

/// Bytes of a compiled pattern.
const COMPILED_SIZE: usize = 1 << 20;

/// Longer patterns are refused.
const LONGEST_PATTERN: usize = 16 << 10;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct PythonRegex {
    regex: Regex,
    /// `$` occurs, which in Python also matches before a last newline.
    has_dollar: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    pub ignore_case: bool,
    /// A point also matches a newline.
    pub dot_all: bool,
}

impl PythonRegex {
    /// `re.compile(pattern).search`
    pub fn search(pattern: &str) -> Result<Self, String> {
        Self::compile(pattern, Flags::default())
    }

    /// `re.compile(pattern, flags).search`
    pub fn compile(pattern: &str, flags: Flags) -> Result<Self, String> {
        let translated = translate(pattern);
        Self::build(pattern, &translated.pattern, translated.has_dollar, flags)
    }

    /// `re.compile(pattern, flags).match`: at the start of the text.
    pub fn compile_at_start(pattern: &str, flags: Flags) -> Result<Self, String> {
        let translated = translate(pattern);
        // Inside the group below, a parenthesis too many would pass.
        Self::build(pattern, &translated.pattern, translated.has_dollar, flags)?;
        let anchored = format!("\\A(?:{})", translated.pattern);
        Self::build(pattern, &anchored, translated.has_dollar, flags)
    }

    /// `fnmatch.fnmatchcase`: `*`, `?`, `[a-z]`, `[!a-z]`, over the whole text.
    pub fn wildcard(pattern: &str) -> Result<Self, String> {
        let flags = Flags {
            dot_all: true,
            ..Flags::default()
        };
        Self::build(pattern, &translate_wildcard(pattern), false, flags)
    }

    fn build(shown: &str, pattern: &str, has_dollar: bool, flags: Flags) -> Result<Self, String> {
        if shown.len() > LONGEST_PATTERN {
            return Err(format!(
                "the pattern has {} bytes; at most {LONGEST_PATTERN} are allowed",
                shown.len()
            ));
        }
        let regex = RegexBuilder::new(pattern)
            .case_insensitive(flags.ignore_case)
            .dot_matches_new_line(flags.dot_all)
            .backtrack_limit(WORK)
            .delegate_size_limit(COMPILED_SIZE)
            .build()
            .map_err(|error| format!("{shown:?} is no regular expression: {error}"))?;
        Ok(PythonRegex { regex, has_dollar })
    }

    /// Whether the pattern matches. An error: it took too much work.
    pub fn is_match(&self, text: &str) -> Result<bool, String> {
        if self
            .regex
            .is_match(text)
            .map_err(|error| too_hard(&error))?
        {
            return Ok(true);
        }
        match text.strip_suffix('\n') {
            Some(text) if self.has_dollar => {
                self.regex.is_match(text).map_err(|error| too_hard(&error))
            }
            _ => Ok(false),
        }
    }

    /// Groups of the first match.
    pub fn captures<'t>(&self, text: &'t str) -> Result<Option<Captures<'t>>, String> {
        self.regex.captures(text).map_err(|error| too_hard(&error))
    }

    /// Groups of every match, at most `limit` of them.
    pub fn all_captures<'t>(
        &self,
        text: &'t str,
        limit: usize,
    ) -> Result<Vec<Captures<'t>>, String> {
        self.regex
            .captures_iter(text)
            .take(limit)
            .map(|captures| captures.map_err(|error| too_hard(&error)))
            .collect()
    }

    /// Names of the groups that have one.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }
}

fn too_hard(error: &fancy_regex::Error) -> String {
    format!("the regular expression takes too much work on this text: {error}")
}

struct Translated {
    pattern: String,
    has_dollar: bool,
}

fn translate(pattern: &str) -> Translated {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut has_dollar = false;
    let mut rest = pattern;
    while let Some(symbol) = rest.chars().next() {
        let after = &rest[symbol.len_utf8()..];
        rest = match symbol {
            '\\' => escape(after, &mut out),
            '[' => class(after, &mut out),
            '{' => repetition(after, &mut out),
            other => {
                has_dollar |= other == '$';
                out.push(other);
                after
            }
        };
    }
    Translated {
        pattern: out,
        has_dollar,
    }
}

/// After a backslash. Gives what follows the escaped symbol.
fn escape<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let Some(symbol) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    match symbol {
        'Z' => out.push_str("\\z"),
        // Symbols without a meaning of their own may not be escaped in the engine.
        '"' | '\'' | '/' | '<' | '>' | '_' | ':' | ';' | ',' | '=' | '!' | '@' | '%' | '`' => {
            out.push(symbol);
        }
        symbol if !symbol.is_ascii() => out.push(symbol),
        symbol => {
            out.push('\\');
            out.push(symbol);
        }
    }
    &rest[symbol.len_utf8()..]
}

/// After `[`. Gives what follows the class.
fn class<'a>(rest: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = rest;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut is_first = true;
    // Whether a dash here would make a range of what stands before it.
    let mut may_begin_range = false;
    while let Some(symbol) = rest.chars().next() {
        let after = &rest[symbol.len_utf8()..];
        if symbol == ']' && !is_first {
            out.push(']');
            return after;
        }
        is_first = false;
        if symbol == '-' && may_begin_range && !after.starts_with(']') {
            out.push('-');
            rest = class_member(after, out);
            may_begin_range = false;
        } else {
            rest = class_member(rest, out);
            may_begin_range = true;
        }
    }
    rest
}

/// One symbol of a class. Gives what follows it.
fn class_member<'a>(text: &'a str, out: &mut String) -> &'a str {
    let Some(symbol) = text.chars().next() else {
        return text;
    };
    let after = &text[symbol.len_utf8()..];
    match symbol {
        '\\' => return escape(after, out),
        // These mean something inside the engine's classes.
        ']' | '[' | '&' | '~' | '-' => out.push('\\'),
        _ => {}
    }
    out.push(symbol);
    after
}

/// After `{`: a repetition, or a plain brace.
fn repetition<'a>(rest: &'a str, out: &mut String) -> &'a str {
    if let Some((inside, _)) = rest.split_once('}') {
        let is_count = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let counts = match inside.split_once(',') {
            Some((least, most)) => {
                let least = if least.is_empty() { "0" } else { least };
                (is_count(least) && is_count(most)).then(|| format!("{{{least},{most}}}"))
            }
            None => (!inside.is_empty() && is_count(inside)).then(|| format!("{{{inside}}}")),
        };
        if let Some(counts) = counts {
            out.push_str(&counts);
            return &rest[inside.len() + 1..];
        }
    }
    out.push_str("\\{");
    rest
}

fn translate_wildcard(pattern: &str) -> String {
    let mut out = String::from("\\A");
    let mut rest = pattern;
    while let Some(symbol) = rest.chars().next() {
        let after = &rest[symbol.len_utf8()..];
        rest = match symbol {
            '*' => {
                out.push_str(".*");
                after.trim_start_matches('*')
            }
            '?' => {
                out.push('.');
                after
            }
            '[' => wildcard_class(after, &mut out),
            other => {
                out.push_str(&fancy_regex::escape(other.encode_utf8(&mut [0; 4])));
                after
            }
        };
    }
    out.push_str("\\z");
    out
}

/// After `[` of a wildcard: a class when it is closed, else a plain bracket.
fn wildcard_class<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let (negated, inside) = match rest.strip_prefix('!') {
        Some(inside) => (true, inside),
        None => (false, rest),
    };
    // A bracket right at the start belongs to the class.
    let from = usize::from(inside.starts_with(']'));
    let Some(end) = inside[from..].find(']').map(|end| end + from) else {
        out.push_str("\\[");
        return rest;
    };
    out.push_str(if negated { "[^" } else { "[" });
    for symbol in inside[..end].chars() {
        if !(symbol == '-' || symbol.is_alphanumeric()) {
            out.push('\\');
        }
        if symbol.is_ascii() || symbol.is_alphanumeric() {
            out.push(symbol);
        } else {
            // Only ASCII symbols may carry a backslash.
            out.pop();
            out.push(symbol);
        }
    }
    out.push(']');
    &inside[end + 1..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Flags, PythonRegex};

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        let regex = PythonRegex::search(pattern).expect(pattern);
        assert_eq!(
            regex.is_match(text),
            Ok(expected),
            "{pattern:?} on {text:?}"
        );
    }

    #[test]
    fn pythons_notation_is_understood() {
        check("^a{2}$", "aa", true);
        check("^a{,2}$", "aaa", false);
        check("^a{,2}$", "a", true);
        check(r#"{"a": {.+}}"#, r#"{"a": {b}}"#, true);
        check("a{x}", "a{x}", true);
        check("[[]", "[", true);
        check("[]a]+$", "]a", true);
        check("[a&&b]", "&", true);
        check("^[a-]+$", "-a-", true);
        check("^[a-c-e]+$", "b-e", true);
        check("^[a-c-e]+$", "d", false);
        check("[+--]", ",", true);
        check(r"a\/b\-c\_\'", "a/b-c_'", true);
        check(r"foo\Z", "foo\n", false);
        check("foo$", "foo\n", true);
        check("foo$", "foo\n\n", false);
        check(r#"(?P<q>['"]).*(?P=q)"#, "say 'x'", true);
        check(r"(?<!no )way", "no way", false);
        check("a.b", "a\nb", false);
    }

    #[test]
    fn matching_starts_where_python_starts() {
        let flags = Flags {
            dot_all: true,
            ..Flags::default()
        };
        let regex = PythonRegex::compile_at_start("b|c.*", flags).expect("a pattern");
        assert_eq!(regex.is_match("abc"), Ok(false));
        assert_eq!(regex.is_match("c\nd"), Ok(true));
        assert!(PythonRegex::compile_at_start("a)|(b", flags).is_err());
        let flags = Flags {
            ignore_case: true,
            ..Flags::default()
        };
        let regex = PythonRegex::compile("ÄB", flags).expect("a pattern");
        assert_eq!(regex.is_match("xäb"), Ok(true));
    }

    #[test]
    fn faults_name_the_pattern() {
        let error = PythonRegex::search("a(b").expect_err("open group");
        assert!(
            error.contains("\"a(b\" is no regular expression"),
            "{error}"
        );
        assert!(PythonRegex::search(&"a".repeat(20_000)).is_err());
    }

    #[test]
    fn a_pattern_cannot_run_for_ever() {
        let regex = PythonRegex::search(r"^(?:(?=a)a|a)+\Z(?<!b)").expect("a pattern");
        let text = format!("{}b", "a".repeat(60));
        let slow = regex.is_match(&text).expect_err("too much work");
        assert!(slow.contains("too much work"), "{slow}");
    }

    #[test]
    fn wildcards_cover_the_whole_text() {
        let check = |pattern: &str, text: &str, expected: bool| {
            let regex = PythonRegex::wildcard(pattern).expect(pattern);
            assert_eq!(
                regex.is_match(text),
                Ok(expected),
                "{pattern:?} on {text:?}"
            );
        };
        check("*.log", "a.log", true);
        check("*.log", "a.log\n", false);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("[ab]*", "bcd", true);
        check("[!ab]*", "bcd", false);
        check("[]x]", "]", true);
        check("[x", "[x", true);
        check("a.c", "abc", false);
        check("a*\nb", "a \nb", true);
        check("[^a]", "^", true);
        check("**", "", true);
    }

    proptest! {
        #[test]
        fn any_pattern_and_text_give_an_answer(
            pattern in "[a-c\\[\\]{}()|*+?.^$\\\\0-9,-]{0,20}",
            text in "[a-c\n]{0,30}",
        ) {
            if let Ok(regex) = PythonRegex::search(&pattern) {
                let _ = regex.is_match(&text);
            }
            let wildcard = PythonRegex::wildcard(&pattern.replace('-', ""));
            prop_assert!(wildcard.is_ok(), "{pattern}");
        }

        #[test]
        fn an_escaped_text_finds_itself(text in "[ -~]{1,20}") {
            let pattern = fancy_regex::escape(&text).into_owned();
            let regex = PythonRegex::search(&pattern).expect("escaped");
            prop_assert_eq!(regex.is_match(&text), Ok(true));
        }
    }
}
