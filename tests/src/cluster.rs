//! One cluster of this machine, started and driven with `yard`.

use anyhow::{Context, bail};
use proto::node::{ClusterFile, ComponentState, NodeRequest, NodeStatus};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a suite wants of its cluster.
#[derive(Debug, Clone)]
pub struct Options {
    pub deas: u32,
    /// How many controllers, routers, stagers and health managers.
    pub copies: u32,
    /// A file with the URL of the controllers' database, if that is to be PostgreSQL.
    pub database_file: Option<PathBuf>,
    /// Where other machines reach this one.
    pub advertise: Option<String>,
    /// Keep the cluster's names in the machine's hosts file.
    pub hosts: bool,
    /// A network namespace to live in. Only `yard` reaches such a cluster, not the test itself.
    pub network: Option<PathBuf>,
    /// Folders of its home that are elsewhere, by their names.
    pub elsewhere: Vec<(&'static str, PathBuf)>,
    /// Variables that its daemons get besides their usual ones.
    pub environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            deas: 1,
            copies: 1,
            database_file: None,
            advertise: None,
            hosts: false,
            network: None,
            elsewhere: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// Ports after the routers' that a cluster may give to more of them.
const SPARE_PORTS: u32 = 1;

/// A running cluster. [`Cluster::destroy`] takes it down and checks that nothing is left.
pub struct Cluster {
    folder: Option<tempfile::TempDir>,
    pub home: PathBuf,
    pub domain: String,
    pub port: u16,
    options: Options,
    http: reqwest::Client,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Output {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Output {
    /// The standard output as one JSON document.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("no JSON document: {:?}", self.stdout))
    }

    /// The output, or an error with all that was printed if the status is not 0.
    pub fn success(self) -> anyhow::Result<Output> {
        if self.status == 0 {
            Ok(self)
        } else {
            bail!(
                "status {}\nstdout: {}\nstderr: {}",
                self.status,
                self.stdout,
                self.stderr
            )
        }
    }
}

/// A program that is not ours, and may not be there: the one that the variable names, else that of the `PATH`.
pub fn program_of_others(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(given) = std::env::var_os(variable) {
        return Some(PathBuf::from(given));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The folder of the programs under test.
pub fn programs() -> PathBuf {
    let mut folder = std::env::current_exe().expect("a test knows its own path");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}

/// The root of the source tree.
pub fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the source tree exists")
}

/// A port nobody listens on now.
pub fn free_port() -> anyhow::Result<u16> {
    free_ports(1)
}

/// The first of so many ports in a row that nobody listens on now.
pub fn free_ports(number: u32) -> anyhow::Result<u16> {
    let listen = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port));
    for _ in 0..100 {
        let first = listen(0)?.local_addr()?.port();
        let last = u16::try_from(number)?.saturating_sub(1).checked_add(first);
        if last.is_some_and(|last| (first..=last).all(|port| listen(port).is_ok())) {
            return Ok(first);
        }
    }
    bail!("there are no {number} free ports in a row")
}

/// What a command prints; an error with what it says if it fails.
pub fn told(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn output(mut command: Command) -> anyhow::Result<Output> {
    let start = Instant::now();
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    Ok(Output {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: start.elapsed(),
    })
}

impl Cluster {
    /// Starts a cluster; refuses loudly where the machine lacks what it takes.
    pub async fn start(options: Options) -> anyhow::Result<Cluster> {
        if !nix::unistd::geteuid().is_root() {
            bail!("a cluster needs root: run the tests as root");
        }
        for program in [
            "yard",
            "stackyard",
            "stackyard-supervisor",
            "stackyard-init",
        ] {
            if !programs().join(program).exists() {
                bail!(
                    "{} is missing: run `make build` first",
                    programs().join(program).display()
                );
            }
        }
        let folder = tempfile::Builder::new().prefix("yard-test-").tempdir()?;
        // Apps run under other users: the way to their files must be open.
        std::fs::set_permissions(
            folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        let port = free_ports(options.copies + SPARE_PORTS)?;
        let domain = format!("t{port}.internal");
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(Duration::from_secs(5))
            .no_proxy()
            .build()?;
        let cluster = Cluster {
            home: folder.path().join("home"),
            folder: Some(folder),
            domain,
            port,
            options,
            http,
        };
        cluster.choose_ssh_port()?;
        for (name, folder) in &cluster.options.elsewhere {
            std::fs::create_dir_all(&cluster.home)?;
            std::os::unix::fs::symlink(folder, cluster.home.join(name))?;
        }
        let up = cluster.up().await;
        if let Err(error) = &up {
            cluster.print_logs();
            let _ = cluster
                .yard([
                    "destroy",
                    "--yes",
                    "--home",
                    &cluster.home.display().to_string(),
                ])
                .await;
            bail!("the cluster did not come up: {error:#}");
        }
        Ok(cluster)
    }

    /// Left to themselves, two clusters that start at once would both take the port that people expect.
    fn choose_ssh_port(&self) -> anyhow::Result<()> {
        let node = self.home.join("node");
        std::fs::create_dir_all(&node)?;
        let ports = serde_json::json!({ "ssh": free_port()? });
        Ok(std::fs::write(node.join("ports.json"), ports.to_string())?)
    }

    pub async fn up(&self) -> anyhow::Result<Output> {
        let mut command = self.command(&self.root());
        let names = self.options.environment.iter().map(|(name, _)| name);
        let names: Vec<&str> = names.map(String::as_str).collect();
        command
            .args(self.up_arguments())
            .env("STACKYARD_PASSED_ON", names.join(","))
            .envs(self.options.environment.iter().cloned());
        output(command).await?.success()
    }

    /// What `yard` is to be told to bring this cluster up.
    pub fn up_arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "up",
            "--home",
            &self.home.display().to_string(),
            "--domain",
            &self.domain,
            "--port",
            &self.port.to_string(),
            "--deas",
            &self.options.deas.to_string(),
            "--no-links",
            "--timeout",
            "90",
        ]
        .map(String::from)
        .to_vec();
        for option in [
            "--controllers",
            "--routers",
            "--stagers",
            "--health-managers",
        ] {
            if self.options.copies != 1 {
                arguments.extend([option.to_string(), self.options.copies.to_string()]);
            }
        }
        if let Some(file) = &self.options.database_file {
            arguments.extend(["--database-file".to_string(), file.display().to_string()]);
        }
        if let Some(address) = &self.options.advertise {
            arguments.extend(["--advertise".to_string(), address.clone()]);
        }
        if !self.options.hosts {
            arguments.push("--no-hosts".to_string());
        }
        arguments
    }

    pub async fn down(&self) -> anyhow::Result<Output> {
        self.yard(["down", "--home", &self.home.display().to_string()])
            .await?
            .success()
    }

    /// Runs `yard` as a user of this cluster.
    pub async fn yard<I, S>(&self, arguments: I) -> anyhow::Result<Output>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.yard_in(&self.root(), arguments).await
    }

    /// Runs `yard` in a folder.
    pub async fn yard_in<I, S>(&self, folder: &Path, arguments: I) -> anyhow::Result<Output>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(folder);
        command.args(arguments);
        output(command).await
    }

    /// `yard` with this cluster's environment, not yet started.
    pub fn command(&self, folder: &Path) -> Command {
        let yard = programs().join("yard");
        let mut command = match &self.options.network {
            Some(network) => {
                let mut command = Command::new("nsenter");
                command
                    .arg(format!("--net={}", network.display()))
                    .arg(yard);
                command
            }
            None => Command::new(yard),
        };
        command
            .current_dir(folder)
            .env("YARD_CONFIG_HOME", self.root().join("login"))
            .env("YARD_HOME", &self.home)
            .env_remove("SUDO_USER")
            .stdin(Stdio::null());
        // Of this source tree, wherever cargo has put the programs.
        for folder in ["buildpacks", "packs", "python"] {
            let variable = format!("STACKYARD_{}", folder.to_uppercase());
            command.env(variable, source_root().join(folder));
        }
        command
    }

    /// `yard`, expected to succeed.
    pub async fn ok<I, S>(&self, arguments: I) -> anyhow::Result<Output>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.yard(arguments).await?.success()
    }

    /// The folder of this test run.
    pub fn root(&self) -> PathBuf {
        self.home
            .parent()
            .map(Path::to_path_buf)
            .unwrap_or_default()
    }

    /// `name.domain`
    pub fn host(&self, name: &str) -> String {
        format!("{name}.{}", self.domain)
    }

    /// A request through the router, as any client would send it.
    pub async fn get(&self, host: &str, path: &str) -> anyhow::Result<reqwest::Response> {
        self.get_at(self.port, host, path).await
    }

    /// The same at the port of another router, or of a daemon itself.
    pub async fn get_at(
        &self,
        port: u16,
        host: &str,
        path: &str,
    ) -> anyhow::Result<reqwest::Response> {
        Ok(self
            .http
            .get(format!("http://127.0.0.1:{port}{path}"))
            .header("Host", format!("{host}:{}", self.port))
            .timeout(Duration::from_secs(30))
            .send()
            .await?)
    }

    /// The body of a 200 answer.
    pub async fn body(&self, host: &str, path: &str) -> anyhow::Result<String> {
        let response = self.get(host, path).await?;
        let status = response.status();
        let body = response.text().await?;
        if status != 200 {
            bail!("{host}{path} answered {status}: {body}");
        }
        Ok(body)
    }

    pub fn cluster_file(&self) -> anyhow::Result<ClusterFile> {
        let path = self.home.join("cluster.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// What the node says of its components.
    pub fn node_status(&self) -> anyhow::Result<NodeStatus> {
        let socket = Path::new(&self.cluster_file()?.run_folder).join("node.sock");
        let mut stream = UnixStream::connect(&socket)
            .with_context(|| format!("connecting to {}", socket.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut request = serde_json::to_vec(&NodeRequest::Status)?;
        request.push(b'\n');
        stream.write_all(&request)?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    pub fn pid(&self, component: &str) -> anyhow::Result<i32> {
        let status = self.node_status()?;
        status
            .components
            .iter()
            .find(|entry| entry.name == component)
            .and_then(|entry| entry.pid)
            .map(|pid| pid as i32)
            .with_context(|| format!("{component} has no process: {:?}", status.components))
    }

    /// `kill -9` of a component.
    pub fn kill(&self, component: &str) -> anyhow::Result<i32> {
        let pid = self.pid(component)?;
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )?;
        Ok(pid)
    }

    /// Waits until a component runs as another process than `old` and is ready.
    pub async fn wait_restarted(&self, component: &str, old: i32) -> anyhow::Result<()> {
        crate::eventually(
            &format!("{component} ready again"),
            Duration::from_secs(30),
            || async {
                let status = self.node_status()?;
                let entry = status
                    .components
                    .iter()
                    .find(|entry| entry.name == component)
                    .context("no such component")?;
                match (entry.pid, entry.state) {
                    (Some(pid), ComponentState::Ready) if pid as i32 != old => Ok(()),
                    (pid, state) => bail!("pid {pid:?}, {state:?}: {}", entry.detail),
                }
            },
        )
        .await
    }

    /// The last lines of every component's log, for a failed run.
    pub fn print_logs(&self) {
        let Ok(entries) = std::fs::read_dir(self.home.join("logs")) else {
            return;
        };
        for entry in entries.flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("--- {}", entry.path().display());
            for line in &lines[lines.len().saturating_sub(25)..] {
                eprintln!("{line}");
            }
        }
    }

    /// Takes the cluster down with its data, and fails if anything of it is left on the machine.
    pub async fn destroy(mut self) -> anyhow::Result<()> {
        let file = self.cluster_file().ok();
        let home = self.home.display().to_string();
        let output = self.yard(["destroy", "--yes", "--home", &home]).await?;
        if std::env::var_os("YARD_KEEP").is_some()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("kept: {}", folder.keep().display());
        }
        output.success()?;
        if self.home.exists() {
            bail!("{home} is still there after destroy");
        }
        if let Some(file) = file {
            let left = self.leftovers(&file);
            if !left.is_empty() {
                bail!("left behind:\n  {}", left.join("\n  "));
            }
        }
        Ok(())
    }

    /// What is on the machine of the cluster that this file describes.
    pub fn leftovers(&self, file: &ClusterFile) -> Vec<String> {
        let home = self.home.display().to_string();
        crate::leftovers::find(file, &home, self.options.network.as_deref())
    }
}
