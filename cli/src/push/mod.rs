//! `yard push`: from a folder to a running app.
//!
//! ```text
//! arguments ─► request (what, where, manifest) ─► files read ─► manifest applied ─► per app:
//!                                                  upload ─► staging ─► start | deployment
//! ```
//! Everything that can be wrong on this side is found before the cluster is asked for anything, so
//! a bad folder or manifest changes nothing there.
//!
//! A folder with a `pack.yaml` and no manifest is a pack of automation, not an app.

pub mod archive;
pub mod files;
mod flow;
mod manifest;
mod pack;
mod plan;
mod request;
mod variables;

use crate::apps::lifecycle::How;
use crate::automation::upload;
use crate::client::{Automation, Client};
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::targets::Store;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  yard push                           the folder here, with its manifest.yml if there is one
  yard push samples/static            a folder; the app is called like it
  yard push shop -p target/shop -m 128M -i 2 -c './shop --serve'
  yard push -f manifest.yml --var host=shop
  yard push --plan                    shows what `yard push` would change
  yard push packs/web                 a folder with a pack.yaml: installed or upgraded as a pack
An app that runs already is replaced in steps, so that no request fails.")]
pub struct PushArgs {
    /// A folder or archive to push, or the name of an app
    #[arg(value_name = "FOLDER|APP")]
    what: Option<String>,
    /// Name of the app (default: the manifest's, else the folder's)
    #[arg(long)]
    name: Option<String>,
    /// Folder or archive with the app
    #[arg(short = 'p', long)]
    path: Option<PathBuf>,
    /// Manifest (default: manifest.yml in the folder)
    #[arg(short = 'f', long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Do not look for a manifest
    #[arg(long, conflicts_with = "manifest")]
    no_manifest: bool,
    /// Number of instances
    #[arg(short = 'i', long)]
    instances: Option<u32>,
    /// Memory of each instance, for instance 256M or 1G
    #[arg(short = 'm', long)]
    memory: Option<String>,
    /// Disk of each instance, for instance 512M or 1G
    #[arg(short = 'k', long)]
    disk: Option<String>,
    /// Buildpack: its name, or the address of its git repository (https://…, with #BRANCH) or .zip archive; may be repeated; `default` goes back to detection
    #[arg(short = 'b', long = "buildpack")]
    buildpacks: Vec<String>,
    /// Start command; `default` goes back to the buildpack's
    #[arg(short = 'c', long)]
    command: Option<String>,
    /// Root filesystem
    #[arg(short = 's', long)]
    stack: Option<String>,
    /// No route: the app is not reached from outside
    #[arg(long)]
    no_route: bool,
    /// A route with a random host name
    #[arg(long)]
    random_route: bool,
    /// Host name of the route
    #[arg(short = 'n', long)]
    hostname: Option<String>,
    /// Domain of the route
    #[arg(short = 'd', long)]
    domain: Option<String>,
    /// How an instance is found healthy: port, http or process
    #[arg(short = 'u', long, value_name = "TYPE")]
    health_check_type: Option<String>,
    /// Path asked by an http health check
    #[arg(long, value_name = "PATH")]
    endpoint: Option<String>,
    /// Seconds an instance may take to become healthy
    #[arg(short = 't', long, value_name = "SECONDS")]
    start_timeout: Option<u32>,
    /// Value of a variable ((NAME)) in the manifest
    #[arg(long = "var", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// File with values of variables
    #[arg(long = "vars-file", value_name = "FILE")]
    variables_files: Vec<PathBuf>,
    /// Stage only; do not start
    #[arg(long)]
    no_start: bool,
    /// Show what the push would change, and change nothing
    #[arg(long)]
    plan: bool,
    /// How a running app is replaced
    #[arg(long, value_enum)]
    strategy: Option<How>,
    /// Where a canary pauses, in percent of the instances, for instance 20,60 (default: after the first instance)
    #[arg(long, value_name = "PERCENTS", value_delimiter = ',')]
    canary_steps: Vec<u32>,
    /// Seconds to wait until the app is up or the pack is installed
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

pub async fn run(args: PushArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    if let Some(folder) = pack::folder(&args)? {
        if args.plan {
            return Err(Failure::usage(format!(
                "{} is a pack of automation: --plan is for apps",
                folder.display()
            )));
        }
        let within = Duration::from_secs(args.timeout);
        return upload::push(&Automation::of(client)?, out, &folder, within).await;
    }
    client.space()?;
    let request = request::Request::read(&args)?;
    flow::push(&client, out, request).await
}
