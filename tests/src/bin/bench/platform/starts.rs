//! What the agent makes of a start, beside the container runtime alone.

use super::server;
use crate::figure::Figure;
use crate::machine::milliseconds;
use crate::statistics::median;
use anyhow::ensure;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tests::{Cluster, eventually};

/// Scaling by one, command received to answering, and the bare runtime on the same configuration.
pub async fn measure(cluster: &Cluster, figures: &mut Vec<Figure>) -> anyhow::Result<String> {
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
pub async fn starts_sum(cluster: &Cluster) -> anyhow::Result<(f64, f64)> {
    let text = cluster.status_text("dea-1", "/metrics").await?;
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
    let took = milliseconds(start.elapsed());
    ensure!(
        output.status.success(),
        "the bare runtime failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(took)
}
