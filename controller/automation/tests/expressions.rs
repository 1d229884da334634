//! The engine of expressions as its callers use it: what templates give, what the datastore gives
//! them, and how hostile ones end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use automation::datastore::Key;
use automation::expressions::{
    Context, Datastore, Engine, ExpressionError, Limits, is_template, repr, text,
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Debug, Default)]
struct Keys(BTreeMap<String, String>);

impl Datastore for Keys {
    fn get(&self, key: &Key) -> Option<String> {
        self.0.get(&key.stored_name()).cloned()
    }

    fn decrypt(&self, ciphertext: &str) -> Result<String, String> {
        ciphertext
            .strip_prefix("sealed ")
            .map(str::to_owned)
            .ok_or_else(|| "it is not sealed".to_owned())
    }
}

fn keys() -> Arc<Keys> {
    let keys = [
        ("host", "db-1"),
        ("a.b", "dotted"),
        ("hosts", "x,y"),
        ("count", "3"),
        ("list", "[1, 2]"),
        ("secret", "sealed hush"),
        ("stanley:color", "blue"),
        ("stanley:secret", "sealed mine"),
    ];
    Arc::new(Keys(
        keys.map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    ))
}

fn context() -> Context {
    Context::new()
        .with("name", &json!("web-1"))
        .with("n", &json!(7))
        .with("flag", &json!(true))
        .with("none", &json!(null))
        .with("list", &json!([1, "a", null]))
        .with("map", &json!({"a": {"b": [1, 2]}}))
        .with_datastore(keys(), "stanley")
}

/// Expected texts and errors are those of Jinja2 3.1.6, in a sandbox, with StackStorm's filters.
#[test]
fn templates_give_what_they_give_in_stackstorm() {
    let golden: Value = serde_json::from_str(include_str!("jinja2.json")).unwrap();
    let mut context = Context::new();
    for (name, value) in golden["context"].as_object().unwrap() {
        context.insert(name, value);
    }
    let engine = Engine::default();
    let mut differences = vec![];
    for case in golden["cases"].as_array().unwrap() {
        let template = case[0].as_str().unwrap();
        let given = engine.render_text(template, &context);
        let same = match (&given, case[1].as_str(), case[2].as_str()) {
            (Ok(text), Some(expected), None) => text == expected,
            (Err(error), None, Some(expected)) => error.to_string() == expected,
            _ => false,
        };
        if !same {
            differences.push(format!(
                "{template:?}\n  expected {case}\n  given    {given:?}"
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn a_lone_expression_keeps_its_type_and_all_else_is_text() {
    let engine = Engine::default();
    for (template, expected) in [
        ("{{ n }}", json!(7)),
        ("{{ list }}", json!([1, "a", null])),
        ("{{ map.a }}", json!({"b": [1, 2]})),
        ("{{- flag -}}", json!(true)),
        ("{{ none }}", json!(null)),
        ("{{ n / 2 }}", json!(3.5)),
        ("{{ {'a': {'b': n}} }}", json!({"a": {"b": 7}})),
        ("{{ '}}' }}", json!("}}")),
        ("{{ 'a' if not flag }}", json!(null)),
        ("{{ list | map('string') }}", json!(["1", "a", "None"])),
        ("{{ map.items() }}", json!([["a", {"b": [1, 2]}]])),
        (
            "{{ 18446744073709551615 }}",
            json!(18_446_744_073_709_551_615_u64),
        ),
        ("{{ n }} ", json!("7 ")),
        ("{{ n }}{{ n }}", json!("77")),
        ("{{ '{{' }}{{ '}}' }}", json!("{{}}")),
        ("x{{ n }}", json!("x7")),
        ("{% if flag %}{{ n }}{% endif %}", json!("7")),
        ("{{ st2kv.system.host }}", json!("db-1")),
        ("{{ [st2kv.system.host] }}", json!(["db-1"])),
        ("plain }} text\n", json!("plain }} text\n")),
        ("{# no expression #}", json!("{# no expression #}")),
    ] {
        assert_eq!(
            engine.render(template, &context()),
            Ok(expected),
            "{template}"
        );
    }
    assert_eq!(
        engine.render_text("{{ list }}", &context()).unwrap(),
        "[1, 'a', None]"
    );
    assert_eq!(
        engine
            .render_text("{{ 'a' if not flag }}", &context())
            .unwrap(),
        ""
    );
}

#[test]
fn every_string_of_a_value_is_rendered_and_nothing_else_changes() {
    let engine = Engine::default();
    let value = json!({"k-{{ n }}": ["{{ n }}", "n={{ n }}", 1.5, null], "same": {"a": true}});
    assert_eq!(
        engine.render_value(&value, &context()),
        Ok(json!({"k-7": [7, "n=7", 1.5, null], "same": {"a": true}}))
    );
    assert_eq!(
        engine.render_value(&json!([{"a": "{{ gone }}"}]), &context()),
        Err(ExpressionError::Undefined("'gone' is undefined".into()))
    );
}

#[test]
fn keys_of_the_datastore_are_read_lazily_with_all_their_dots() {
    let engine = Engine::default();
    for (template, expected) in [
        ("{{ st2kv.system.host }}", "db-1"),
        ("{{ st2kv.system.a.b }}!", "dotted!"),
        ("{{ st2kv.system['a.b'] }}", "dotted"),
        ("{{ st2kv['system']['a']['b'] }}", "dotted"),
        ("{{ st2kv.user.color }}", "blue"),
        ("{{ st2kv.user.host }}", ""),
        ("{{ st2kv.system.absent }}|", "|"),
        ("{{ st2kv.system.absent | default('x', true) }}", "x"),
        ("{{ st2kv.system.host | upper }}", "DB-1"),
        ("{{ st2kv.system.host ~ '.local' }}", "db-1.local"),
        ("{{ st2kv.system.hosts.split(',')[1] }}", "y"),
        ("{{ st2kv.system.count | int + 1 }}", "4"),
        ("{{ (st2kv.system.list | from_json_string)[1] }}", "2"),
        (
            "{% if st2kv.system.absent %}yes{% else %}no{% endif %}",
            "no",
        ),
        (
            "{% if st2kv.system.host %}yes{% else %}no{% endif %}",
            "yes",
        ),
        ("{{ st2kv.system.secret | decrypt_kv }}", "hush"),
        ("{{ st2kv.user.secret | decrypt_kv }}", "mine"),
        ("{{ 'sealed text' | decrypt_kv }}", "text"),
        ("{{ st2kv.system.secret }}", "sealed hush"),
    ] {
        assert_eq!(
            engine.render_text(template, &context()).as_deref(),
            Ok(expected),
            "{template}"
        );
    }
    for (template, expected) in [
        (
            "{{ st2kv.system.doesnt_exist | decrypt_kv }}",
            "Referenced datastore item \"st2kv.system.doesnt_exist\" doesn't exist or it contains an empty string",
        ),
        (
            "{{ st2kv.user.doesnt.exist | decrypt_kv }}",
            "Referenced datastore item \"st2kv.user.doesnt.exist\" doesn't exist or it contains an empty string",
        ),
        ("{{ 'open' | decrypt_kv }}", "it is not sealed"),
        (
            "{{ st2kv.nowhere.x }}",
            "'dict object' has no attribute 'nowhere'",
        ),
    ] {
        let error = engine.render_text(template, &context()).unwrap_err();
        assert_eq!(error.to_string(), expected, "{template}");
    }
    let error = engine.render_text("{{ 'x' | decrypt_kv }}", &Context::new());
    assert_eq!(
        error.unwrap_err().to_string(),
        "decrypt_kv: there is no datastore here"
    );
}

#[test]
fn references_name_what_has_to_be_loaded() {
    let engine = Engine::default();
    let set =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|s| s.to_string()).collect() };
    let references = engine
        .references(
            "{% set own = 1 %}{{ own }}{{ name.x }}{{ st2kv.system.a.b }}{{ st2kv.user.c }}\
             {% for i in range(3) %}{{ i }}{{ loop.index }}{% endfor %}",
        )
        .unwrap();
    assert_eq!(references.names, set(&["name", "st2kv"]));
    assert_eq!(references.system_keys, set(&["a", "a.b"]));
    assert_eq!(references.user_keys, set(&["c"]));
    assert!(!references.computed_keys);
    for template in [
        "{{ st2kv.system[name] }}",
        "{{ st2kv['system'].x }}",
        "{{ st2kv }}",
    ] {
        assert!(
            engine.references(template).unwrap().computed_keys,
            "{template}"
        );
    }
    let value = json!({"{{ k }}": ["{{ a }}", {"x": "{{ st2kv.system.z }}"}], "n": 1});
    let references = engine.references_of_value(&value).unwrap();
    assert_eq!(references.names, set(&["a", "k", "st2kv"]));
    assert_eq!(references.system_keys, set(&["z"]));
    assert_eq!(engine.references("plain").unwrap().names, set(&[]));
    assert!(matches!(
        engine.references("{{ a"),
        Err(ExpressionError::Syntax(_))
    ));
}

/// Operators and filters are guarded by instructions put before them: order, jumps and results
/// stay what they were.
#[test]
fn guards_change_nothing_but_the_price() {
    let engine = Engine::default();
    for (template, expected) in [
        (
            "{{ 1 - 2 }} {{ 'a' ~ 'b' ~ list }} {{ list ~ 1 }}",
            "-1 ab[1, 'a', None] [1, 'a', None]1",
        ),
        (
            "{{ 3 > n }} {{ n > 3 }} {{ n >= 7 }} {{ 1 < n < 9 }} {{ 9 > n > 8 }}",
            "False True True True False",
        ),
        (
            "{{ n == (1 if flag else 7) }} {{ (1 if not flag else 7) == n }}",
            "False True",
        ),
        (
            "{{ 'a' in list }} {{ list in [list] }} {{ 'b' not in list }}",
            "True True True",
        ),
        (
            "{{ [1, 2] == [1, 2] }} {{ [1] < [2] }} {{ {'a': 1} != {'a': 1} }}",
            "True True False",
        ),
        (
            "{% for x in list %}{% if x == 1 or x == 'a' %}<{{ x ~ loop.index }}>{% elif x is none %}-{% endif %}{% endfor %}",
            "<11><a2>-",
        ),
        (
            "{% macro m(a, b='z') %}{{ a ~ b }}{% if a == 1 %}!{% endif %}{% endmacro %}{{ m(1) }} {{ m(2, 'y') }}",
            "1z! 2y",
        ),
        (
            "{{ {n ~ 'k': [n, {'x': (n, 2)}]} }} {{ (1, [2]) }}",
            "{'7k': [7, {'x': (7, 2)}]} (1, [2])",
        ),
        (
            "{{ list | join('-') | replace('a', 'b') | upper }}",
            "1-B-NONE",
        ),
        (
            "{{ [3, 1, 2] | sort(reverse=true) | join(',') }} {{ ['b', 'a'] | map('upper') | sort | first }}",
            "3,2,1 A",
        ),
        (
            "{{ flag and list and 'yes' or 'no' }} {{ none or list[0] or 2 }}",
            "yes 1",
        ),
        (
            "{% set ns = namespace(l=[], t=(1, 2), m={'a': 1}) %}{% set ns.l = ns.l + [n] %}{% set ns.u = ns.t %}{{ ns.l }}{{ ns.u }}{{ ns.m }}",
            "[7](1, 2){'a': 1}",
        ),
        (
            "{{ map['a']['b'][1] }} {{ list[n - 7] }} {{ {'x': {'y': 2}}['x'].y }}",
            "2 1 2",
        ),
        (
            "{{ [1, [2, 3]] | tojson }} {{ '%s-%s' | format(n, 'x') }} {{ '{}{}'.format(n, list) }}",
            "[1, [2, 3]] 7-x 7[1, 'a', None]",
        ),
    ] {
        assert_eq!(
            engine.render_text(template, &context()).as_deref(),
            Ok(expected),
            "{template}"
        );
    }
    let error = engine
        .render_text("{{ list | join(*list) }}", &context())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "The arguments of 'join' cannot be unpacked."
    );
}

#[test]
fn errors_read_as_in_jinja2() {
    let engine = Engine::default();
    for (template, expected) in [
        ("{{ map['gone'] }}", "'dict object' has no attribute 'gone'"),
        (
            "{{ map.a.gone.more }}",
            "'dict object' has no attribute 'gone'",
        ),
        ("{{ list[9] }}", "list object has no element 9"),
        ("{{ name.gone }}", "'str object' has no attribute 'gone'"),
        ("{{ gone | upper }}", "'gone' is undefined"),
        ("{{ n + gone }}", "'gone' is undefined"),
        ("{% for x in gone %}{% endfor %}", "'gone' is undefined"),
        ("{% if gone %}{% endif %}", "'gone' is undefined"),
        ("{% set m = {} %}{{ m.x }}", "'m.x' is undefined"),
        ("{{ none.x }}", "'x' is undefined"),
    ] {
        let error = engine.render_text(template, &context()).unwrap_err();
        assert_eq!(
            error,
            ExpressionError::Undefined(expected.into()),
            "{template}"
        );
    }
    let error = engine
        .render_text("line\n{{ a b }}", &context())
        .unwrap_err();
    assert!(
        matches!(&error, ExpressionError::Syntax(text) if text.ends_with("(line 2)")),
        "{error:?}"
    );
}

#[test]
fn the_debugging_function_of_the_engine_is_not_there() {
    let engine = Engine::default();
    let error = engine.render_text("{{ debug() }}", &context());
    assert!(error.is_err(), "{error:?}");
}

/// With a quarter of the work that is usually allowed: unoptimized code is slow enough.
fn ends_in_time(templates: &[&str], within: Duration) {
    let engine = Engine::new(Limits {
        work: 500_000,
        ..Limits::default()
    });
    let context = context().with("large", &Value::from("a".repeat(1_000_000)));
    for template in templates {
        let begun = Instant::now();
        let given = engine.render_text(template, &context);
        let shown: String = template.chars().take(60).collect();
        assert!(given.is_err(), "{shown}");
        assert!(
            begun.elapsed() < within,
            "{shown} took {:?}",
            begun.elapsed()
        );
        let begun = Instant::now();
        let given = engine.render(template, &context);
        assert!(given.is_err(), "{shown}");
        assert!(
            begun.elapsed() < within,
            "{shown} took {:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn templates_that_loop_without_end_are_stopped() {
    ends_in_time(
        &[
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
            "{{ range(1000000000) | list }}",
            "{{ range(10 ** 9) | length }}",
            "{% for a in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
            "{% for a in range(99999) %}{% set b %}{{ large }}{% endset %}{% endfor %}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{% for a in range(9999) %}{{ large | to_json_string | length }}{% endfor %}",
            "{% for a in range(9999) %}{{ large | from_yaml_string | length }}{% endfor %}",
            "{% for a in range(99999) %}{{ list | jsonpath_query('$..*') }}{{ large[a:] | length }}{% endfor %}",
        ],
        Duration::from_secs(20),
    );
}

#[test]
fn data_that_is_small_to_hold_and_huge_to_walk_is_stopped() {
    let nested = "{% set a = ['x'] * 1000 %}{% set b = [a] * 1000 %}{% set c = [b] * 1000 %}";
    for walk in [
        "{{ c }}",
        "{{ c | string | length }}",
        "{{ c ~ '' }}",
        "{{ c | tojson }}",
        "{{ c | to_json_string }}",
        "{{ c | to_complex }}",
        "{{ c | to_yaml_string }}",
        "{{ c | join }}",
        "{{ c == [b] * 1000 + [] }}",
        "{{ c | regex_match('x') }}",
        "{{ c | jsonpath_query('$..x') }}",
        "{{ '%s' | format(c) }}",
        "{{ '{}'.format(c) }}",
        "{{ c | pprint }}",
        "{{ c | urlencode }}",
        "{% set t %}{{ c }}{% endset %}{{ t }}",
    ] {
        ends_in_time(&[&format!("{nested}{walk}")], Duration::from_secs(20));
    }
}

#[test]
fn strings_do_not_grow_beyond_the_limit() {
    ends_in_time(
        &[
            "{{ 'x' * 1000000000 }}",
            "{{ ('x' * 1000000) * 1000000 }}",
            "{{ [0] * 1000000000 }}",
            "{{ 'x' | center(10000000000) }}",
            "{{ 'x'.rjust(10000000000) }}",
            "{{ 'x'.zfill(10000000000) }}",
            "{{ '%10000000000s' | format('x') }}",
            "{{ '%10000000000s' % 'x' }}",
            "{{ '{:>10000000000}'.format('x') }}",
            "{{ large.replace('a', large) }}",
            "{{ large | replace('a', large) }}",
            "{{ large | regex_replace('a', large) }}",
            "{{ large | indent(1000000000, true) }}",
            "{{ (large ~ '\n') | indent(1000000000) }}",
            "{{ large * 17 }}",
            "{{ [1] | to_json_string(indent=1000000) }}",
            "{{ 10 ** 10 ** 10 }}",
            "{{ large | list | join(large) }}",
            "{{ large | batch(1, large) | list | length if 0 }}{{ range(99999) | batch(99999999) | list }}{{ [1] | batch(999999999, 0) | list }}",
            "{{ [1] | slice(999999999, 0) | list }}",
        ],
        Duration::from_secs(20),
    );
}

#[test]
fn patterns_that_backtrack_without_end_are_stopped() {
    ends_in_time(
        &[
            "{{ ('a' * 40 ~ 'b') | regex_match('^(a|a)*\\\\1c$') }}",
            "{{ large | regex_search('(a|b)*a(a|b){5000}c') }}",
            "{{ large | regex_search('(?=a*b)c') }}",
            "{{ 'a' | regex_match('(((a{1,100}){1,100}){1,100}){1,100}') }}",
            "{{ 'a' | regex_match('(') }}",
            "{% for i in range(99999) %}{{ 'a' | regex_match('x' ~ i) }}{% endfor %}",
        ],
        Duration::from_secs(30),
    );
}

#[test]
fn nesting_is_bounded_everywhere() {
    let deep = |open: &str, close: &str, times: usize| {
        format!("{{{{ {}1{} }}}}", open.repeat(times), close.repeat(times))
    };
    let templates = [
        deep("[", "]", 5000),
        deep("(", ")", 5000),
        deep("{'a':", "}", 5000),
        deep("f(", ")", 5000),
        format!("{}{}", "{% if 1 %}".repeat(5000), "{% endif %}".repeat(5000)),
        format!("{{{{ '{}' | from_json_string }}}}", "[".repeat(100_000)),
        format!("{{{{ '{}' | from_yaml_string }}}}", "[".repeat(100_000)),
        "{% set ns = namespace(x=1) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}".into(),
        "{% set ns = namespace(x=1) %}{% for i in range(90000) %}{% set ns.x = {'a': ns.x} %}{% endfor %}{{ ns.x }}".into(),
        "{% set ns = namespace(x=1) %}{% for i in range(90000) %}{% set ns.x = (ns.x,) %}{% endfor %}".into(),
        "{% set ns = namespace(x=1) %}{% for i in range(90000) %}{% set ns.x = dict(a=ns.x) %}{% endfor %}".into(),
        format!("{{% set a = 1 %}}{}", "{% set a = [a] %}".repeat(20_000)),
        format!("{{% set a = 1 %}}{}", "{% set a = {'a': a} %}".repeat(20_000)),
        format!("{{% set a = 1 %}}{}", "{% set a = dict(a=a) %}".repeat(20_000)),
        format!("{{% set a = [1] %}}{}", "{% set a = a | batch(1) %}".repeat(20_000)),
        format!("{{% set a = [1] %}}{}", "{% set a = a[0:] %}".repeat(20_000)),
        format!("{{% set a = [1] %}}{}", "{% set a = a * 1 %}".repeat(20_000)),
        format!("{{% set a = [1] %}}{}", "{% set a = a | reverse %}".repeat(20_000)),
        "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}".into(),
        "{% macro m(a) %}{{ m([a]) }}{% endmacro %}{{ m(1) }}".into(),
    ];
    for template in &templates {
        ends_in_time(&[template], Duration::from_secs(20));
    }
    let engine = Engine::default();
    for template in [
        deep("not ", "", 5000),
        deep("-", "", 5000),
        "{% set ns = namespace(x=[1]) %}{% for i in range(9000) %}{% set ns.x = ns.x[0:] %}{% endfor %}{{ ns.x }}".into(),
        "{% set ns = namespace(x=[[1]]) %}{% for i in range(9000) %}{% set ns.x = [ns.x[0][0:]] %}{% endfor %}{{ ns.x }}".into(),
        "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{% set ns.y = [ns] %}{{ ns }}".into(),
    ] {
        let _ = engine.render(&template, &context());
    }
    let gathered = "{% set ns = namespace(l=[]) %}{% for i in range(2000) %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.l | length }}";
    assert_eq!(
        engine.render_text(gathered, &context()).as_deref(),
        Ok("2000")
    );
}

#[test]
fn the_limits_name_themselves() {
    let engine = Engine::new(Limits {
        work: 1000,
        text: 100,
        template: 200,
        depth: 50,
    });
    let context = context();
    for (template, expected) in [
        (
            "{% for i in range(10000) %}{% endfor %}".to_owned(),
            "The expression takes more work than the 1000 steps it may use.",
        ),
        (
            "{{ 'x' * 101 }}".into(),
            "The text of the expression is larger than 100 bytes.",
        ),
        (
            "x{{ 'x' * 100 }}".into(),
            "The text of the expression is larger than 100 bytes.",
        ),
        (
            format!("{{{{ 1 }}}}{}", "x".repeat(200)),
            "The template is longer than 200 bytes.",
        ),
    ] {
        let error = engine.render_text(&template, &context).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(
        engine
            .render_text(&"x".repeat(300), &context)
            .unwrap()
            .len(),
        300
    );
}

proptest! {
    #[test]
    fn text_without_braces_is_never_touched(text in "[^{]{0,60}") {
        prop_assert!(!is_template(&text));
        let engine = Engine::default();
        prop_assert_eq!(engine.render_text(&text, &Context::new()), Ok(text));
    }

    #[test]
    fn no_template_panics(template in "(\\{\\{|\\}\\}|\\{%|%\\}|[a-z|.'(\\[\\])0-9+~* -]|n|list|for|in|if|endif|endfor| ){0,20}") {
        let engine = Engine::default();
        let _ = engine.render(&template, &context());
        let _ = engine.references(&template);
    }

    #[test]
    fn a_value_goes_through_a_lone_expression_unchanged(
        value in prop::collection::vec(
            prop_oneof![
                any::<i64>().prop_map(Value::from),
                (-1e12..1e12).prop_map(Value::from),
                ".{0,12}".prop_map(Value::from),
                any::<bool>().prop_map(Value::from),
                Just(Value::Null),
            ],
            0..6,
        ).prop_map(Value::from)
    ) {
        let engine = Engine::default();
        let context = Context::new().with("value", &value);
        prop_assert_eq!(engine.render("{{ value }}", &context), Ok(value.clone()));
        prop_assert_eq!(engine.render_text("{{ value }}", &context), Ok(repr(&value)));
        prop_assert_eq!(engine.render_text("{{ value }}!", &context), Ok(text(&value) + "!"));
        let json = engine.render_text("{{ value | to_complex }}", &context).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
    }
}
