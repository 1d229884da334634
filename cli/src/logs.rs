//! `yard logs`: the lines of an app, live or the recent ones.

use crate::apps::find;
use crate::client::{Client, LogItem};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{self, Color, Output};
use crate::targets::Store;
use clap::Args;
use proto::api::LogLine;
use serde_json::json;
use std::time::Duration;
use time::{OffsetDateTime, UtcOffset};

/// Lines shown before the live ones.
const CONTEXT: usize = 10;

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The app
    app: String,
    /// Show the kept lines and end, instead of following
    #[arg(long)]
    recent: bool,
    /// How many kept lines to show (at most 1000; before following: 10)
    #[arg(short = 'n', long, value_name = "NUMBER")]
    lines: Option<usize>,
    /// Only lines of this source, for instance APP, STG, CELL
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
}

pub async fn run(args: LogsArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    let wanted = |line: &LogLine| {
        args.source.as_ref().is_none_or(|source| {
            line.source_type
                .to_uppercase()
                .starts_with(&source.to_uppercase())
        })
    };
    if args.recent {
        let lines = client
            .recent_logs(&app.guid, args.lines.unwrap_or(1000))
            .await
            .map_err(|failure| failure.doing(format!("read the logs of {}", app.name)))?;
        let lines: Vec<LogLine> = lines.into_iter().filter(wanted).collect();
        return out.show(&lines, |lines| {
            lines.iter().map(|line| render(line, out) + "\n").collect()
        });
    }
    let following = follow(
        &client,
        out,
        &app.guid,
        &app.name,
        args.lines.unwrap_or(CONTEXT),
        wanted,
    );
    tokio::select! {
        ended = following => ended,
        () = output::reader_gone() => Err(Failure::pipe_closed()),
    }
}

/// Follows until interrupted; a stream that breaks is opened again.
async fn follow(
    client: &Client,
    out: &Output,
    guid: &str,
    name: &str,
    mut recent: usize,
    wanted: impl Fn(&LogLine) -> bool,
) -> Outcome {
    let mut broken = 0;
    let mut newest = i64::MIN;
    let mut shown_before = i64::MIN;
    loop {
        let mut stream = match client.log_stream(guid, recent).await {
            Ok(stream) => stream,
            Err(failure) if broken > 0 && broken < 10 && failure.code == Code::Unreachable => {
                broken += 1;
                tokio::time::sleep(Duration::from_secs(2)).await;
                continue;
            }
            Err(failure) => return Err(failure.doing(format!("follow the logs of {name}"))),
        };
        while let Some(item) = stream.next().await {
            broken = 0;
            match item {
                // After a break the kept lines are read again: those shown already are left out.
                LogItem::Line(line) if line.timestamp <= shown_before => {}
                LogItem::Line(line) => {
                    newest = newest.max(line.timestamp);
                    if wanted(&line) {
                        print(out, &line)?;
                    }
                }
                LogItem::Lost(loss) if out.json => out.record(&json!({ "lost": loss }))?,
                LogItem::Lost(loss) => out.say(out.paint(
                    Color::Careful,
                    format!("({} lines lost in {})", loss.lines, loss.place),
                ))?,
            }
        }
        broken += 1;
        if broken >= 10 {
            return Err(Failure::new(
                Code::Unreachable,
                format!("the log stream of {name} keeps breaking"),
            )
            .fix("`yard status`"));
        }
        recent = 1000;
        shown_before = newest;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn print(out: &Output, line: &LogLine) -> Outcome {
    if out.json {
        out.record(line)
    } else {
        out.say(render(line, out))
    }
}

/// `   2026-03-04T05:06:07.08+0000 [APP/PROC/WEB/0] OUT text`
pub fn render(line: &LogLine, out: &Output) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(line.timestamp))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .to_offset(UtcOffset::UTC);
    let time = format!(
        "{}T{:02}:{:02}:{:02}.{:02}+0000",
        time.date(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond() / 10
    );
    let source = if line.instance.is_empty() {
        line.source_type.clone()
    } else {
        format!("{}/{}", line.source_type, line.instance)
    };
    let head = out.paint(Color::Quiet, format!("{time} [{source}]"));
    let (kind, color) = if line.stderr {
        ("ERR", Color::Bad)
    } else {
        ("OUT", Color::Good)
    };
    format!(
        "   {head} {} {}",
        out.paint(color, kind),
        line.text.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_looks_like_cfs() {
        let plain = Output {
            json: false,
            color: false,
            live: false,
        };
        let line = LogLine {
            timestamp: 1_772_600_767_089_000_000,
            source_type: "APP/PROC/WEB".into(),
            instance: "0".into(),
            stderr: true,
            text: "hello\n".into(),
        };
        assert_eq!(
            render(&line, &plain),
            "   2026-03-04T05:06:07.08+0000 [APP/PROC/WEB/0] ERR hello"
        );
        let staging = LogLine {
            source_type: "STG".into(),
            instance: String::new(),
            stderr: false,
            ..line
        };
        assert_eq!(
            render(&staging, &plain),
            "   2026-03-04T05:06:07.08+0000 [STG] OUT hello"
        );
        assert!(
            render(
                &staging,
                &Output {
                    color: true,
                    ..plain
                }
            )
            .contains("\x1b[32mOUT\x1b[0m")
        );
    }
}
