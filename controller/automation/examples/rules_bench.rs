//! How many trigger instances a second are judged against 1,000 rules of one trigger.
//!
//! `cargo run --release -p automation --example rules_bench`

use std::time::Instant;

use automation::rules::{CompiledRule, Instance, dispatch};
use automation::spec::Rule;
use serde_json::{Map, Value, json};

const RULES: usize = 1_000;
const EVENTS: usize = 2_000;

/// 2014-08-05T00:05:00Z
const NOW_MILLIS: i64 = 1_407_197_100_000;

fn no_templates(template: &Value, _name: &str, _payload: &Value) -> Result<Value, String> {
    Ok(template.clone())
}

/// A pair of criteria of the kinds that packs use most; the second decides.
fn criteria(index: usize) -> Map<String, Value> {
    let first = json!({"type": "equals", "pattern": "push"});
    let second = match index % 4 {
        0 => json!({"type": "equals", "pattern": format!("host-{index}")}),
        1 => json!({"type": "contains", "pattern": format!("t-{index}x")}),
        2 => json!({"type": "regex", "pattern": format!("^host-{index}$")}),
        _ => json!({"type": "startswith", "pattern": format!("host-{index}x")}),
    };
    Map::from_iter([
        ("trigger.body.kind".to_owned(), first),
        ("trigger.body.host.name".to_owned(), second),
    ])
}

fn report(line: &str) {
    use std::io::Write as _;
    // Nothing is lost when nobody reads.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn main() {
    let rules: Vec<CompiledRule> = (0..RULES)
        .map(|index| {
            CompiledRule::new(&Rule {
                reference: format!("bench.rule_{index}"),
                enabled: true,
                criteria: criteria(index),
                ..Rule::default()
            })
        })
        .collect();
    let payloads: Vec<Value> = (0..EVENTS)
        .map(|index| {
            json!({"body": {
                "kind": "push",
                "host": {"name": format!("host-{index}"), "address": "10.0.0.1"},
            }})
        })
        .collect();
    let start = Instant::now();
    let mut matched = 0;
    for payload in &payloads {
        let instance = Instance { id: "1", payload };
        matched += dispatch(&rules, instance, NOW_MILLIS, &no_templates)
            .matched
            .len();
    }
    let seconds = start.elapsed().as_secs_f64();
    report(&format!(
        "{RULES} rules, {EVENTS} events: {matched} matches"
    ));
    report(&format!("{:.0} events/s", EVENTS as f64 / seconds));
    report(&format!(
        "{:.0} ns for each rule and event",
        seconds * 1e9 / (EVENTS * RULES) as f64
    ));
}
