//! Following an execution until it ends or waits for somebody.
//!
//! Its status is asked for in growing steps, so that nothing depends on a stream; the stream of
//! events makes the next question come at once and tells the steps of a workflow. Live output is a
//! stream of its own, which says when it is complete: the end of the execution alone does not mean
//! that all output was seen.

use super::resource::{color_of, text, yaml};
use crate::client::{Automation, Event, EventStream, Pace, segment};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Output, human, progress};
use ::automation::execution::Status;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;
use tokio::time::Instant;

/// How long the rest of the output may take after the execution ended.
const REST_OF_OUTPUT: Duration = Duration::from_secs(10);

pub struct Follow {
    /// Show output as it comes.
    pub tail: bool,
    /// Show the steps of a workflow as they begin and end.
    pub steps: bool,
    pub within: Option<Duration>,
}

/// A piece of output.
#[derive(Debug, Deserialize)]
struct Piece {
    #[serde(default)]
    output_type: String,
    #[serde(default)]
    data: String,
}

pub fn status_of(execution: &Value) -> Option<Status> {
    serde_json::from_value(execution["status"].clone()).ok()
}

/// Nothing more comes without somebody's doing.
fn at_rest(status: Status) -> bool {
    status.is_completed() || matches!(status, Status::Pending | Status::Paused)
}

/// Follows the execution; gives it back as it is then, with its result.
pub async fn to_rest(api: &Automation, out: &Output, id: &str, how: &Follow) -> Outcome<Value> {
    let deadline = how.within.map(|within| Instant::now() + within);
    let path = format!("/executions/{}", segment(id));
    let mut steps = steps(api, id).await;
    let mut output = match how.tail {
        true => Some(output(api, id).await?),
        false => None,
    };
    let bar = progress::spinner(out, "requested");
    let mut told = BTreeMap::new();
    let mut pace = Pace::new();
    loop {
        let brief: Value = api
            .get(&path, &[("exclude_attributes", "result")])
            .await
            .map_err(|failure| failure.doing(format!("follow the execution {id}")))?;
        let name = text(&brief, "status").unwrap_or_default();
        bar.set_message(name.clone());
        match status_of(&brief) {
            Some(status) if at_rest(status) => break,
            Some(_) => {}
            None => {
                return Err(Failure::failed(format!(
                    "the execution {id} has the status {name:?}, which this client does not know"
                ))
                .fix("`yard version`"));
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Failure::new(
                Code::TimedOut,
                format!("the execution {id} still is {name}"),
            )
            .fix(format!("`yard execution show {id}`; it goes on")));
        }
        let next_look = Instant::now() + pace.step();
        loop {
            tokio::select! {
                event = next(&mut steps), if steps.is_some() => match event {
                    Some(event) => {
                        let about: Value = serde_json::from_str(&event.data).unwrap_or_default();
                        if about["id"].as_str() == Some(id) {
                            break;
                        }
                        if how.steps && let Some(line) = step_line(out, id, &about, &mut told) {
                            bar.suspend(|| out.say(line))?;
                        }
                    }
                    None => steps = None,
                },
                event = next(&mut output), if output.is_some() => match event {
                    Some(event) if event.name == "EOF" => output = None,
                    Some(event) => bar.suspend(|| tell_piece(out, &event.data))?,
                    None => {
                        output = None;
                        out.warn(format!("the live output broke off; `yard execution output {id}` shows all of it"));
                    }
                },
                () = tokio::time::sleep_until(next_look) => break,
            }
        }
    }
    bar.finish_and_clear();
    let ended: Value = api.get(&path, &[]).await?;
    if status_of(&ended).is_none_or(|status| !status.is_completed()) {
        return Ok(ended);
    }
    let until = Instant::now() + REST_OF_OUTPUT;
    while output.is_some() {
        match tokio::time::timeout_at(until, next(&mut output)).await {
            Ok(Some(event)) if event.name != "EOF" => tell_piece(out, &event.data)?,
            Ok(_) => break,
            Err(_) => {
                out.warn(format!("the end of the output did not come; `yard execution output {id}` shows what is there"));
                break;
            }
        }
    }
    Ok(ended)
}

/// Shows the output of an execution as it comes, from its beginning to its end.
pub async fn output_to_end(api: &Automation, out: &Output, id: &str) -> Outcome {
    let mut stream = Some(output(api, id).await?);
    loop {
        match next(&mut stream).await {
            Some(event) if event.name == "EOF" => return Ok(()),
            Some(event) => tell_piece(out, &event.data)?,
            None => {
                return Err(Failure::new(
                    Code::Unreachable,
                    format!("the output of the execution {id} broke off"),
                )
                .fix(format!("`yard execution output {id}`")));
            }
        }
    }
}

async fn steps(api: &Automation, id: &str) -> Option<EventStream> {
    let query = [
        ("events", "st2.execution__create,st2.execution__update"),
        ("end_event", "st2.execution__update"),
        ("end_execution_id", id),
    ];
    // Without it, only steps are not told and each look waits its turn.
    api.stream("/stream", &query).await.ok()
}

async fn output(api: &Automation, id: &str) -> Outcome<EventStream> {
    api.stream(&format!("/executions/{}/output", segment(id)), &[])
        .await
        .map_err(|failure| failure.doing(format!("follow the output of the execution {id}")))
}

async fn next(stream: &mut Option<EventStream>) -> Option<Event> {
    match stream {
        Some(stream) => stream.next().await,
        None => None,
    }
}

/// What is to be said of a step of the workflow `id`; nothing of other executions, and nothing twice.
fn step_line(
    out: &Output,
    id: &str,
    step: &Value,
    told: &mut BTreeMap<String, String>,
) -> Option<String> {
    if step["parent"].as_str() != Some(id) {
        return None;
    }
    let (step_id, status) = (text(step, "id")?, text(step, "status")?);
    let name = [
        "context.orquesta.task_name",
        "context.chain.name",
        "action.ref",
    ]
    .iter()
    .find_map(|place| text(step, place))
    .unwrap_or_else(|| step_id.clone());
    let news = told.insert(step_id, status.clone());
    if matches!(status.as_str(), "requested" | "scheduled") || news.as_ref() == Some(&status) {
        return None;
    }
    let status = out.paint(color_of(&status), format!("{status:<9}"));
    Some(format!("  {status} {name}"))
}

/// Output goes where it came from; with `--json` all of it to standard error.
fn tell_piece(out: &Output, data: &str) -> Outcome {
    let Ok(piece) = serde_json::from_str::<Piece>(data) else {
        return Ok(());
    };
    if out.json || piece.output_type == "stderr" {
        // The result is what counts; if nobody reads this, the command goes on.
        let _ = std::io::stderr().write_all(piece.data.as_bytes());
        return Ok(());
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(piece.data.as_bytes())?;
    Ok(stdout.flush()?)
}

/// How an execution ended, in a line: `core.local succeeded in 1.2s`.
pub fn headline(out: &Output, execution: &Value) -> String {
    let status = text(execution, "status").unwrap_or_default();
    let action = text(execution, "action.ref").unwrap_or_default();
    let took = execution["elapsed_seconds"]
        .as_f64()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map(|span| format!(" in {}", human::took(span)))
        .unwrap_or_default();
    format!("{action} {}{took}", out.paint(color_of(&status), status))
}

/// The result for people. Output that was shown while it came is not repeated.
pub fn result_text(out: &Output, execution: &Value, output_shown: bool) -> String {
    let mut result = execution["result"].clone();
    if output_shown && let Some(fields) = result.as_object_mut() {
        fields.remove("stdout");
        fields.remove("stderr");
    }
    let mut lines = format!(
        "{}  ({})\n",
        headline(out, execution),
        text(execution, "id").unwrap_or_default()
    );
    match &result {
        Value::Null => {}
        result => {
            for line in yaml(result).lines() {
                lines.push_str(&format!("  {line}\n"));
            }
        }
    }
    lines
}

/// The failure that an execution's end is, if it is one.
pub fn verdict(execution: &Value) -> Outcome {
    let id = text(execution, "id").unwrap_or_default();
    let action = text(execution, "action.ref").unwrap_or_else(|| "the action".into());
    match status_of(execution) {
        Some(Status::Failed) => {
            Err(Failure::failed(format!("{action} failed"))
                .fix(format!("`yard execution show {id}`")))
        }
        Some(Status::Timeout) => Err(Failure::new(
            Code::TimedOut,
            format!("{action} took too long and was ended"),
        )
        .fix("a larger parameter timeout")),
        Some(Status::Abandoned) => Err(Failure::failed(format!(
            "{action} was abandoned: what ran it was lost, and how it ended is not known"
        ))
        .fix(format!("`yard execution rerun {id}`"))),
        Some(Status::Canceled | Status::Canceling) => {
            let by = text(execution, "context.cancelled_by")
                .map(|user| format!(" by {user}"))
                .unwrap_or_default();
            Err(Failure::failed(format!("{action} was canceled{by}")))
        }
        _ => Ok(()),
    }
}

/// What a failed action said last.
pub fn last_words(execution: &Value) -> Vec<String> {
    [
        "result.stderr",
        "result.error",
        "result.output.error",
        "result.message",
    ]
    .iter()
    .filter_map(|place| text(execution, place))
    .find(|words| !words.trim().is_empty())
    .or_else(|| messages(&execution["result"]["errors"]))
    .or_else(|| text(execution, "result").filter(|words| words != "{}"))
    .map(|words| words.lines().map(str::to_string).collect())
    .unwrap_or_default()
}

/// What the controller's own actions, and workflows, say of what went wrong: a list of errors with a message each.
fn messages(errors: &Value) -> Option<String> {
    let messages: Vec<&str> = errors
        .as_array()?
        .iter()
        .filter_map(|error| error["message"].as_str())
        .collect();
    (!messages.is_empty()).then(|| messages.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_failed_action_said_last_is_found_in_every_shape_of_results() {
        let check = |result: Value, expected: &[&str]| {
            assert_eq!(
                last_words(&json!({ "result": result })),
                expected,
                "{result}"
            );
        };
        check(
            json!({ "stderr": "a\nb", "errors": [{ "message": "c" }] }),
            &["a", "b"],
        );
        check(
            json!({ "output": null, "errors": [{ "message": "no index", "type": "error" }] }),
            &["no index"],
        );
        check(
            json!({ "errors": [{ "message": "one" }, { "message": "two" }] }),
            &["one", "two"],
        );
        check(json!({ "errors": [] }), &["{\"errors\":[]}"]);
        check(json!({}), &[]);
    }

    #[test]
    fn every_end_but_success_is_a_failure() {
        for status in Status::ALL {
            let execution = json!({ "id": "1", "status": status, "action": { "ref": "a.b" } });
            let code = verdict(&execution).err().map(|failure| failure.code);
            let expected = match status {
                Status::Failed | Status::Abandoned | Status::Canceled | Status::Canceling => {
                    Some(Code::Failed)
                }
                Status::Timeout => Some(Code::TimedOut),
                _ => None,
            };
            assert_eq!(code, expected, "{status:?}");
        }
    }

    #[test]
    fn an_inquiry_is_waited_for_by_people_not_by_us() {
        assert!(at_rest(Status::Pending) && at_rest(Status::Paused));
        assert!(!at_rest(Status::Canceling), "it still ends");
    }

    #[test]
    fn shown_output_is_not_repeated() {
        let plain = Output {
            json: false,
            color: false,
            live: false,
        };
        let execution = json!({ "id": "7", "status": "succeeded", "elapsed_seconds": 1.25, "action": { "ref": "core.local" },
            "result": { "stdout": "hello", "stderr": "", "return_code": 0 } });
        assert_eq!(
            result_text(&plain, &execution, true),
            "core.local succeeded in 1.2s  (7)\n  return_code: 0\n"
        );
        assert!(result_text(&plain, &execution, false).contains("  stdout: hello\n"));
    }

    #[test]
    fn steps_are_told_once_for_each_status() {
        let plain = Output {
            json: false,
            color: false,
            live: false,
        };
        let mut told = BTreeMap::new();
        let step = |parent: &str, status: &str| json!({ "id": "2", "parent": parent, "status": status, "context": { "chain": { "name": "build" } } });
        let mut line = |step| step_line(&plain, "1", &step, &mut told);
        assert_eq!(line(step("1", "scheduled")), None);
        assert_eq!(
            line(step("1", "running")).as_deref(),
            Some("  running   build")
        );
        assert_eq!(line(step("1", "running")), None, "told already");
        assert_eq!(line(step("9", "failed")), None, "another workflow's");
        assert_eq!(
            line(step("1", "failed")).as_deref(),
            Some("  failed    build")
        );
    }

    #[test]
    fn a_failed_action_is_quoted() {
        assert_eq!(
            last_words(&json!({ "result": { "stderr": " ", "error": "no\nroom" } })),
            ["no", "room"]
        );
    }
}
