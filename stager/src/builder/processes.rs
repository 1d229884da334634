//! Which commands a droplet can run: what the buildpacks propose, overruled by the Procfile.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Process type to command.
pub type Processes = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProcesses {
    #[error("the Procfile has no process: write a line like `web: ./start`")]
    EmptyProcfile,
    #[error("line {line} of the Procfile is no `type: command`: {text}")]
    ProcfileLine { line: usize, text: String },
    #[error("the Procfile names the process type {0} twice")]
    ProcfileTwice(String),
    #[error("{document} is not understood: {fault}")]
    Document { document: String, fault: String },
    #[error("{document} gives the process type {process} no command")]
    NoCommand { document: String, process: String },
    #[error("{0:?} is no process type: letters, digits, '-' and '_' only")]
    ProcessType(String),
}

/// A Procfile: a YAML map, or plain `type: command` lines, which many tools accept although a
/// command with `: ` in it is no YAML.
pub fn procfile(text: &str) -> Result<Processes, InvalidProcesses> {
    let processes = match yaml_serde::from_str::<BTreeMap<String, yaml_serde::Value>>(text) {
        Ok(map) => from_values(map, "the Procfile")?,
        Err(_) => procfile_lines(text)?,
    };
    if processes.is_empty() {
        return Err(InvalidProcesses::EmptyProcfile);
    }
    Ok(processes)
}

fn procfile_lines(text: &str) -> Result<Processes, InvalidProcesses> {
    let mut processes = Processes::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line == "---" {
            continue;
        }
        let wrong = || InvalidProcesses::ProcfileLine {
            line: number + 1,
            text: line.to_string(),
        };
        let (process, command) = line.split_once(':').ok_or_else(wrong)?;
        let (process, command) = (process.trim(), command.trim());
        if command.is_empty() || !is_process_type(process) {
            return Err(wrong());
        }
        if processes
            .insert(process.to_string(), command.to_string())
            .is_some()
        {
            return Err(InvalidProcesses::ProcfileTwice(process.to_string()));
        }
    }
    Ok(processes)
}

/// What `bin/release` prints.
pub fn release(text: &str) -> Result<Processes, InvalidProcesses> {
    #[derive(Deserialize, Default)]
    struct Release {
        #[serde(default)]
        default_process_types: Option<BTreeMap<String, yaml_serde::Value>>,
    }
    let document = "the output of bin/release";
    if text.trim().is_empty() {
        return Ok(Processes::new());
    }
    let release: Option<Release> = parse(text, document)?;
    from_values(
        release
            .unwrap_or_default()
            .default_process_types
            .unwrap_or_default(),
        document,
    )
}

/// A `launch.yml` of a buildpack.
pub fn launch(text: &str, document: &str) -> Result<Processes, InvalidProcesses> {
    #[derive(Deserialize, Default)]
    struct Launch {
        #[serde(default)]
        processes: Vec<Process>,
    }
    #[derive(Deserialize)]
    struct Process {
        #[serde(rename = "type")]
        kind: String,
        command: String,
        /// A helper that runs beside another process; those are not run yet.
        #[serde(default)]
        platforms: Option<yaml_serde::Value>,
    }
    let launch: Option<Launch> = parse(text, document)?;
    let processes = launch.unwrap_or_default().processes;
    if let Some(process) = processes.iter().find(|process| process.platforms.is_some()) {
        return Err(InvalidProcesses::Document {
            document: document.to_string(),
            fault: format!(
                "the process {} has `platforms`; sidecars are not supported yet",
                process.kind
            ),
        });
    }
    let values = processes
        .into_iter()
        .map(|process| (process.kind, yaml_serde::Value::String(process.command)));
    from_values(values.collect(), document)
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str, document: &str) -> Result<T, InvalidProcesses> {
    yaml_serde::from_str(text).map_err(|error| InvalidProcesses::Document {
        document: document.to_string(),
        fault: error.to_string(),
    })
}

fn from_values(
    values: BTreeMap<String, yaml_serde::Value>,
    document: &str,
) -> Result<Processes, InvalidProcesses> {
    let mut processes = Processes::new();
    for (process, value) in values {
        let command = match value {
            yaml_serde::Value::String(command) => command.trim().to_string(),
            yaml_serde::Value::Number(number) => number.to_string(),
            yaml_serde::Value::Bool(value) => value.to_string(),
            _ => String::new(),
        };
        if command.is_empty() {
            return Err(InvalidProcesses::NoCommand {
                document: document.to_string(),
                process,
            });
        }
        if !is_process_type(&process) {
            return Err(InvalidProcesses::ProcessType(process));
        }
        processes.insert(process, command);
    }
    Ok(processes)
}

fn is_process_type(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Later sources overrule earlier ones: release, then each launch.yml, then the Procfile.
pub fn merge(sources: impl IntoIterator<Item = Processes>) -> Processes {
    sources
        .into_iter()
        .fold(Processes::new(), |mut all, source| {
            all.extend(source);
            all
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> Processes {
        entries
            .iter()
            .map(|(process, command)| (process.to_string(), command.to_string()))
            .collect()
    }

    #[test]
    fn a_procfile_is_yaml_or_plain_lines() {
        assert_eq!(
            procfile("web: ./run\nworker: \"a b\"\n"),
            Ok(map(&[("web", "./run"), ("worker", "a b")]))
        );
        assert_eq!(
            procfile("# hello\nweb: echo a: b\n"),
            Ok(map(&[("web", "echo a: b")]))
        );
        assert_eq!(
            procfile("web: sleep 1 # wait\n"),
            Ok(map(&[("web", "sleep 1")]))
        );
    }

    #[test]
    fn a_bad_procfile_says_where() {
        assert_eq!(
            procfile("nothing here"),
            Err(InvalidProcesses::ProcfileLine {
                line: 1,
                text: "nothing here".into()
            })
        );
        assert_eq!(procfile(""), Err(InvalidProcesses::EmptyProcfile));
        assert_eq!(
            procfile("web: a: b\nweb: c: d"),
            Err(InvalidProcesses::ProcfileTwice("web".into()))
        );
        assert!(matches!(
            procfile("web:\n"),
            Err(InvalidProcesses::NoCommand { .. })
        ));
        assert!(matches!(
            procfile("we b: run\n"),
            Err(InvalidProcesses::ProcessType(_))
        ));
        assert!(matches!(
            procfile("web: [1, 2]\n"),
            Err(InvalidProcesses::NoCommand { .. })
        ));
    }

    #[test]
    fn release_may_propose_nothing() {
        for text in [
            "",
            "---\n",
            "--- {}\n",
            "default_process_types:\n",
            "addons: []\n",
        ] {
            assert_eq!(release(text), Ok(Processes::new()), "{text:?}");
        }
        assert_eq!(
            release("---\ndefault_process_types:\n  web: go\n"),
            Ok(map(&[("web", "go")]))
        );
        assert!(release("oops").is_err());
    }

    #[test]
    fn launch_lists_processes_and_refuses_sidecars_aloud() {
        assert_eq!(
            launch("processes:\n- type: web\n  command: go\n", "x"),
            Ok(map(&[("web", "go")]))
        );
        let sidecar = "processes:\n- type: agent\n  command: go\n  platforms: {cloudfoundry: {sidecar_for: [web]}}\n";
        assert!(
            launch(sidecar, "x")
                .expect_err("refused")
                .to_string()
                .contains("sidecars are not supported yet")
        );
    }

    #[test]
    fn the_procfile_overrules_the_buildpack() {
        let merged = merge([
            map(&[("web", "default"), ("console", "c")]),
            map(&[("web", "mine")]),
        ]);
        assert_eq!(merged, map(&[("console", "c"), ("web", "mine")]));
    }
}
