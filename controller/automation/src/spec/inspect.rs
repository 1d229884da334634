//! A pack's folder as a whole: every resource that can be read, and every fault.
//!
//! ```text
//!   path → bytes ─► pack.yaml, config.schema.yaml
//!                ─► actions/*.yaml sensors/*.yaml triggers/*.yaml rules/*.yaml aliases/*.yaml
//!                   policies/*.yaml          each file on its own: one bad file hides no other
//!                ─► across files: names that clash, entry points that are missing
//! ```
//!
//! A resource with errors is left out of the result; one with warnings is in it.
//!
//! Metadata stands right in its folder, not in folders below (`actions/workflows/x.yaml` is an
//! entry point). JSON files are metadata only when they look like it: packs keep other JSON there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::action::{self, Action};
use super::alias::{self, Alias};
use super::config;
use super::pack::{self, PACK_FILE, Pack};
use super::policy::{self, Policy, PolicyTypes};
use super::problem::{self, Problem, Report, Severity};
use super::rule::{self, Rule};
use super::sensor::{self, Sensor, TriggerType};
use super::yaml::{self, Document, Limits, YamlError};

/// Runners whose actions are files of the pack.
const RUNNERS_WITH_ENTRY_POINT: &[&str] = &[
    "action-chain",
    "local-shell-script",
    "orchestra",
    "orquesta",
    "python-script",
    "remote-shell-script",
    "winrm-ps-script",
];

/// What the pack is seen against.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Name of the pack's folder, which is its ref when `pack.yaml` gives none.
    pub folder: Option<&'a str>,
    /// Names of the runner types, aliases included.
    pub runners: &'a BTreeSet<String>,
    pub policy_types: &'a PolicyTypes,
}

/// What a pack's files say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inspection {
    pub pack: Option<Pack>,
    pub actions: Vec<Action>,
    pub sensors: Vec<Sensor>,
    pub trigger_types: Vec<TriggerType>,
    pub rules: Vec<Rule>,
    pub aliases: Vec<Alias>,
    pub policies: Vec<Policy>,
    pub config_schema: Option<Map<String, Value>>,
    /// In the order of the files.
    pub problems: Vec<Problem>,
}

impl Inspection {
    pub fn has_errors(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }
}

/// Reads and checks all metadata of a pack. Paths are relative to the pack's folder, with `/`.
pub fn inspect(files: &BTreeMap<String, Vec<u8>>, surroundings: Surroundings<'_>) -> Inspection {
    let mut inspector = Inspector {
        files,
        surroundings,
        result: Inspection::default(),
        names: BTreeMap::new(),
    };
    let reference = inspector.pack();
    inspector.config_schema();
    for file in files.keys() {
        inspector.resource(file, &reference);
    }
    inspector.check_local_references(&reference);
    inspector.result.problems.sort();
    inspector.result
}

struct Inspector<'a> {
    files: &'a BTreeMap<String, Vec<u8>>,
    surroundings: Surroundings<'a>,
    result: Inspection,
    /// Files by kind of resource and name.
    names: BTreeMap<(&'static str, String), String>,
}

impl Inspector<'_> {
    fn add(&mut self, problem: Problem) {
        self.result.problems.push(problem);
    }

    fn load(&mut self, file: &str) -> Option<Document> {
        let bytes = self.files.get(file)?;
        let Ok(text) = std::str::from_utf8(bytes) else {
            self.add(problem::of_file(
                file,
                Severity::Error,
                "the file is not UTF-8 text",
                "save it as UTF-8",
            ));
            return None;
        };
        let loaded = if file.ends_with(".json") {
            load_json(text)
        } else {
            yaml::load(text, Limits::default())
        };
        loaded
            .map_err(|error| self.add(problem::of_syntax(file, error)))
            .ok()
    }

    /// Reads one file; none when it has errors.
    fn read<T>(
        &mut self,
        file: &str,
        document: &Document,
        read: impl FnOnce(&Document, &mut Report<'_>) -> T,
    ) -> Option<T> {
        let mut report = Report::new(file, document);
        let value = read(document, &mut report);
        let is_usable = !report.has_errors();
        self.result.problems.extend(report.into_problems());
        is_usable.then_some(value)
    }

    /// The pack's ref, even when `pack.yaml` has faults: the resources are checked against it.
    fn pack(&mut self) -> String {
        let folder = self.surroundings.folder;
        let fallback = folder.unwrap_or_default().to_owned();
        if !self.files.contains_key(PACK_FILE) {
            self.add(problem::of_file(
                PACK_FILE,
                Severity::Error,
                "the file is missing",
                "write the pack's name, description, version and author into it",
            ));
            return fallback;
        }
        if self.files.contains_key("config.yaml") {
            self.add(problem::of_file(
                "config.yaml",
                Severity::Warning,
                "configuration inside a pack is not read",
                "describe it in config.schema.yaml and set the values with the pack's configuration",
            ));
        }
        let Some(document) = self.load(PACK_FILE) else {
            return fallback;
        };
        let mut reference = fallback;
        let pack = self.read(PACK_FILE, &document, |document, report| {
            let pack = pack::read(document, folder, report);
            reference.clone_from(&pack.reference);
            pack
        });
        self.result.pack = pack;
        reference
    }

    fn config_schema(&mut self) {
        if let Some(document) = self.load(config::SCHEMA_FILE) {
            self.result.config_schema =
                self.read(config::SCHEMA_FILE, &document, config::read_schema);
        }
    }

    fn resource(&mut self, file: &str, pack: &str) {
        let Some((folder, name)) = file.split_once('/') else {
            return;
        };
        let Some((stem, extension)) = name.rsplit_once('.') else {
            return;
        };
        let is_yaml = matches!(extension, "yaml" | "yml");
        if name.contains('/') || !(is_yaml || extension == "json") || stem.is_empty() {
            return;
        }
        // A key that every document of the kind has.
        let mark = match folder {
            // Settings of old that hold for all actions.
            "actions" if stem == "config" => return,
            "actions" => "runner_type",
            "sensors" => "class_name",
            "triggers" => "name",
            "rules" => "trigger",
            "aliases" => "action_ref",
            "policies" => "policy_type",
            _ => return,
        };
        if !is_yaml && !self.looks_like(file, mark) {
            return;
        }
        let Some(document) = self.load(file) else {
            return;
        };
        match folder {
            "actions" => self.action(file, &document, pack),
            "sensors" => self.sensor(file, &document, pack),
            "triggers" => {
                let read = |document: &Document, report: &mut Report<'_>| {
                    sensor::read_trigger_type(document, pack, file, report)
                };
                if let Some(kind) = self.read(file, &document, read) {
                    self.trigger_type(kind, file);
                }
            }
            "rules" => {
                let read = |document: &Document, report: &mut Report<'_>| {
                    rule::read(document, pack, file, report)
                };
                if let Some(rule) = self.read(file, &document, read)
                    && self.claim("rule", &rule.name, file)
                {
                    self.result.rules.push(rule);
                }
            }
            "aliases" => {
                let read = |document: &Document, report: &mut Report<'_>| {
                    alias::read(document, pack, file, report)
                };
                if let Some(alias) = self.read(file, &document, read)
                    && self.claim("alias", &alias.name, file)
                {
                    self.result.aliases.push(alias);
                }
            }
            _ => {
                let types = self.surroundings.policy_types;
                let read = |document: &Document, report: &mut Report<'_>| {
                    policy::read(document, pack, file, types, report)
                };
                if let Some(policy) = self.read(file, &document, read)
                    && self.claim("policy", &policy.name, file)
                {
                    self.result.policies.push(policy);
                }
            }
        }
    }

    fn looks_like(&self, file: &str, mark: &str) -> bool {
        self.files
            .get(file)
            .and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok())
            .is_some_and(|value| value.get(mark).is_some())
    }

    /// Whether the name is still free; a clash is reported.
    fn claim(&mut self, kind: &'static str, name: &str, file: &str) -> bool {
        let key = (kind, name.to_owned());
        let Some(other) = self.names.get(&key) else {
            self.names.insert(key, file.to_owned());
            return true;
        };
        let message = format!("the {kind} {name:?} is also in {other}");
        self.add(problem::of_file(
            file,
            Severity::Error,
            message,
            "rename one of the two",
        ));
        false
    }

    fn action(&mut self, file: &str, document: &Document, pack: &str) {
        let (runners, files) = (self.surroundings.runners, self.files);
        let read = |document: &Document, report: &mut Report<'_>| {
            let action = action::read(document, pack, file, report);
            if !action.runner_type.is_empty() && !runners.contains(&action.runner_type) {
                let known: Vec<&str> = runners.iter().map(String::as_str).collect();
                report.error(
                    "runner_type",
                    format!("there is no runner type {:?}", action.runner_type),
                    format!("use one of: {}", known.join(", ")),
                );
            } else if RUNNERS_WITH_ENTRY_POINT.contains(&action.runner_type.as_str()) {
                check_entry_point("actions", &action.entry_point, files, report);
            }
            action
        };
        if let Some(action) = self.read(file, document, read)
            && self.claim("action", &action.name, file)
        {
            self.result.actions.push(action);
        }
    }

    fn sensor(&mut self, file: &str, document: &Document, pack: &str) {
        let files = self.files;
        let read = |document: &Document, report: &mut Report<'_>| {
            let (sensor, kinds) = sensor::read(document, pack, file, report);
            if !sensor.entry_point.is_empty() {
                check_entry_point("sensors", &sensor.entry_point, files, report);
            }
            (sensor, kinds)
        };
        let Some((sensor, kinds)) = self.read(file, document, read) else {
            return;
        };
        if !self.claim("sensor", &sensor.class_name, file) {
            return;
        }
        self.result.sensors.push(sensor);
        for kind in kinds {
            self.trigger_type(kind, file);
        }
    }

    /// Sensors may share a trigger type. When they say different things about it the last file
    /// wins, as in StackStorm.
    fn trigger_type(&mut self, kind: TriggerType, file: &str) {
        let known = self
            .result
            .trigger_types
            .iter()
            .position(|known| known.name == kind.name);
        let Some(at) = known else {
            self.result.trigger_types.push(kind);
            return;
        };
        let known = &self.result.trigger_types[at];
        if known.payload_schema != kind.payload_schema
            || known.parameters_schema != kind.parameters_schema
        {
            let message = format!(
                "the trigger type {:?} is described otherwise in {}",
                kind.name, known.metadata_file
            );
            self.add(problem::of_file(
                file,
                Severity::Warning,
                message,
                "describe it once, or the same way in both",
            ));
            self.result.trigger_types[at] = kind;
        }
    }

    /// References into the pack itself that lead nowhere. The resource is kept: what it names may
    /// be made through the API.
    fn check_local_references(&mut self, pack: &str) {
        let actions: BTreeSet<&str> = self
            .result
            .actions
            .iter()
            .map(|action| action.reference.as_str())
            .collect();
        let rules = self
            .result
            .rules
            .iter()
            .map(|rule| (&rule.metadata_file, "action.ref", &rule.action.reference));
        let aliases = self
            .result
            .aliases
            .iter()
            .map(|alias| (&alias.metadata_file, "action_ref", &alias.action_ref));
        let policies = self
            .result
            .policies
            .iter()
            .map(|policy| (&policy.metadata_file, "resource_ref", &policy.resource_ref));
        let mut found = Vec::new();
        for (file, path, reference) in rules.chain(aliases).chain(policies) {
            let is_local = reference
                .split_once('.')
                .is_some_and(|(of_pack, _)| of_pack == pack);
            if is_local && !actions.contains(reference.as_str()) {
                found.push(Problem {
                    path: path.to_owned(),
                    ..problem::of_file(
                        file,
                        Severity::Warning,
                        format!("the pack has no action {reference:?}, or it has errors"),
                        "correct the reference, or add the action",
                    )
                });
            }
        }
        self.result.problems.extend(found);
    }
}

fn load_json(text: &str) -> Result<Document, YamlError> {
    serde_json::from_str(text)
        .map(Document::of)
        .map_err(|error| YamlError {
            file: None,
            line: error.line(),
            column: error.column(),
            message: error.to_string(),
        })
}

fn check_entry_point(
    folder: &str,
    entry_point: &str,
    files: &BTreeMap<String, Vec<u8>>,
    report: &mut Report<'_>,
) {
    if entry_point.is_empty() {
        report.error(
            "",
            "entry_point is missing, and this runner needs one",
            format!("name the file in {folder}/ that holds the code"),
        );
        return;
    }
    let Some(path) = normalized(folder, entry_point) else {
        report.error(
            "entry_point",
            format!("{entry_point:?} leads out of the pack"),
            format!("name a file in {folder}/"),
        );
        return;
    };
    if !files.contains_key(&path) {
        report.error(
            "entry_point",
            format!("the file {path} does not exist"),
            "add it, or correct the name",
        );
    }
}

/// Path in the pack of an entry point; none when it leads out of the pack.
fn normalized(folder: &str, entry_point: &str) -> Option<String> {
    if entry_point.starts_with('/') {
        return None;
    }
    let mut parts = vec![folder];
    for part in entry_point.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
