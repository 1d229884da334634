//! Running the host's programs (`nft`, the runtime, `mkfs.ext4`) with a deadline.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::SandboxError;

/// Runs a program to its end, feeding `input`; its standard output. A failure carries its words.
pub async fn run(
    name: &str,
    mut command: Command,
    input: &str,
    within: Duration,
) -> Result<Vec<u8>, SandboxError> {
    let fail = |problem: String| SandboxError::Program {
        program: name.to_owned(),
        problem,
    };
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| fail(error.to_string()))?;
    let stdin = child.stdin.take();
    let work = async move {
        if let Some(mut stdin) = stdin {
            // A program that ends early is told about by its status.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(within, work)
        .await
        .map_err(|_| fail(format!("no end within {within:?}")))?
        .map_err(|error| fail(error.to_string()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(fail(format!("{}: {}", output.status, words.trim())))
}

/// Applies an nftables text in one transaction.
pub async fn nft(text: &str) -> Result<(), SandboxError> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]);
    run("nft", command, text, Duration::from_secs(10))
        .await
        .map(drop)
}
