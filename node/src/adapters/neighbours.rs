//! Puts the table of [`crate::domain::neighbours`] in force.

use std::net::Ipv4Addr;
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::layout::interface_prefix;
use super::machines::Records;
use crate::domain::neighbours;

/// As many machines as there are now.
pub async fn keep_apart(cluster: &str, records: &Records) -> anyhow::Result<()> {
    let machines: Vec<Ipv4Addr> = records.lock().addresses();
    let text = neighbours::table(cluster, &interface_prefix(cluster), &machines);
    apply(&text)
        .await
        .context("sandboxes cannot be kept from instances on joined machines")
}

async fn apply(text: &str) -> anyhow::Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("nft does not run: install nftables")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!("nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
