use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{CompiledRule, Instance, check_criteria, dispatch, evaluate, map};
use crate::spec::{Rule, RuleAction, RuleKind, RuleType};

/// 2014-08-05T00:05:00Z
const NOW: i64 = 1_407_197_100_000;

/// Renders `{{ name.a.b }}` alone in a string, which is all these tests need of an engine.
fn renderer(template: &Value, name: &str, payload: &Value) -> Result<Value, String> {
    match template {
        Value::String(text) => {
            let Some(path) = text
                .strip_prefix("{{")
                .and_then(|text| text.strip_suffix("}}"))
            else {
                return Ok(template.clone());
            };
            let mut parts = path.trim().split('.');
            if parts.next() != Some(name) {
                return Err(format!("'{}' is undefined", path.trim()));
            }
            parts
                .try_fold(payload, |value, part| value.get(part))
                .cloned()
                .ok_or_else(|| format!("'{}' is undefined", path.trim()))
        }
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| Ok((key.clone(), renderer(value, name, payload)?)))
            .collect(),
        other => Ok(other.clone()),
    }
}

fn rule(criteria: &Value) -> CompiledRule {
    CompiledRule::new(&Rule {
        name: "r".to_owned(),
        pack: "p".to_owned(),
        reference: "p.r".to_owned(),
        enabled: true,
        criteria: criteria.as_object().expect("criteria").clone(),
        ..Rule::default()
    })
}

fn instance(payload: &Value) -> Instance<'_> {
    Instance { id: "1", payload }
}

#[track_caller]
fn judge(criteria: &Value, payload: &Value) -> (bool, Vec<String>) {
    let rule = rule(criteria);
    let mut failures = Vec::new();
    let matched = rule.matches(instance(payload), NOW, &renderer, &mut failures);
    let verdict = evaluate(&rule, instance(payload), NOW, &renderer);
    assert_eq!((verdict.matched, &verdict.failures), (matched, &failures));
    (matched, failures)
}

/// One criterion on `trigger.v`.
#[track_caller]
fn check(operator: &str, value: Value, pattern: Value, expected: bool) {
    let criteria = json!({"trigger.v": {"type": operator, "pattern": pattern}});
    let payload = json!({"v": value, "other": 1});
    let (matched, failures) = judge(&criteria, &payload);
    assert_eq!(failures, Vec::<String>::new());
    assert_eq!(matched, expected, "{value} {operator} {pattern}");
}

#[track_caller]
fn check_failure(operator: &str, value: Value, pattern: Value, cause: &str) {
    let criteria = json!({"trigger.v": {"type": operator, "pattern": pattern}});
    let (matched, failures) = judge(&criteria, &json!({"v": value, "other": 1}));
    assert!(!matched);
    let prefix = "Failed to match rule \"p.r\" against trigger instance \"1\": There might be a \
                  problem with the criteria in rule p.r: ";
    assert_eq!(failures.len(), 1);
    let found = failures[0].strip_prefix(prefix).expect(&failures[0]);
    assert!(found.starts_with(cause), "{found}");
}

#[test]
fn equality_is_pythons() {
    for name in ["eq", "equals", "EQUALS"] {
        check(name, json!("a"), json!("a"), true);
        check(name, json!("a"), json!("A"), false);
    }
    check("eq", json!(1), json!(1.0), true);
    check("eq", json!(true), json!(1), true);
    check("eq", json!("1"), json!(1), false);
    check("eq", json!([1, {"a": 2}]), json!([1.0, {"a": 2}]), true);
    check("eq", Value::Null, Value::Null, false);
    check("eq", json!(u64::MAX), json!(u64::MAX as f64), false);
    check("neq", json!(1), json!(2), true);
    check("nequals", json!(1), Value::Null, true);
    check("nequals", Value::Null, Value::Null, false);
    check("ieq", json!("ÄB"), json!("äb"), true);
    check("iequals", json!("a"), json!("b"), false);
    check_failure(
        "iequals",
        json!(1),
        json!("b"),
        "'int' object has no attribute 'lower'",
    );
    check_failure(
        "iequals",
        json!("b"),
        json!(1),
        "'int' object has no attribute 'lower'",
    );
}

#[test]
fn containing_is_pythons() {
    check("contains", json!("warehouse"), json!("eh"), true);
    check("contains", json!(["a", 1]), json!(1.0), true);
    check("contains", json!({"a": 1}), json!("a"), true);
    check("contains", json!({"1": 1}), json!(1), false);
    check("ncontains", json!("warehouse"), json!("shop"), true);
    check("icontains", json!("WareHouse"), json!("HOUSE"), true);
    check("incontains", json!("WareHouse"), json!("HOUSE"), false);
    check("contains", json!("x"), Value::Null, false);
    check_failure(
        "contains",
        json!("5"),
        json!(5),
        "'in <string>' requires string as left operand, not int",
    );
    check_failure(
        "contains",
        Value::Null,
        json!("a"),
        "argument of type 'NoneType' is not iterable",
    );
    check_failure(
        "icontains",
        json!(["A"]),
        json!("a"),
        "'list' object has no attribute 'lower'",
    );
    check("in", json!("a"), json!(["a", "b"]), true);
    check("inside", json!("a"), json!("abc"), true);
    check("nin", json!("z"), json!(["a", "b"]), true);
    check("ninside", json!("a"), json!(["a"]), false);
    check_failure("in", json!([1]), json!({"a": 1}), "unhashable type: 'list'");
}

#[test]
fn affixes_are_text() {
    check("startswith", json!("hello"), json!("he"), true);
    check("startswith", json!("hello"), json!("HE"), false);
    check("istartswith", json!("Hello"), json!("hE"), true);
    check("endswith", json!("hello"), json!("lo"), true);
    check("iendswith", json!("hellO"), json!("Lo"), true);
    check("endswith", json!("hello"), Value::Null, false);
    check_failure(
        "startswith",
        json!("5"),
        json!(5),
        "startswith first arg must be str or a tuple of str, not int",
    );
    check_failure(
        "endswith",
        json!(5),
        json!("5"),
        "'int' object has no attribute 'endswith'",
    );
}

#[test]
fn order_needs_like_types() {
    check("lt", json!(1), json!(2.5), true);
    check("lessthan", json!(2), json!(2), false);
    check("gt", json!("b"), json!("a"), true);
    check("greaterthan", json!([1, 3]), json!([1, 2, 9]), true);
    check("gt", json!(true), json!(0), true);
    check("gt", json!(5), Value::Null, false);
    check_failure(
        "lt",
        json!("1"),
        json!(2),
        "'<' not supported between instances of 'str' and 'int'",
    );
    check_failure(
        "gt",
        Value::Null,
        json!(2),
        "'>' not supported between instances of 'NoneType' and 'int'",
    );
}

#[test]
fn patterns_match_text() {
    check(
        "matchwildcard",
        json!("host-7.log"),
        json!("host-?.*"),
        true,
    );
    check(
        "matchwildcard",
        json!("xhost-7.log"),
        json!("host-?.*"),
        false,
    );
    check("matchregex", json!("abc"), json!("b"), false);
    check("matchregex", json!("a\nb"), json!("a.b"), true);
    check("regex", json!("abc"), json!("b"), true);
    check("regex", json!("a\nb"), json!("a.b"), false);
    check("regex", json!("ABC"), json!("b"), false);
    check("iregex", json!("ABC"), json!("b"), true);
    // A block of YAML ends with a newline that templates drop.
    check("regex", json!("abc"), json!("^abc$\n"), true);
    check_failure(
        "regex",
        json!("a"),
        json!("a("),
        "\"a(\" is not a regular expression",
    );
    check_failure(
        "regex",
        json!(5),
        json!("a"),
        "expected string or bytes-like object, got 'int'",
    );
    check_failure(
        "regex",
        json!("5"),
        json!(5),
        "first argument must be string",
    );
    check_failure(
        "regex",
        json!(format!("{}b", "a".repeat(60))),
        json!(r"^(?:(?=a)a|a)+\Z(?<!b)"),
        "Matching \"^(?:(?=a)a|a)+\\Z(?<!b)\" on 61 bytes of text takes too much work.",
    );
}

#[test]
fn ages_are_in_seconds() {
    check("td_lt", json!("2014-08-05T00:00:00Z"), json!(301), true);
    check("timediff_lt", json!("2014-08-05"), json!(300), false);
    check("td_gt", json!("2014-08-05 00:00:00"), json!("299.5"), true);
    check(
        "timediff_gt",
        json!("2014-08-05T02:00:00+02:00"),
        json!(300),
        false,
    );
    check("td_gt", json!("2014-08-05"), Value::Null, false);
    check_failure(
        "td_gt",
        Value::Null,
        json!(1),
        "Unknown string format: None",
    );
    check_failure(
        "td_lt",
        json!("2014-08-05"),
        json!("soon"),
        "could not convert string to float: 'soon'",
    );
}

#[test]
fn existence_ignores_the_pattern() {
    check("exists", json!(0), json!("ignored"), true);
    check("exists", Value::Null, json!("ignored"), false);
    check("nexists", Value::Null, Value::Null, true);
    let (matched, _) = judge(
        &json!({"trigger.absent": {"type": "nexists"}, "trigger.there": {"type": "exists"}}),
        &json!({"there": 1}),
    );
    assert!(matched);
}

#[test]
fn a_search_has_four_conditions() {
    let payload = json!({"items": [
        {"name": "color", "to": "red"},
        {"name": "owner", "to": "ada"},
    ]});
    let search = |condition: Value, name: &str, to: &str| {
        let criteria = json!({"trigger.items": {
            "type": "search",
            "condition": condition,
            "pattern": {
                "item.name#1": {"type": "equals", "pattern": name},
                "item.to#2": {"type": "equals", "pattern": to},
            },
        }});
        judge(&criteria, &payload)
    };
    assert!(search(json!("any"), "color", "red").0);
    assert!(!search(json!("any"), "color", "ada").0);
    assert!(search(json!("any2any"), "color", "nobody").0);
    assert!(search(json!("all2any"), "color", "ada").0);
    assert!(!search(json!("all"), "color", "red").0);
    assert!(!search(json!("all2any"), "color", "red").0);
    let (matched, failures) = search(json!("some"), "color", "ada");
    assert!(!matched);
    assert!(
        failures[0].contains("The 'some' condition is not recognized"),
        "{failures:?}"
    );
    let (_, failures) = search(Value::Null, "color", "ada");
    assert!(failures[0].contains("The 'None' condition"), "{failures:?}");
}

#[test]
fn a_search_takes_what_python_iterates() {
    let judge = |value: Value, condition: &str| {
        let criteria = json!({"trigger.v": {
            "type": "search",
            "condition": condition,
            "pattern": {"item": {"type": "equals", "pattern": "x"}},
        }});
        judge(&criteria, &json!({"v": value, "other": 1}))
    };
    assert!(judge(json!([]), "all").0);
    assert!(!judge(json!([]), "any").0);
    assert!(judge(json!("axb"), "any").0);
    assert!(!judge(json!({"x": "x"}), "any").0);
    let (matched, failures) = judge(json!(5), "any");
    assert!(
        !matched && failures[0].ends_with("'int' object is not iterable"),
        "{failures:?}"
    );
}

#[test]
fn a_failure_inside_a_search_is_recorded_even_when_the_rule_matches() {
    let criteria = json!({"trigger.items": {
        "type": "search",
        "condition": "any",
        "pattern": {"item.n": {"type": "lt", "pattern": "{{ item.max }}"}},
    }});
    let payload = json!({"items": [{"n": "text", "max": 1}, {"n": 1, "max": 2}, {"n": 1}]});
    let (matched, failures) = judge(&criteria, &payload);
    assert!(matched);
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures[0].contains("'<' not supported"), "{failures:?}");
    assert!(
        failures[1].contains(
            "Failed to render pattern value \"{{ item.max }}\" for key \"item.n\": 'item.max' is \
             undefined"
        ),
        "{failures:?}"
    );
}

#[test]
fn criteria_are_anded_and_repeat_with_a_number() {
    let criteria = json!({
        "trigger.n#1": {"type": "gt", "pattern": 1},
        "trigger.n#2": {"type": "lt", "pattern": 5},
    });
    assert!(judge(&criteria, &json!({"n": 3})).0);
    assert!(!judge(&criteria, &json!({"n": 5})).0);
    assert!(!judge(&criteria, &json!({})).0);
    assert!(judge(&json!({}), &json!({})).0);
    assert!(!judge(&json!({"trigger.n": {"pattern": 3}}), &json!({"n": 3})).0);
    let (matched, failures) = judge(
        &json!({"trigger.n": {"type": "like", "pattern": 3}}),
        &json!({"n": 3}),
    );
    assert!(
        !matched && failures[0].ends_with("Invalid operator: like"),
        "{failures:?}"
    );
}

#[test]
fn patterns_are_templates() {
    let criteria = json!({"trigger.a": {"type": "equals", "pattern": "{{ trigger.b }}"}});
    assert!(judge(&criteria, &json!({"a": [1], "b": [1]})).0);
    let (matched, failures) = judge(&criteria, &json!({"a": 1}));
    assert!(!matched);
    assert_eq!(
        failures,
        [
            "Failed to match rule \"p.r\" against trigger instance \"1\": Failed to render pattern \
          value \"{{ trigger.b }}\" for key \"trigger.a\": 'trigger.b' is undefined"
        ]
    );
}

#[test]
fn any_takes_groups() {
    let criteria = json!({
        "trigger.kind": {"type": "eq", "pattern": "push"},
        "any": [
            {"trigger.branch": {"type": "eq", "pattern": "main"}},
            {
                "trigger.branch": {"type": "startswith", "pattern": "release-"},
                "trigger.tested": {"type": "eq", "pattern": true},
            },
        ],
    });
    assert_eq!(check_criteria(criteria.as_object().expect("criteria")), []);
    assert!(judge(&criteria, &json!({"kind": "push", "branch": "main"})).0);
    assert!(
        judge(
            &criteria,
            &json!({"kind": "push", "branch": "release-1", "tested": true})
        )
        .0
    );
    assert!(!judge(&criteria, &json!({"kind": "push", "branch": "release-1"})).0);
    assert!(!judge(&criteria, &json!({"kind": "pull", "branch": "main"})).0);

    let payload = json!({"kind": "push", "branch": "main"});
    let verdict = evaluate(&rule(&criteria), instance(&payload), NOW, &renderer);
    let keys: Vec<&str> = verdict
        .reasons
        .iter()
        .map(|reason| reason.key.as_str())
        .collect();
    for key in [
        "any[0].trigger.branch",
        "any[1].trigger.tested",
        "trigger.kind",
    ] {
        assert!(keys.contains(&key), "{keys:?}");
    }
}

#[test]
fn a_verdict_tells_why() {
    let criteria = json!({
        "trigger.n": {"type": "gt", "pattern": 5},
        "trigger.s": {"type": "lt", "pattern": 5},
    });
    let payload = json!({"n": 3, "s": "text"});
    let verdict = evaluate(&rule(&criteria), instance(&payload), NOW, &renderer);
    assert!(!verdict.matched);
    assert_eq!(verdict.reasons.len(), 2);
    let reason = &verdict.reasons[0];
    assert_eq!(
        (
            reason.key.as_str(),
            reason.operator.as_str(),
            reason.matched
        ),
        ("trigger.n", "gt", false)
    );
    assert_eq!(
        (&reason.pattern, &reason.value),
        (&json!(5), &Some(json!(3)))
    );
    assert!(verdict.reasons[1].failure.is_some());
    // Evaluation stopped before the second, so that there is no failed enforcement.
    assert_eq!(verdict.failures, Vec::<String>::new());

    let disabled = CompiledRule::new(&Rule::default());
    let verdict = evaluate(&disabled, instance(&payload), NOW, &renderer);
    assert_eq!(verdict.note.as_deref(), Some("the rule is disabled"));
}

fn named(name: &str, kind: RuleKind, pattern: i64) -> CompiledRule {
    CompiledRule::new(&Rule {
        reference: format!("p.{name}"),
        enabled: true,
        kind: RuleType {
            kind,
            parameters: Map::new(),
        },
        criteria: json!({"trigger.n": {"type": "eq", "pattern": pattern}})
            .as_object()
            .expect("criteria")
            .clone(),
        ..Rule::default()
    })
}

#[test]
fn backstops_run_when_nothing_else_does() {
    let rules = [
        named("one", RuleKind::Standard, 1),
        named("rest", RuleKind::Backstop, 2),
        named("two", RuleKind::Standard, 2),
        named("last", RuleKind::Backstop, 3),
    ];
    let run = |payload: Value| -> Vec<String> {
        dispatch(&rules, instance(&payload), NOW, &renderer)
            .matched
            .iter()
            .map(|position| rules[*position].reference().to_owned())
            .collect()
    };
    assert_eq!(run(json!({"n": 1})), ["p.one"]);
    assert_eq!(run(json!({"n": 2})), ["p.two"]);
    assert_eq!(run(json!({"n": 3})), ["p.last"]);
    assert_eq!(run(json!({"n": 4})), Vec::<String>::new());
}

#[test]
fn parameters_are_rendered_from_the_payload() {
    let rule = |template: &str| {
        CompiledRule::new(&Rule {
            reference: "p.r".to_owned(),
            action: RuleAction {
                reference: "core.local".to_owned(),
                parameters: json!({"cmd": template, "env": {"A": "{{ trigger.a }}"}, "n": 5})
                    .as_object()
                    .expect("parameters")
                    .clone(),
            },
            ..Rule::default()
        })
    };
    let payload = json!({"a": 1, "cmd": "date"});
    let parameters = map(&rule("{{ trigger.cmd }}"), instance(&payload), &renderer);
    assert_eq!(
        parameters.map(Value::Object),
        Ok(json!({"cmd": "date", "env": {"A": 1}, "n": 5}))
    );
    let error = map(&rule("{{ trigger.x }}"), instance(&payload), &renderer).expect_err("absent");
    assert_eq!(
        error.to_string(),
        "failed to render parameter \"cmd\" of rule \"p.r\": 'trigger.x' is undefined"
    );
}

#[test]
fn faults_show_before_any_event() {
    let criteria = json!({
        "trigger.a": {"type": "regex", "pattern": "("},
        "trigger.b": {"type": "like", "pattern": 1},
        "trigger.c": {"pattern": 1},
        "trigger.d": {"type": "equals"},
        "trigger.e": {"type": "search", "condition": "most", "pattern": {}},
        "trigger.f": {"type": "search", "condition": "any", "pattern": {
            "item.x": {"type": "like", "pattern": 1},
        }},
        "trigger.g[": {"type": "exists"},
        "payload.h": {"type": "exists"},
        "any": [],
    });
    let faults = check_criteria(criteria.as_object().expect("criteria"));
    let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
    for path in [
        "any",
        "payload.h",
        "trigger.a",
        "trigger.b.type",
        "trigger.c",
        "trigger.d",
        "trigger.e",
        "trigger.f.pattern.item.x.type",
        "trigger.g[",
    ] {
        assert!(paths.contains(&path), "{path} in {paths:?}");
    }
    assert_eq!(faults.len(), 9, "{faults:?}");
}

proptest! {
    #[test]
    fn negations_are_opposites(value in value(), pattern in value()) {
        for (operator, negated) in [("contains", "ncontains"), ("in", "nin"), ("eq", "neq")] {
            let run = |operator: &str| {
                let criteria = json!({"trigger.v": {"type": operator, "pattern": pattern}});
                judge(&criteria, &json!({"v": value, "other": 1}))
            };
            let ((plain, failures), (opposite, _)) = (run(operator), run(negated));
            if failures.is_empty() && !pattern.is_null() {
                prop_assert_ne!(plain, opposite, "{} {} {}", value, operator, pattern);
            }
        }
    }

    #[test]
    fn no_criterion_panics(
        value in value(),
        pattern in value(),
        operator in proptest::sample::select(super::Operator::NAMES),
        condition in "all|any|all2any|any2any|none",
    ) {
        let criteria = json!({"trigger.v": {
            "type": operator, "pattern": pattern, "condition": condition,
        }});
        judge(&criteria, &json!({"v": value, "other": 1}));
    }

    #[test]
    fn exactly_one_order_holds_between_numbers(left in any::<i32>(), right in -9.0f64..9.0) {
        let holds = |operator: &str| {
            let criteria = json!({"trigger.v": {"type": operator, "pattern": right}});
            judge(&criteria, &json!({"v": left, "other": 1})).0
        };
        let count = ["lt", "eq", "gt"].into_iter().filter(|operator| holds(operator)).count();
        prop_assert_eq!(count, 1);
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        (-3.0f64..3.0).prop_map(Value::from),
        "[ab1]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[ab]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
