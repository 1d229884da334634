//! An execution as the host sees it: what it printed, how it is to end, how it ended.

use super::orders::Run;
use super::slot::Report;
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub const BOTH: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// What was printed on a stream so far.
#[derive(Debug, Default)]
struct Printed {
    bytes: usize,
    /// The beginning of a character whose end was not read yet.
    part: Vec<u8>,
    truncated: bool,
}

impl Printed {
    /// The text that the bytes complete; bytes that are no text appear as U+FFFD.
    fn take(&mut self, bytes: &[u8], is_end: bool) -> String {
        self.part.extend_from_slice(bytes);
        let whole = if is_end {
            self.part.len()
        } else {
            self.part.len() - unfinished(&self.part)
        };
        let text = String::from_utf8_lossy(&self.part[..whole]).into_owned();
        self.part.drain(..whole);
        text
    }
}

/// How many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(_) => return 0,
            Err(error) => match error.error_len() {
                None => return rest.len() - error.valid_up_to(),
                Some(length) => rest = &rest[error.valid_up_to() + length..],
            },
        }
    }
}

#[derive(Debug)]
pub struct Execution {
    pub id: String,
    pub worker: i32,
    pub grace: Duration,
    output_limit: usize,
    began: Instant,
    /// When its time is over.
    pub time_out_at: Option<Instant>,
    pub timed_out: bool,
    pub stopped: bool,
    /// When everything of it is killed; `Some` from the first TERM on.
    pub kill_at: Option<Instant>,
    pub killed: bool,
    printed: [Printed; 2],
    sequence: u64,
}

impl Execution {
    pub fn new(run: &Run, worker: i32, now: Instant) -> Execution {
        Execution {
            id: run.id.clone(),
            worker,
            grace: run.grace,
            output_limit: run.output_limit,
            began: now,
            time_out_at: run.timeout.map(|timeout| now + timeout),
            timed_out: false,
            stopped: false,
            kill_at: None,
            killed: false,
            printed: Default::default(),
            sequence: 0,
        }
    }

    pub fn started(&self) -> Value {
        json!({"event": "started", "id": self.id, "pid": self.worker, "at": unix_ms()})
    }

    /// The event for what was read of a stream (nothing: its end); `None`: there is nothing to tell.
    pub fn output(&mut self, stream: Stream, bytes: &[u8]) -> Option<Value> {
        let printed = &mut self.printed[stream as usize];
        let room = self.output_limit - printed.bytes;
        let kept = &bytes[..bytes.len().min(room)];
        let is_cut = bytes.len() > room;
        printed.truncated |= is_cut;
        printed.bytes += kept.len();
        let text = printed.take(kept, is_cut || bytes.is_empty());
        if text.is_empty() {
            return None;
        }
        let event = json!({"event": "output", "id": self.id, "stream": stream.name(), "seq": self.sequence, "data": text});
        self.sequence += 1;
        Some(event)
    }

    /// The last event. `None` for a report: its slot died. `reusable`: the slot may be given the next.
    pub fn exited(&self, report: Option<Report>, reusable: bool, now: Instant) -> Value {
        let killed = Report {
            status: None,
            signal: Some(9),
            cpu_ms: 0,
            most_memory_bytes: 0,
        };
        let Report {
            status,
            signal,
            cpu_ms,
            most_memory_bytes,
        } = report.unwrap_or(killed);
        let truncated = Stream::BOTH
            .iter()
            .filter(|stream| self.printed[**stream as usize].truncated);
        let truncated: Vec<&str> = truncated.map(|stream| stream.name()).collect();
        let wall_ms = u64::try_from((now - self.began).as_millis()).unwrap_or(u64::MAX);
        json!({
            "event": "exited", "id": self.id, "pid": self.worker, "at": unix_ms(), "status": status,
            "signal": signal, "result": null, "result_over_limit": false, "timed_out": self.timed_out,
            "stopped": self.stopped, "truncated": truncated, "wall_ms": wall_ms, "cpu_ms": cpu_ms,
            "max_rss_bytes": most_memory_bytes, "reusable": reusable,
        })
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell_host::orders;

    fn execution(output_limit: u64) -> Execution {
        let Value::Object(body) =
            json!({"kind": "shell", "id": "a", "command": "x", "output_limit": output_limit})
        else {
            panic!("an object")
        };
        Execution::new(&orders::understand(&body).unwrap(), 7, Instant::now())
    }

    fn text(event: Option<Value>) -> Option<String> {
        event.map(|event| event["data"].as_str().unwrap().to_string())
    }

    #[test]
    fn characters_are_never_split() {
        let mut execution = execution(100);
        let bytes = ["h\u{e4}m \u{1f600}!".as_bytes(), b"\xff\xc3"].concat();
        // Byte by byte, and then the end.
        let pieces = bytes.chunks(1).chain([&[][..]]);
        let told: Vec<Option<String>> = pieces
            .map(|piece| text(execution.output(Stream::Stdout, piece)))
            .collect();
        let whole: String = told.iter().flatten().map(String::as_str).collect();
        assert_eq!(whole, "h\u{e4}m \u{1f600}!\u{fffd}\u{fffd}");
        assert_eq!(told[1], None, "half a character is not told");
    }

    #[test]
    fn each_stream_is_cut_at_its_limit() {
        let mut execution = execution(5);
        let first = execution.output(Stream::Stdout, b"abc").unwrap();
        assert_eq!(
            (&first["seq"], &first["stream"]),
            (&json!(0), &json!("stdout"))
        );
        assert_eq!(
            text(execution.output(Stream::Stdout, b"defg")).as_deref(),
            Some("de")
        );
        assert_eq!(text(execution.output(Stream::Stdout, b"hij")), None);
        let last = execution.output(Stream::Stderr, b"12345").unwrap();
        assert_eq!((&last["seq"], &last["data"]), (&json!(2), &json!("12345")));
        let exited = execution.exited(None, false, Instant::now());
        assert_eq!(
            (&exited["truncated"], &exited["signal"]),
            (&json!(["stdout"]), &json!(9))
        );
        // Half a character at the limit is none.
        let mut execution = self::execution(2);
        assert_eq!(
            text(execution.output(Stream::Stdout, "a\u{e4}".as_bytes())).as_deref(),
            Some("a\u{fffd}")
        );
    }
}
