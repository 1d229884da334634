//! `httputil.ReverseProxy` of Go, which Cloud Foundry's router is built on; built here, where Go is.

use crate::router::process::{Process, is_installed};
use crate::router::routes::{BACKENDS, HOSTS, STEPS};
use anyhow::ensure;
use std::path::Path;
use std::process::Stdio;

const SOURCE: &str = include_str!("go_proxy.go");

/// Err within Ok: there is no Go.
pub async fn proxy(
    folder: &Path,
    first_backend: u16,
    port: u16,
    core: usize,
) -> anyhow::Result<Result<Process, String>> {
    if !is_installed("go") {
        return Ok(Err("go is not installed".to_string()));
    }
    let (source, program) = (folder.join("main.go"), folder.join("go_proxy"));
    std::fs::write(&source, SOURCE)?;
    let built = tokio::process::Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(&source)
        .env("GO111MODULE", "off")
        .stdin(Stdio::null())
        .output()
        .await?;
    ensure!(
        built.status.success(),
        "go build: {}",
        String::from_utf8_lossy(&built.stderr)
    );
    let [_, second, third] = STEPS;
    let numbers = [usize::from(first_backend), BACKENDS, HOSTS, second, third];
    let numbers = numbers.map(|number| number.to_string());
    let listen = format!("127.0.0.1:{port}");
    let mut arguments = vec![listen.as_str()];
    arguments.extend(numbers.iter().map(String::as_str));
    let environment = [("GOMAXPROCS", "1")];
    let program = program.display().to_string();
    let started = Process::start_with(
        "Go's ReverseProxy",
        core,
        &program,
        &arguments,
        &environment,
    );
    started.map(Ok)
}
