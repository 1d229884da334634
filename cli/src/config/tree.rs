//! The whole configuration as a file.

use super::change::told;
use crate::client::Client;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use proto::api::{ConfigImport, ConfigOutcome, ConfigTree};
use std::io::Read;
use std::path::Path;

pub async fn export(client: &Client, out: &Output) -> Outcome {
    let tree: ConfigTree = client.get("/yard/v1/config/export", &[]).await?;
    let yaml = yaml_serde::to_string(&tree)
        .map_err(|error| Failure::failed("write the configuration as YAML").because(error))?;
    out.show(&tree, |_| yaml)
}

pub async fn import(
    client: &Client,
    out: &Output,
    file: &Path,
    keep_others: bool,
    dry_run: bool,
) -> Outcome {
    let import = ConfigImport {
        tree: parse(&read(file)?, file)?,
        keep_others,
        dry_run,
    };
    let outcome: ConfigOutcome = client
        .post("/yard/v1/config/import", &import)
        .await
        .map_err(|failure| failure.doing(format!("import {}", file.display())))?;
    out.show(&outcome, told)
}

fn read(file: &Path) -> Outcome<String> {
    let read = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))
}

/// JSON is YAML too. A file that says nothing would unset everything, and is hardly meant so.
fn parse(text: &str, file: &Path) -> Outcome<ConfigTree> {
    let wrong = |why: String| {
        Failure::usage(format!("{} is no configuration: {why}", file.display()))
            .fix("`yard config export` prints one")
    };
    yaml_serde::from_str::<Option<ConfigTree>>(text)
        .map_err(|error| wrong(error.to_string()))?
        .ok_or_else(|| wrong("it is empty".to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_and_json_are_read() {
        let yaml = "cluster:\n  router/limits/max_attempts: 5\ncomponents:\n  dea-2:\n    dea/heartbeat/period: 2s\n";
        let tree = parse(yaml, Path::new("x")).expect("a tree");
        assert_eq!(tree.cluster["router/limits/max_attempts"], json!(5));
        assert_eq!(
            tree.components["dea-2"]["dea/heartbeat/period"],
            json!("2s")
        );
        let text = serde_json::to_string(&tree).expect("JSON");
        assert_eq!(parse(&text, Path::new("x")).expect("the same"), tree);
        assert!(parse("clusters: {}", Path::new("x")).is_err());
        assert!(parse("", Path::new("x")).is_err());
        assert!(parse("# nothing\n", Path::new("x")).is_err());
    }
}
