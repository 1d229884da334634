//! `make bench`: measures a one-machine cluster and writes `docs/benchmarks.md`.
//!
//! Every figure is a median over rounds of this run. Where a peer exists (the bare container
//! runtime) it is measured in the same rounds and the figure is a ratio; absolute figures hold for
//! the machine that is named at the top of the document.

#![expect(
    clippy::print_stdout,
    reason = "a program of the harness speaks to its user"
)]

use anyhow::{Context, ensure};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tests::{Cluster, Options, eventually};

const SERVER: &str = r#"
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = os.environ["CF_INSTANCE_INDEX"].encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
        # Answered first: an unanswered GET would be tried on the next instance, and end that too.
        if self.path == "/crash": self.wfile.flush(); os._exit(7)
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#;

struct Figure {
    what: &'static str,
    values: Vec<f64>,
    unit: &'static str,
    aim: &'static str,
}

impl Figure {
    fn median(&self) -> f64 {
        median(&self.values)
    }

    fn row(&self) -> String {
        let (low, high) = self
            .values
            .iter()
            .fold((f64::MAX, f64::MIN), |(low, high), value| {
                (low.min(*value), high.max(*value))
            });
        format!(
            "| {} | {:.2} {} | {low:.2} – {high:.2} | {} | {} |",
            self.what,
            self.median(),
            self.unit,
            self.values.len(),
            self.aim
        )
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let cluster = Cluster::start(Options::default()).await?;
        let measured = measure(&cluster).await;
        let destroyed = cluster.destroy().await;
        let document = measured?;
        destroyed?;
        let path = tests::cluster::source_root().join("docs/benchmarks.md");
        std::fs::write(&path, &document)?;
        println!("{document}");
        println!("written to docs/benchmarks.md");
        anyhow::Ok(())
    })
}

async fn measure(cluster: &Cluster) -> anyhow::Result<String> {
    let mut figures = Vec::new();
    pushes(cluster, &mut figures).await?;
    crashes(cluster, &mut figures).await?;
    let ratio = starts(cluster, &mut figures).await?;
    idle(cluster, &mut figures).await?;
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `make bench`. Medians of one run; the range is the least and the greatest value.\n\n",
    );
    writeln!(text, "{}\n", machine())?;
    text.push_str("| what | median | range | rounds | aim |\n|---|---|---|---|---|\n");
    for figure in &figures {
        writeln!(text, "{}", figure.row())?;
    }
    writeln!(text, "\n{ratio}")?;
    Ok(text)
}

async fn pushes(cluster: &Cluster, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let folder = cluster.root().join("apps/page");
    std::fs::create_dir_all(&folder)?;
    for round in 0..3 {
        let name = format!("page{round}");
        for (values, text) in [(&mut first, "one"), (&mut second, "two")] {
            std::fs::write(
                folder.join("index.html"),
                format!("<!doctype html><p>{text} {round}</p>"),
            )?;
            let start = Instant::now();
            cluster
                .ok([
                    "push",
                    &name,
                    "--path",
                    &folder.display().to_string(),
                    "--memory",
                    "64M",
                ])
                .await?;
            eventually("the pushed page", Duration::from_secs(20), || async {
                let body = cluster.body(&cluster.host(&name), "/").await?;
                ensure!(body.contains(text), "{body}");
                Ok(())
            })
            .await?;
            values.push(start.elapsed().as_secs_f64());
        }
    }
    figures.push(Figure {
        what: "first push of a static app, command to answer",
        values: first,
        unit: "s",
        aim: "8 s",
    });
    figures.push(Figure {
        what: "second push of the same app, command to answer of the new version",
        values: second,
        unit: "s",
        aim: "3 s",
    });
    Ok(())
}

fn server(cluster: &Cluster) -> anyhow::Result<PathBuf> {
    let folder = cluster.root().join("apps/server");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("server.py"), SERVER)?;
    std::fs::write(folder.join("Procfile"), "web: exec python3 -u server.py\n")?;
    Ok(folder)
}

async fn crashes(cluster: &Cluster, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    let folder = server(cluster)?.display().to_string();
    let (mut answering, mut rerouted) = (Vec::new(), Vec::new());
    for round in 0..3 {
        // A new app each round: an app that crashes often is restarted with growing delays.
        let one = format!("crash{round}");
        cluster
            .ok(["push", &one, "--path", &folder, "--memory", "64M"])
            .await?;
        let host = cluster.host(&one);
        cluster.body(&host, "/").await?;
        let _ = cluster.get(&host, "/crash").await;
        let start = Instant::now();
        eventually("an answer", Duration::from_secs(20), || async {
            cluster.body(&host, "/").await
        })
        .await?;
        answering.push(start.elapsed().as_secs_f64() * 1000.0);

        cluster.ok(["scale", &one, "--instances", "2"]).await?;
        eventually("both instances", Duration::from_secs(20), || async {
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..10 {
                seen.insert(cluster.body(&host, "/").await?);
            }
            ensure!(seen.len() == 2, "{seen:?}");
            Ok(())
        })
        .await?;
        let _ = cluster.get(&host, "/crash").await;
        let start = Instant::now();
        // Rerouted: twenty answers in a row without a failure, counted from the first of them.
        let mut since = start;
        let mut row = 0;
        while row < 20 {
            match cluster.body(&host, "/").await {
                Ok(_) => row += 1,
                Err(_) => {
                    row = 0;
                    since = Instant::now();
                }
            }
            ensure!(
                start.elapsed() < Duration::from_secs(20),
                "no twenty answers in a row"
            );
        }
        rerouted.push((since - start).as_secs_f64() * 1000.0);
        cluster.ok(["delete", &one, "--force"]).await?;
    }
    figures.push(Figure {
        what: "crash of the only instance to the next answer",
        values: answering,
        unit: "ms",
        aim: "1000 ms",
    });
    figures.push(Figure {
        what: "crash of one of two instances to no more failed requests",
        values: rerouted,
        unit: "ms",
        aim: "–",
    });
    Ok(())
}

/// Scaling by one, command received to answering, and the bare runtime on the same configuration.
async fn starts(cluster: &Cluster, figures: &mut Vec<Figure>) -> anyhow::Result<String> {
    let folder = server(cluster)?.display().to_string();
    cluster
        .ok(["push", "starts", "--path", &folder, "--memory", "64M"])
        .await?;
    let mut sandbox = Vec::new();
    let mut bare = Vec::new();
    let config = find_config(Path::new(&cluster.cluster_file()?.run_folder))
        .or_else(|| find_config(&cluster.home))
        .map(std::fs::read)
        .transpose()?;
    for round in 0..10 {
        let before = starts_sum(cluster).await?;
        cluster.ok(["scale", "starts", "--instances", "2"]).await?;
        eventually("the second instance", Duration::from_secs(20), || async {
            let after = starts_sum(cluster).await?;
            ensure!(after.1 > before.1, "not started");
            Ok(after)
        })
        .await
        .map(|after| sandbox.push((after.0 - before.0) * 1000.0))?;
        cluster.ok(["scale", "starts", "--instances", "1"]).await?;
        if let Some(config) = &config {
            bare.push(bare_run(cluster, config, round)?);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    cluster.ok(["delete", "starts", "--force"]).await?;
    let note = if bare.is_empty() {
        "The bare runtime could not be measured: no configuration of an instance was found."
            .to_string()
    } else {
        format!(
            "Instance start in the sandbox against the bare runtime on an equal configuration (`runc run` of `/bin/true`, no network): **{:.2}** (medians {:.1} ms and {:.1} ms).",
            median(&sandbox) / median(&bare),
            median(&sandbox),
            median(&bare)
        )
    };
    figures.push(Figure {
        what: "instance start in the agent, command received to process started",
        values: sandbox,
        unit: "ms",
        aim: "–",
    });
    figures.push(Figure {
        what: "the bare runtime, start to exit of /bin/true",
        values: bare,
        unit: "ms",
        aim: "–",
    });
    Ok(note)
}

/// Sum (seconds) and count of the agent's own measure of starts.
async fn starts_sum(cluster: &Cluster) -> anyhow::Result<(f64, f64)> {
    let status = cluster.node_status()?;
    let admin = status
        .components
        .iter()
        .find(|component| component.name == "dea-1")
        .and_then(|component| component.admin.clone())
        .context("the agent has a status server")?;
    let text = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .get(format!("{admin}/metrics"))
        .send()
        .await?
        .text()
        .await?;
    let value = |name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_whitespace().last())
            .and_then(|value| value.parse::<f64>().ok())
    };
    Ok((
        value("dea_instance_start_seconds_sum").unwrap_or(0.0),
        value("dea_instance_start_seconds_count").unwrap_or(0.0),
    ))
}

fn find_config(folder: &Path) -> Option<PathBuf> {
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name == "config.json") {
            return Some(path);
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && path
                .file_name()
                .is_none_or(|name| name != "rootfs" && name != "merged")
            && let Some(found) = find_config(&path)
        {
            return Some(found);
        }
    }
    None
}

/// `runc run` of `/bin/true` with the configuration of a real instance; its root is the machine's
/// `/usr` as in the product, its control group one of our own.
fn bare_run(cluster: &Cluster, config: &[u8], round: usize) -> anyhow::Result<f64> {
    let mut spec: serde_json::Value = serde_json::from_slice(config)?;
    let bundle = cluster.root().join(format!("bare{round}"));
    let rootfs = bundle.join("rootfs");
    std::fs::create_dir_all(&rootfs)?;
    for folder in [
        "usr", "proc", "dev", "sys", "tmp", "etc", "run", "var", "home",
    ] {
        std::fs::create_dir_all(rootfs.join(folder))?;
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{link}"), rootfs.join(link))?;
    }
    spec["process"]["args"] = serde_json::json!(["/bin/true"]);
    spec["process"]["terminal"] = false.into();
    spec["process"]["cwd"] = "/".into();
    spec["root"] = serde_json::json!({"path": rootfs.display().to_string(), "readonly": false});
    spec["linux"]["cgroupsPath"] = format!("/yard-bench-{}-{round}", std::process::id()).into();
    spec["mounts"] = serde_json::json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}
    ]);
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("hooks");
    }
    if let Some(uid) = spec["linux"]["uidMappings"][0]["hostID"].as_u64() {
        for entry in [rootfs.clone(), bundle.clone()] {
            std::os::unix::fs::chown(&entry, Some(uid as u32), Some(uid as u32))?;
        }
    }
    std::fs::write(bundle.join("config.json"), serde_json::to_vec(&spec)?)?;
    let state = cluster.root().join("bare-state");
    let start = Instant::now();
    let output = Command::new("runc")
        .arg("--root")
        .arg(&state)
        .args(["run", "--bundle"])
        .arg(&bundle)
        .arg(format!("yard-bench-{}-{round}", std::process::id()))
        .output()?;
    let took = start.elapsed().as_secs_f64() * 1000.0;
    ensure!(
        output.status.success(),
        "the bare runtime failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(took)
}

/// CPU and memory of our daemons with nothing to do, over ten seconds.
async fn idle(cluster: &Cluster, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let status = cluster.node_status()?;
    let ours: Vec<u32> = status
        .components
        .iter()
        .filter(|component| component.name != "nats" && component.name != "etcd")
        .filter_map(|component| component.pid)
        .collect();
    let ticks = || {
        ours.iter()
            .map(|pid| cpu_ticks(*pid).unwrap_or(0))
            .sum::<u64>()
    };
    let before = ticks();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let used = (ticks() - before) as f64 / 100.0 / 10.0 * 100.0;
    let memory = ours
        .iter()
        .map(|pid| pss_kib(*pid).unwrap_or(0))
        .sum::<u64>() as f64
        / 1024.0;
    figures.push(Figure {
        what: "idle CPU of our daemons together, share of one core",
        values: vec![used],
        unit: "%",
        aim: "–",
    });
    figures.push(Figure {
        what: "memory of our daemons together (PSS)",
        values: vec![memory],
        unit: "MiB",
        aim: "–",
    });
    Ok(())
}

fn cpu_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

fn pss_kib(pid: u32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    rollup
        .lines()
        .find(|line| line.starts_with("Pss:"))?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split(':').nth(1))
        .unwrap_or("unknown CPU")
        .trim()
        .to_string();
    let cores = std::thread::available_parallelism()
        .map(usize::from)
        .unwrap_or(0);
    let memory = read("/proc/meminfo")
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
        / 1024;
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_string();
    format!(
        "Machine: {cpu}, {cores} cores, {memory} GiB, kernel {kernel}. Profile: dev (dependencies optimized a little, our own code not). Processes are not pinned. Command: `make bench`."
    )
}
