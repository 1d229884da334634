//! The executable `stackyard`: the node, every daemon, and the builder that runs in sandboxes.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use daemon::{Bootstrap, Sockets};
use node::{Wanted, WantedCounts};
use proto::join::Advertised;

#[derive(Parser)]
#[command(
    name = "stackyard",
    version,
    about = "The programs of a Stackyard cluster. People use `yard`."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the cluster of this machine, in the foreground, until it is stopped.
    Node {
        /// Where the cluster keeps its state.
        #[arg(long, env = "YARD_HOME", default_value = "/var/lib/stackyard")]
        home: PathBuf,
        /// Apps answer under this domain [default: yard.internal]; it cannot be changed later.
        #[arg(long)]
        domain: Option<String>,
        /// Address the router listens on [default: as before, or 127.0.0.1].
        #[arg(long)]
        bind: Option<IpAddr>,
        /// Port the router listens on [default: as before, or 8080].
        #[arg(long)]
        port: Option<u16>,
        /// Port the router listens on for TLS, 0 for none [default: as before, or none].
        #[arg(long)]
        tls_port: Option<u16>,
        #[command(flatten)]
        counts: WantedCounts,
        /// File with the URL (postgres://…) of the controllers' database [default: as before, or SQLite].
        #[arg(long)]
        database_file: Option<PathBuf>,
        /// Address, and port, at which other machines reach this one to join; off for none [default: as before, or off].
        #[arg(long, value_name = "ADDRESS[:PORT]")]
        advertise: Option<Advertised>,
        /// Leave /etc/hosts alone, from now on.
        #[arg(long, conflicts_with = "hosts")]
        no_hosts: bool,
        /// Keep the names of the cluster in /etc/hosts [default: as before, or yes].
        #[arg(long)]
        hosts: bool,
        /// Start nothing: stop what a killed node left and clear it away.
        #[arg(long)]
        stop_only: bool,
    },
    /// Makes this machine one of a cluster, by the token on the standard input; `stackyard node` starts it then.
    Join {
        /// Where the machine keeps its state.
        #[arg(long, env = "YARD_HOME", default_value = "/var/lib/stackyard")]
        home: PathBuf,
        /// Where the cluster's routers reach this machine [default: the address from which the gate is reached].
        #[arg(long)]
        address: Option<Ipv4Addr>,
        /// What fails together with this machine [default: its name].
        #[arg(long)]
        zone: Option<String>,
        /// Of the roles that the token allows [default: all].
        #[arg(long = "role")]
        roles: Vec<String>,
    },
    /// Runs one daemon; the node does this.
    Daemon {
        /// The daemon's bootstrap file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Stages a package; runs inside a sandbox.
    #[command(disable_help_flag = true)]
    Builder {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Node {
            home,
            stop_only: true,
            ..
        } => in_runtime(node::cluster::stop_only(home)),
        Command::Node {
            home,
            domain,
            bind,
            port,
            tls_port,
            counts,
            database_file,
            advertise,
            no_hosts,
            hosts,
            stop_only: false,
        } => {
            let hosts = (no_hosts || hosts).then_some(!no_hosts);
            in_runtime(node::cluster::run(Wanted {
                home,
                domain,
                bind,
                port,
                tls_port,
                counts,
                database_file,
                hosts,
                advertise,
            }))
        }
        Command::Join {
            home,
            address,
            zone,
            roles,
        } => in_runtime(node::joining::join(node::joining::Wish {
            home,
            address,
            zone,
            roles,
        })),
        Command::Daemon { config } => run_daemon(&config),
        Command::Builder { arguments } => return exit_code(stager::builder::main(&arguments)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stackyard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_daemon(config: &std::path::Path) -> anyhow::Result<()> {
    // Before any thread exists and anything else opens a descriptor.
    let sockets = Sockets::from_environment(sys::process::inherited)?;
    let bootstrap = Bootstrap::read(config)?;
    in_runtime(async { node::roles::run(bootstrap, sockets).await.map(|_| ()) })
}

fn in_runtime(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(future);
    // Blocking threads (a slow name lookup) do not delay the end.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    result
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
