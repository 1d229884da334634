//! Expected values were taken down from PyYAML's safe loader.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Limits, Place, load, parse};

#[track_caller]
fn check(text: &str, expected: Value) {
    assert_eq!(parse(text).expect(text), expected, "for {text:?}");
}

#[track_caller]
fn check_error(text: &str, line: usize, column: usize, part: &str) {
    let error = parse(text).expect_err(text);
    assert_eq!((error.line, error.column), (line, column), "{error}");
    assert!(error.message.contains(part), "{error}");
}

#[test]
fn bare_words_mean_what_yaml_1_1_says() {
    check("yes", json!(true));
    check("Off", json!(false));
    check("ON", json!(true));
    check("y", json!("y"));
    check("yEs", json!("yEs"));
    check("~", Value::Null);
    check("Null", Value::Null);
    check("", Value::Null);
    check("# nothing\n", Value::Null);
    check("-", json!([null]));
    check("=", json!("="));
}

#[test]
fn quotes_and_blocks_keep_text() {
    check("\"yes\"", json!("yes"));
    check("'0777'", json!("0777"));
    check("|\n  0777\n", json!("0777\n"));
    check(">-\n  no\n", json!("no"));
    check("!!str 5", json!("5"));
    check("! 5", json!(5));
    check(
        "a:\n  b: '{{\n    x\n  }}'\n  c: \"{{\ny }}\"",
        json!({"a": {"b": "{{ x }}", "c": "{{ y }}"}}),
    );
    check("a: |\n  text", json!({"a": "text"}));
    check("a: [\n1,\n2\n]", json!({"a": [1, 2]}));
}

#[test]
fn integers_have_five_notations() {
    check("0777", json!(511));
    check("-0777", json!(-511));
    check("0o17", json!("0o17"));
    check("08", json!("08"));
    check("0_", json!(0));
    check("-0", json!(0));
    check("+1", json!(1));
    check("1_000", json!(1000));
    check("1__0", json!(10));
    check("0x_F", json!(15));
    check("0b101", json!(5));
    check("1:30", json!(90));
    check("-1:30:00", json!(-5400));
    check("12:30:45", json!(45045));
    check("190:20:30", json!(685_230));
    check("1:99", json!("1:99"));
    check("0:1", json!("0:1"));
    check("1:30:61", json!("1:30:61"));
    check("18446744073709551615", json!(u64::MAX));
    check("-9223372036854775808", json!(i64::MIN));
    check("!!int '5'", json!(5));
}

#[test]
fn floats_need_a_point_and_a_signed_exponent() {
    check("1e3", json!("1e3"));
    check("1.5e3", json!("1.5e3"));
    check("1.e+3", json!(1000.0));
    check("1.5e+3", json!(1500.0));
    check(".5", json!(0.5));
    check("+.5", json!("+.5"));
    check("1.", json!(1.0));
    check("09.5", json!(9.5));
    check("1_0.5_0", json!(10.5));
    check("1:30.5", json!(90.5));
    check("1:2:3.4", json!(3723.4));
    check("0.1.0", json!("0.1.0"));
    check("!!float 3", json!(3.0));
}

#[test]
fn dates_become_iso_strings() {
    check("2001-12-14", json!("2001-12-14"));
    check(
        "2001-12-14 21:59:43.10 -5",
        json!("2001-12-14T21:59:43.100000-05:00"),
    );
    check("2001-12-14T21:59:43Z", json!("2001-12-14T21:59:43+00:00"));
    check("2001-1-1 1:02:03", json!("2001-01-01T01:02:03"));
    check("2001-1-1 1:2:3", json!("2001-1-1 1:2:3"));
    check("2001-1-1", json!("2001-1-1"));
    check("-2001-01-01", json!("-2001-01-01"));
    check_error("a: 2001-13-45", 1, 4, "no date of the calendar");
}

#[test]
fn keys_become_their_json_text() {
    check(
        "{yes: 1, 5: 2, 1.5: 3, ~: 4, 2001-01-01: 5}",
        json!({"true": 1, "5": 2, "1.5": 3, "null": 4, "2001-01-01": 5}),
    );
    check("{a: 1, a: 2}", json!({"a": 2}));
    check_error("a: {{ b }}", 1, 5, "must stand in quotes");
    check_error("? [a]\n: b", 1, 3, "cannot be a key");
}

#[test]
fn merges_come_under_what_is_written() {
    check("{<<: {a: 1}, a: 2, b: 3}", json!({"a": 2, "b": 3}));
    check("{a: 2, <<: {a: 1}}", json!({"a": 2}));
    check("{<<: [{a: 1}, {a: 2, b: 1}]}", json!({"a": 1, "b": 1}));
    check("{<<: {a: 1}, <<: {a: 2}}", json!({"a": 2}));
    check("'<<': x", json!({"<<": "x"}));
    check(
        "base: &base {k: 1, l: 2}\nmore: {<<: *base, l: 3}",
        json!({"base": {"k": 1, "l": 2}, "more": {"k": 1, "l": 3}}),
    );
    check_error("<<: 5", 1, 5, "takes a mapping");
}

#[test]
fn anchors_are_copied() {
    check("[&a x, *a, &b [1], *b]", json!(["x", "x", [1], [1]]));
    check("&k key: {*k : v}", json!({"key": {"key": "v"}}));
    check_error("&a [*a]", 1, 5, "no end");
}

#[test]
fn faults_are_placed() {
    check_error("a: 1\n---\nb: 2", 2, 1, "second document");
    check_error("a: b: c", 1, 5, "mapping values");
    check_error("a:\n  - !thing x", 2, 5, "!thing");
    check_error("a: !!set {b, c}", 1, 4, "!!set");
    check_error("a: .inf", 1, 4, "JSON does not have");
    check_error("a: 18446744073709551616", 1, 4, "64 bits");
    let error = parse("a: [").expect_err("open list").in_file("pack.yaml");
    assert!(
        error
            .to_string()
            .starts_with("pack.yaml, line 1, column 4: "),
        "{error}"
    );
}

#[test]
fn parts_know_their_place() {
    let text = "name: x\nparameters:\n  cmd:\n    type: string\nformats:\n  - one\n  - two\n";
    let document = load(text, Limits::default()).expect("well-formed");
    let at = |path: &str| document.place(path).map(|place| (place.line, place.column));
    assert_eq!(at("parameters.cmd.type"), Some((4, 5)));
    assert_eq!(at("parameters.cmd.absent"), Some((3, 3)));
    assert_eq!(at("formats[1]"), Some((7, 5)));
    assert_eq!(at("absent"), Some((1, 1)));
    assert_eq!(document.place(""), Some(Place { line: 1, column: 1 }));
}

#[test]
fn a_document_cannot_grow_without_bound() {
    let mut laughs = String::from("l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..10 {
        let alias = format!("*l{}, ", level - 1).repeat(10);
        laughs.push_str(&format!("l{level}: &l{level} [{alias}]\n"));
    }
    let error = parse(&laughs).expect_err("a billion laughs");
    assert!(error.message.contains("too large"), "{error}");

    let long = format!(
        "a: &a {}\nb: [{}]",
        "x".repeat(1 << 20),
        "*a, ".repeat(1000)
    );
    let error = parse(&long).expect_err("a long text a thousand times");
    assert!(error.message.contains("too large"), "{error}");

    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert!(parse(&deep).expect_err("deep").message.contains("deep"));
    let limits = Limits {
        bytes: 3,
        ..Limits::default()
    };
    assert!(load("abcd", limits).is_err());
}

proptest! {
    #[test]
    fn any_text_gives_a_value_or_a_placed_error(text in "[-a-c0-9:{}\\[\\],&*!?|>'\"#%@` \n\t~=<._+yesno]{0,60}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.line >= 1 && error.column >= 1);
            prop_assert!(!error.message.is_empty());
        }
    }

    #[test]
    fn json_is_yaml(value in json_value()) {
        let text = serde_json::to_string(&value).expect("JSON");
        prop_assert_eq!(parse(&text).expect("JSON as YAML"), value);
    }

    #[test]
    fn quoted_text_is_text(text in "[ -~]{0,40}") {
        let quoted = format!("'{}'", text.replace('\'', "''"));
        prop_assert_eq!(parse(&quoted).expect("quoted"), Value::String(text));
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z <>&*:#-]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
