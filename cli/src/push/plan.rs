//! `yard push --plan`: what a push would change. Asks, and sends nothing that has an effect.
//!
//! Of an app's settings the cluster says what differs (`manifest_diff`); which of its files differ is found by
//! comparing those here with the table of contents of the package that runs. Values of variables are
//! never shown: only that they are added or changed.

use super::archive::LocalFile;
use super::flow::{self, Source};
use super::manifest::{self, AppPlan};
use super::request::Request;
use crate::apps::find;
use crate::apps::lifecycle::How;
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Color, Output, human};
use proto::api::{App, Droplet, ManifestChange, ManifestDiff, PackageFile, PackageFiles, Route};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Names of files shown of each kind.
const SHOWN: usize = 5;

/// What would become of one app.
#[derive(Debug, Serialize)]
struct Planned {
    name: String,
    /// None: it would be created.
    guid: Option<String>,
    /// `create`, `update`
    action: &'static str,
    changes: Vec<Change>,
    routes: Routes,
    files: Files,
    upload: Upload,
    /// A push stages whatever it uploads.
    stages: bool,
    /// `start`, `rolling`, `restart`, or null: it would not be started.
    strategy: Option<&'static str>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Change {
    /// `memory of web`, `variable GREETING`, `service db`, `buildpacks`
    what: String,
    /// `add`, `replace`
    op: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    was: Option<Value>,
    /// Absent for variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    becomes: Option<Value>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Routes {
    added: Vec<String>,
    removed: Vec<String>,
    /// A route whose name the cluster chooses.
    chosen: Option<String>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Files {
    total: usize,
    bytes: u64,
    new: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
    /// Why they could not be compared with what runs; null: they were.
    unknown: Option<String>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Upload {
    bytes: u64,
    /// Files the cluster has already.
    known: usize,
}

/// Tells what a push of these would do.
pub async fn show(
    client: &Client,
    out: &Output,
    request: &Request,
    plans: &[AppPlan],
    sources: &[Source],
) -> Outcome {
    let space = client.space()?;
    let text = manifest::document(plans)
        .map_err(|error| Failure::failed("write the manifest").because(error))?;
    let path = format!("/v3/spaces/{}/manifest_diff", space.guid);
    let diff: ManifestDiff = client
        .post_yaml(&path, text)
        .await
        .map_err(|failure| failure.doing("compare the manifest with what is there"))?
        .json(&path)?;
    let mut planned = Vec::new();
    for (place, (plan, source)) in plans.iter().zip(sources).enumerate() {
        let app = find::app_if_any(client, &plan.name).await?;
        let (changes, added) = changes_of(place, &diff.diff);
        let routes = routes(client, plan, app.as_ref(), added).await?;
        let local = flow::listed(source)?;
        let files = match base(client, app.as_ref()).await? {
            Base::Nothing => compare(&[], &local),
            Base::Files(known) => compare(&known, &local),
            Base::Unknown(why) => Files {
                unknown: Some(why),
                ..compare(&[], &local).without_names()
            },
        };
        let bits = flow::prepare(client, source).await?;
        planned.push(Planned {
            name: plan.name.clone(),
            action: if app.is_some() { "update" } else { "create" },
            strategy: strategy(request, app.as_ref()),
            guid: app.map(|app| app.guid),
            changes,
            routes,
            files,
            upload: Upload {
                bytes: bits.size,
                known: bits.matched.len(),
            },
            stages: true,
        });
    }
    out.show(&json!({ "apps": planned }), |_| {
        let texts: Vec<String> = planned.iter().map(|one| render(one, out)).collect();
        format!("{}\nNothing was changed.\n", texts.join("\n"))
    })
}

/// As [`flow`] would do it.
fn strategy(request: &Request, app: Option<&App>) -> Option<&'static str> {
    if request.no_start {
        return None;
    }
    Some(match app.is_some_and(flow::runs) {
        true => request
            .strategy
            .unwrap_or(How::Rolling)
            .strategy()
            .unwrap_or("restart"),
        false => "start",
    })
}

/// The changes of the app at this place, and the routes it would get.
fn changes_of(place: usize, diff: &[ManifestChange]) -> (Vec<Change>, Vec<String>) {
    let root = format!("/applications/{place}/");
    let (mut changes, mut routes) = (Vec::new(), Vec::new());
    for change in diff {
        let Some(path) = change.path.strip_prefix(&root) else {
            continue;
        };
        let parts: Vec<String> = path
            .split('/')
            .map(|part| part.replace("~1", "/").replace("~0", "~"))
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (what, has_value) = match parts.as_slice() {
            ["name"] => continue,
            ["routes", ..] => {
                let route = change
                    .value
                    .as_ref()
                    .and_then(|value| value["route"].as_str());
                routes.extend(route.map(str::to_string));
                continue;
            }
            // A variable's name may have a slash.
            ["env", name @ ..] => (format!("variable {}", name.join("/")), false),
            ["services", name @ ..] => (format!("service {}", name.join("/")), false),
            ["processes", kind, field] => (format!("{field} of {kind}"), true),
            other => (other.join(" "), true),
        };
        changes.push(Change {
            what,
            op: change.op.clone(),
            was: change.was.clone().filter(|_| has_value),
            becomes: change.value.clone().filter(|_| has_value),
        });
    }
    (changes, routes)
}

async fn routes(
    client: &Client,
    plan: &AppPlan,
    app: Option<&App>,
    added: Vec<String>,
) -> Outcome<Routes> {
    let is_set =
        |key: &str| plan.document.get(key).and_then(yaml_serde::Value::as_bool) == Some(true);
    let current: Vec<Route> = match app {
        Some(app) => {
            let path = format!("/v3/apps/{}/routes", app.guid);
            client.list(&path, &[]).await?
        }
        None => Vec::new(),
    };
    let mut routes = Routes {
        added,
        ..Routes::default()
    };
    if is_set("no-route") {
        routes.removed = current.into_iter().map(|route| route.url).collect();
    } else if plan.document.get("routes").is_none() && current.is_empty() {
        let domain = find::default_domain(client).await?.name;
        if is_set("random-route") {
            routes.chosen = Some(format!("a random host name in {domain}"));
        } else if is_set("default-route") {
            routes.chosen = Some(format!("a host name made of the app's, in {domain}"));
        }
    }
    Ok(routes)
}

/// What the files are compared with.
enum Base {
    /// Nothing runs: all files are new.
    Nothing,
    Files(Vec<PackageFile>),
    Unknown(String),
}

/// The files of the package that the current droplet was made of.
async fn base(client: &Client, app: Option<&App>) -> Outcome<Base> {
    let Some(app) = app.filter(|app| app.relationships.current_droplet.guid().is_some()) else {
        return Ok(Base::Nothing);
    };
    let path = format!("/v3/apps/{}/droplets/current", app.guid);
    let droplet: Droplet = client.get(&path, &[]).await?;
    let package = droplet
        .links
        .get("package")
        .and_then(|link| link.href.rsplit('/').next());
    let Some(package) = package else {
        return Ok(Base::Unknown("what runs was made of no package".into()));
    };
    let path = format!("/yard/v1/packages/{package}/files");
    match client.get::<PackageFiles>(&path, &[]).await {
        Ok(known) => Ok(Base::Files(known.files)),
        Err(failure) if failure.code == Code::NotFound => {
            Ok(Base::Unknown("the package of what runs is not kept".into()))
        }
        Err(failure) => Err(failure.doing("read the files of what runs")),
    }
}

/// Compares what was pushed last with what is here.
fn compare(known: &[PackageFile], local: &[LocalFile]) -> Files {
    let mut before: BTreeMap<&str, &PackageFile> = known
        .iter()
        .map(|file| (file.path.as_str(), file))
        .collect();
    let mut files = Files {
        total: local.len(),
        bytes: local.iter().map(|file| file.size).sum(),
        ..Files::default()
    };
    for file in local {
        match before.remove(file.path.as_str()) {
            None => files.new.push(file.path.clone()),
            Some(was) if file.is_like(was) => {}
            Some(_) => files.changed.push(file.path.clone()),
        }
    }
    files.removed = before.into_keys().map(str::to_string).collect();
    files
}

impl Files {
    /// All would seem new.
    fn without_names(self) -> Files {
        Files {
            new: Vec::new(),
            ..self
        }
    }
}

fn render(planned: &Planned, out: &Output) -> String {
    let name = out.paint(Color::Strong, &planned.name);
    let mut text = match planned.action {
        "create" => format!("{name} would be created\n"),
        _ => format!("{name} would be updated\n"),
    };
    for change in &planned.changes {
        let sign = if change.op == "add" { "+" } else { "~" };
        let line = match (&change.was, &change.becomes) {
            (Some(was), Some(becomes)) => {
                format!("{}: {} -> {}", change.what, plain(was), plain(becomes))
            }
            (None, Some(becomes)) => format!("{}: {}", change.what, plain(becomes)),
            (_, None) => change.what.clone(),
        };
        text.push_str(&format!("  {sign} {line}\n"));
    }
    let routes = &planned.routes;
    for route in &routes.added {
        text.push_str(&format!("  + route {route}\n"));
    }
    for route in &routes.removed {
        text.push_str(&format!("  - route {route}\n"));
    }
    if let Some(chosen) = &routes.chosen {
        text.push_str(&format!("  + route: {chosen}\n"));
    }
    let files = &planned.files;
    let size = human::bytes(files.bytes);
    text.push_str(&format!("  {} ({size})", human::count(files.total, "file")));
    match &files.unknown {
        Some(why) => text.push_str(&format!("; which are new cannot be told: {why}\n")),
        None => {
            let kinds = [
                ("new", &files.new),
                ("changed", &files.changed),
                ("removed", &files.removed),
            ];
            let counts = kinds.map(|(kind, names)| format!("{} {kind}", names.len()));
            text.push_str(&format!(": {}\n", counts.join(", ")));
            for (kind, names) in kinds.iter().filter(|(_, names)| !names.is_empty()) {
                // Of an app that is new all are.
                if planned.action == "create" {
                    break;
                }
                text.push_str(&format!("    {kind}: {}\n", some(names)));
            }
        }
    }
    let upload = &planned.upload;
    text.push_str(&format!("  {} to upload", human::bytes(upload.bytes)));
    if upload.known > 0 {
        let known = human::count(upload.known, "file");
        text.push_str(&format!("; the cluster has {known} already"));
    }
    text.push_str(match planned.strategy {
        Some("start") => "\n  it would be staged and started\n",
        Some("restart") => "\n  it would be staged, and what runs stopped and started anew\n",
        Some(_) => "\n  it would be staged, and what runs replaced in steps\n",
        None => "\n  it would be staged and not started\n",
    });
    text
}

fn some(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{}, and {more} more", shown.join(", ")),
    }
}

/// A text without its quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_string(),
        Value::Array(list) if list.is_empty() => "none".to_string(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(op: &str, path: &str, was: Option<Value>, value: Value) -> ManifestChange {
        ManifestChange {
            op: op.into(),
            path: path.into(),
            was,
            value: Some(value),
        }
    }

    #[test]
    fn a_difference_is_told_in_words_and_secrets_are_not() {
        let diff = [
            change("add", "/applications/0/name", None, json!("a")),
            change(
                "replace",
                "/applications/1/env/KEY",
                Some(json!("old")),
                json!("secret"),
            ),
            change(
                "replace",
                "/applications/1/processes/web/memory",
                Some(json!("64M")),
                json!("128M"),
            ),
            change(
                "add",
                "/applications/1/routes/a.example~1x",
                None,
                json!({"route": "a.example/x"}),
            ),
            change(
                "add",
                "/applications/1/services/my~1db",
                None,
                json!("my/db"),
            ),
            change("add", "/applications/1/buildpacks", None, json!(["python"])),
        ];
        let (changes, routes) = changes_of(1, &diff);
        assert_eq!(routes, ["a.example/x"]);
        let text = serde_json::to_string(&changes).expect("a document");
        assert!(!text.contains("secret") && !text.contains("old"), "{text}");
        let whats: Vec<&str> = changes.iter().map(|change| change.what.as_str()).collect();
        assert_eq!(
            whats,
            [
                "variable KEY",
                "memory of web",
                "service my/db",
                "buildpacks"
            ]
        );
        assert_eq!(changes[1].was, Some(json!("64M")));
        assert!(changes_of(2, &diff).0.is_empty());
    }

    #[test]
    fn files_are_new_changed_removed_or_as_they_were() {
        let known = |path: &str, crc32: u32, mode: &str| PackageFile {
            path: path.into(),
            size_in_bytes: 1,
            crc32,
            mode: mode.into(),
        };
        let local = |path: &str, crc32: u32, mode: u32| LocalFile {
            path: path.into(),
            size: 1,
            crc32,
            mode,
        };
        let files = compare(
            &[
                known("same", 1, "644"),
                known("edited", 1, "644"),
                known("gone", 1, "644"),
                known("made-executable", 1, "644"),
            ],
            &[
                local("edited", 2, 0o644),
                local("fresh", 1, 0o644),
                local("made-executable", 1, 0o755),
                local("same", 1, 0o644),
            ],
        );
        assert_eq!(files.new, ["fresh"]);
        assert_eq!(files.changed, ["edited", "made-executable"]);
        assert_eq!(files.removed, ["gone"]);
        assert_eq!((files.total, files.bytes), (4, 4));
    }

    #[test]
    fn a_plan_reads_as_a_list() {
        let planned = Planned {
            name: "shop".into(),
            guid: Some("g".into()),
            action: "update",
            changes: vec![
                Change {
                    what: "memory of web".into(),
                    op: "replace".into(),
                    was: Some(json!("64M")),
                    becomes: Some(json!("128M")),
                },
                Change {
                    what: "variable KEY".into(),
                    op: "add".into(),
                    was: None,
                    becomes: None,
                },
            ],
            routes: Routes {
                removed: vec!["shop.example".into()],
                ..Routes::default()
            },
            files: Files {
                total: 3,
                bytes: 2048,
                new: vec!["a".into()],
                ..Files::default()
            },
            upload: Upload {
                bytes: 512,
                known: 1,
            },
            stages: true,
            strategy: Some("rolling"),
        };
        assert_eq!(
            render(&planned, &Output::new(true)),
            "shop would be updated\n  ~ memory of web: 64M -> 128M\n  + variable KEY\n  - route shop.example\n  \
             3 files (2K): 1 new, 0 changed, 0 removed\n    new: a\n  \
             512B to upload; the cluster has 1 file already\n  it would be staged, and what runs replaced in steps\n"
        );
    }
}
