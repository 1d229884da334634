//! `yard node unit`: one unit of systemd that brings the cluster of this machine back after a reboot.
//!
//! The unit runs the node in the foreground and nothing else: ports, domain and roles are the cluster's own, in its
//! home. `KillMode=process` is what matters: a node that dies takes no daemon and no container with it, and the one that
//! systemd starts next adopts them. A node that was told to stop (`yard down`, `systemctl stop`) ends with status 0 and
//! is not started again.

use super::home;
use crate::failure::{Code, Failure, Outcome};
use crate::output::Output;
use clap::Args;
use nix::unistd::Uid;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where units of the operator lie.
const FOLDER: &str = "/etc/systemd/system";
/// Variables that say where parts of an installation are; a unit does not see the caller's.
const VARIABLES: [&str; 3] = [
    "STACKYARD_BUILDPACKS",
    "STACKYARD_PACKS",
    "STACKYARD_PYTHON",
];

#[derive(Debug, Args)]
pub struct UnitArgs {
    /// Where the cluster keeps its state (default: $YARD_HOME, else /var/lib/stackyard)
    #[arg(long)]
    home: Option<PathBuf>,
    /// Name of the unit
    #[arg(long, default_value = "stackyard", value_parser = name)]
    name: String,
    /// Write it to /etc/systemd/system and enable it, instead of printing it
    #[arg(long)]
    install: bool,
}

fn name(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.is_empty() && text.len() <= 100 && text.chars().all(fine) {
        Ok(text.to_string())
    } else {
        Err("a unit's name is made of letters, digits, '-', '_' and '.'".to_string())
    }
}

pub fn run(args: &UnitArgs, out: &Output) -> Outcome {
    let home = home::resolve(args.home.as_deref())?;
    let variables = VARIABLES.map(|name| (name, std::env::var(name).unwrap_or_default()));
    let text = unit(&home::find_stackyard()?, &home, &variables);
    let file = Path::new(FOLDER).join(format!("{}.service", args.name));
    if args.install {
        install(&home, &file, &text)?;
    }
    let document =
        json!({ "unit": args.name, "file": file, "installed": args.install, "text": text });
    out.show(&document, |_| {
        if !args.install {
            return text.clone();
        }
        format!(
            "{} is written and enabled: the cluster in {} comes back after a reboot\n\
             it is started now by: sudo yard down --home {}; sudo systemctl start {}\n",
            file.display(),
            home.display(),
            home.display(),
            args.name
        )
    })
}

fn install(home: &Path, file: &Path, text: &str) -> Outcome {
    if !Uid::effective().is_root() {
        return Err(
            Failure::new(Code::NotAllowed, "only root may install a unit").fix("put sudo in front"),
        );
    }
    let failed = |what: &'static str, path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Failure::failed(format!("{what} {path}: {error}"))
    };
    // systemd opens the log before it starts anything.
    let logs = home.join("logs");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&logs)
        .map_err(failed("create", &logs))?;
    fs::write(file, text).map_err(failed("write", file))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644))
        .map_err(failed("set the mode of", file))?;
    systemctl(&["daemon-reload"])?;
    let unit = file.file_name().unwrap_or_default().to_string_lossy();
    systemctl(&["enable", &unit])
}

fn systemctl(words: &[&str]) -> Outcome {
    let what = format!("systemctl {}", words.join(" "));
    let program = home::on_path("systemctl").ok_or_else(|| {
        Failure::new(
            Code::MachineNotReady,
            "this machine has no systemctl: it is not run by systemd",
        )
    })?;
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::failed(format!("{what}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(Failure::failed(format!("{what}: {}", told.trim())))
}

/// The unit's text.
fn unit(stackyard: &Path, home: &Path, variables: &[(&str, String)]) -> String {
    let folder = quoted(home);
    let command = [stackyard, Path::new("node"), Path::new("--home"), home]
        .map(argument)
        .join(" ");
    let environment: String = variables
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| {
            let line = quoted(Path::new(&format!("{name}={value}")));
            format!("Environment={line}\n")
        })
        .collect();
    // A path up to the end of the line: only specifiers mean something in it.
    let log = home.join("logs/node.log").display().to_string();
    let log = log.replace('%', "%%");
    format!(
        "# Written by `yard node unit`.\n\
         [Unit]\n\
         Description=Stackyard cluster\n\
         Wants=network-online.target\n\
         After=network-online.target local-fs.target\n\
         RequiresMountsFor={folder}\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=exec\n\
         ExecStart={command}\n\
         {environment}\
         # Daemons and containers outlive the node, which adopts them.\n\
         KillMode=process\n\
         Delegate=yes\n\
         Restart=always\n\
         RestartSec=1\n\
         # Somebody told it to stop.\n\
         RestartPreventExitStatus=0\n\
         # Agents stop every instance, each with its grace period.\n\
         TimeoutStopSec=180\n\
         LimitNOFILE=524288\n\
         LimitNPROC=infinity\n\
         TasksMax=infinity\n\
         StandardOutput=append:{log}\n\
         StandardError=append:{log}\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// A word of a command line, where systemd puts variables in besides.
fn argument(word: &Path) -> String {
    quoted(word).replace('$', "$$")
}

/// A word as systemd reads it back: quoted, with specifiers taken literally.
fn quoted(path: &Path) -> String {
    let mut text = String::from("\"");
    for character in path.to_string_lossy().chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '%' => text.push_str("%%"),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_keeps_what_the_node_started() {
        let packs = ("STACKYARD_PACKS", "/srv/packs".to_string());
        let none = ("STACKYARD_PYTHON", String::new());
        let text = unit(
            Path::new("/usr/local/bin/stackyard"),
            Path::new("/var/lib/stackyard"),
            &[packs, none],
        );
        for line in [
            "ExecStart=\"/usr/local/bin/stackyard\" \"node\" \"--home\" \"/var/lib/stackyard\"",
            "Environment=\"STACKYARD_PACKS=/srv/packs\"",
            "KillMode=process",
            "Delegate=yes",
            "Restart=always",
            "RestartPreventExitStatus=0",
            "WantedBy=multi-user.target",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
        assert!(!text.contains("STACKYARD_PYTHON"));
        assert!(!text.contains("\n  "), "{text}");
    }

    #[test]
    fn strange_paths_are_taken_literally() {
        assert_eq!(
            argument(Path::new("/a b/50%/$x\"\\")),
            "\"/a b/50%%/$$x\\\"\\\\\""
        );
        assert!(name("stackyard-2").is_ok() && name("a/b").is_err() && name("").is_err());
    }
}
