use proptest::prelude::*;

use super::{Captures, Flags, PythonRegex};

fn pattern(source: &str) -> PythonRegex {
    PythonRegex::search(source).unwrap()
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
    let options = Flags {
        ignore_case: true,
        dot_all: true,
        at_start: true,
    };
    let pattern = PythonRegex::compile("a.b|c", options).unwrap();
    assert_eq!(pattern.is_match("A\nB"), Ok(true));
    assert_eq!(pattern.is_match("xa b"), Ok(false));
    assert_eq!(pattern.is_match("xc"), Ok(false));
}

fn groups<'text>(captures: &Captures<'text>) -> Vec<Option<&'text str>> {
    let texts = captures
        .iter()
        .map(|group| group.map(|group| group.as_str()));
    texts.collect()
}

#[test]
fn groups_are_numbered_and_named() {
    let pattern = pattern(r"(?P<key>\w+)(=(\w+))?");
    let captures = pattern.captures("  a=1").unwrap().unwrap();
    let whole = captures.get(0).unwrap();
    assert_eq!((whole.start(), whole.end()), (2, 5));
    assert_eq!(
        groups(&captures),
        [Some("a=1"), Some("a"), Some("=1"), Some("1")]
    );
    let captures = pattern.captures("b").unwrap().unwrap();
    assert_eq!(groups(&captures), [Some("b"), Some("b"), None, None]);
    let names: Vec<_> = pattern.group_names().collect();
    assert_eq!(names, [None, Some("key"), None, None]);
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
        at_start: true,
        ..Flags::default()
    };
    let regex = PythonRegex::compile("b|c.*", flags).expect("a pattern");
    assert_eq!(regex.is_match("abc"), Ok(false));
    assert_eq!(regex.is_match("c\nd"), Ok(true));
    assert!(PythonRegex::compile("a)|(b", flags).is_err());
    let flags = Flags {
        ignore_case: true,
        ..Flags::default()
    };
    let regex = PythonRegex::compile("ÄB", flags).expect("a pattern");
    assert_eq!(regex.is_match("xäb"), Ok(true));
}

#[test]
fn faults_name_the_pattern() {
    let error = PythonRegex::search("a(b")
        .expect_err("open group")
        .to_string();
    assert!(
        error.starts_with("\"a(b\" is not a regular expression"),
        "{error}"
    );
    assert!(PythonRegex::search(&"a".repeat(20_000)).is_err());
}

#[test]
fn a_pattern_cannot_run_for_ever() {
    let regex = PythonRegex::search(r"^(?:(?=a)a|a)+\Z(?<!b)").expect("a pattern");
    let text = format!("{}b", "a".repeat(60));
    let slow = regex
        .is_match(&text)
        .expect_err("too much work")
        .to_string();
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

#[test]
fn a_last_newline_is_no_line_of_its_own() {
    check("(?m)^b$", "a\nb\nc\n", true);
    check("(?m)^d$", "a\nb\nc\n", false);
    check(r"a\Z|b$", "a\n", false);
    check("a$|b", "b\n", true);
    let regex = PythonRegex::search("(b+)$").expect("a pattern");
    let captures = regex
        .captures("bab\n")
        .expect("little work")
        .expect("a match");
    assert_eq!(groups(&captures), [Some("b"), Some("b")]);
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
        if let Ok(pattern) = PythonRegex::compile(&source, Flags::default()) {
            let _ = pattern.is_match(&text);
        }
    }

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
