//! `yard ssh`: a shell in an instance, or one command.

use super::place::{Meant, Place};
use super::terminal;
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use crate::output::Output;
use crate::targets::Store;
use clap::Args;

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
    if out.json {
        return Err(Failure::usage(
            "what a shell prints is no document: --json does not go with `yard ssh`",
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
    let mut worst = 0;
    for index in meant.indices() {
        if let (true, Some(index)) = (all, index) {
            out.say(format!("instance {index}:"))?;
        }
        let inside = meant.enter(index).await?;
        let status = inside.attach(args.command.as_deref(), in_terminal).await;
        inside.leave().await;
        worst = worst.max(status?);
    }
    match u8::try_from(worst).unwrap_or(u8::MAX) {
        0 => Ok(()),
        status => Err(Failure::new(
            Code::Command(status),
            format!("the command ended with status {worst}"),
        )),
    }
}
