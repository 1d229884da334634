//! Running a command beside the application, through the runtime.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::record::{Places, write_whole};
use super::{ExecOutcome, ExitStatus, Orders, SandboxError};

const OUTPUT_LIMIT: u64 = 1 << 20;

pub(super) async fn run(
    runtime: &Path,
    id: &str,
    places: &Places,
    orders: Orders,
    within: Duration,
) -> Result<ExecOutcome, SandboxError> {
    let fail = |problem: String| SandboxError::Refused {
        id: id.to_owned(),
        problem: format!("exec: {problem}"),
    };
    let name = format!("exec-{:016x}", rand::random::<u64>());
    let process = places.bundle.join(format!("{name}.json"));
    let pid_file = places.bundle.join(format!("{name}.pid"));
    let document = json!({
        "terminal": false,
        "user": { "uid": orders.uid, "gid": orders.gid },
        "args": orders.argv,
        "env": orders.env,
        "cwd": orders.cwd,
        "noNewPrivileges": true,
        "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": orders.fds, "soft": orders.fds }]
    });
    write_whole(&process, document.to_string().as_bytes())?;
    let mut child = Command::new(runtime)
        .arg("--root")
        .arg(&places.runtime_root)
        .args(["exec", "--process"])
        .arg(&process)
        .arg("--pid-file")
        .arg(&pid_file)
        .arg(id)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| fail(error.to_string()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (stdout, stderr, status) = tokio::join!(collect(stdout), collect(stderr), child.wait());
        status.map(|status| (stdout, stderr, status))
    };
    let finished = tokio::time::timeout(within, work).await;
    if finished.is_err()
        && let Ok(text) = std::fs::read_to_string(&pid_file)
        && let Ok(pid) = text.trim().parse()
    {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    for path in [&process, &pid_file] {
        let _ = std::fs::remove_file(path);
    }
    let (stdout, stderr, status) = finished
        .map_err(|_| SandboxError::Timeout {
            id: id.to_owned(),
            operation: "exec",
            within,
        })?
        .map_err(|error| fail(error.to_string()))?;
    Ok(ExecOutcome {
        status: ExitStatus::Code(status.code().unwrap_or(255)),
        stdout,
        stderr,
    })
}

/// Reads to the end, keeps the beginning.
async fn collect(stream: Option<impl AsyncReadExt + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        let _ = (&mut stream)
            .take(OUTPUT_LIMIT)
            .read_to_end(&mut kept)
            .await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    kept
}
