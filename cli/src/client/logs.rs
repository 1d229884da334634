//! What is streamed: log lines of an app (the collector's live stream, and the recent ones), and
//! changes of the configuration.

use super::sse::Decoder;
use super::{Client, names};
use crate::failure::{Failure, Outcome};
use base64::Engine;
use proto::api::{LogLine, LogLoss};
use reqwest::{Method, Response};
use serde::Deserialize;
use std::collections::{BTreeMap, VecDeque};

/// What a stream brings.
#[derive(Debug, Clone, PartialEq)]
pub enum LogItem {
    Line(LogLine),
    /// Lines were dropped on the way, and where.
    Lost(LogLoss),
}

/// An open stream.
pub struct LogStream {
    response: Response,
    decoder: Decoder,
    waiting: VecDeque<LogItem>,
}

impl LogStream {
    /// The next item; None when the server ended the stream. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<LogItem> {
        loop {
            if let Some(item) = self.waiting.pop_front() {
                return Some(item);
            }
            let chunk = self.response.chunk().await.ok()??;
            self.waiting
                .extend(self.decoder.push(&chunk).into_iter().filter_map(|event| {
                    match event.name.as_str() {
                        "" | "message" => serde_json::from_str(&event.data).ok().map(LogItem::Line),
                        "lost" => serde_json::from_str(&event.data).ok().map(LogItem::Lost),
                        _ => None,
                    }
                }));
        }
    }
}

/// Changes of the configuration as they happen.
pub struct ConfigStream {
    response: Response,
    decoder: Decoder,
    waiting: VecDeque<String>,
}

impl ConfigStream {
    /// The data of the next change; None when the server ended the stream.
    pub async fn next_data(&mut self) -> Option<String> {
        loop {
            if let Some(data) = self.waiting.pop_front() {
                return Some(data);
            }
            let chunk = self.response.chunk().await.ok()??;
            self.waiting.extend(
                self.decoder
                    .push(&chunk)
                    .into_iter()
                    .map(|event| event.data),
            );
        }
    }
}

impl Client {
    pub async fn config_stream(&self) -> Outcome<ConfigStream> {
        let url = names::with_query(&format!("{}/yard/v1/config/watch", self.target.api), &[]);
        let response = self
            .exchange(Method::GET, &url, |request| {
                request.header("accept", "text/event-stream")
            })
            .await?;
        Ok(ConfigStream {
            response,
            decoder: Decoder::default(),
            waiting: VecDeque::new(),
        })
    }

    /// Follows the lines of an app, after up to `recent` kept ones.
    pub async fn log_stream(&self, app: &str, recent: usize) -> Outcome<LogStream> {
        let base = self.log_cache()?;
        let url = names::with_query(
            &format!("{base}/yard/v1/logs/{app}/stream"),
            &[("recent", &recent.to_string())],
        );
        let response = self
            .exchange(Method::GET, &url, |request| {
                request.header("accept", "text/event-stream")
            })
            .await?;
        Ok(LogStream {
            response,
            decoder: Decoder::default(),
            waiting: VecDeque::new(),
        })
    }

    /// The newest kept lines of an app, oldest first.
    pub async fn recent_logs(&self, app: &str, limit: usize) -> Outcome<Vec<LogLine>> {
        let base = self.log_cache()?;
        let limit = limit.clamp(1, 1000).to_string();
        let query = [
            ("envelope_types", "LOG"),
            ("descending", "true"),
            ("limit", &limit),
            ("start_time", "-6795364578871345152"),
        ];
        let url = names::with_query(&format!("{base}/api/v1/read/{app}"), &query);
        let answer: ReadAnswer = self
            .call(Method::GET, &url, |request| request)
            .await?
            .json("/api/v1/read")?;
        let mut lines: Vec<LogLine> = answer
            .envelopes
            .batch
            .into_iter()
            .filter_map(Envelope::line)
            .collect();
        lines.reverse();
        Ok(lines)
    }

    fn log_cache(&self) -> Outcome<&str> {
        let base = self.target.log_cache.as_str();
        if base.is_empty() {
            Err(Failure::failed(
                "this cluster does not say where its logs are",
            ))
        } else {
            Ok(base)
        }
    }
}

/// The part of a log-cache answer that is read.
#[derive(Debug, Deserialize)]
struct ReadAnswer {
    envelopes: Batch,
}

#[derive(Debug, Deserialize)]
struct Batch {
    #[serde(default)]
    batch: Vec<Envelope>,
}

#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    instance_id: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    log: Option<Payload>,
}

#[derive(Debug, Deserialize)]
struct Payload {
    #[serde(default)]
    payload: String,
    #[serde(default, rename = "type")]
    kind: String,
}

impl Envelope {
    fn line(self) -> Option<LogLine> {
        let log = self.log?;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(&log.payload)
            .ok()?;
        Some(LogLine {
            timestamp: self.timestamp.parse().ok()?,
            source_type: self.tags.get("source_type").cloned().unwrap_or_default(),
            instance: self.instance_id,
            stderr: log.kind == "ERR",
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_of_the_log_cache_is_read() {
        let text = r#"{"envelopes":{"batch":[{"timestamp":"1700000000000000000","source_id":"a","instance_id":"0",
            "tags":{"source_type":"APP/PROC/WEB"},"log":{"payload":"aGVsbG8=","type":"ERR"}},{"timestamp":"1","gauge":{}}]}}"#;
        let answer: ReadAnswer = serde_json::from_str(text).expect("an answer");
        let lines: Vec<LogLine> = answer
            .envelopes
            .batch
            .into_iter()
            .filter_map(Envelope::line)
            .collect();
        assert_eq!(
            lines,
            [LogLine {
                timestamp: 1_700_000_000_000_000_000,
                source_type: "APP/PROC/WEB".into(),
                instance: "0".into(),
                stderr: true,
                text: "hello".into()
            }]
        );
        let empty: ReadAnswer =
            serde_json::from_str(r#"{"envelopes":{"batch":[]}}"#).expect("an empty answer");
        assert!(empty.envelopes.batch.is_empty());
    }
}
