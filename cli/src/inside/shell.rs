//! `yard ssh`: a shell in an instance, or one command.

use super::connection::{no_input, own_input};
use super::place::{Meant, Place};
use super::terminal;
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use crate::output::Output;
use crate::targets::Store;
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
pub struct ShellArgs {
    /// The app
    app: String,
    #[command(flatten)]
    place: Place,
    /// Run this and exit with its status, instead of a shell
    #[arg(short, long)]
    command: Option<String>,
    /// Give the command a terminal
    #[arg(short, long, requires = "command")]
    tty: bool,
}

pub async fn run(args: ShellArgs, out: &Output, store: Store) -> Outcome {
    if out.json && (args.command.is_none() || args.tty) {
        return Err(Failure::usage(
            "what a terminal shows is no document: --json goes with --command, without --tty",
        ));
    }
    if args.place.all && args.command.is_none() {
        return Err(Failure::usage(
            "a shell is in one instance: --all goes with --command",
        ));
    }
    let in_terminal = terminal::is_terminal() && (args.tty || args.command.is_none());
    let all = args.place.all;
    let meant = Meant::of(Client::open(store)?, &args.app, args.place).await?;
    let (mut worst, mut documents) = (0, Vec::new());
    for index in meant.indices() {
        let inside = meant.enter(index).await?;
        let status = match (&args.command, out.json) {
            (Some(command), true) => inside.collect(command).await.map(|done| {
                documents.push(json!({
                    "index": index,
                    "status": done.status,
                    "stdout": String::from_utf8_lossy(&done.output),
                    "stderr": done.errors,
                }));
                done.status
            }),
            (command, _) => {
                if let (true, Some(index)) = (all, index) {
                    out.say(format!("instance {index}:"))?;
                }
                // One input cannot be read by several.
                let input = if all { no_input() } else { own_input() };
                inside.attach(command.as_deref(), input, in_terminal).await
            }
        };
        inside.leave().await;
        worst = worst.max(status?);
    }
    if out.json {
        out.document(&documents)?;
    }
    match u8::try_from(worst).unwrap_or(u8::MAX) {
        0 => Ok(()),
        status => Err(Failure::new(
            Code::Watched(status),
            format!("the command ended with status {worst}"),
        )),
    }
}
