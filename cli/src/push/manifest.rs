//! The manifest that is sent: read from a file or made up, then overridden by flags. Pure.
//!
//! The server owns the meaning of a manifest. Here is only what the server cannot do: which apps
//! of the file are meant, where their sources lie, and what the flags say instead. Keys that no
//! server knows are refused at once, because a misspelt `memmory` would otherwise be found out
//! by an app that runs out of memory.

use super::variables::{self, Variables};
use proto::manifest::{APP, PROCESS, TOP};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use yaml_serde::{Mapping, Value};

/// What the flags of `push` say about an app.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    pub instances: Option<u32>,
    pub memory: Option<String>,
    pub disk: Option<String>,
    pub buildpacks: Vec<String>,
    pub command: Option<String>,
    pub stack: Option<String>,
    pub no_route: bool,
    pub random_route: bool,
    pub hostname: Option<String>,
    pub domain: Option<String>,
    pub health_check_type: Option<String>,
    pub endpoint: Option<String>,
    pub start_timeout: Option<u32>,
    pub path: Option<PathBuf>,
}

impl Overrides {
    pub fn is_empty(&self) -> bool {
        *self == Overrides::default()
    }

    /// A route is to be made from host and domain, so the default domain may be needed.
    pub fn needs_default_domain(&self) -> bool {
        self.hostname.is_some() && self.domain.is_none()
    }
}

/// One app to push.
#[derive(Debug, Clone, PartialEq)]
pub struct AppPlan {
    pub name: String,
    /// Its sources, if the manifest or a flag says where.
    pub path: Option<PathBuf>,
    /// Its part of the manifest.
    pub document: Mapping,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    #[error("the manifest is no YAML: {0}")]
    NotYaml(String),
    #[error("the manifest has no value for {}", .0.iter().map(|name| format!("(({name}))")).collect::<Vec<_>>().join(", "))]
    MissingVariables(BTreeSet<String>),
    #[error("the manifest is no mapping with a list `applications`")]
    NoApplications,
    #[error("the manifest lists no application")]
    Empty,
    #[error("application {0} of the manifest has no name")]
    Nameless(usize),
    #[error("the manifest lists the application {0} twice")]
    Twice(String),
    #[error("{place}: unknown key {key:?}{}", .meant.as_ref().map(|meant| format!(", did you mean {meant:?}?")).unwrap_or_default())]
    UnknownKey {
        place: String,
        key: String,
        meant: Option<String>,
    },
    #[error("{place}: {key} is not supported: {instead}")]
    OldKey {
        place: String,
        key: String,
        instead: &'static str,
    },
    #[error("{place}: {key} takes {wanted}")]
    WrongType {
        place: String,
        key: String,
        wanted: &'static str,
    },
    #[error("the manifest has no application {name}; it has {}", .known.join(", "))]
    NoSuchApp { name: String, known: Vec<String> },
    #[error(
        "flags that describe one app cannot be used with a manifest of several: name the app, or change the manifest"
    )]
    FlagsForMany,
    #[error("--no-route cannot be used together with --random-route, --hostname or --domain")]
    ContradictingRoutes,
}

const OLD_KEYS: &[(&str, &str)] = &[
    ("domain", "list whole routes under `routes`"),
    ("domains", "list whole routes under `routes`"),
    ("host", "list whole routes under `routes`"),
    ("hosts", "list whole routes under `routes`"),
    ("no-hostname", "list whole routes under `routes`"),
    ("inherit", "put everything into one file, with variables"),
];

/// Reads a manifest: YAML with anchors resolved and variables filled in.
pub fn read(text: &str, variables: &Variables) -> Result<Mapping, ManifestFault> {
    let mut value: Value =
        yaml_serde::from_str(text).map_err(|error| ManifestFault::NotYaml(error.to_string()))?;
    value
        .apply_merge()
        .map_err(|error| ManifestFault::NotYaml(error.to_string()))?;
    let value = variables::fill(value, variables).map_err(ManifestFault::MissingVariables)?;
    match value {
        Value::Mapping(mapping) if mapping.get("applications").is_some_and(Value::is_sequence) => {
            Ok(mapping)
        }
        _ => Err(ManifestFault::NoApplications),
    }
}

/// The names in a manifest, as far as they can be read.
pub fn names(manifest: &Mapping) -> Vec<String> {
    manifest
        .get("applications")
        .and_then(Value::as_sequence)
        .map(|apps| {
            apps.iter()
                .filter_map(|app| app.get("name")?.as_str().map(str::to_string))
                .collect()
        })
        .unwrap_or_default()
}

/// Chooses the apps and applies the flags. Without a manifest, `name` is the app.
/// `folder` is where the manifest lies; paths in it are relative to that.
pub fn plan(
    manifest: Option<&Mapping>,
    folder: &Path,
    name: Option<&str>,
    overrides: &Overrides,
    default_domain: Option<&str>,
) -> Result<Vec<AppPlan>, ManifestFault> {
    if overrides.no_route
        && (overrides.random_route || overrides.hostname.is_some() || overrides.domain.is_some())
    {
        return Err(ManifestFault::ContradictingRoutes);
    }
    let mut apps = match manifest {
        Some(manifest) => apps_of(manifest, folder)?,
        None => {
            let name = name.unwrap_or_default().to_string();
            let document = Mapping::from_iter([(Value::from("name"), Value::from(name.clone()))]);
            vec![AppPlan {
                name,
                path: None,
                document,
            }]
        }
    };
    if let (Some(name), Some(_)) = (name, manifest) {
        match apps.iter().position(|app| app.name == name) {
            Some(index) => apps = vec![apps.swap_remove(index)],
            // One nameless intention: the file's only app under another name.
            None if apps.len() == 1 => {
                apps[0].name = name.to_string();
                apps[0].document.insert("name".into(), name.into());
            }
            None => {
                return Err(ManifestFault::NoSuchApp {
                    name: name.into(),
                    known: apps.into_iter().map(|app| app.name).collect(),
                });
            }
        }
    }
    if apps.len() > 1 && !overrides.is_empty() {
        return Err(ManifestFault::FlagsForMany);
    }
    for app in &mut apps {
        override_app(app, overrides, default_domain);
    }
    Ok(apps)
}

/// The document that is sent for these apps.
pub fn document(apps: &[AppPlan]) -> Result<String, yaml_serde::Error> {
    let list: Vec<Value> = apps
        .iter()
        .map(|app| Value::Mapping(app.document.clone()))
        .collect();
    let whole = Mapping::from_iter([
        (Value::from("version"), Value::from(1)),
        (Value::from("applications"), Value::Sequence(list)),
    ]);
    yaml_serde::to_string(&whole)
}

fn apps_of(manifest: &Mapping, folder: &Path) -> Result<Vec<AppPlan>, ManifestFault> {
    check_keys("the manifest", manifest, &[TOP])?;
    let list = manifest
        .get("applications")
        .and_then(Value::as_sequence)
        .ok_or(ManifestFault::NoApplications)?;
    if list.is_empty() {
        return Err(ManifestFault::Empty);
    }
    let mut seen = BTreeSet::new();
    let mut apps = Vec::new();
    for (index, app) in list.iter().enumerate() {
        let Value::Mapping(app) = app else {
            return Err(ManifestFault::Nameless(index + 1));
        };
        let name = match app.get("name") {
            Some(Value::String(name)) if !name.is_empty() => name.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => return Err(ManifestFault::Nameless(index + 1)),
        };
        let place = format!("application {name}");
        check_keys(&place, app, &[APP, PROCESS])?;
        check_types(&place, app)?;
        if !seen.insert(name.clone()) {
            return Err(ManifestFault::Twice(name));
        }
        if let Some(processes) = app.get("processes").and_then(Value::as_sequence) {
            for process in processes {
                let Value::Mapping(process) = process else {
                    return Err(wrong(
                        &place,
                        "processes",
                        "a list of mappings, each with a `type`",
                    ));
                };
                let kind = process
                    .get("type")
                    .and_then(Value::as_str)
                    .unwrap_or("without a type");
                check_keys(
                    &format!("{place}, process {kind}"),
                    process,
                    &[&["type"], PROCESS],
                )?;
            }
        }
        let path = app
            .get("path")
            .and_then(Value::as_str)
            .map(|path| folder.join(path));
        let mut document = app.clone();
        document.remove("path");
        document.insert("name".into(), name.clone().into());
        if let Some(size) = document.remove("disk-quota") {
            document.insert("disk_quota".into(), size);
        }
        apps.push(AppPlan {
            name,
            path,
            document,
        });
    }
    Ok(apps)
}

fn wrong(place: &str, key: &str, wanted: &'static str) -> ManifestFault {
    ManifestFault::WrongType {
        place: place.to_string(),
        key: key.to_string(),
        wanted,
    }
}

/// What is certain without a server: shapes, not values.
fn check_types(place: &str, app: &Mapping) -> Result<(), ManifestFault> {
    let expect = |key: &str, wanted: &'static str, fits: fn(&Value) -> bool| match app.get(key) {
        Some(value) if !value.is_null() && !fits(value) => Err(wrong(place, key, wanted)),
        _ => Ok(()),
    };
    for key in ["no-route", "random-route", "default-route"] {
        expect(key, "true or false", Value::is_bool)?;
    }
    for key in ["routes", "services", "buildpacks", "processes", "sidecars"] {
        expect(key, "a list", Value::is_sequence)?;
    }
    for key in ["env", "metadata", "docker"] {
        expect(key, "a mapping", Value::is_mapping)?;
    }
    for key in ["path", "stack", "health-check-type", "buildpack"] {
        expect(key, "a text", Value::is_string)?;
    }
    expect("instances", "a whole number", Value::is_u64)
}

fn check_keys(place: &str, mapping: &Mapping, known: &[&[&str]]) -> Result<(), ManifestFault> {
    for key in mapping.keys() {
        let key = match key {
            Value::String(key) => key.clone(),
            other => yaml_serde::to_string(other)
                .unwrap_or_default()
                .trim()
                .to_string(),
        };
        if known.iter().any(|known| known.contains(&key.as_str())) {
            continue;
        }
        if let Some((_, instead)) = OLD_KEYS.iter().find(|(old, _)| *old == key) {
            return Err(ManifestFault::OldKey {
                place: place.to_string(),
                key,
                instead,
            });
        }
        let meant = known
            .iter()
            .flat_map(|known| known.iter())
            .map(|known| (distance(&key, known), *known))
            .min();
        let meant = meant
            .filter(|(distance, _)| *distance <= 2)
            .map(|(_, known)| known.to_string());
        return Err(ManifestFault::UnknownKey {
            place: place.to_string(),
            key,
            meant,
        });
    }
    Ok(())
}

/// Edits between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let change = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

fn override_app(app: &mut AppPlan, overrides: &Overrides, default_domain: Option<&str>) {
    // What describes the web process goes where the manifest describes it.
    if let Some(instances) = overrides.instances {
        set_process(&mut app.document, "instances", instances.into());
    }
    if let Some(memory) = &overrides.memory {
        set_process(&mut app.document, "memory", memory.clone().into());
    }
    if let Some(disk) = &overrides.disk {
        set_process(&mut app.document, "disk_quota", disk.clone().into());
    }
    if let Some(command) = &overrides.command {
        set_process(&mut app.document, "command", or_null(command));
    }
    if let Some(kind) = &overrides.health_check_type {
        set_process(&mut app.document, "health-check-type", kind.clone().into());
    }
    if let Some(endpoint) = &overrides.endpoint {
        set_process(
            &mut app.document,
            "health-check-http-endpoint",
            endpoint.clone().into(),
        );
        if overrides.health_check_type.is_none() {
            set_process(&mut app.document, "health-check-type", "http".into());
        }
    }
    if let Some(seconds) = overrides.start_timeout {
        set_process(&mut app.document, "timeout", seconds.into());
    }
    if !overrides.buildpacks.is_empty() {
        app.document.remove("buildpack");
        let reset = matches!(overrides.buildpacks.as_slice(), [only] if is_reset(only));
        let list = if reset {
            Vec::new()
        } else {
            overrides
                .buildpacks
                .iter()
                .map(|name| Value::from(name.clone()))
                .collect()
        };
        app.document
            .insert("buildpacks".into(), Value::Sequence(list));
    }
    if let Some(stack) = &overrides.stack {
        app.document.insert("stack".into(), or_null(stack));
    }
    if let Some(path) = &overrides.path {
        app.path = Some(path.clone());
    }
    override_routes(app, overrides, default_domain);
}

fn override_routes(app: &mut AppPlan, overrides: &Overrides, default_domain: Option<&str>) {
    const WAYS: [&str; 4] = ["routes", "no-route", "random-route", "default-route"];
    let has = |key: &str| app.document.get(key).is_some();
    let (has_routes, has_any) = (has("routes"), WAYS.iter().any(|way| has(way)));
    let mut only = |key: &str, value: Value| {
        for way in WAYS {
            app.document.remove(way);
        }
        app.document.insert(key.into(), value);
    };
    if overrides.no_route {
        only("no-route", true.into());
    } else if overrides.hostname.is_some() || overrides.domain.is_some() {
        let host = overrides.hostname.as_deref().unwrap_or(&app.name);
        let domain = overrides
            .domain
            .as_deref()
            .or(default_domain)
            .unwrap_or_default();
        let route = if domain.is_empty() {
            host.to_string()
        } else {
            format!("{host}.{domain}")
        };
        let route = Mapping::from_iter([(Value::from("route"), Value::from(route))]);
        only("routes", Value::Sequence(vec![Value::Mapping(route)]));
    } else if overrides.random_route {
        if !has_routes {
            only("random-route", true.into());
        }
    } else if !has_any {
        only("default-route", true.into());
    }
}

fn set_process(document: &mut Mapping, key: &str, value: Value) {
    let web = document
        .get_mut("processes")
        .and_then(Value::as_sequence_mut)
        .and_then(|processes| {
            processes
                .iter_mut()
                .filter_map(Value::as_mapping_mut)
                .find(|process| process.get("type") == Some(&"web".into()))
        });
    match web {
        Some(web) => web.insert(key.into(), value),
        None => document.insert(key.into(), value),
    };
}

/// `null` and `default` take a setting back.
fn is_reset(text: &str) -> bool {
    text == "null" || text == "default"
}

fn or_null(text: &str) -> Value {
    if is_reset(text) {
        Value::Null
    } else {
        Value::from(text.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(
        text: &str,
        name: Option<&str>,
        overrides: &Overrides,
    ) -> Result<String, ManifestFault> {
        let manifest = read(text, &Variables::new())?;
        let apps = plan(
            Some(&manifest),
            Path::new("/code"),
            name,
            overrides,
            Some("yard.internal"),
        )?;
        let text = document(&apps).expect("YAML");
        Ok(text
            .strip_prefix("version: 1\napplications:\n")
            .expect("the head")
            .to_string())
    }

    #[test]
    fn without_a_manifest_the_app_gets_the_default_route() {
        let apps = plan(
            None,
            Path::new("/"),
            Some("shop"),
            &Overrides::default(),
            None,
        )
        .expect("a plan");
        assert_eq!(
            document(&apps).expect("YAML"),
            "version: 1\napplications:\n- name: shop\n  default-route: true\n"
        );
    }

    #[test]
    fn flags_replace_what_the_manifest_says_where_it_says_it() {
        let text = "applications:\n- name: shop\n  buildpack: old\n  processes:\n  - type: web\n    memory: 64M\n  - type: worker\n";
        let overrides = Overrides {
            memory: Some("1G".into()),
            instances: Some(2),
            buildpacks: vec!["python".into()],
            command: Some("null".into()),
            ..Overrides::default()
        };
        assert_eq!(
            planned(text, None, &overrides).expect("a plan"),
            "- name: shop\n  processes:\n  - type: web\n    memory: 1G\n    instances: 2\n    command: null\n  - type: worker\n  buildpacks:\n  - python\n  default-route: true\n"
        );
    }

    #[test]
    fn routes_are_said_in_one_way_only() {
        let text = "applications:\n- name: shop\n  routes:\n  - route: a.b\n";
        let with = |overrides: Overrides| planned(text, None, &overrides).expect("a plan");
        assert_eq!(
            with(Overrides {
                no_route: true,
                ..Overrides::default()
            }),
            "- name: shop\n  no-route: true\n"
        );
        assert_eq!(
            with(Overrides {
                random_route: true,
                ..Overrides::default()
            }),
            "- name: shop\n  routes:\n  - route: a.b\n"
        );
        assert_eq!(
            with(Overrides {
                hostname: Some("h".into()),
                ..Overrides::default()
            }),
            "- name: shop\n  routes:\n  - route: h.yard.internal\n"
        );
        assert_eq!(
            with(Overrides {
                domain: Some("d.org".into()),
                ..Overrides::default()
            }),
            "- name: shop\n  routes:\n  - route: shop.d.org\n"
        );
        let both = Overrides {
            no_route: true,
            random_route: true,
            ..Overrides::default()
        };
        assert_eq!(
            planned(text, None, &both),
            Err(ManifestFault::ContradictingRoutes)
        );
    }

    #[test]
    fn one_app_of_several_is_chosen_by_name() {
        let text = "applications:\n- name: a\n  path: src\n- name: b\n";
        let manifest = read(text, &Variables::new()).expect("a manifest");
        let apps = plan(
            Some(&manifest),
            Path::new("/code"),
            Some("a"),
            &Overrides {
                instances: Some(1),
                ..Overrides::default()
            },
            None,
        )
        .expect("a plan");
        assert_eq!(apps.len(), 1);
        assert_eq!(apps[0].path.as_deref(), Some(Path::new("/code/src")));
        assert_eq!(
            apps[0].document.get("path"),
            None,
            "where the sources lie is nobody else's business"
        );
        assert!(matches!(
            planned(text, Some("c"), &Overrides::default()),
            Err(ManifestFault::NoSuchApp { .. })
        ));
        assert_eq!(
            planned(
                text,
                None,
                &Overrides {
                    instances: Some(1),
                    ..Overrides::default()
                }
            ),
            Err(ManifestFault::FlagsForMany)
        );
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, message) in [
            (
                "applications: [{name: a, memmory: 1G}]",
                "application a: unknown key \"memmory\", did you mean \"memory\"?",
            ),
            (
                "applications: [{name: a, host: x}]",
                "application a: host is not supported: list whole routes under `routes`",
            ),
            (
                "applications: [{name: a}, {name: a}]",
                "the manifest lists the application a twice",
            ),
            (
                "applications: [{memory: 1G}]",
                "application 1 of the manifest has no name",
            ),
            ("applications: []", "the manifest lists no application"),
            (
                "apps: []",
                "the manifest is no mapping with a list `applications`",
            ),
            (
                "applications: [{name: a, env: [x]}]",
                "application a: env takes a mapping",
            ),
            (
                "applications: [{name: a, instances: many}]",
                "application a: instances takes a whole number",
            ),
            (
                "applications: [{name: a, processes: [{type: web, port: 1}]}]",
                "application a, process web: unknown key \"port\"",
            ),
            ("app: [", "the manifest is no YAML"),
            (
                "applications: [{name: ((x))}]",
                "the manifest has no value for ((x))",
            ),
            (
                "application: []\napplications: [{name: a}]",
                "the manifest: unknown key \"application\", did you mean \"applications\"?",
            ),
        ] {
            let error = planned(text, None, &Overrides::default())
                .expect_err(text)
                .to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }

    #[test]
    fn anchors_are_resolved_before_sending() {
        let text = "x: &common\n  memory: 64M\napplications:\n- name: a\n  <<: *common\n";
        let error = planned(text, None, &Overrides::default()).expect_err("x is unknown");
        assert!(error.to_string().contains("unknown key \"x\""));
        let text = "applications:\n- &a\n  name: a\n  memory: 64M\n- <<: *a\n  name: b\n";
        assert_eq!(
            planned(text, Some("b"), &Overrides::default()).expect("a plan"),
            "- name: b\n  memory: 64M\n  default-route: true\n"
        );
    }

    #[test]
    fn distances() {
        assert_eq!(distance("memmory", "memory"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn the_manifest_of_the_documentation_is_one() {
        let page = include_str!("../../../docs/push.md");
        let text = page
            .split_once("```yaml\n")
            .and_then(|(_, rest)| rest.split_once("```"))
            .map(|(text, _)| text)
            .expect("the page shows a manifest");
        let planned = planned(text, None, &Overrides::default()).expect("it is taken");
        for word in ["memory: 256M", "GREETING: hello", "worker"] {
            assert!(planned.contains(word), "{word}: {planned}");
        }
    }
}
