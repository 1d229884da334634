//! Every JSON message of the catalogue has golden samples: old bytes must decode, and what was
//! decoded must encode to the same document. Mutated samples (fields dropped, changed, added) must
//! decode to a value that survives its own round trip, or be refused; random bytes never panic.

use proptest::prelude::*;
use proto::bus::{
    CATALOGUE, Encoding, Payload, component::*, dea::*, health::*, router::*, staging::*, stream::*,
};
use serde_json::Value;
use std::collections::BTreeSet;

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One row per sample: the same closure works for every type.
struct Sample {
    name: &'static str,
    payload: &'static str,
    /// Decodes and encodes again; `None` if refused.
    again: fn(&[u8]) -> Option<Vec<u8>>,
    /// Whether a decoded value equals the decoding of its own encoding.
    stable: fn(&[u8]) -> bool,
}

fn again<M: Payload>(bytes: &[u8]) -> Option<Vec<u8>> {
    M::decode(bytes).ok().map(|message| message.encode())
}

fn stable<M: Payload + PartialEq>(bytes: &[u8]) -> bool {
    match M::decode(bytes) {
        Ok(message) => M::decode(&message.encode()).is_ok_and(|second| second == message),
        Err(_) => true,
    }
}

macro_rules! samples {
    ($($name:literal: $payload:ident),+ $(,)?) => {
        const SAMPLES: &[Sample] = &[$(Sample {
            name: $name,
            payload: stringify!($payload),
            again: again::<$payload>,
            stable: stable::<$payload>,
        }),+];
    };
}

samples! {
    "vcap.component.announce": Component,
    "vcap.component.discover.reply": Component,
    "router.start": RouterStart,
    "router.register": Registration,
    "router.register.registrar": Registration,
    "router.register.port": Registration,
    "dea.start": Hello,
    "dea.status.reply": AgentStatus,
    "dea.discover": Discover,
    "dea.advertise": Advertisement,
    "dea.id.start": StartInstance,
    "yard.dea.id.enter": EnterInstance,
    "yard.dea.id.enter.reply": EnterReply,
    "yard.dea.id.enter.reply.calls": EnterReply,
    "dea.stop": StopInstances,
    "dea.update": UpdateInstances,
    "dea.find.droplet": FindInstances,
    "dea.find.droplet.reply": FoundInstance,
    "droplet.status.reply": InstanceStats,
    "dea.shutdown": Shutdown,
    "dea.shutdown.drain": Shutdown,
    "yard.dea.id.drain": DrainAgent,
    "yard.dea.id.drain.reply": DrainReply,
    "dea.heartbeat": Heartbeat,
    "dea.heartbeat.empty": Heartbeat,
    "dea.heartbeat.tasks": Heartbeat,
    "droplet.exited": Exited,
    "droplet.updated": Updated,
    "healthmanager.status": HealthStatusQuery,
    "healthmanager.status.reply": HealthStatus,
    "healthmanager.health": HealthQuery,
    "healthmanager.health.reply": Health,
    "cloudcontroller.bulk.credentials.reply": BulkCredentials,
    "cloudcontrollers.hm.requests.start": HealthRequest,
    "cloudcontrollers.hm.requests.stop": HealthRequest,
    "vcap.cc.events": ControllerEvent,
    "bulk.page": BulkPage,
    "bulk.crashes": BulkCrashes,
    "vcap.stager.queue": StagingRequest,
    "vcap.stager.queue.reply": StagingReply,
    "yard.staging.completed.staged": StagingCompleted,
    "yard.staging.completed.failed": StagingCompleted,
    "acknowledged": Acknowledged,
}

/// The document without what an encoder may leave out: nulls, and empty lists, maps and texts.
fn essential(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| (key, essential(value)))
                .filter(|(_, value)| match value {
                    Value::Null => false,
                    Value::Array(items) => !items.is_empty(),
                    Value::Object(map) => !map.is_empty(),
                    Value::String(text) => !text.is_empty(),
                    Value::Bool(_) | Value::Number(_) => true,
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(essential).collect()),
        other => other,
    }
}

#[test]
fn golden_samples_decode_and_encode_to_the_same_document() {
    for sample in SAMPLES {
        let bytes = golden(sample.name);
        let encoded =
            (sample.again)(&bytes).unwrap_or_else(|| panic!("{} is refused", sample.name));
        let before: Value = serde_json::from_slice(&bytes).expect("a golden sample is JSON");
        let after: Value = serde_json::from_slice(&encoded).expect("what we encode is JSON");
        let mut after = essential(after);
        let before = essential(before);
        // A default that was absent may be written out; nothing that was there may be lost or changed.
        if let (Value::Object(after), Value::Object(before)) = (&mut after, &before) {
            after.retain(|key, value| before.contains_key(key) || !is_default(value));
        }
        assert_eq!(after, before, "{}", sample.name);
    }
}

fn is_default(value: &Value) -> bool {
    matches!(value, Value::Number(_) | Value::Bool(false))
}

#[test]
fn every_json_payload_of_the_catalogue_has_a_golden_sample() {
    let sampled: BTreeSet<&str> = SAMPLES.iter().map(|sample| sample.payload).collect();
    for entry in CATALOGUE
        .iter()
        .filter(|entry| entry.encoding == Encoding::Json)
    {
        for payload in [Some(entry.payload), entry.reply]
            .into_iter()
            .flatten()
            .filter(|payload| *payload != "Empty")
        {
            assert!(
                sampled.contains(payload),
                "{}: no golden sample of {payload}",
                entry.pattern
            );
        }
    }
}

#[test]
fn unknown_fields_are_ignored() {
    for sample in SAMPLES {
        let mut value: Value =
            serde_json::from_slice(&golden(sample.name)).expect("a golden sample is JSON");
        if let Value::Object(map) = &mut value {
            map.insert(
                "from_the_future".to_string(),
                serde_json::json!({"deep": [1, 2, 3]}),
            );
            assert!(
                (sample.again)(value.to_string().as_bytes()).is_some(),
                "{}",
                sample.name
            );
        }
    }
}

/// Walks to a pseudo-random place of the document and damages it there.
fn mutate(value: &mut Value, choices: &mut impl Iterator<Item = u32>, with: &Value) {
    let choice = choices.next().unwrap_or(0) as usize;
    match value {
        Value::Object(map) if !map.is_empty() => {
            let key = map
                .keys()
                .nth(choice % map.len())
                .cloned()
                .expect("the map is not empty");
            if choice.is_multiple_of(5) {
                map.remove(&key);
            } else if let Some(inner) = map.get_mut(&key) {
                mutate(inner, choices, with);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let place = choice % items.len();
            mutate(&mut items[place], choices, with);
        }
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => {
            *value = with.clone();
        }
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1.0e12..1.0e12f64).prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        Just(serde_json::json!([])),
        Just(serde_json::json!({})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_mutated_sample_is_refused_or_survives_its_round_trip(
        which in 0..SAMPLES.len(),
        path in prop::collection::vec(any::<u32>(), 8),
        with in scalar(),
    ) {
        let sample = &SAMPLES[which];
        let mut value: Value = serde_json::from_slice(&golden(sample.name)).expect("a golden sample is JSON");
        mutate(&mut value, &mut path.into_iter(), &with);
        prop_assert!((sample.stable)(value.to_string().as_bytes()), "{}: {value}", sample.name);
    }

    #[test]
    fn random_bytes_never_panic(which in 0..SAMPLES.len(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (SAMPLES[which].again)(&bytes);
        let _ = again::<RunTask>(&bytes);
        let _ = again::<TaskExited>(&bytes);
        let _ = again::<LogBatch>(&bytes);
        let _ = again::<RouterTraffic>(&bytes);
        let _ = again::<WakeProcess>(&bytes);
    }

    #[test]
    fn protobuf_messages_survive_their_round_trip(
        task in ".{0,20}", lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
        memory in any::<u64>(), status in any::<i32>(), lost in any::<u64>(),
    ) {
        let run = RunTask { task: task.clone(), memory_mb: memory, command: vec![task.clone()], ..RunTask::default() };
        prop_assert_eq!(RunTask::decode(&run.encode()), Ok(run));
        let exited = TaskExited { task: task.clone(), exit_status: status, result: lines.concat(), ..TaskExited::default() };
        prop_assert_eq!(TaskExited::decode(&exited.encode()), Ok(exited));
        let batch = LogBatch {
            lines: lines.into_iter().map(|payload| LogLine { payload, source: task.clone(), ..LogLine::default() }).collect(),
            losses: vec![LogLoss { source: task.clone(), lines: lost, place: "agent".to_string() }],
        };
        prop_assert_eq!(LogBatch::decode(&batch.encode()), Ok(batch));
        let routes = vec![RouteTraffic { route: task.clone(), app: task.clone(), requests: memory, errors: lost, open: memory }];
        let traffic = RouterTraffic { router: task.clone(), run: task, number: lost, routes, last: memory % 2 == 0 };
        prop_assert_eq!(RouterTraffic::decode(&traffic.encode()), Ok(traffic));
    }
}

#[test]
fn deep_nesting_is_refused_not_a_stack_overflow() {
    let deep = format!(
        "{{\"droplets\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(Heartbeat::decode(deep.as_bytes()).is_err());
}
