//! `yard up`: a cluster on this machine, healthy, and its caller logged in.
//!
//! Can be repeated: a node that runs is not started again, and what was half done is completed.
//! The node is started detached (its own session, no terminal), so that it outlives this command,
//! the shell and the sudo around it. It tells over its socket how far each component is.

use super::{home, link, logs, socket};
use crate::caller::Caller;
use crate::client;
use crate::doctor;
use crate::failure::{Code, Failure, Outcome};
use crate::login;
use crate::output::{Color, Output, human, progress};
use crate::targets::Store;
use clap::Args;
use indicatif::ProgressBar;
use nix::unistd::Uid;
use proto::bus::Role;
use proto::join::Advertised;
use proto::node::{ClusterFile, ComponentState, NodePhase, NodeRequest, NodeStatus};
use proto::roles::most;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a node may take to write other roles and to start what is new.
const CHANGE_OF_ROLES: Duration = Duration::from_secs(90);

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Where the cluster keeps its state (default: $YARD_HOME, else /var/lib/stackyard)
    #[arg(long)]
    home: Option<PathBuf>,
    /// Domain of the cluster and its apps (default: yard.internal)
    #[arg(long)]
    domain: Option<String>,
    /// Port of the router (default: 8080)
    #[arg(long)]
    port: Option<u16>,
    /// Port of the router for TLS, 0 for none, from now on (default: none)
    #[arg(long, value_name = "PORT")]
    tls_port: Option<u16>,
    /// Address the router listens on (default: 127.0.0.1)
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<std::net::IpAddr>,
    /// Execution agents on this machine (default: 1)
    #[arg(long, value_name = "NUMBER", value_parser = count(Role::Dea))]
    deas: Option<u32>,
    /// Controllers on this machine; several need --database-file (default: 1)
    #[arg(long, value_name = "NUMBER", value_parser = count(Role::Controller))]
    controllers: Option<u32>,
    /// Routers on this machine: the first at --port, each further one a port higher (default: 1)
    #[arg(long, value_name = "NUMBER", value_parser = count(Role::Router))]
    routers: Option<u32>,
    /// Stagers on this machine (default: 1)
    #[arg(long, value_name = "NUMBER", value_parser = count(Role::Stager))]
    stagers: Option<u32>,
    /// Health managers on this machine (default: 1)
    #[arg(long, value_name = "NUMBER", value_parser = count(Role::HealthManager))]
    health_managers: Option<u32>,
    /// File with the URL of a PostgreSQL database for the controllers, from now on (default: SQLite)
    #[arg(long, value_name = "FILE")]
    database_file: Option<PathBuf>,
    /// Address at which other machines reach this one, to join the cluster (`yard node token`); off for none, from
    /// now on (default: off; port: 7443)
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    advertise: Option<Advertised>,
    /// Do not write the cluster's names into /etc/hosts, from now on
    #[arg(long, conflicts_with = "hosts")]
    no_hosts: bool,
    /// Write them again, after --no-hosts
    #[arg(long)]
    hosts: bool,
    /// Do not link the programs into /usr/local/bin
    #[arg(long)]
    no_links: bool,
    /// Seconds to wait until everything is healthy
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// The programs are built on this machine: `yard doctor` looks for Rust too
    #[arg(long)]
    from_source: bool,
    /// Start even if `yard doctor` finds faults
    #[arg(long)]
    force: bool,
}

fn count(role: Role) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(most(role)))
}

impl UpArgs {
    /// How many daemons of which roles are asked for, where that is said.
    fn counts(&self) -> impl Iterator<Item = (Role, u32)> {
        [
            (Role::Dea, self.deas),
            (Role::Controller, self.controllers),
            (Role::Router, self.routers),
            (Role::Stager, self.stagers),
            (Role::HealthManager, self.health_managers),
        ]
        .into_iter()
        .filter_map(|(role, count)| Some((role, count?)))
    }

    /// None: as before.
    fn wants_hosts(&self) -> Option<bool> {
        (self.hosts || self.no_hosts).then_some(self.hosts)
    }
}

/// Hidden: leaves the session of its caller, then becomes the program.
#[derive(Debug, Args)]
pub struct DetachArgs {
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<std::ffi::OsString>,
}

pub fn detach(args: &DetachArgs) -> Outcome {
    use std::os::unix::process::CommandExt;
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::usage("nothing to start"));
    };
    // Fails only for a process that leads its group already, which is as good.
    let _ = nix::unistd::setsid();
    close_inherited();
    let error = Command::new(program).args(arguments).exec();
    Err(Failure::failed(format!(
        "start {}: {error}",
        Path::new(program).display()
    )))
}

/// What else the caller has open (a lock, the pipe of a build) must not stay open as long as the
/// cluster runs. Nothing of ours is open yet.
fn close_inherited() {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for number in open.into_iter().filter(|number| *number > 2) {
        // Of the listing itself it is closed already.
        let _ = nix::unistd::close(number);
    }
}

pub async fn run(args: UpArgs, out: &Output, caller: Caller) -> Outcome {
    if !Uid::effective().is_root() {
        return Err(Failure::new(
            Code::MachineNotReady,
            "starting a cluster needs root: it makes network interfaces, mounts and cgroups",
        )
        .fix("`sudo yard up`"));
    }
    let home = home::resolve(args.home.as_deref())?;
    let started = Instant::now();
    let stackyard = home::find_stackyard()?;
    let before = home::read_cluster(&home)?;
    let mut child = None;
    match running(before.as_ref()).await? {
        Some(status) => {
            tell_differences(&args, before.as_ref(), out);
            out.say(format!(
                "The cluster {} runs already ({})",
                status.cluster,
                home.display()
            ))?;
            if let Some(cluster) = &before {
                change_roles(&args, cluster).await?;
            }
        }
        None => {
            examine(&args, &home, before.as_ref(), out, &caller)?;
            let options = NodeOptions::of(before.as_ref()).overridden(&args);
            child = Some(start(&options.arguments(), &home, &stackyard)?);
            out.say(format!("Starting a cluster in {}", home.display()))?;
        }
    }
    let deadline = started + Duration::from_secs(args.timeout.max(1));
    let (cluster, status) = until_ready(&home, child.as_mut(), out, deadline).await?;
    if cluster.joined.is_some() {
        return tell_joined(out, &cluster, &home, &status);
    }
    let mut notes = if args.no_links {
        Vec::new()
    } else {
        link::put_on_path(&stackyard)
    };
    let api = home::api_of(&cluster);
    let user = match log_in(&cluster, &home, caller.clone(), deadline).await {
        Ok(()) => Some("admin"),
        Err(failure) => {
            notes.push(format!(
                "the cluster runs, but {} is not logged in: {}",
                caller.name, failure.what
            ));
            None
        }
    };
    for note in &notes {
        out.warn(note);
    }
    let document = json!({
        "cluster": cluster.id, "home": home, "api": api, "domain": cluster.domain,
        "admin_password_file": home::password_file(&home), "logged_in": user.is_some(), "user": user,
        "components": status.components, "took_ms": started.elapsed().as_millis(),
    });
    out.show(&document, |_| {
        welcome(
            out,
            &cluster,
            &home,
            &caller,
            user.is_some(),
            started.elapsed(),
        )
    })
}

/// People talk to the cluster on its first machine.
pub fn tell_joined(
    out: &Output,
    cluster: &ClusterFile,
    home: &Path,
    status: &NodeStatus,
) -> Outcome {
    let document = json!({
        "machine": cluster.machine, "cluster": cluster.joined.as_ref().map(|joined| joined.cluster.clone()),
        "home": home, "address": cluster.joined.as_ref().map(|joined| joined.address),
        "zone": cluster.joined.as_ref().map(|joined| joined.zone.clone()), "components": status.components,
    });
    out.show(&document, |_| {
        let names: Vec<&str> = status
            .components
            .iter()
            .map(|component| component.name.as_str())
            .collect();
        format!(
            "\n{} of the cluster of {}, with {}\n\n  on its first machine   yard node list\n  stop it for a while    sudo yard down --home {home}\n  take it out for good   sudo yard node leave --home {home}\n",
            out.paint(Color::Good, format!("This machine is {}", cluster.machine)),
            cluster.domain,
            names.join(", "),
            home = home.display()
        )
    })
}

fn welcome(
    out: &Output,
    cluster: &ClusterFile,
    home: &Path,
    caller: &Caller,
    logged_in: bool,
    took: Duration,
) -> String {
    let mut text = format!(
        "\n{} in {}\n\n",
        out.paint(Color::Good, "The cluster is up"),
        human::took(took)
    );
    text.push_str(&format!("  API             {}\n", home::api_of(cluster)));
    text.push_str(&format!(
        "  admin password  {}\n",
        home::password_file(home).display()
    ));
    text.push_str(&format!(
        "  apps answer at  http://APP.{}:{}/\n",
        cluster.domain, cluster.port
    ));
    let routers = cluster.roles.numbers(Role::Router);
    for port in routers
        .filter(|number| *number > 1)
        .filter_map(|number| cluster.router_port(number))
    {
        text.push_str(&format!(
            "                  http://APP.{}:{port}/ (another router, the same apps)\n",
            cluster.domain
        ));
    }
    if let Some(port) = cluster.tls_port {
        text.push_str(&format!(
            "                  https://APP.{}:{port}/\n  certificates    {}\n",
            cluster.domain,
            home.join("certificates").display()
        ));
    }
    if cluster.hosts {
        text.push_str(
            "  names           in a marked block of /etc/hosts, taken out by `yard down`\n",
        );
    }
    if logged_in {
        text.push_str(&format!(
            "  logged in       {} as admin, in org default, space default\n",
            caller.name
        ));
    }
    text.push_str("\nNext:\n  yard push samples/static    push an app\n  yard apps                   see what runs\n  yard status                 see the cluster\n  sudo yard down              stop it; data stays\n");
    text
}

async fn running(cluster: Option<&ClusterFile>) -> Outcome<Option<NodeStatus>> {
    let Some(cluster) = cluster else {
        return Ok(None);
    };
    let status = socket::ask(
        &home::socket_of(cluster),
        &NodeRequest::Status,
        Duration::from_secs(5),
    )
    .await?;
    match status {
        Some(status) if matches!(status.phase, NodePhase::Stopping) => {
            Err(Failure::failed("the cluster is just being stopped")
                .fix("wait a moment and try again"))
        }
        Some(status) if matches!(status.phase, NodePhase::Stopped) => Ok(None),
        other => Ok(other),
    }
}

/// Tells the node of a running cluster how many daemons its machine is to have.
async fn change_roles(args: &UpArgs, cluster: &ClusterFile) -> Outcome {
    let counts: BTreeMap<String, u32> = args
        .counts()
        .filter(|(role, count)| cluster.roles.count(*role) != *count)
        .map(|(role, count)| (role.name().to_string(), count))
        .collect();
    if counts.is_empty() {
        return Ok(());
    }
    let socket = home::socket_of(cluster);
    let request = NodeRequest::Roles { counts };
    let answer = socket::ask(&socket, &request, CHANGE_OF_ROLES).await?;
    match answer.map(|status| status.refused) {
        Some(None) => Ok(()),
        Some(Some(why)) => Err(Failure::failed(why).doing("change the roles of this machine")),
        None => Err(Failure::new(
            Code::Unreachable,
            "the node went away before it changed the roles",
        )
        .fix("`sudo yard up` again")),
    }
}

/// A running cluster keeps what it was started with, but for its daemons.
fn tell_differences(args: &UpArgs, cluster: Option<&ClusterFile>, out: &Output) {
    let Some(cluster) = cluster else { return };
    let differs = args
        .domain
        .as_ref()
        .is_some_and(|domain| *domain != cluster.domain)
        || args.port.is_some_and(|port| port != cluster.port)
        || args
            .tls_port
            .is_some_and(|port| port != cluster.tls_port.unwrap_or(0))
        || args
            .bind
            .is_some_and(|bind| bind.to_string() != cluster.bind)
        || args
            .wants_hosts()
            .is_some_and(|hosts| hosts != cluster.hosts)
        || args
            .advertise
            .is_some_and(|advertised| advertised.0 != cluster.advertise)
        || args.database_file.is_some();
    if differs {
        out.warn("the cluster runs with other settings than asked for; `sudo yard down` first, then `sudo yard up` with the new ones");
    }
}

/// The doctor's faults stop us, his warnings do not.
fn examine(
    args: &UpArgs,
    home: &Path,
    cluster: Option<&ClusterFile>,
    out: &Output,
    caller: &Caller,
) -> Outcome {
    let wanted = doctor::Wanted {
        home: home.to_path_buf(),
        bind: args
            .bind
            .map(|bind| bind.to_string())
            .or(cluster.map(|cluster| cluster.bind.clone()))
            .unwrap_or_else(|| "127.0.0.1".into()),
        port: args
            .port
            .or(cluster.map(|cluster| cluster.port))
            .unwrap_or(8080),
        // A node that was killed leaves its daemons, and they hold its port.
        runs_already: doctor::daemons_live(home),
        from_source: args.from_source,
    };
    let findings = doctor::examine(&wanted, caller);
    let faults = findings
        .iter()
        .filter(|finding| finding.level == doctor::Level::Fault)
        .count();
    for finding in findings
        .iter()
        .filter(|finding| matches!(finding.level, doctor::Level::Fault | doctor::Level::Warning))
    {
        out.say(doctor::line(finding, out))?;
    }
    if faults == 0 || args.force {
        return Ok(());
    }
    let failure = Failure::new(
        Code::MachineNotReady,
        format!(
            "this machine is not ready for a cluster: {}",
            human::count(faults, "fault")
        ),
    );
    Err(match doctor::packages_line(&findings) {
        Some(line) => failure.fix(line),
        None => failure.fix("mend the faults above, then `sudo yard up` again"),
    })
}

/// What a node is started with: what was asked for, else what the cluster was before.
#[derive(Debug, Default)]
struct NodeOptions {
    domain: Option<String>,
    port: Option<u16>,
    tls_port: Option<u16>,
    bind: Option<String>,
    counts: Vec<(Role, u32)>,
    database_file: Option<PathBuf>,
    advertise: Option<Advertised>,
    hosts: Option<bool>,
}

impl NodeOptions {
    fn of(cluster: Option<&ClusterFile>) -> NodeOptions {
        match cluster {
            None => NodeOptions::default(),
            Some(cluster) => NodeOptions {
                domain: Some(cluster.domain.clone()),
                port: Some(cluster.port),
                tls_port: cluster.tls_port,
                bind: Some(cluster.bind.clone()),
                // The cluster store knows them.
                counts: Vec::new(),
                // The node keeps what it names.
                database_file: None,
                advertise: None,
                hosts: Some(cluster.hosts),
            },
        }
    }

    fn overridden(self, args: &UpArgs) -> NodeOptions {
        NodeOptions {
            domain: args.domain.clone().or(self.domain),
            port: args.port.or(self.port),
            tls_port: args.tls_port.or(self.tls_port),
            bind: args.bind.map(|bind| bind.to_string()).or(self.bind),
            counts: args.counts().collect(),
            database_file: args.database_file.as_deref().map(absolute),
            advertise: args.advertise.or(self.advertise),
            hosts: args.wants_hosts().or(self.hosts),
        }
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                arguments.extend([name.to_string(), value]);
            }
        };
        add("--domain", self.domain.clone());
        add("--port", self.port.map(|port| port.to_string()));
        add("--tls-port", self.tls_port.map(|port| port.to_string()));
        add("--bind", self.bind.clone());
        for (role, count) in &self.counts {
            add(&format!("--{}s", role.name()), Some(count.to_string()));
        }
        let file = self.database_file.as_ref();
        add(
            "--database-file",
            file.map(|file| file.display().to_string()),
        );
        add(
            "--advertise",
            self.advertise.map(|advertised| advertised.to_string()),
        );
        if let Some(hosts) = self.hosts {
            arguments.push(if hosts { "--hosts" } else { "--no-hosts" }.to_string());
        }
        arguments
    }
}

/// The node has another current folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Starts `stackyard node` in a session of its own; its output goes to its log.
pub fn start(arguments: &[String], home: &Path, stackyard: &Path) -> Outcome<Child> {
    let failed =
        |what: String| move |error: std::io::Error| Failure::failed(format!("{what}: {error}"));
    let folder = home.join("logs");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&folder)
        .map_err(failed(format!("create {}", folder.display())))?;
    let file = folder.join("node.log");
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        .map_err(failed(format!("open {}", file.display())))?;
    let log_too = log
        .try_clone()
        .map_err(failed(format!("open {}", file.display())))?;
    let yard = std::env::current_exe().map_err(failed("find this program".into()))?;
    let mut command = Command::new(yard);
    command
        .arg("internal-detach")
        .arg("--")
        .arg(stackyard)
        .arg("node")
        .arg("--home")
        .arg(home)
        .args(arguments);
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too)
        .spawn()
        .map_err(failed(format!("start {}", stackyard.display())))
}

/// Shows how far each component is, until all are ready.
pub async fn until_ready(
    home: &Path,
    mut child: Option<&mut Child>,
    out: &Output,
    deadline: Instant,
) -> Outcome<(ClusterFile, NodeStatus)> {
    let bar = progress::spinner(out, "waiting for the node");
    let began = Instant::now();
    let mut shown = BTreeSet::new();
    let result = loop {
        let seen = match home::read_cluster(home) {
            Ok(Some(cluster)) => {
                let status = socket::ask(
                    &home::socket_of(&cluster),
                    &NodeRequest::Status,
                    Duration::from_secs(5),
                )
                .await
                .unwrap_or(None);
                status.map(|status| (cluster, status))
            }
            _ => None,
        };
        if let Some((cluster, status)) = &seen {
            report(out, &bar, status, &mut shown, began)?;
            let ready = !status.components.is_empty()
                && status
                    .components
                    .iter()
                    .all(|component| component.state.is_well());
            if ready && status.phase == NodePhase::Running {
                break Ok((cluster.clone(), status.clone()));
            }
        }
        if let Some(exit) = child
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten())
        {
            break Err(node_failed(
                home,
                &format!("the node process ended ({exit})"),
                seen.as_ref().and_then(|(_, status)| status.error.clone()),
            ));
        }
        if Instant::now() >= deadline {
            break Err(too_late(
                home,
                seen.map(|(_, status)| status),
                began.elapsed(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    bar.finish_and_clear();
    if let Err(failure) = &result {
        for line in failure.cause.iter().flat_map(|cause| {
            cause
                .to_string()
                .lines()
                .map(str::to_string)
                .collect::<Vec<_>>()
        }) {
            out.say(format!("  {line}"))?;
        }
    }
    result
}

/// Says what became ready; the spinner says what is waited for.
fn report(
    out: &Output,
    bar: &ProgressBar,
    status: &NodeStatus,
    shown: &mut BTreeSet<String>,
    began: Instant,
) -> Outcome {
    let mut waiting = Vec::new();
    for component in &status.components {
        if component.state == ComponentState::Ready {
            if shown.insert(component.name.clone()) {
                let line = format!(
                    "  {:<18} {:<6} {}",
                    component.name,
                    out.paint(Color::Good, "ready"),
                    human::took(began.elapsed())
                );
                bar.suspend(|| out.say(line))?;
            }
        } else {
            let detail = if component.detail.is_empty() {
                String::new()
            } else {
                format!(" ({})", component.detail)
            };
            waiting.push(format!("{}{detail}", component.name));
        }
    }
    if !waiting.is_empty() {
        bar.set_message(format!("waiting for {}", waiting.join(", ")));
    }
    Ok(())
}

pub fn node_failed(home: &Path, what: &str, error: Option<String>) -> Failure {
    let file = home.join("logs/node.log");
    let why = error.map(|error| format!(": {error}")).unwrap_or_default();
    let tail = logs::last_lines(&file, 15).join("\n");
    Failure::failed(format!("{what}{why}"))
        .fix(format!("its log is {}", file.display()))
        .because(tail)
}

/// Names each component that is not ready, why, and its last lines.
fn too_late(home: &Path, status: Option<NodeStatus>, waited: Duration) -> Failure {
    let Some(status) = status else {
        let failure = node_failed(
            home,
            &format!("the node did not answer within {}", human::took(waited)),
            None,
        );
        return Failure {
            code: Code::TimedOut,
            ..failure
        };
    };
    let mut names = Vec::new();
    let mut tail = String::new();
    for component in status
        .components
        .iter()
        .filter(|component| component.state != ComponentState::Ready)
    {
        let detail = if component.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", component.detail)
        };
        names.push(format!("{} is {:?}{detail}", component.name, component.state).to_lowercase());
        tail.push_str(&format!(
            "last lines of {} ({}):\n",
            component.name, component.log_file
        ));
        for line in logs::last_lines(Path::new(&component.log_file), 8) {
            tail.push_str(&format!("  {line}\n"));
        }
    }
    let what = format!(
        "not everything is healthy after {}: {}",
        human::took(waited),
        names.join("; ")
    );
    Failure::new(Code::TimedOut, what)
        .fix("`yard status` shows more; `sudo yard up` again goes on waiting")
        .because(tail)
}

async fn log_in(cluster: &ClusterFile, home: &Path, caller: Caller, deadline: Instant) -> Outcome {
    let file = home::password_file(home);
    let password = fs::read_to_string(&file)
        .map_err(|error| Failure::failed(format!("read {}: {error}", file.display())))?;
    let api = home::api_of(cluster);
    let patience = deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_secs(10));
    let target = client::discover(&api, Some(&home::connect_address(cluster)), patience).await?;
    let store = Store::of(caller);
    login::log_in(
        &store,
        target,
        "admin",
        password.trim(),
        Some("default"),
        Some("default"),
        false,
    )
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        up: UpArgs,
    }

    /// What a node is told when a cluster with or without names is started so.
    fn arguments(hosts: bool, words: &[&str]) -> String {
        let line = Line::parse_from(["up"].iter().chain(words));
        let before = ClusterFile {
            id: "c0ffee12".into(),
            domain: "yard.internal".into(),
            bind: "127.0.0.1".into(),
            port: 8080,
            tls_port: None,
            machine: "machine-1".into(),
            roles: proto::roles::Roles::one_of_each(),
            hosts,
            run_folder: "/run/stackyard/c0ffee12".into(),
            advertise: None,
            joined: None,
        };
        NodeOptions::of(Some(&before))
            .overridden(&line.up)
            .arguments()
            .join(" ")
    }

    #[test]
    fn what_is_not_asked_for_stays() {
        let same = "--domain yard.internal --port 8080 --bind 127.0.0.1";
        assert_eq!(arguments(true, &[]), format!("{same} --hosts"));
        assert_eq!(arguments(false, &[]), format!("{same} --no-hosts"));
        assert_eq!(arguments(false, &["--hosts"]), format!("{same} --hosts"));
        assert_eq!(
            arguments(true, &["--no-hosts"]),
            format!("{same} --no-hosts")
        );
        assert!(arguments(true, &["--port", "81"]).contains("--port 81"));
        assert!(
            arguments(true, &["--routers", "2", "--health-managers", "3"])
                .contains("--routers 2 --health-managers 3")
        );
        assert!(
            arguments(true, &["--database-file", "/d"]).contains("--database-file /d"),
            "it is the node's to read"
        );
        assert!(
            arguments(true, &["--advertise", "192.0.2.7"]).contains("--advertise 192.0.2.7:7443")
        );
        assert!(Line::try_parse_from(["up", "--stagers", "0"]).is_err());
        assert!(Line::try_parse_from(["up", "--hosts", "--no-hosts"]).is_err());
        let first = NodeOptions::default().arguments();
        assert_eq!(first, Vec::<String>::new(), "the node has its defaults");
    }
}
