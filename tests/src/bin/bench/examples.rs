//! Running the measuring programs of the crates, which know the parts that no cluster shows alone.

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;
use tests::cluster::programs;
use tokio::process::Command;

const ENDS_WITHIN: Duration = Duration::from_secs(180);

/// Runs one on the named core (or any) and gives back the document that it prints.
pub async fn run(name: &str, arguments: &[&str], core: Option<usize>) -> anyhow::Result<Value> {
    let program = programs().join("examples").join(name);
    ensure!(
        program.exists(),
        "{} is missing: `make bench` builds it",
        program.display()
    );
    let mut command = match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(&program);
            command
        }
        None => Command::new(&program),
    };
    let running = command
        .arg("--json")
        .args(arguments)
        .env("STACKYARD_PROGRAMS", programs())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(ENDS_WITHIN, running)
        .await
        .with_context(|| format!("{name} has not ended within {ENDS_WITHIN:?}"))??;
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{name}: {}\n{printed}{said}",
        output.status
    );
    match printed.lines().find_map(|line| {
        serde_json::from_str::<Value>(line)
            .ok()
            .filter(Value::is_object)
    }) {
        Some(document) => Ok(document),
        None => bail!("{name} measured nothing:\n{printed}{said}"),
    }
}

/// A number of such a document.
pub fn number(document: &Value, pointer: &str) -> anyhow::Result<f64> {
    document
        .pointer(pointer)
        .and_then(Value::as_f64)
        .with_context(|| format!("the document has no number {pointer}: {document}"))
}

/// A list of numbers of such a document.
pub fn numbers(document: &Value, name: &str) -> anyhow::Result<Vec<f64>> {
    let values = document[name].as_array();
    let values = values.with_context(|| format!("the document has no {name}: {document}"))?;
    Ok(values.iter().filter_map(Value::as_f64).collect())
}
