//! `yard buildpack`: the buildpacks that every app may use.

use crate::client::{Bits, Client, item};
use crate::failure::{Code, Failure, Outcome};
use crate::output::Output;
use crate::output::table::table;
use crate::prompt;
use crate::push::{archive, files};
use crate::targets::Store;
use clap::{Args, Subcommand};
use proto::api::Buildpack;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest wait for a job.
const WITHIN: Duration = Duration::from_secs(300);
const ALL: &str = "/v3/buildpacks";
/// Never part of a buildpack.
const IGNORED: &[&str] = &[".cfignore", ".DS_Store", ".git", ".hg", ".svn"];

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  yard buildpack create ruby ./ruby-buildpack --position 2
  yard buildpack update ruby --path ruby-buildpack-1.9.zip
  yard buildpack update nodejs --disable
  yard buildpack delete ruby")]
pub struct BuildpackArgs {
    #[command(subcommand)]
    command: BuildpackCommand,
}

#[derive(Debug, Subcommand)]
enum BuildpackCommand {
    /// List buildpacks in the order in which they are tried
    List,
    /// Make a buildpack of a folder or a .zip archive
    Create {
        /// Name of the buildpack
        buildpack: String,
        /// Folder with bin/detect, bin/supply, bin/finalize or bin/compile, or a .zip archive of it
        path: PathBuf,
        #[command(flatten)]
        place: Place,
        /// Only for apps of this stack
        #[arg(long)]
        stack: Option<String>,
    },
    /// Change a buildpack; what is not named stays
    Update {
        /// Name of the buildpack
        buildpack: String,
        /// Another name for it
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        /// Folder or .zip archive that replaces what it does
        #[arg(short = 'p', long)]
        path: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
        /// Let nobody replace what it does
        #[arg(long, conflicts_with = "path")]
        lock: bool,
        /// Let it be replaced again
        #[arg(long, conflicts_with = "lock")]
        unlock: bool,
    },
    /// Delete a buildpack
    Delete {
        /// Name of the buildpack
        buildpack: String,
        /// Delete without asking
        #[arg(short = 'f', long)]
        force: bool,
    },
}

#[derive(Debug, Default, Args)]
struct Place {
    /// When it is tried, from 1
    #[arg(short = 'i', long, value_parser = clap::value_parser!(i64).range(1..))]
    position: Option<i64>,
    /// Use it in stagings
    #[arg(long)]
    enable: bool,
    /// Use it no more
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
}

/// What two opposite flags say; neither: nothing.
fn either(yes: bool, no: bool) -> Option<bool> {
    (yes || no).then_some(yes)
}

impl Place {
    fn document(&self) -> Map<String, Value> {
        let mut document = Map::new();
        if let Some(position) = self.position {
            document.insert("position".into(), json!(position));
        }
        if let Some(enabled) = either(self.enable, self.disable) {
            document.insert("enabled".into(), json!(enabled));
        }
        document
    }
}

pub async fn run(args: BuildpackArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    match args.command {
        BuildpackCommand::List => list(&client, out).await,
        BuildpackCommand::Create {
            buildpack,
            path,
            place,
            stack,
        } => {
            let mut body = place.document();
            body.insert("name".into(), json!(buildpack));
            if let Some(stack) = stack {
                body.insert("stack".into(), json!(stack));
            }
            create(&client, out, &buildpack, &path, &body).await
        }
        BuildpackCommand::Update {
            buildpack,
            rename,
            path,
            place,
            lock,
            unlock,
        } => {
            let mut body = place.document();
            if let Some(name) = rename {
                body.insert("name".into(), json!(name));
            }
            if let Some(locked) = either(lock, unlock) {
                body.insert("locked".into(), json!(locked));
            }
            update(&client, out, &buildpack, path.as_deref(), &body).await
        }
        BuildpackCommand::Delete { buildpack, force } => {
            delete(&client, out, &buildpack, force).await
        }
    }
}

async fn list(client: &Client, out: &Output) -> Outcome {
    let query = [("order_by", "position"), ("per_page", "5000")];
    let buildpacks: Vec<Buildpack> = client.list(ALL, &query).await?;
    let yes = |it: bool| if it { "yes" } else { "no" }.to_string();
    out.show(&buildpacks, |buildpacks| {
        let lines = buildpacks.iter().map(|one| {
            [
                one.position.to_string(),
                one.name.clone(),
                one.stack.clone().unwrap_or_default(),
                yes(one.enabled),
                yes(one.locked),
                one.state.to_lowercase().replace('_', " "),
                one.filename.clone().unwrap_or_default(),
            ]
        });
        let header = [
            "position",
            "buildpack",
            "stack",
            "enabled",
            "locked",
            "state",
            "archive",
        ];
        table(header, lines, "no buildpacks")
    })
}

/// What is uploaded.
struct Archive {
    path: PathBuf,
    /// As the cluster shows it.
    name: String,
    size: u64,
    /// Removed with it.
    _packed: Option<tempfile::NamedTempFile>,
}

/// A folder is packed; an archive goes as it is.
fn archive_of(path: &Path) -> Outcome<Archive> {
    let shown = path.display();
    if path.is_file() {
        let size = archive::check_archive(path)
            .map_err(|fault| Failure::usage(fault.to_string()).because(fault))?;
        let name = path.file_name().map(|name| name.to_string_lossy());
        return Ok(Archive {
            path: path.to_path_buf(),
            name: named_as_zip(&name.unwrap_or_default()),
            size,
            _packed: None,
        });
    }
    let collected = files::collect_without(path, IGNORED).map_err(|fault| {
        Failure::usage(format!("read the buildpack {shown}: {fault}")).because(fault)
    })?;
    let doing = |fault: archive::ArchiveFault| {
        Failure::failed(format!("pack the buildpack {shown}: {fault}")).because(fault)
    };
    let packed = archive::pack_to_file(&collected, &[]).map_err(doing)?;
    let whole = path.canonicalize().ok();
    let name = whole.as_deref().and_then(Path::file_name);
    let name = name.map(|name| name.to_string_lossy()).unwrap_or_default();
    Ok(Archive {
        path: packed.path().to_path_buf(),
        name: named_as_zip(&name),
        size: packed.as_file().metadata().map_or(0, |about| about.len()),
        _packed: Some(packed),
    })
}

fn named_as_zip(name: &str) -> String {
    match name.to_ascii_lowercase().ends_with(".zip") {
        true => name.to_string(),
        false => format!("{name}.zip"),
    }
}

async fn upload(client: &Client, out: &Output, guid: &str, archive: &Archive) -> Outcome {
    let bits = Bits {
        archive: &archive.path,
        name: &archive.name,
        size: archive.size,
    };
    client
        .upload_alone(out, &format!("{ALL}/{guid}/upload"), bits, WITHIN)
        .await
}

async fn find(client: &Client, name: &str) -> Outcome<Buildpack> {
    let found: Vec<Buildpack> = client.list(ALL, &[("names", &item(name))]).await?;
    found.into_iter().next().ok_or_else(|| {
        Failure::new(Code::NotFound, format!("there is no buildpack {name}"))
            .fix("`yard buildpack list` lists them")
    })
}

async fn create(
    client: &Client,
    out: &Output,
    name: &str,
    path: &Path,
    body: &Map<String, Value>,
) -> Outcome {
    let archive = archive_of(path)?;
    let doing = |failure: Failure| failure.doing(format!("make the buildpack {name}"));
    let made: Buildpack = client.post(ALL, body).await.map_err(doing)?;
    if let Err(failure) = upload(client, out, &made.guid, &archive).await {
        // Without its scripts it is of no use, and would be in the way of the next attempt.
        if let Err(left) = client.delete(&format!("{ALL}/{}", made.guid), &[]).await {
            out.warn(format!(
                "the buildpack {name} is left without scripts: {}",
                left.what
            ));
        }
        return Err(doing(failure));
    }
    let ready = find(client, name).await?;
    out.show(&ready, |ready| {
        format!("made the buildpack {name}, position {}", ready.position)
    })
}

async fn update(
    client: &Client,
    out: &Output,
    name: &str,
    path: Option<&Path>,
    body: &Map<String, Value>,
) -> Outcome {
    if body.is_empty() && path.is_none() {
        return Err(
            Failure::usage(format!("nothing of the buildpack {name} is to be changed"))
                .fix("`yard buildpack update --help` shows what can be"),
        );
    }
    let archive = path.map(archive_of).transpose()?;
    let doing = |failure: Failure| failure.doing(format!("change the buildpack {name}"));
    let found = find(client, name).await?;
    let own = format!("{ALL}/{}", found.guid);
    if !body.is_empty() {
        client.patch(&own, body).await.map_err(doing)?;
    }
    if let Some(archive) = archive {
        upload(client, out, &found.guid, &archive)
            .await
            .map_err(doing)?;
    }
    let changed: Buildpack = client.get(&own, &[]).await?;
    out.show(&changed, |_| format!("changed the buildpack {name}"))
}

async fn delete(client: &Client, out: &Output, name: &str, force: bool) -> Outcome {
    let found = find(client, name).await?;
    if !force && !prompt::confirm(&format!("Delete the buildpack {name}?"))? {
        return Err(Failure::failed(format!(
            "the buildpack {name} was not deleted"
        )));
    }
    let doing = |failure: Failure| failure.doing(format!("delete the buildpack {name}"));
    let path = format!("{ALL}/{}", found.guid);
    let reply = client.delete(&path, &[]).await.map_err(doing)?;
    client.finish(&reply, WITHIN).await.map_err(doing)?;
    out.show(&json!({"buildpack": name, "deleted": true}), |_| {
        format!("deleted the buildpack {name}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: BuildpackArgs,
    }

    fn parsed(line: &str) -> Result<BuildpackCommand, clap::Error> {
        let words = std::iter::once("buildpack").chain(line.split(' '));
        Line::try_parse_from(words).map(|line| line.args.command)
    }

    #[test]
    fn only_what_is_named_is_changed() {
        let document = |line: &str| match parsed(line).expect(line) {
            BuildpackCommand::Update { place, .. } => Value::Object(place.document()),
            other => panic!("another command: {other:?}"),
        };
        assert_eq!(document("update a"), json!({}));
        assert_eq!(
            document("update a -i 3 --disable"),
            json!({"position": 3, "enabled": false})
        );
        for wrong in [
            "update a -i 0",
            "update a --enable --disable",
            "update a --lock --unlock",
            "create a",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_folder_is_packed_with_its_manifest_and_named_as_an_archive() {
        let folder = tempfile::tempdir().expect("a folder");
        let pack = folder.path().join("ruby-pack");
        std::fs::create_dir_all(pack.join("bin")).expect("a folder");
        for name in ["bin/compile", "manifest.yml"] {
            std::fs::write(pack.join(name), "x").expect("a file");
        }
        let made = archive_of(&pack).expect("packed");
        assert_eq!(made.name, "ruby-pack.zip");
        let files = archive::list_archive(&made.path).expect("an archive");
        let mut names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["bin/compile", "manifest.yml"]);
        let again = archive_of(&made.path).expect("an archive goes as it is");
        assert_eq!(again.size, made.size);
        assert!(again.name.ends_with(".zip"));
        assert!(archive_of(&folder.path().join("none")).is_err());
        assert!(
            archive_of(&pack.join("manifest.yml")).is_err(),
            "no archive"
        );
    }
}
