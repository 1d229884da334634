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
/// Pause before a broken connection is made again.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);
/// How long executions are waited for after the last line.
const LAST_EXECUTIONS: Duration = Duration::from_secs(600);

#[derive(Debug, Args)]
#[command(
    after_help = "A line is what you would say to the bot. `help` lists what can be said, `help WORD` what has that word;
`exit` or the end of the input ends it."
)]
pub struct ChatArgs {
    /// The route of announcements to listen to
    #[arg(long, value_name = "ROUTE", default_value = "chatops")]
    listen: String,
    /// The notification route to ask for; rules of the pack chatops turn it into announcements
    #[arg(long, value_name = "ROUTE", default_value = "hubot")]
    notify: String,
}

pub async fn run(args: ChatArgs, api: &Automation, out: &Output) -> Outcome {
    let mut room = Room::enter(api, &args.listen).await?;
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
                Some(line) if matches!(line.trim(), "exit" | "quit") => return Ok(()),
                Some(line) => running.extend(say(api, out, line.trim(), &args.notify).await?),
            },
            event = room.next() => hear(out, &event)?,
        }
    }
    let until = Instant::now() + LAST_EXECUTIONS;
    while !running.is_empty() && Instant::now() < until {
        room.listen(out, Duration::from_millis(300)).await?;
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
    room.listen(out, LAST_WORDS).await
}

/// The announcements of a route. A connection that broke is made again; what was announced
/// meanwhile is lost, as it is for every bot.
struct Room<'a> {
    api: &'a Automation,
    event: String,
    stream: Option<EventStream>,
    open_at: Instant,
}

impl<'a> Room<'a> {
    async fn enter(api: &'a Automation, route: &str) -> Outcome<Room<'a>> {
        let event = format!("st2.announcement__{route}");
        Ok(Room {
            stream: Some(api.stream("/stream", &[("events", &event)]).await?),
            api,
            event,
            open_at: Instant::now(),
        })
    }

    /// The next announcement. Dropping the future loses nothing that came.
    async fn next(&mut self) -> Event {
        loop {
            if let Some(stream) = &mut self.stream {
                if let Some(event) = stream.next().await {
                    return event;
                }
                self.stream = None;
            } else {
                tokio::time::sleep_until(self.open_at).await;
                let events = [("events", self.event.as_str())];
                self.stream = self.api.stream("/stream", &events).await.ok();
            }
            self.open_at = Instant::now() + COME_BACK_AFTER;
        }
    }

    /// Shows what is announced within a span.
    async fn listen(&mut self, out: &Output, span: Duration) -> Outcome {
        let until = Instant::now() + span;
        while let Ok(event) = tokio::time::timeout_at(until, self.next()).await {
            hear(out, &event)?;
        }
        Ok(())
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
