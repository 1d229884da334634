//! The stream of events (contract §1.5, §1.6): server-sent events, filtered here.
//!
//! A reader that asks for the end of an execution gets its last state at once if it has ended already:
//! clients subscribe after they were told the id. Each reader has a queue; one that does not keep up loses
//! events and is told so in a comment, which clients skip. What it waits for is then read from the row.

use super::Answer;
use super::extract::Caller;
use super::listing::Asked;
use crate::automation::Automation;
use crate::automation::ops::{Fault, Permission};
use crate::automation::stream::{StreamEvent, UPDATED};
use crate::domain::times::rfc3339_micros;
use crate::store::automation::executions::Execution;
use automation::execution::Status;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use daemon::Shutdown;
use http::{HeaderName, header};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::Instant;

/// Between two empty lines that keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(25);
/// Longest wait before output is looked for without being told.
const LOOK: Duration = Duration::from_secs(1);
const OUTPUT: &str = "st2.execution.output__create";
/// What is sent to who does not say what he wants.
const DEFAULT: &[&str] = &[
    "st2.announcement__*",
    "st2.execution__create",
    "st2.execution__update",
    "st2.execution__delete",
    "st2.liveaction__*",
];

/// Under `/stream/v1`, and under `/v1` at a port of its own.
pub fn routes() -> Router<Automation> {
    at_the_api().route("/executions/{id}/output", get(output))
}

/// The part that clients also look for beside the API.
pub fn at_the_api() -> Router<Automation> {
    Router::new().route("/stream", get(events))
}

/// Whether a text fits a shell's pattern: `*`, `?` and `[abc]`.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut read) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        if pattern.get(at) == Some(&'*') {
            star = Some((at + 1, read));
            at += 1;
        } else if let Some(length) = one(&pattern[at..], text[read]) {
            at += length;
            read += 1;
        } else if let Some((after, from)) = star {
            star = Some((after, from + 1));
            at = after;
            read = from + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|left| *left == '*')
}

/// How much of the pattern stands for this character; None: it does not.
fn one(pattern: &[char], character: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            let end = 2 + pattern.get(2..)?.iter().position(|found| *found == ']')?;
            let (set, negated) = match pattern.get(1) {
                Some('!') => (&pattern[2..end], true),
                _ => (&pattern[1..end], false),
            };
            (set.contains(&character) != negated).then_some(end + 1)
        }
        literal => (*literal == character).then_some(1),
    }
}

/// What a reader wants to see.
#[derive(Debug, Clone)]
struct Wanted {
    events: Vec<String>,
    action_refs: Option<Vec<String>>,
    execution_ids: Option<Vec<String>>,
    /// The event and the execution after whose end the stream ends.
    end: Option<(String, String)>,
}

impl Wanted {
    fn read(asked: &Asked) -> Wanted {
        let default = || DEFAULT.iter().map(|name| name.to_string()).collect();
        let end = asked.text("end_execution_id").map(|id| {
            let event = asked.text("end_event").unwrap_or(UPDATED);
            (event.to_string(), id.to_string())
        });
        Wanted {
            events: asked.list("events").unwrap_or_else(default),
            action_refs: asked.list("action_refs"),
            execution_ids: asked.list("execution_ids"),
            end,
        }
    }

    fn takes(&self, event: &StreamEvent) -> bool {
        let document = &event.document;
        let is_output = event.name == OUTPUT;
        let action = if is_output {
            document["action_ref"].as_str()
        } else {
            document["action"]["ref"].as_str()
        };
        let execution = if is_output {
            document["execution_id"].as_str()
        } else {
            document["id"].as_str()
        };
        let any =
            |patterns: &[String], text: &str| patterns.iter().any(|pattern| fits(pattern, text));
        any(&self.events, &event.name)
            // What concerns no action is not filtered by it.
            && self.action_refs.as_ref().is_none_or(|refs| {
                action.is_none_or(|action| any(refs, action))
            })
            && self.execution_ids.as_ref().is_none_or(|ids| {
                execution.is_some_and(|id| any(ids, id))
            })
    }

    /// Whether the stream ends with this event.
    fn ends_with(&self, name: &str, document: &Value) -> bool {
        self.end.as_ref().is_some_and(|(event, id)| {
            event == name && document["id"] == id.as_str() && has_ended(document)
        })
    }
}

fn has_ended(document: &Value) -> bool {
    document["status"]
        .as_str()
        .and_then(|status| status.parse::<Status>().ok())
        .is_some_and(Status::is_completed)
}

fn frame(name: &str, document: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {document}\n\n"))
}

fn answer(body: Body) -> Response {
    (
        [
            (header::CONTENT_TYPE, "text/event-stream; charset=UTF-8"),
            (header::CACHE_CONTROL, "no-cache"),
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ],
        body,
    )
        .into_response()
}

/// Whoever reads the stream.
struct Reader {
    automation: Automation,
    wanted: Wanted,
    events: Receiver<StreamEvent>,
    shutdown: Shutdown,
    frames: VecDeque<Bytes>,
    next_beat: Instant,
    is_over: bool,
}

impl Reader {
    async fn take(&mut self, event: &StreamEvent) {
        let ends = self.wanted.ends_with(&event.name, &event.document);
        if ends {
            self.look_again().await;
        }
        // Without its row the event itself must do.
        if !self.is_over && self.wanted.takes(event) {
            self.frames.push_back(frame(&event.name, &event.document));
        }
        self.is_over |= ends;
    }

    /// Sends the last state of the execution whose end is waited for, if it has ended. Unlike other events it has the
    /// result: `st2 pack install` prints that of an installation that failed, and looks for it nowhere else.
    async fn look_for_end(&mut self) -> Result<(), Fault> {
        let Some((event, id)) = self.wanted.end.clone() else {
            return Ok(());
        };
        let row = Execution::find(&mut *self.automation.ops.store.read().await?, &id).await?;
        let Some(row) = row.filter(|row| row.life.status.is_completed()) else {
            return Ok(());
        };
        let result = self.automation.result_of(&row).await;
        let result = result.unwrap_or_else(|error| {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                execution = id,
                "the end of a stream goes without the result"
            );
            None
        });
        let document = self
            .automation
            .present_execution(&row, result.as_ref(), false)?;
        self.frames.push_back(frame(&event, &document));
        self.is_over = true;
        Ok(())
    }

    async fn look_again(&mut self) {
        if let Err(error) = self.look_for_end().await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the end of a stream was not looked for; it is at the next heartbeat"
            );
        }
    }

    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Reader)> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some((Ok(frame), self));
            }
            if self.is_over {
                return None;
            }
            tokio::select! {
                received = self.events.recv() => match received {
                    Ok(event) => self.take(&event).await,
                    Err(RecvError::Lagged(lost)) => {
                        let text = format!(": {lost} events were lost: they came faster than they were read\n\n");
                        self.frames.push_back(Bytes::from(text));
                        self.look_again().await;
                    }
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep_until(self.next_beat) => {
                    self.next_beat += HEARTBEAT;
                    self.frames.push_back(Bytes::from_static(b"\n"));
                    self.look_again().await;
                }
                () = self.shutdown.draining() => return None,
            }
        }
    }
}

async fn events(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    caller.allow(Permission::View, "stream_view")?;
    let mut reader = Reader {
        // Before the row is read: what changes between the two is seen twice, not missed.
        events: automation.stream.subscribe(),
        wanted: Wanted::read(&asked),
        shutdown: automation.ops.tasks.shutdown(),
        frames: VecDeque::from([Bytes::from_static(b"\n")]),
        next_beat: Instant::now() + HEARTBEAT,
        is_over: false,
        automation,
    };
    reader.look_for_end().await?;
    Ok(answer(Body::from_stream(futures_util::stream::unfold(
        reader,
        Reader::next,
    ))))
}

/// Whoever follows what an execution prints.
struct Follower {
    automation: Automation,
    execution: Execution,
    output_type: Option<String>,
    events: Receiver<StreamEvent>,
    shutdown: Shutdown,
    frames: VecDeque<Bytes>,
    position: i64,
    next_beat: Instant,
    /// It had ended when it was last looked at: one more look finds what was kept after the end.
    had_ended: bool,
    is_over: bool,
}

impl Follower {
    /// Takes what was printed since.
    async fn read(&mut self) -> Result<(), Fault> {
        let id = self.execution.id.clone();
        let row = Execution::find(&mut *self.automation.ops.store.read().await?, &id).await?;
        let has_ended = row.is_none_or(|row| row.life.status.is_completed());
        loop {
            let pieces = self.automation.output_after(&id, self.position).await?;
            let Some(last) = pieces.last() else { break };
            self.position = last.position;
            for piece in pieces {
                let is_wanted = self
                    .output_type
                    .as_ref()
                    .is_none_or(|wanted| *wanted == piece.output_type);
                if is_wanted {
                    let document = json!({
                        "id": piece.id,
                        "execution_id": id,
                        "action_ref": self.execution.action_ref,
                        "runner_ref": self.execution.runner_type,
                        "timestamp": rfc3339_micros(piece.created_at),
                        "output_type": piece.output_type,
                        "data": piece.data,
                    });
                    self.frames.push_back(frame(OUTPUT, &document));
                }
            }
        }
        if has_ended && self.had_ended {
            self.frames
                .push_back(Bytes::from_static(b"event: EOF\ndata: ''\n\n"));
            self.is_over = true;
        }
        self.had_ended = has_ended;
        Ok(())
    }

    /// Waits until there may be more.
    async fn wait(&mut self) {
        let look = tokio::time::sleep(LOOK);
        tokio::pin!(look);
        loop {
            tokio::select! {
                received = self.events.recv() => match received {
                    Ok(event) => {
                        let id = &self.execution.id;
                        let concerns = event.document["execution_id"] == id.as_str()
                            || event.document["id"] == id.as_str();
                        // After the end only the clock counts: its last words are being kept.
                        if concerns && !self.had_ended {
                            return;
                        }
                    }
                    Err(RecvError::Lagged(_)) => return,
                    Err(RecvError::Closed) => {
                        (&mut look).await;
                        return;
                    }
                },
                () = &mut look => return,
                () = self.shutdown.draining() => {
                    self.is_over = true;
                    return;
                }
            }
        }
    }

    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Follower)> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some((Ok(frame), self));
            }
            if self.is_over {
                return None;
            }
            self.wait().await;
            if self.next_beat <= Instant::now() {
                self.next_beat += HEARTBEAT;
                self.frames.push_back(Bytes::from_static(b"\n"));
            }
            if let Err(error) = self.read().await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the output of an execution was not read; it is at the next look"
                );
            }
        }
    }
}

async fn output(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Asked,
) -> Answer {
    let execution = automation.execution(&caller, &id).await?;
    let mut follower = Follower {
        execution,
        output_type: asked
            .text("output_type")
            .filter(|wanted| *wanted != "all")
            .map(str::to_string),
        events: automation.stream.subscribe(),
        shutdown: automation.ops.tasks.shutdown(),
        frames: VecDeque::from([Bytes::from_static(b"\n")]),
        position: 0,
        next_beat: Instant::now() + HEARTBEAT,
        had_ended: false,
        is_over: false,
        automation,
    };
    follower.read().await?;
    Ok(answer(Body::from_stream(futures_util::stream::unfold(
        follower,
        Follower::next,
    ))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, text, expected) in [
            ("st2.execution__*", "st2.execution__update", true),
            ("st2.*__update", "st2.execution__update", true),
            ("*", "", true),
            ("a*b*c", "aXbYbc", true),
            ("a?c", "abc", true),
            ("a[bx]c", "abc", true),
            ("a[!bx]c", "abc", false),
            ("a[b", "a[b", false),
            ("st2.execution__create", "st2.execution__update", false),
            ("a*b", "acbd", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn readers_get_what_they_asked_for() {
        let event = |name: &str, document: Value| StreamEvent {
            name: name.into(),
            document: Arc::new(document),
        };
        let update = event(UPDATED, json!({"id": "1", "action": {"ref": "core.noop"}}));
        let output = event(
            OUTPUT,
            json!({"id": "9", "execution_id": "1", "action_ref": "core.noop"}),
        );
        let announcement = event("st2.announcement__chatops", json!({"payload": {}}));
        let check = |query: &str, expected: [bool; 3]| {
            let wanted = Wanted::read(&Asked::parse(query));
            let taken = [&update, &output, &announcement].map(|event| wanted.takes(event));
            assert_eq!(taken, expected, "{query}");
        };
        check("", [true, false, true]);
        check("events=st2.execution*", [true, true, false]);
        check("events=*&action_refs=core.*", [true, true, true]);
        check("events=*&action_refs=linux.*", [false, false, true]);
        check("events=*&execution_ids=1", [true, true, false]);
        check("events=*&execution_ids=2", [false, false, false]);
    }

    #[test]
    fn only_the_end_of_the_execution_waited_for_ends_the_stream() {
        let wanted = Wanted::read(&Asked::parse(&format!(
            "end_event={UPDATED}&end_execution_id=1"
        )));
        let check = |name: &str, id: &str, status: &str, expected: bool| {
            let document = json!({"id": id, "status": status});
            assert_eq!(
                wanted.ends_with(name, &document),
                expected,
                "{name} {id} {status}"
            );
        };
        check(UPDATED, "1", "running", false);
        check(UPDATED, "1", "succeeded", true);
        check(UPDATED, "2", "succeeded", false);
        check("st2.execution__create", "1", "succeeded", false);
    }
}
