//! `yard files`: a folder of an instance as a list, or a file as it is.

use super::connection::Done;
use super::place::{Meant, Place};
use super::quoted;
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Output, human, table};
use crate::targets::Store;
use base64::Engine;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::io::Write;

#[derive(Debug, Args)]
pub struct FilesArgs {
    /// The app
    app: String,
    /// A folder or a file; from /home/vcap if it does not begin with a slash
    #[arg(default_value = ".")]
    path: String,
    #[command(flatten)]
    place: Place,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub name: String,
    /// `file`, `folder`, `link`, `other`
    pub kind: &'static str,
    /// Permissions, octal.
    pub mode: String,
    pub size: u64,
    /// Unix seconds.
    pub modified: u64,
    /// Where a link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What a path turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Folder(Vec<Entry>),
    File(Vec<u8>),
}

/// Comes before what is ours: start scripts of the app may print what they like.
pub(super) const BEGIN: &[u8] = b"\0yard\0";
const MISSING: u32 = 66;
/// Of a shell that does not find a program.
const NOT_FOUND: u32 = 127;

fn question(path: &str) -> String {
    let path = quoted(path);
    format!(
        "p={path}; printf '\\0yard\\0'; \
         if [ -d \"$p\" ]; then printf d; find \"$p/\" -mindepth 1 -maxdepth 1 -printf '%y %m %s %T@ %l\\0%f\\0'; \
         elif [ -f \"$p\" ]; then printf f; cat -- \"$p\"; else exit {MISSING}; fi"
    )
}

/// What follows the mark.
pub(super) fn after_mark(output: &[u8]) -> Option<&[u8]> {
    output
        .windows(BEGIN.len())
        .position(|window| window == BEGIN)
        .map(|at| &output[at + BEGIN.len()..])
}

fn read(done: &Done, path: &str) -> Outcome<Found> {
    done.check_opened()?;
    if done.status == MISSING {
        return Err(Failure::new(
            Code::NotFound,
            format!("there is no file or folder {path} in the instance"),
        ));
    }
    let odd = || {
        Failure::failed(format!("list {path}: {}", done.errors.trim()))
            .fix("the app's stack needs bash and GNU find")
    };
    // What the stack lacks its shell does not find.
    if done.status == NOT_FOUND {
        return Err(odd());
    }
    if done.status != 0 {
        let told = done.errors.trim();
        return Err(Failure::failed(format!(
            "read {path} in the instance: {told}"
        )));
    }
    match after_mark(&done.output).ok_or_else(odd)? {
        [b'f', content @ ..] => Ok(Found::File(content.to_vec())),
        [b'd', list @ ..] => entries(list).map(Found::Folder).ok_or_else(odd),
        _ => Err(odd()),
    }
}

fn entries(list: &[u8]) -> Option<Vec<Entry>> {
    let mut words = list.split(|byte| *byte == 0);
    let mut entries = Vec::new();
    while let Some(facts) = words.next().filter(|facts| !facts.is_empty()) {
        let facts = String::from_utf8_lossy(facts).into_owned();
        let name = String::from_utf8_lossy(words.next()?).into_owned();
        let mut parts = facts.splitn(5, ' ');
        let kind = match parts.next()? {
            "f" => "file",
            "d" => "folder",
            "l" => "link",
            _ => "other",
        };
        entries.push(Entry {
            name,
            kind,
            mode: parts.next()?.to_string(),
            size: parts.next()?.parse().ok()?,
            modified: parts.next()?.split('.').next()?.parse().ok()?,
            target: parts
                .next()
                .filter(|target| !target.is_empty())
                .map(str::to_string),
        });
    }
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    Some(entries)
}

pub async fn run(args: FilesArgs, out: &Output, store: Store) -> Outcome {
    let all = args.place.all;
    let meant = Meant::of(Client::open(store)?, &args.app, args.place).await?;
    let mut documents = Vec::new();
    for index in meant.indices() {
        let inside = meant.enter(index).await?;
        let done = inside.collect(&question(&args.path)).await;
        inside.leave().await;
        let found = read(&done?, &args.path)?;
        if out.json {
            documents.push(document(index, &args.path, &found));
            continue;
        }
        if let (true, Some(index)) = (all, index) {
            out.say(format!("instance {index}:"))?;
        }
        match found {
            Found::Folder(entries) => print(out, &entries)?,
            Found::File(content) => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(&content)?;
                stdout.flush()?;
            }
        }
    }
    match (out.json, all) {
        (false, _) => Ok(()),
        (true, true) => out.document(&documents),
        (true, false) => out.document(&documents.pop()),
    }
}

fn document(index: Option<u32>, path: &str, found: &Found) -> serde_json::Value {
    match found {
        Found::Folder(entries) => {
            json!({"index": index, "path": path, "kind": "folder", "entries": entries})
        }
        Found::File(content) => {
            let engine = base64::engine::general_purpose::STANDARD;
            json!({
                "index": index, "path": path, "kind": "file", "size": content.len(),
                "content_base64": engine.encode(content),
            })
        }
    }
}

fn print(out: &Output, entries: &[Entry]) -> Outcome {
    out.show(&entries, |entries| {
        let rows = entries.iter().map(|entry| {
            let name = match (&entry.target, entry.kind) {
                (Some(target), _) => format!("{} -> {target}", entry.name),
                (None, "folder") => format!("{}/", entry.name),
                (None, _) => entry.name.clone(),
            };
            [entry.mode.clone(), human::bytes(entry.size), name]
        });
        table::table(["mode", "size", "name"], rows, "an empty folder")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(status: u32, output: &[u8]) -> Done {
        Done {
            output: output.to_vec(),
            errors: "no such program".into(),
            status,
        }
    }

    #[test]
    fn a_folder_is_read_with_whatever_names_it_has() {
        let output =
            b"hello from .profile\n\0yard\0df 644 12 1700000000.5 \0b c\nd\0l 777 3 1.0 /x y\0a\0d 755 4096 2.9 \0z\0";
        let Found::Folder(entries) = read(&done(0, output), "app").unwrap() else {
            panic!("a folder");
        };
        let names: Vec<(&str, &str)> = entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry.kind))
            .collect();
        assert_eq!(names, [("a", "link"), ("b c\nd", "file"), ("z", "folder")]);
        assert_eq!(entries[0].target.as_deref(), Some("/x y"));
        assert_eq!((entries[1].size, entries[1].modified), (12, 1_700_000_000));
        assert_eq!(
            read(&done(0, b"\0yard\0d"), "app").unwrap(),
            Found::Folder(Vec::new())
        );
    }

    #[test]
    fn a_file_comes_as_it_is_and_what_is_missing_is_said() {
        let found = read(&done(0, b"\0yard\0fa\0b"), "x").unwrap();
        assert_eq!(found, Found::File(b"a\0b".to_vec()));
        let missing = read(&done(66, b"\0yard\0"), "x").unwrap_err();
        assert_eq!(missing.code, Code::NotFound);
        assert!(
            read(&done(1, b""), "x")
                .unwrap_err()
                .what
                .contains("no such program")
        );
        assert!(read(&done(0, b"nothing of ours"), "x").is_err());
        let nobody = read(&done(255, b""), "x").unwrap_err();
        assert_eq!(nobody.what, "go inside: no such program");
        assert!(question("it's").contains("'it'\\''s'"));
    }
}
