//! `yard`: the command of Stackyard. A thin client of the public API, and the starter of a cluster
//! on this machine. `README.md` beside this crate says where what is.

mod apps;
mod args;
mod automation;
mod buildpacks;
mod caller;
mod client;
mod cluster;
mod config;
mod doctor;
mod domains;
mod events;
mod failure;
mod history;
mod inside;
mod login;
mod logs;
mod output;
mod prompt;
mod push;
mod quotas;
mod report;
mod routers;
mod routes;
mod run;
mod services;
mod targets;
mod tasks;
mod version;
mod why;

use apps::{environment, lifecycle, list, scale, summary, versions};
use args::{Cli, Command};
use caller::Caller;
use clap::{CommandFactory, Parser};
use cluster::{down, node, status, up};
use failure::{Code, EXIT_CODES, Failure, Outcome};
use output::Output;
use std::io::Write;
use std::process::ExitCode;
use targets::Store;

fn main() -> ExitCode {
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
    if let Command::SetEnv(args) = &mut cli.command {
        cli.global.json |= args.take_json();
    }
    let verbose = cli.global.verbose;
    let json = cli.global.json;
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.code.is_silent() {
                // If standard error is gone, nobody can be told.
                let _ = std::io::stderr().write_all(failure.render(verbose).as_bytes());
                if json {
                    Output::error_document(&failure.document());
                }
            }
            ExitCode::from(failure.code.number())
        }
    }
}

/// What the parser says, in words; for programs also as the document of any other failure. Asking
/// for help is no error, though it comes this way too.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    // If its stream is gone, nobody can be told.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|word| word == "--json") {
        let text = error.render().to_string();
        let what = text.lines().next().unwrap_or_default();
        let what = what.strip_prefix("error: ").unwrap_or(what);
        Output::error_document(
            &Failure::usage(what)
                .fix("`yard help` lists the commands, `yard COMMAND --help` explains one")
                .document(),
        );
    }
    ExitCode::from(Code::Usage.number())
}

fn start(cli: Cli) -> Outcome {
    // Before there are threads: it leaves its session and becomes another program.
    if let Command::InternalDetach(args) = &cli.command {
        return up::detach(args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("prepare to run").because(error))?;
    runtime.block_on(run(cli))
}

async fn run(cli: Cli) -> Outcome {
    let out = Output::new(cli.global.json);
    let caller = Caller::find()?;
    let store = Store::of(caller.clone());
    match cli.command {
        Command::Up(args) => up::run(args, &out, caller).await,
        Command::Down(args) => down::down(args, &out).await,
        Command::Destroy(args) => down::destroy(args, &out, caller).await,
        Command::Doctor(args) => doctor::run(args, &out, &caller).await,
        Command::Version => version::run(&out, store).await,
        Command::Report(args) => report::run(args, &out, &caller, store).await,
        Command::Status(args) => status::run(args, &out, store).await,
        Command::Push(args) => push::run(*args, &out, store).await,
        Command::Apps => list::run(&out, store).await,
        Command::App(args) => summary::run(args, &out, store).await,
        Command::Scale(args) => scale::run(args, &out, store).await,
        Command::Start(args) => lifecycle::start(args, &out, store).await,
        Command::Stop(args) => lifecycle::stop(args, &out, store).await,
        Command::Restart(args) => lifecycle::restart(args, &out, store).await,
        Command::Restage(args) => lifecycle::restage(args, &out, store).await,
        Command::Revisions(args) => versions::revisions(args, &out, store).await,
        Command::Rollback(args) => versions::rollback(args, &out, store).await,
        Command::Deployment(args) => versions::deployment(args, &out, store).await,
        Command::Droplet(args) => versions::droplet(args, &out, store).await,
        Command::Manifest(args) => versions::manifest(args, &out, store).await,
        Command::CopySource(args) => versions::copy_source(args, &out, store).await,
        Command::Delete(args) => lifecycle::delete(args, &out, store).await,
        Command::Run(args) => run::run(*args, &out, store).await,
        Command::Tasks(args) => tasks::list(args, &out, store).await,
        Command::Task(args) => tasks::run(args, &out, store).await,
        Command::Logs(args) => logs::run(args, &out, store).await,
        Command::Env(args) => environment::show(args, &out, store).await,
        Command::SetEnv(args) => environment::set(args, &out, store).await,
        Command::UnsetEnv(args) => environment::unset(args, &out, store).await,
        Command::MapRoute(args) => routes::map(args, &out, store).await,
        Command::UnmapRoute(args) => routes::unmap(args, &out, store).await,
        Command::UpdateRoute(args) => routes::update(args, &out, store).await,
        Command::Routes => routes::list(&out, store).await,
        Command::Domain(args) => domains::run(args, &out, store).await,
        Command::Ssh(args) => inside::shell::run(args, &out, store).await,
        Command::Files(args) => inside::files::run(args, &out, store).await,
        Command::Cp(args) => inside::copy::run(args, &out, store).await,
        Command::Events(args) => events::run(args, &out, store).await,
        Command::Why(args) => why::run(args, &out, store).await,
        Command::Automation(command) => automation::run(command, &out, store).await,
        Command::Service(args) => services::run(args, &out, store).await,
        Command::Node(args) => node::run(args, &out, store).await,
        Command::Router(args) => routers::run(args, &out, store).await,
        Command::Quota(args) => quotas::run(args, &out, store).await,
        Command::Buildpack(args) => buildpacks::run(args, &out, store).await,
        Command::Config(args) => config::run(args, &out, store).await,
        Command::History(args) => history::run(args, &out, store).await,
        Command::Login(args) => login::login(args, &out, store).await,
        Command::Logout => login::logout(&out, store).await,
        Command::Target(args) => login::target(args, &out, store).await,
        Command::Completions { shell } => completions(shell, &out),
        Command::ExitCodes => exit_codes(&out),
        Command::InternalDetach(args) => up::detach(&args),
    }
}

fn completions(shell: clap_complete::Shell, out: &Output) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "yard", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let document = serde_json::json!({ "shell": shell.to_string(), "script": script });
    out.show(&document, |_| script.clone())
}

fn exit_codes(out: &Output) -> Outcome {
    let document: std::collections::BTreeMap<&str, &str> = EXIT_CODES
        .lines()
        .skip(1)
        .filter_map(|line| line.trim().split_once("  "))
        .collect();
    out.show(&document, |_| EXIT_CODES.to_string())
}
