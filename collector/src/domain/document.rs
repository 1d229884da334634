//! How entries are written: for Cloud Foundry's clients, and for ours.

use super::store::{Content, Entry};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proto::api::{LogLine, LogLoss};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The answer of `GET /api/v1/read/:source`: protobuf's JSON form of envelopes. Its readers refuse
/// fields they do not know, and want 64-bit numbers as texts.
pub fn envelopes<'a>(source: &str, entries: impl IntoIterator<Item = &'a Entry>) -> Value {
    let batch: Vec<Value> = entries
        .into_iter()
        .map(|entry| envelope(source, entry))
        .collect();
    json!({ "envelopes": { "batch": batch } })
}

fn envelope(source: &str, entry: &Entry) -> Value {
    let (instance, tags, payload, kind) = match &entry.content {
        Content::Line { head, payload } => {
            let mut tags: Map<String, Value> = head
                .tags
                .iter()
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect();
            tags.insert("source_type".into(), json!(head.source_type));
            (
                head.instance.as_str(),
                tags,
                STANDARD.encode(payload),
                if head.stderr { "ERR" } else { "OUT" },
            )
        }
        Content::Loss { lines, place } => {
            let tags = Map::from_iter([("source_type".to_string(), json!("LGR"))]);
            ("0", tags, STANDARD.encode(loss_text(*lines, place)), "ERR")
        }
    };
    json!({
        "timestamp": entry.timestamp.to_string(),
        "source_id": source,
        "instance_id": instance,
        "tags": tags,
        "log": { "payload": payload, "type": kind },
    })
}

fn loss_text(lines: u64, place: &str) -> String {
    let what = if lines == 1 {
        "1 log line was".to_string()
    } else {
        format!("{lines} log lines were")
    };
    match place {
        "" => format!("{what} lost"),
        place => format!("{what} lost ({place})"),
    }
}

/// An event of the live stream: its name (none for lines) and its data.
pub fn event(entry: &Entry) -> (Option<&'static str>, String) {
    match &entry.content {
        Content::Line { head, payload } => {
            let line = LogLine {
                timestamp: entry.timestamp,
                source_type: head.source_type.clone(),
                instance: head.instance.clone(),
                stderr: head.stderr,
                text: String::from_utf8_lossy(payload).into_owned(),
            };
            (None, text_of(&line))
        }
        Content::Loss { lines, place } => (Some("lost"), lost(*lines, place)),
    }
}

/// Data of the event `lost`.
pub fn lost(lines: u64, place: &str) -> String {
    text_of(&LogLoss {
        lines,
        place: place.to_string(),
    })
}

fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("structs of texts and numbers serialize")
}

#[cfg(test)]
mod tests {
    use super::super::store::Head;
    use super::*;
    use std::sync::Arc;

    fn line(stderr: bool, payload: &[u8]) -> Entry {
        let head = Head {
            instance: "2".into(),
            source_type: "APP/PROC/WEB".into(),
            stderr,
            tags: [("process_type".to_string(), "web".to_string())].into(),
        };
        Entry {
            timestamp: 1_700_000_000_000_000_001,
            content: Content::Line {
                head: Arc::new(head),
                payload: payload.to_vec(),
            },
        }
    }

    #[test]
    fn an_envelope_has_exactly_the_fields_that_strict_readers_know() {
        assert_eq!(
            envelopes("app-1", [&line(true, b"hi")]),
            json!({"envelopes": {"batch": [{
                "timestamp": "1700000000000000001", "source_id": "app-1", "instance_id": "2",
                "tags": {"process_type": "web", "source_type": "APP/PROC/WEB"},
                "log": {"payload": "aGk=", "type": "ERR"},
            }]}})
        );
        assert_eq!(envelopes("app-1", []), json!({"envelopes": {"batch": []}}));
    }

    #[test]
    fn a_loss_is_a_line_for_foreign_readers_and_an_event_for_ours() {
        let loss = Entry {
            timestamp: 5,
            content: Content::Loss {
                lines: 12,
                place: "agent".into(),
            },
        };
        let envelope = envelopes("a", [&loss]);
        let payload = STANDARD
            .decode(
                envelope["envelopes"]["batch"][0]["log"]["payload"]
                    .as_str()
                    .expect("text"),
            )
            .expect("base64");
        assert_eq!(
            String::from_utf8_lossy(&payload),
            "12 log lines were lost (agent)"
        );
        assert_eq!(
            event(&loss),
            (Some("lost"), r#"{"lines":12,"place":"agent"}"#.to_string())
        );
    }

    #[test]
    fn bytes_that_are_no_text_survive_in_the_envelope_and_are_marked_in_the_stream() {
        let entry = line(false, &[0xff, b'a']);
        assert_eq!(
            envelopes("a", [&entry])["envelopes"]["batch"][0]["log"]["payload"],
            "/2E="
        );
        assert!(event(&entry).1.contains("\"text\":\"\u{fffd}a\""));
    }
}
