//! `yard cp`: files and folders from an instance and to it, as an archive through `tar`.

use super::connection::no_input;
use super::files::after_mark;
use super::place::{Meant, Place};
use super::quoted;
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use crate::output::Output;
use crate::targets::Store;
use clap::Args;
use serde_json::json;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

#[derive(Debug, Args)]
#[command(
    after_help = "One of the two is APP:PATH, from /home/vcap if PATH does not begin with a slash.\n\
    A folder that is there already takes the copy in; anything else is the copy's new name."
)]
pub struct CopyArgs {
    /// A path here, or APP:PATH in an instance
    source: String,
    /// A path here, or APP:PATH in an instance
    target: String,
    #[command(flatten)]
    place: Place,
}

/// From where to where.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    In {
        from: PathBuf,
        app: String,
        to: String,
    },
    Out {
        app: String,
        from: String,
        to: PathBuf,
    },
}

/// `APP:PATH`; None: a path here. One with a slash before the colon is a path.
fn remote(text: &str) -> Option<(String, String)> {
    let (app, path) = text.split_once(':')?;
    if app.is_empty() || app.contains('/') {
        return None;
    }
    let path = if path.is_empty() { "." } else { path };
    Some((app.to_string(), path.to_string()))
}

fn way(source: &str, target: &str) -> Outcome<Way> {
    match (remote(source), remote(target)) {
        (None, Some((app, to))) => Ok(Way::In {
            from: source.into(),
            app,
            to,
        }),
        (Some((app, from)), None) => Ok(Way::Out {
            app,
            from,
            to: target.into(),
        }),
        (Some(_), Some(_)) => Err(Failure::usage(
            "both are in instances: copy to a path here first",
        )),
        (None, None) => Err(Failure::usage(
            "neither is in an instance: write it as APP:PATH",
        )),
    }
}

pub async fn run(args: CopyArgs, out: &Output, store: Store) -> Outcome {
    let way = way(&args.source, &args.target)?;
    let (app, all) = match &way {
        Way::In { app, .. } => (app, args.place.all),
        Way::Out { .. } if args.place.all => {
            return Err(Failure::usage(
                "copies out of several instances would lie on each other: --all goes in only",
            ));
        }
        Way::Out { app, .. } => (app, false),
    };
    let meant = Meant::of(Client::open(store)?, app, args.place).await?;
    let mut copied = Vec::new();
    for index in meant.indices() {
        let inside = meant.enter(index).await?;
        let done = match &way {
            Way::In { from, to, .. } => copy_in(&inside, from, to).await,
            Way::Out { from, to, .. } => copy_out(&inside, from, to).await,
        };
        inside.leave().await;
        copied.push(json!({"index": index, "bytes": done?}));
    }
    let document = json!({"source": args.source, "target": args.target, "instances": copied});
    out.show(&document, |_| match all {
        true => format!("Copied to {} instances", copied.len()),
        false => "Copied".to_string(),
    })
}

fn unread(path: &Path, error: std::io::Error) -> Failure {
    Failure::failed(format!("read {}: {error}", path.display())).because(error)
}

/// The name a copy has if the target takes it in.
fn own_name(path: &Path) -> Outcome<String> {
    let whole = std::fs::canonicalize(path).map_err(|error| unread(path, error))?;
    whole
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .ok_or_else(|| Failure::usage(format!("{} has no name to copy it by", path.display())))
}

async fn copy_in(inside: &super::connection::Inside, from: &Path, to: &str) -> Outcome<u64> {
    let name = own_name(from)?;
    let failed = |error| unread(from, error);
    let archive = pack(from).map_err(failed)?;
    let size = archive.metadata().map_err(failed)?.len();
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut archive = archive;
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(length) = archive.read(&mut buffer) {
            if length == 0 || sender.blocking_send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    // The copy is called `copy` in the archive, and moved to its name in one step.
    let command = format!(
        "set -e; to={to}; [ ! -d \"$to\" ] || to=\"$to\"/{name}; case \"$to\" in */) mkdir -p \"$to\"; to=\"$to\"{name};; esac; \
         parent=$(dirname -- \"$to\"); mkdir -p -- \"$parent\"; temporary=$(mktemp -d -- \"$parent/.copy-XXXXXX\"); \
         trap 'rm -rf -- \"$temporary\"' EXIT; tar -xf - -C \"$temporary\"; \
         if [ -d \"$temporary/copy\" ] && [ -d \"$to\" ]; then cp -a -- \"$temporary/copy/.\" \"$to\"; else mv -f -T -- \"$temporary/copy\" \"$to\"; fi",
        to = quoted(to),
        name = quoted(&name),
    );
    let done = inside.stream(&command, receiver, |_| Ok(())).await?;
    done.check_opened()?;
    match done.status {
        0 => Ok(size),
        _ => Err(Failure::failed(format!(
            "write {to} in the instance: {}",
            done.errors.trim()
        ))),
    }
}

/// An archive with one entry, `copy`; links stay links.
fn pack(from: &Path) -> std::io::Result<std::fs::File> {
    let mut builder = tar::Builder::new(tempfile::tempfile()?);
    builder.follow_symlinks(false);
    // A link that is named itself means what it leads to.
    let from = std::fs::canonicalize(from)?;
    if from.is_dir() {
        builder.append_dir_all("copy", &from)?;
    } else {
        builder.append_path_with_name(&from, "copy")?;
    }
    let mut archive = builder.into_inner()?;
    archive.rewind()?;
    Ok(archive)
}

async fn copy_out(inside: &super::connection::Inside, from: &str, to: &Path) -> Outcome<u64> {
    const MISSING: u32 = 66;
    let command = format!(
        "from=$(readlink -f -- {from}) && [ -e \"$from\" ] || exit {MISSING}; \
         printf '\\0yard\\0'; cd -- \"$(dirname -- \"$from\")\" && exec tar -cf - -- \"$(basename -- \"$from\")\"",
        from = quoted(from),
    );
    let failed = |error: std::io::Error| Failure::failed("keep what comes").because(error);
    let mut archive = tempfile::tempfile().map_err(failed)?;
    // What comes before the mark is not ours.
    let mut before = Some(Vec::new());
    let done = inside
        .stream(&command, no_input(), |bytes| {
            if let Some(kept) = &mut before {
                kept.extend_from_slice(bytes);
                if let Some(rest) = after_mark(kept) {
                    archive.write_all(rest)?;
                    before = None;
                }
                return Ok(());
            }
            Ok(archive.write_all(bytes)?)
        })
        .await?;
    done.check_opened()?;
    match done.status {
        0 => {}
        MISSING => {
            return Err(Failure::new(
                Code::NotFound,
                format!("there is no file or folder {from} in the instance"),
            ));
        }
        _ => {
            return Err(Failure::failed(format!(
                "read {from} in the instance: {}",
                done.errors.trim()
            )));
        }
    }
    let size = archive.stream_position().map_err(failed)?;
    archive.rewind().map_err(failed)?;
    unpack(archive, to)
        .map_err(|error| Failure::failed(format!("write {}", to.display())).because(error))?;
    Ok(size)
}

/// Takes the one entry of an archive to its place here. The archive was made by the app's side: nothing of it
/// may land beside that place.
fn unpack(archive: std::fs::File, to: &Path) -> std::io::Result<()> {
    let parent = if to.is_dir() {
        to.to_path_buf()
    } else {
        match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        }
    };
    let folder = tempfile::Builder::new()
        .prefix(".copy-")
        .tempdir_in(&parent)?;
    let mut archive = tar::Archive::new(archive);
    archive.unpack(folder.path())?;
    let mut entries = std::fs::read_dir(folder.path())?;
    let (Some(entry), None) = (entries.next().transpose()?, entries.next()) else {
        return Err(std::io::Error::other("not one file or folder came"));
    };
    let place = if to.is_dir() {
        to.join(entry.file_name())
    } else {
        to.to_path_buf()
    };
    std::fs::rename(entry.path(), place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_end_is_in_an_instance() {
        assert_eq!(
            way("shop:app/x", "here").unwrap(),
            Way::Out {
                app: "shop".into(),
                from: "app/x".into(),
                to: "here".into()
            }
        );
        assert_eq!(
            way("./a:b", "shop:").unwrap(),
            Way::In {
                from: "./a:b".into(),
                app: "shop".into(),
                to: ".".into()
            }
        );
        assert!(way("a", "b").is_err());
        assert!(way("a:b", "c:d").is_err());
    }

    #[test]
    fn a_copy_keeps_what_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("run"), "#!").unwrap();
        let mode = std::fs::Permissions::from_mode(0o4750);
        std::fs::set_permissions(tree.join("run"), mode).unwrap();
        std::os::unix::fs::symlink("/nowhere", tree.join("link")).unwrap();
        let target = folder.path().join("target");
        unpack(pack(&tree).unwrap(), &target).unwrap();
        let run = std::fs::metadata(target.join("run")).unwrap();
        let mode = run.permissions().mode() & 0o7777;
        assert_eq!(mode, 0o750, "an app gives nobody a program that runs as us");
        let link = std::fs::read_link(target.join("link")).unwrap();
        assert_eq!(link, Path::new("/nowhere"));
        let into = folder.path().join("into");
        std::fs::create_dir(&into).unwrap();
        unpack(pack(&tree.join("run")).unwrap(), &into).unwrap();
        assert_eq!(std::fs::read_to_string(into.join("copy")).unwrap(), "#!");
    }
}
