//! `yard chat`: a chat room of one, to try aliases without a chat.
//!
//! A line is matched and run as a bot would do it; answers come as announcements of the route
//! `chatops`, whenever they come. If the lines come from a pipe, the end of it is the end of the
//! chat once every execution ended and had a moment to be announced.

use super::alias;
use super::follow::status_of;
use super::resource::text;
use crate::client::{Automation, Event, EventStream};
use crate::failure::{Code, Outcome};
use crate::output::{Color, Output};
use clap::Args;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::Instant;

/// How long an answer may take after its execution ended.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long executions are waited for after the last line.
const LAST_EXECUTIONS: Duration = Duration::from_secs(600);

#[derive(Debug, Args)]
#[command(
    after_help = "A line is what you would say to the bot. `help` lists what can be said, `help WORD` what has that word;
`exit` or the end of the input ends it."
)]
pub struct ChatArgs {
    /// The notification route to listen to and to ask for
    #[arg(long, default_value = "chatops")]
    route: String,
}

pub async fn run(args: ChatArgs, api: &Automation, out: &Output) -> Outcome {
    let name = format!("st2.announcement__{}", args.route);
    let mut room = Some(api.stream("/stream", &[("events", &name)]).await?);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let terminal = std::io::stdin().is_terminal() && !out.json;
    if terminal {
        out.say("Say `help` to see what can be said, `exit` to end.")?;
    }
    let mut running = Vec::new();
    loop {
        if terminal {
            prompt()?;
        }
        tokio::select! {
            line = lines.next_line() => match line.ok().flatten() {
                None => break,
                Some(line) if matches!(line.trim(), "exit" | "quit") => {
                    return Ok(());
                }
                Some(line) => running.extend(say(api, out, line.trim(), &args.route).await?),
            },
            event = next(&mut room), if room.is_some() => match event {
                Some(event) => hear(out, &event)?,
                None => {
                    room = api.stream("/stream", &[("events", &name)]).await.ok();
                    if room.is_none() {
                        out.warn("the connection to the room broke; answers are not shown any more");
                    }
                }
            },
        }
    }
    let until = Instant::now() + LAST_EXECUTIONS;
    while !running.is_empty() && Instant::now() < until {
        listen(out, &mut room, Duration::from_millis(300)).await?;
        let mut still = Vec::new();
        for id in running {
            let path = format!("/executions/{id}");
            let execution: Value = api.get(&path, &[("exclude_attributes", "result")]).await?;
            if !status_of(&execution).is_some_and(|status| status.is_completed()) {
                still.push(id);
            }
        }
        running = still;
    }
    listen(out, &mut room, LAST_WORDS).await
}

/// Shows what is announced within a span.
async fn listen(out: &Output, room: &mut Option<EventStream>, span: Duration) -> Outcome {
    let until = Instant::now() + span;
    while let Ok(Some(event)) = tokio::time::timeout_at(until, next(room)).await {
        hear(out, &event)?;
    }
    tokio::time::sleep_until(until).await;
    Ok(())
}

async fn next(room: &mut Option<EventStream>) -> Option<Event> {
    match room {
        Some(room) => room.next().await,
        None => None,
    }
}

fn prompt() -> Outcome {
    let mut stdout = std::io::stdout();
    stdout.write_all(b"> ")?;
    Ok(stdout.flush()?)
}

/// Says a line. What it means is wrong here does not end the chat; a lost login or cluster does.
async fn say(api: &Automation, out: &Output, line: &str, route: &str) -> Outcome<Vec<String>> {
    if line.is_empty() {
        return Ok(Vec::new());
    }
    if line == "help" || line.starts_with("help ") {
        help(api, out, line.trim_start_matches("help").trim()).await?;
        return Ok(Vec::new());
    }
    match alias::start(api, line, Some(route)).await {
        Ok(started) => {
            for one in &started {
                match out.json {
                    true => out.record(&json!({ "said": line, "started": one }))?,
                    false => out.say(alias::acknowledgement(one).trim_end())?,
                }
            }
            Ok(started
                .iter()
                .filter_map(|one| text(one, "execution.id"))
                .collect())
        }
        Err(failure) if matches!(failure.code, Code::NotAllowed | Code::Unreachable) => {
            Err(failure)
        }
        Err(failure) => {
            match out.json {
                true => out.record(&json!({ "said": line, "error": failure.what }))?,
                false => out.say(out.paint(Color::Bad, &failure.what))?,
            }
            Ok(Vec::new())
        }
    }
}

async fn help(api: &Automation, out: &Output, filter: &str) -> Outcome {
    let query: Vec<(&str, &str)> = match filter {
        "" => Vec::new(),
        filter => vec![("filter", filter)],
    };
    let help: Value = api.get("/actionalias/help", &query).await?;
    if out.json {
        return out.record(&json!({ "help": help }));
    }
    for (pack, lines) in help["helpstrings"].as_object().into_iter().flatten() {
        out.say(out.paint(Color::Strong, pack))?;
        for line in lines.as_array().into_iter().flatten() {
            out.say(format!(
                "  {}  {}",
                text(line, "display").unwrap_or_default(),
                out.paint(Color::Quiet, text(line, "description").unwrap_or_default())
            ))?;
        }
    }
    Ok(())
}

fn hear(out: &Output, event: &Event) -> Outcome {
    let Ok(announcement) = serde_json::from_str::<Value>(&event.data) else {
        return Ok(());
    };
    if out.json {
        return out.record(&json!({ "heard": announcement }));
    }
    match text(&announcement, "payload.message") {
        Some(message) => out.say(said(&message)),
        None => out.say(announcement["payload"].to_string()),
    }
}

/// `{~}` separates the parts of a message for chats that show them apart; `~` at the start of a
/// line keeps an empty one.
fn said(message: &str) -> String {
    message.replace("{~}", "\n").trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_message_are_lines() {
        assert_eq!(said("done{~}status: ok\n"), "done\nstatus: ok");
    }
}
