//! Pushing a pack: a folder with `pack.yaml` becomes a gzipped tar whose paths begin in the folder.
//!
//! What is in a pack's folder without being of the pack (repositories, compiled Python, virtual
//! environments) is left out, and what `.cfignore` names. The archive is a function of the files
//! alone: no times, no owners, so that the same pack is the same bytes.

use super::pack;
use crate::client::Automation;
use crate::failure::{Failure, Outcome};
use crate::output::{Output, human, progress};
use crate::push::files::{self, Collected, Kind};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub const PACK_FILE: &str = "pack.yaml";

/// Never part of a pack.
const IGNORED: &[&str] = &[
    ".cfignore",
    ".DS_Store",
    ".git",
    ".hg",
    ".svn",
    ".tox",
    ".pytest_cache",
    "__pycache__",
    "*.pyc",
    "/virtualenv",
    "/.venv",
];

pub async fn push(api: &Automation, out: &Output, folder: &Path, within: Duration) -> Outcome {
    let name = name_of(folder)?;
    let files = files::collect_without(folder, IGNORED)
        .map_err(|fault| Failure::usage(format!("push the pack {name}: {fault}")).because(fault))?;
    if !files.skipped.is_empty() {
        out.warn(format!(
            "left out, because they are no files: {}",
            files.skipped.join(", ")
        ));
    }
    let archive = archive(&files).map_err(|error| {
        Failure::failed(format!("pack {name} for upload: {error}")).because(error)
    })?;
    out.say(format!(
        "Uploading the pack {name}: {}, {}",
        human::count(files.files(), "file"),
        human::bytes(archive.len() as u64)
    ))?;
    let bar = progress::upload_bar(out, archive.len() as u64);
    let sent = {
        let bar = bar.clone();
        Arc::new(move |bytes| bar.inc(bytes))
    };
    let accepted: Value = api
        .upload("/packs/upload", archive.into(), sent, || {
            bar.set_position(0)
        })
        .await
        .map_err(|failure| failure.doing(format!("push the pack {name}")))?;
    bar.finish_and_clear();
    let execution = pack::finish(api, out, &accepted, within, "push the pack").await?;
    pack::installed(api, out, &execution).await
}

/// What the pack calls itself.
fn name_of(folder: &Path) -> Outcome<String> {
    let file = folder.join(PACK_FILE);
    let shown = file.display().to_string();
    let about = super::input::mapping(&shown)?;
    ["ref", "name"]
        .iter()
        .find_map(|key| about.get(*key)?.as_str())
        .map(str::to_string)
        .ok_or_else(|| {
            Failure::usage(format!("{shown} does not say the pack's name"))
                .fix("a line like `name: web`")
        })
}

fn archive(files: &Collected) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for entry in &files.entries {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        match &entry.kind {
            Kind::Folder { mode } => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                header.set_size(0);
                tar.append_data(&mut header, format!("{}/", entry.path), std::io::empty())?;
            }
            Kind::File { mode, .. } => {
                let bytes = std::fs::read(&entry.source)?;
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, &entry.path, bytes.as_slice())?;
            }
            Kind::Link { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                tar.append_link(&mut header, &entry.path, target)?;
            }
        }
    }
    tar.into_inner()?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    fn pack() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (file, text) in [
            ("pack.yaml", "name: Web\nref: web\nversion: 1.0.0\n"),
            ("actions/manifest.yaml", "name: manifest\n"),
            ("actions/run.sh", "echo hi\n"),
            ("actions/lib/__pycache__/x.pyc", "x"),
            (".git/config", "x"),
        ] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("a file");
        }
        let script = folder.path().join("actions/run.sh");
        std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        folder
    }

    #[test]
    fn an_archive_holds_the_pack_and_nothing_else() {
        let folder = pack();
        let files = files::collect_without(folder.path(), IGNORED).expect("files");
        let first = archive(&files).expect("an archive");
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(first.as_slice()));
        let mut seen = Vec::new();
        for entry in tar.entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            seen.push((
                path,
                entry.header().mode().expect("a mode") & 0o111 != 0,
                text,
            ));
        }
        let names: Vec<&str> = seen.iter().map(|(path, _, _)| path.as_str()).collect();
        assert_eq!(
            names,
            [
                "actions/",
                "actions/lib/",
                "actions/manifest.yaml",
                "actions/run.sh",
                "pack.yaml"
            ]
        );
        assert!(seen[3].1 && seen[3].2 == "echo hi\n" && !seen[2].1);
        let again = files::collect_without(folder.path(), IGNORED).expect("files");
        assert_eq!(
            archive(&again).expect("an archive"),
            first,
            "the same files are the same bytes"
        );
    }

    #[test]
    fn the_sample_pack_is_without_fault() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples/pack");
        let collected = files::collect_without(&folder, IGNORED).expect("files");
        let files = collected
            .entries
            .iter()
            .filter(|entry| matches!(entry.kind, Kind::File { .. }))
            .map(|entry| {
                let bytes = std::fs::read(&entry.source).expect("a file");
                (entry.path.clone(), bytes)
            })
            .collect();
        let runners = ::automation::runners::catalogue()
            .iter()
            .filter_map(|runner| runner["name"].as_str().map(str::to_string))
            .collect();
        let policy_types = ::automation::policies::types()
            .into_iter()
            .filter_map(|kind| Some((kind.reference(), kind.parameters().as_object()?.clone())))
            .collect();
        let found = ::automation::spec::inspect(
            &files,
            ::automation::spec::Surroundings {
                folder: Some("greeter"),
                runners: &runners,
                policy_types: &policy_types,
            },
        );
        let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
        assert!(problems.is_empty(), "{problems:#?}");
        let parts = [
            found.actions.len(),
            found.sensors.len(),
            found.rules.len(),
            found.aliases.len(),
            found.policies.len(),
        ];
        assert_eq!(parts, [2, 1, 2, 1, 1]);
        assert!(found.config_schema.is_some());
    }

    #[test]
    fn a_pack_must_say_its_name() {
        let folder = pack();
        assert_eq!(name_of(folder.path()).expect("a name"), "web");
        std::fs::write(folder.path().join("pack.yaml"), "version: 1\n").expect("a file");
        assert!(name_of(folder.path()).is_err());
    }
}
