//! How many trigger instances a second are judged against 1,000 rules, on one core.
//!
//! Three sets of rules, from what a cluster has to what defeats the index:
//! - *spread*: 100 triggers with 10 rules each, of the kinds packs use (equality mostly, then
//!   parts of texts, regular expressions, numbers);
//! - *one trigger*: all 1,000 rules wait for one webhook: 40 % are told apart by equality, 30 % by
//!   regular expressions over a message of about 120 bytes, 20 % by bounds of a number behind an
//!   equality that 20 of them share, 8 % by beginnings, parts and ends of texts, 2 % have a template
//!   that reads the datastore;
//! - *no signs*: one trigger and nothing to look up: regular expressions without a fixed text,
//!   `nequals`, bounds that half of the rules pass. What the rules ask has to be evaluated for most
//!   events: some 300 different criteria.
//!
//! One event in ten misses the keys that most rules look at or has another kind of value there, so
//! that rules fail, in words. Parameters of actions are not rendered. Each set is judged with the
//! index and by evaluating every rule in turn; both must find the same. Rounds alternate and the
//! medians are told, by the clock and by the processor's time of this thread.
//!
//! `cargo run --release -p automation --example rules_bench [-- --json]`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use automation::expressions::{Datastore, EmptyDatastore, Engine};
use automation::rules::{CompiledRule, Dispatch, Instance, Templates, TriggerRules, dispatch};
use automation::spec::Rule;
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

const RULES: usize = 1_000;
const EVENTS: usize = 2_000;
const ROUNDS: usize = 7;
/// The plain evaluation judges one event in this many where it is slow.
const PLAIN_ONE_IN: usize = 10;

/// 2014-08-05T00:05:00Z
const NOW_MILLIS: i64 = 1_407_197_100_000;

struct Event {
    trigger: String,
    payload: Value,
}

struct Scenario {
    name: &'static str,
    rules: BTreeMap<String, Vec<Value>>,
    events: Vec<Event>,
    /// How often a round goes through the events, to last long enough to be measured.
    passes: usize,
}

fn criterion(operator: &str, pattern: Value) -> Value {
    json!({"type": operator, "pattern": pattern})
}

fn spread() -> Scenario {
    const TRIGGERS: usize = 100;
    let mut rules: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for index in 0..RULES {
        let trigger = index % TRIGGERS;
        let host = format!("host-{}", index / TRIGGERS);
        let criteria = match index / TRIGGERS {
            0..=4 => json!({
                "trigger.body.kind": criterion("equals", json!("push")),
                "trigger.body.host.name": criterion("equals", json!(host)),
            }),
            5 | 6 => {
                json!({"trigger.body.message": criterion("contains", json!(format!("{host} is down")))})
            }
            7 => {
                json!({"trigger.body.message": criterion("matchregex", json!(format!("^{host} .*failed$")))})
            }
            8 => json!({"trigger.body.load": criterion("gt", json!(90))}),
            _ => json!({"trigger.body.owner": criterion("exists", Value::Null)}),
        };
        rules
            .entry(format!("bench.trigger_{trigger}"))
            .or_default()
            .push(criteria);
    }
    let events = (0..EVENTS)
        .map(|index| Event {
            trigger: format!("bench.trigger_{}", index % TRIGGERS),
            payload: payload(index, index % 10),
        })
        .collect();
    Scenario {
        name: "spread",
        rules,
        events,
        passes: 50,
    }
}

const WEBHOOK: &str = "core.st2.webhook.bench";

fn one_trigger() -> Scenario {
    let criteria = (0..RULES).map(|index| match index % 50 {
        0..=19 => json!({
            "trigger.body.kind": criterion("equals", json!("push")),
            "trigger.body.host.name": criterion("equals", json!(format!("host-{index}"))),
        }),
        20..=29 => json!({
            "trigger.body.message": criterion("regex", json!(format!(r"host-{index}\b.*\bfailed (twice|\d+ times)"))),
        }),
        30..=34 => json!({
            "trigger.body.message": criterion("iregex", json!(format!(r"^\w+: DISK \d+ OF HOST-{index} is full"))),
        }),
        35..=44 => json!({
            "trigger.body.host.name": criterion("equals", json!(format!("host-{}", index % 50))),
            "trigger.body.load": criterion("gt", json!(index % 100)),
        }),
        45 => json!({"trigger.body.host.name": criterion("startswith", json!(format!("host-{index}-")))}),
        46 => json!({"trigger.body.message": criterion("icontains", json!(format!("Host-{index} restarted")))}),
        47 => json!({"trigger.body.host.name": criterion("iendswith", json!(format!("-{index}")))}),
        48 => json!({"trigger.body.tags": criterion("contains", json!(format!("tag-{index}")))}),
        _ => json!({
            "trigger.body.host.name": criterion("equals", json!(format!("host-{index}"))),
            "trigger.body.load": criterion("gt", json!("{{ st2kv.system.load | default(50, true) }}")),
        }),
    });
    Scenario {
        name: "one trigger",
        rules: BTreeMap::from([(WEBHOOK.to_owned(), criteria.collect())]),
        events: events_of_one_trigger(),
        passes: 3,
    }
}

fn no_signs() -> Scenario {
    let criteria = (0..RULES).map(|index| match index % 4 {
        0 => json!({"trigger.body.host.name": criterion("regex", json!(format!(r"^[a-z]+-\d{{{}}}$", 5 + index % 20)))}),
        1 => json!({
            "trigger.body.kind": criterion("nequals", json!("push")),
            "trigger.body.host.name": criterion("nequals", json!(format!("host-{index}"))),
        }),
        2 => json!({
            "trigger.body.load": criterion("gt", json!(index % 100)),
            "trigger.body.message": criterion("regex", json!(r"\d+ \d+$")),
        }),
        _ => json!({"trigger.body.message": criterion("regex", json!(r"^\d+ [A-Z]{3}"))}),
    });
    Scenario {
        name: "no signs",
        rules: BTreeMap::from([(WEBHOOK.to_owned(), criteria.collect())]),
        events: events_of_one_trigger(),
        passes: 1,
    }
}

fn events_of_one_trigger() -> Vec<Event> {
    (0..EVENTS)
        .map(|index| Event {
            trigger: WEBHOOK.to_owned(),
            payload: payload(index, index * 7 % (2 * RULES)),
        })
        .collect()
}

fn payload(index: usize, host: usize) -> Value {
    let message = match index % 3 {
        0 => format!(
            "backup: job {index} of host-{host} failed twice after 3 attempts; see /var/log/backup/{index}.log on the machine"
        ),
        1 => format!(
            "kernel: disk {} of host-{host} is full: no space left on device while writing to /srv/data/{index}",
            index % 9
        ),
        _ => format!(
            "health: host-{host} answered after {index} ms; load average and memory are within their bounds again"
        ),
    };
    match index % 20 {
        18 => json!({"body": {"kind": "ping", "id": index}}),
        19 => json!({"body": {
            "kind": "push",
            "host": {"name": host},
            "message": message,
            "load": "unknown",
        }}),
        _ => json!({"body": {
            "kind": "push",
            "host": {"name": format!("host-{host}"), "address": "10.0.0.1"},
            "message": message,
            "load": index % 100,
            "tags": ["all", format!("tag-{host}"), "linux"],
        }}),
    }
}

fn rule(reference: String, criteria: &Value) -> CompiledRule {
    CompiledRule::new(&Rule {
        reference,
        enabled: true,
        criteria: criteria.as_object().cloned().unwrap_or_default(),
        ..Rule::default()
    })
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("Linux counts it for every thread")
        .into()
}

#[derive(Default)]
struct Measured {
    events: usize,
    matched: usize,
    failures: usize,
    wall: Duration,
    processor: Duration,
}

fn measure<'e>(
    events: impl Iterator<Item = &'e Event>,
    engine: &Engine,
    judge: impl Fn(&'e Event, Instance<'e>, &Templates<'_>) -> Dispatch,
) -> Measured {
    let datastore: Arc<dyn Datastore> = Arc::new(EmptyDatastore);
    let mut measured = Measured::default();
    let (begun, used) = (Instant::now(), processor_time());
    for event in events {
        let instance = Instance {
            id: "5f0c0000000000000000000a",
            payload: &event.payload,
        };
        let templates = Templates::new(engine, &event.payload, Arc::clone(&datastore), "stanley");
        let dispatch = judge(event, instance, &templates);
        measured.events += 1;
        measured.matched += dispatch.matched.len();
        measured.failures += dispatch.failures.len();
    }
    measured.wall = begun.elapsed();
    measured.processor = processor_time().saturating_sub(used);
    measured
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn rate(rounds: &[Measured], time: impl Fn(&Measured) -> Duration) -> f64 {
    let rates = rounds
        .iter()
        .map(|round| round.events as f64 / time(round).as_secs_f64().max(1e-9));
    median(rates.collect())
}

fn run(scenario: &Scenario) -> Value {
    let engine = Engine::default();
    let plain: BTreeMap<&str, Vec<CompiledRule>> = scenario
        .rules
        .iter()
        .map(|(trigger, rules)| {
            let rules = rules.iter().enumerate();
            let rules = rules.map(|(index, criteria)| rule(format!("bench.r{index}"), criteria));
            (trigger.as_str(), rules.collect())
        })
        .collect();
    let begun = Instant::now();
    let indexed: BTreeMap<&str, TriggerRules<CompiledRule>> = plain
        .iter()
        .map(|(trigger, rules)| (*trigger, TriggerRules::new(rules.clone())))
        .collect();
    let built = begun.elapsed();
    let sample = || scenario.events.iter().step_by(PLAIN_ONE_IN);
    let by_index = |event: &Event, instance: Instance<'_>, templates: &Templates<'_>| {
        indexed[event.trigger.as_str()].dispatch(instance, NOW_MILLIS, templates)
    };
    let by_turns = |event: &Event, instance: Instance<'_>, templates: &Templates<'_>| {
        dispatch(
            &plain[event.trigger.as_str()],
            instance,
            NOW_MILLIS,
            templates,
        )
    };
    // Also warms what regular expressions keep between texts.
    let found = |measured: Measured| (measured.matched, measured.failures);
    assert_eq!(
        found(measure(sample(), &engine, by_index)),
        found(measure(sample(), &engine, by_turns)),
        "the index changes what is found in {:?}",
        scenario.name
    );
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let all = || (0..scenario.passes).flat_map(|_| &scenario.events);
    for _ in 0..ROUNDS {
        with.push(measure(all(), &engine, by_index));
        without.push(measure(all().step_by(PLAIN_ONE_IN), &engine, by_turns));
    }
    json!({
        "name": scenario.name,
        "rules": scenario.rules.values().map(Vec::len).sum::<usize>(),
        "triggers": scenario.rules.len(),
        "events": EVENTS,
        "matched": with[0].matched / scenario.passes,
        "failures": with[0].failures / scenario.passes,
        "index_built_milliseconds": built.as_secs_f64() * 1e3,
        "events_per_second": rate(&with, |round| round.wall),
        "events_per_processor_second": rate(&with, |round| round.processor),
        "plain_events_per_second": rate(&without, |round| round.wall),
        "plain_events_per_processor_second": rate(&without, |round| round.processor),
    })
}

fn print(line: &str) {
    use std::io::Write as _;
    // Nothing is lost when nobody reads.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn main() {
    let as_json = std::env::args().any(|argument| argument == "--json");
    let results: Vec<Value> = [spread(), one_trigger(), no_signs()]
        .iter()
        .map(run)
        .collect();
    if as_json {
        print(&json!({"rounds": ROUNDS, "scenarios": results}).to_string());
        return;
    }
    for result in &results {
        let number = |name: &str| result[name].as_f64().unwrap_or_default();
        print(&format!(
            "{}: {} rules at {} triggers, {EVENTS} events: {} matches, {} failures",
            result["name"].as_str().unwrap_or_default(),
            result["rules"],
            result["triggers"],
            result["matched"],
            result["failures"],
        ));
        print(&format!(
            "  indexed {:>9.0} events/s ({:.0} per second of processor time), built in {:.1} ms",
            number("events_per_second"),
            number("events_per_processor_second"),
            number("index_built_milliseconds"),
        ));
        print(&format!(
            "  plain   {:>9.0} events/s ({:.0} per second of processor time)",
            number("plain_events_per_second"),
            number("plain_events_per_processor_second"),
        ));
    }
}
