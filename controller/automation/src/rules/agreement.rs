//! The index and the plain evaluation of every rule give the same: what matched, what failed and in
//! which words.

use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::{CompiledRule, Instance, Operator, Templates, TriggerRules, dispatch};
use crate::expressions::{Datastore, EmptyDatastore, Engine};
use crate::spec::{Rule, RuleKind, RuleType};

/// 2014-08-05T00:05:00Z
const NOW: i64 = 1_407_197_100_000;

/// Names that payloads have, plain and with dots, and paths that lead to them or nowhere.
const NAMES: &[&str] = &["a", "b", "a.b", "items", "when"];
const PATHS: &[&str] = &[
    "trigger.a",
    "trigger.a#1",
    "trigger.a#2",
    "trigger.b",
    "trigger.b.a",
    "trigger.a.b",
    "trigger['a.b']",
    "trigger.items",
    "trigger.items[*].a",
    "trigger.items[-1]",
    "trigger..b",
    "trigger.when",
    "trigger",
    "trigger.absent",
    "payload.a",
    "trigger.a[",
];

/// Texts that are values, patterns and expressions alike, so that they meet.
const TEXTS: &[&str] = &[
    "",
    "a",
    "ab",
    "AB",
    "abc",
    "abc\n",
    "b",
    "a.b",
    "^a",
    "b$",
    "^abc$",
    "a(",
    "(?i)AB",
    "a+b*",
    "[ab]c",
    r"(a|b)\1",
    "a++b",
    "*b*",
    "?b",
    "[!a]*",
    "é",
    "É",
    "İ",
    "host-1",
    "host-12",
    r"^host-\d+$",
    "2014-08-05T00:00:00Z",
    "300",
    "1",
    "True",
    "{{ trigger.a }}",
    "{{ trigger.absent.a }}",
    "{{ 1 +",
    r"(?m)^b$",
    "a\nb\n",
];

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => select(vec![0, 1, 2, 300, i64::MIN]).prop_map(Value::from),
        1 => Just(Value::from(u64::MAX)),
        2 => select(vec![0.0, -0.0, 1.0, 1.5, -2.5, 1e300, u64::MAX as f64]).prop_map(Value::from),
        6 => select(TEXTS).prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(2, 10, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(select(NAMES), inner, 0..4).prop_map(object),
        ]
    })
}

fn object(entries: std::collections::BTreeMap<&str, Value>) -> Value {
    let entries = entries.into_iter();
    Value::Object(
        entries
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn payload() -> impl Strategy<Value = Value> {
    btree_map(select(NAMES), value(), 0..5).prop_map(object)
}

fn criterion() -> impl Strategy<Value = Value> {
    let nested = (
        select(Operator::NAMES),
        select(vec!["item", "item.a", "item.b#1"]),
        scalar(),
        select(vec!["all", "any", "all2any", "any2any", "most"]),
    )
        .prop_map(|(operator, key, pattern, condition)| {
            json!({
                "type": "search",
                "condition": condition,
                "pattern": {key: {"type": operator, "pattern": pattern}},
            })
        });
    prop_oneof![
        20 => (select(Operator::NAMES), value())
            .prop_map(|(operator, pattern)| json!({"type": operator, "pattern": pattern})),
        1 => value().prop_map(|pattern| json!({"type": "like", "pattern": pattern})),
        1 => value().prop_map(|pattern| json!({"pattern": pattern})),
        2 => nested,
    ]
}

fn criteria() -> impl Strategy<Value = Map<String, Value>> {
    let flat = || {
        btree_map(select(PATHS), criterion(), 0..4).prop_map(|entries| match object(entries) {
            Value::Object(entries) => entries,
            other => panic!("{other} is no mapping"),
        })
    };
    (flat(), proptest::option::weighted(0.2, vec(flat(), 0..3))).prop_map(
        |(mut entries, groups)| {
            if let Some(groups) = groups {
                entries.insert(
                    "any".to_owned(),
                    groups.into_iter().map(Value::Object).collect(),
                );
            }
            entries
        },
    )
}

fn rule() -> impl Strategy<Value = CompiledRule> {
    (
        criteria(),
        proptest::bool::weighted(0.9),
        proptest::bool::weighted(0.2),
    )
        .prop_map(|(criteria, enabled, is_backstop)| {
            CompiledRule::new(&Rule {
                reference: "p.r".to_owned(),
                enabled,
                kind: RuleType {
                    kind: if is_backstop {
                        RuleKind::Backstop
                    } else {
                        RuleKind::Standard
                    },
                    parameters: Map::new(),
                },
                criteria,
                ..Rule::default()
            })
        })
}

fn compiled(criteria: &Value) -> CompiledRule {
    CompiledRule::new(&Rule {
        reference: "p.r".to_owned(),
        enabled: true,
        criteria: criteria.as_object().expect("criteria").clone(),
        ..Rule::default()
    })
}

/// Places of the rules that are worth evaluating.
fn candidates(rules: &[CompiledRule], payload: &Value) -> Vec<usize> {
    let instance = Instance { id: "1", payload };
    let no_templates = |_: &Value, _: &str, _: &Value| Err("there are none here".to_owned());
    TriggerRules::new(rules.to_vec()).candidates(instance, NOW, &no_templates)
}

#[test]
fn only_rules_that_a_payload_shows_a_sign_of_are_evaluated() {
    let rules = [
        compiled(&json!({"trigger.name": {"type": "eq", "pattern": "ada"}})),
        compiled(&json!({"trigger.name": {"type": "regex", "pattern": "^b.*lovelace"}})),
        compiled(&json!({"trigger.name": {"type": "startswith", "pattern": "bob"}})),
        compiled(&json!({"trigger.load": {"type": "gt", "pattern": 5}})),
        compiled(&json!({"trigger.load": {"type": "in", "pattern": [3, 4]}})),
        compiled(&json!({"trigger.name": {"type": "neq", "pattern": "ada"}})),
        compiled(&json!({})),
        compiled(&json!({"trigger.name": {"type": "eq", "pattern": null}})),
    ];
    for (payload, expected) in [
        (json!({"name": "ada", "load": 3}), vec![0, 4, 6]),
        (
            json!({"name": "bob lovelace", "load": 5.5}),
            vec![1, 2, 3, 5, 6],
        ),
        // What a criterion cannot be applied to is a failure, which only an evaluation tells.
        (json!({"name": 7, "load": 4.0}), vec![1, 2, 4, 5, 6]),
        (json!({"name": "x"}), vec![3, 5, 6]),
    ] {
        assert_eq!(candidates(&rules, &payload), expected, "{payload}");
    }
}

#[test]
fn the_rarest_sign_is_chosen_where_an_earlier_criterion_cannot_fail() {
    let rule = |first: &str, host: &str| {
        compiled(&json!({
            "trigger.event": {"type": first, "pattern": "push"},
            "trigger.host": {"type": "eq", "pattern": host},
        }))
    };
    let payload = json!({"event": "push", "host": "two"});
    let rules = [rule("eq", "one"), rule("eq", "two"), rule("eq", "three")];
    assert_eq!(candidates(&rules, &payload), [1]);
    // `contains` fails for a number, whatever the host.
    let rules = [rule("contains", "one"), rule("contains", "two")];
    assert_eq!(
        candidates(&rules, &json!({"event": 5, "host": "two"})),
        [0, 1]
    );
    assert_eq!(
        candidates(&rules, &json!({"event": "pull", "host": "two"})),
        Vec::<usize>::new()
    );
}

#[test]
fn groups_are_told_by_the_signs_of_each() {
    let rules = [compiled(&json!({"any": [
        {"trigger.a": {"type": "eq", "pattern": 1}},
        {"trigger.b": {"type": "contains", "pattern": "x"}},
    ]}))];
    for (payload, expected) in [
        (json!({"a": 1, "b": ""}), vec![0]),
        (json!({"a": 2, "b": "axe"}), vec![0]),
        (json!({"a": 2, "b": ["y"]}), vec![]),
        (json!({"a": 2, "b": 5}), vec![0]),
    ] {
        assert_eq!(candidates(&rules, &payload), expected, "{payload}");
    }
}

#[test]
fn literals_tell_nothing_of_a_text_that_is_too_long_for_its_pattern() {
    let rules = [compiled(
        &json!({"trigger.a": {"type": "regex", "pattern": "needle[ab]{4000}"}}),
    )];
    let short = json!({"a": "x".repeat(60_000)});
    let long = json!({"a": "x".repeat(70_000)});
    assert_eq!(candidates(&rules, &short), Vec::<usize>::new());
    assert_eq!(candidates(&rules, &long), [0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_index_changes_nothing(rules in vec(rule(), 1..30), payloads in vec(payload(), 1..6)) {
        let engine = Engine::default();
        let datastore: Arc<dyn Datastore> = Arc::new(EmptyDatastore);
        let indexed = TriggerRules::new(rules.clone());
        for payload in &payloads {
            let instance = Instance { id: "1", payload };
            let templates = Templates::new(&engine, payload, Arc::clone(&datastore), "stanley");
            let plain = dispatch(&rules, instance, NOW, &templates);
            prop_assert_eq!(indexed.dispatch(instance, NOW, &templates), plain, "{}", payload);
        }
    }

    /// One criterion at a time, so that every operator meets every kind of value often.
    #[test]
    fn no_criterion_is_skipped_that_matches_or_fails(
        criteria in vec(criterion(), 40),
        values in vec(value(), 10),
    ) {
        let rules: Vec<CompiledRule> = criteria
            .iter()
            .map(|criterion| compiled(&json!({"trigger.a": criterion})))
            .collect();
        let engine = Engine::default();
        let datastore: Arc<dyn Datastore> = Arc::new(EmptyDatastore);
        let indexed = TriggerRules::new(rules.clone());
        for value in values {
            let payload = json!({"a": value, "other": 1});
            let instance = Instance { id: "1", payload: &payload };
            let templates = Templates::new(&engine, &payload, Arc::clone(&datastore), "stanley");
            let plain = dispatch(&rules, instance, NOW, &templates);
            prop_assert_eq!(indexed.dispatch(instance, NOW, &templates), plain, "{}", payload);
        }
    }
}
