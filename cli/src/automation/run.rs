//! `yard run ACTION`: an action, its parameters typed by its schema, its end.

use super::follow::{self, Follow};
use super::parameters::Signature;
use super::resource::text;
use super::{action, input};
use crate::client::Automation;
use crate::failure::Outcome;
use crate::output::Output;
use clap::Args;
use serde_json::{Map, Value, json};
use std::time::Duration;

pub const EXAMPLES: &str = "Examples:
  yard run core.local cmd='date -u'       by name
  yard run core.local 'date -u'           by position
  yard run core.http url=http://example.org method=GET --async
  yard run web.deploy hosts=a,b options=retries:3,force:true notes=@notes.txt --tail
Values get the types that the action's schema gives them: lists are a,b or JSON, objects name:value,name:value or JSON.
@FILE is what the file holds, @- standard input, @@x the text @x. `yard action show ACTION` explains the parameters.
Exits with 1 if the action failed, 8 if it took too long.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// The action, for instance core.local
    pub action: String,
    #[command(flatten)]
    pub how: How,
}

#[derive(Debug, Args)]
pub struct How {
    /// Parameters, as NAME=VALUE or by position
    #[arg(value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// Do not wait for the end; print the execution's id
    #[arg(long = "async", conflicts_with = "tail")]
    detached: bool,
    /// Start this much later, for instance 30s or 10m
    #[arg(long, value_name = "SPAN", value_parser = input::span)]
    delay: Option<Duration>,
    /// Show output as it comes
    #[arg(long)]
    tail: bool,
    /// Give the execution's trace this tag
    #[arg(long, value_name = "TAG")]
    trace_tag: Option<String>,
    /// Wait at most this long; the action goes on
    #[arg(long, value_name = "SPAN", value_parser = input::span)]
    timeout: Option<Duration>,
}

pub async fn run(action: &str, how: &How, api: &Automation, out: &Output) -> Outcome {
    let parameters = parameters(api, action, &how.parameters, true).await?;
    let mut request = json!({ "action": action, "parameters": parameters });
    if let Some(tag) = &how.trace_tag {
        request["context"] = json!({ "trace_context": { "trace_tag": tag } });
    }
    start(api, out, "/executions", request, how).await
}

/// Runs an execution again with its parameters, some of them changed.
pub async fn again(api: &Automation, out: &Output, id: &str, how: &How) -> Outcome {
    let before = super::execution::get(api, id).await?;
    let id = text(&before, "id").unwrap_or_else(|| id.to_string());
    let action = text(&before, "action.ref").unwrap_or_default();
    let parameters = match how.parameters.is_empty() {
        true => Map::new(),
        false => parameters(api, &action, &how.parameters, false).await?,
    };
    let mut request = json!({ "parameters": parameters });
    if let Some(tag) = &how.trace_tag {
        request["context"] = json!({ "trace_context": { "trace_tag": tag } });
    }
    start(api, out, &format!("/executions/{id}/re_run"), request, how).await
}

/// Types the words by the action's schema.
async fn parameters(
    api: &Automation,
    action: &str,
    words: &[String],
    whole: bool,
) -> Outcome<Map<String, Value>> {
    let document = action::NOUN.get(api, action).await?;
    let runner = text(&document, "runner_type").unwrap_or_default();
    let runners: Vec<Value> = api.get("/runnertypes", &[("name", &runner)]).await?;
    let runner = runners.into_iter().next().unwrap_or(Value::Null);
    let signature = Signature::of_action(&document, &runner);
    signature
        .read(words, whole, input::text_of)
        .map_err(|faults| {
            input::usage(&faults)
                .doing(format!("run {action}"))
                .fix(format!(
                    "`yard action show {action}`; it takes {}",
                    signature.names()
                ))
        })
}

async fn start(
    api: &Automation,
    out: &Output,
    path: &str,
    mut request: Value,
    how: &How,
) -> Outcome {
    if let Some(delay) = how.delay {
        request["delay"] = json!(delay.as_millis());
    }
    let execution: Value = api.post(path, &request).await?;
    let id = text(&execution, "id").unwrap_or_default();
    if how.detached {
        return out.show(&execution, |_| {
            format!("{id}\n`yard execution show {id}` shows how it goes")
        });
    }
    let follow = Follow {
        tail: how.tail,
        steps: true,
        within: how.timeout,
    };
    let execution = follow::to_rest(api, out, &id, &follow).await?;
    show_end(out, &execution, how.tail)
}

/// Shows how an execution ended, and fails if it did.
pub fn show_end(out: &Output, execution: &Value, output_shown: bool) -> Outcome {
    out.show(execution, |execution| {
        let mut shown = follow::result_text(out, execution, output_shown);
        let id = text(execution, "id").unwrap_or_default();
        if text(execution, "status").as_deref() == Some("pending") {
            shown.push_str(&format!(
                "It waits for an answer: `yard inquiry respond {id} NAME=VALUE`\n"
            ));
        }
        shown
    })?;
    follow::verdict(execution)
}
