use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::config::{self, Step};
use super::overrides::{self, Overrides, Reach, ResourceKind};
use super::pack::{VersionRange, padded_version};
use super::parameter_schema::{check_values, to_json_schema};
use super::yaml::{self, Document, Limits};
use super::{AliasFormat, Inspection, PolicyTypes, Problem, Report, RuleKind, Severity};
use super::{Surroundings, inspect};
use crate::documents::secrets;

const PACK: &str = "name: demo\ndescription: d\nversion: 0.2\nauthor: a\n";

fn policy_types() -> PolicyTypes {
    PolicyTypes::from([(
        "action.retry".to_owned(),
        mapping(json!({
            "retry_on": {"type": "string", "required": true, "enum": ["failure", "timeout"]},
            "max_retry_count": {"type": "integer", "required": true, "minimum": 1, "maximum": 5, "default": 2},
            "delay": {"type": "number", "minimum": 0, "maximum": 120},
        })),
    )])
}

fn mapping(value: Value) -> Map<String, Value> {
    value.as_object().expect("a mapping").clone()
}

fn inspect_files(files: &[(&str, &str)]) -> Inspection {
    let files: BTreeMap<String, Vec<u8>> = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
        .collect();
    let runners =
        BTreeSet::from(["local-shell-cmd", "python-script", "orquesta"].map(str::to_owned));
    inspect(
        &files,
        Surroundings {
            folder: None,
            runners: &runners,
            policy_types: &policy_types(),
        },
    )
}

/// Problems of a pack with one more file.
fn problems(file: &str, text: &str) -> Vec<Problem> {
    inspect_files(&[("pack.yaml", PACK), (file, text)]).problems
}

/// The one problem of a pack with one more file.
#[track_caller]
fn check_problem(file: &str, text: &str, place: (&str, usize), part: &str) {
    let problems = problems(file, text);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let problem = &problems[0];
    assert_eq!(problem.file, file);
    assert_eq!(
        (problem.path.as_str(), problem.line),
        (place.0, Some(place.1)),
        "{problem}"
    );
    assert!(problem.message.contains(part), "{problem}");
    assert!(!problem.advice.is_empty(), "{problem}");
}

#[test]
fn a_whole_pack_is_read() {
    let inspection = inspect_files(&[
        (
            "pack.yaml",
            "name: Demo Pack\nref: demo\ndescription: d\nversion: 1.2.3\nauthor: a\nhomepage: h\nstackstorm_version: '>=3.1.0, <4.0.0'\npython_versions: ['3']\n",
        ),
        (
            "config.schema.yaml",
            "token: {type: string, secret: true}\n",
        ),
        (
            "actions/run.yaml",
            "name: run\nrunner_type: python-script\nentry_point: run.py\nenabled: yes\nparameters:\n  cmd: {type: string, position: 0, required: true}\n",
        ),
        ("actions/run.py", ""),
        (
            "actions/flow.yaml",
            "---\nname: flow\npack: demo\nrunner_type: orquesta\nentry_point: workflows/flow.yaml\n",
        ),
        ("actions/workflows/flow.yaml", "version: 1.0\ntasks: {}\n"),
        ("actions/data.json", "[1]"),
        (
            "actions/old.json",
            r#"{"name": "old", "runner_type": "local-shell-cmd"}"#,
        ),
        (
            "sensors/watch.yaml",
            "class_name: Watch\nentry_point: watch.py\npoll_interval: 10\ntrigger_types:\n  - name: seen\n    payload_schema: {type: object}\n",
        ),
        ("sensors/watch.py", ""),
        ("triggers/other.yml", "name: other\n"),
        (
            "rules/on_seen.yaml",
            "name: on_seen\ntrigger: {type: demo.seen}\ncriteria:\n  trigger.x: {type: equals, pattern: 1}\naction: {ref: demo.run, parameters: {cmd: '{{ trigger.x }}'}}\ntype: {ref: backstop}\n",
        ),
        (
            "aliases/run.yaml",
            "name: run\naction_ref: demo.run\nformats:\n  - 'run {{ cmd }}'\n  - display: exec\n    representation: ['exec {{ cmd }}']\n    match_multiple: true\nack: {format: 'ok', append_url: false}\n",
        ),
        (
            "policies/retry.yaml",
            "name: retry\nresource_ref: demo.run\npolicy_type: action.retry\nparameters: {retry_on: timeout}\n",
        ),
        ("README.md", "text"),
    ]);
    assert_eq!(inspection.problems, []);
    let pack = inspection.pack.expect("a pack");
    assert_eq!(
        (pack.reference.as_str(), pack.version.as_str()),
        ("demo", "1.2.3")
    );
    assert_eq!(pack.others.get("homepage"), Some(&json!("h")));
    let refs: Vec<&str> = inspection
        .actions
        .iter()
        .map(|action| action.reference.as_str())
        .collect();
    assert_eq!(refs, ["demo.flow", "demo.old", "demo.run"]);
    let run = &inspection.actions[2];
    assert!(run.enabled);
    assert_eq!(run.metadata_file, "actions/run.yaml");
    let sensor = &inspection.sensors[0];
    assert_eq!(
        (sensor.reference.as_str(), sensor.poll_interval),
        ("demo.Watch", Some(10.0))
    );
    assert_eq!(sensor.trigger_types, ["demo.seen"]);
    let kinds: Vec<&str> = inspection
        .trigger_types
        .iter()
        .map(|kind| kind.reference.as_str())
        .collect();
    assert_eq!(kinds, ["demo.seen", "demo.other"]);
    let rule = &inspection.rules[0];
    assert!(!rule.enabled);
    assert_eq!(rule.kind.kind, RuleKind::Backstop);
    let alias = &inspection.aliases[0];
    assert_eq!(
        alias.formats[0],
        AliasFormat::Text("run {{ cmd }}".to_owned())
    );
    assert!(alias.formats[1].matches_multiple());
    let policy = &inspection.policies[0];
    assert_eq!(policy.parameters.get("max_retry_count"), Some(&json!(2)));
    assert!(inspection.config_schema.is_some());
}

#[test]
fn the_pack_names_itself() {
    let reference = |text: &str, folder: Option<&str>| {
        let files = BTreeMap::from([("pack.yaml".to_owned(), text.as_bytes().to_vec())]);
        let surroundings = Surroundings {
            folder,
            runners: &BTreeSet::new(),
            policy_types: &PolicyTypes::new(),
        };
        let inspection = inspect(&files, surroundings);
        inspection
            .pack
            .map(|pack| pack.reference)
            .ok_or(inspection.problems)
    };
    let rest = "description: d\nversion: 1.0.0\nauthor: a\n";
    assert_eq!(
        reference(&format!("name: demo\n{rest}"), None),
        Ok("demo".to_owned())
    );
    assert_eq!(
        reference(&format!("name: demo\n{rest}"), Some("folder")),
        Ok("folder".to_owned())
    );
    assert_eq!(
        reference(&format!("name: demo\n{rest}"), Some("No-Ref")),
        Ok("demo".to_owned())
    );
    assert_eq!(
        reference(&format!("name: D\nref: demo\n{rest}"), Some("x")),
        Ok("demo".to_owned())
    );
    let problems = reference(&format!("name: My Pack\n{rest}"), None).expect_err("no ref");
    assert!(
        problems[0].message.contains("cannot be the pack's ref"),
        "{}",
        problems[0]
    );
    let problems =
        reference(&format!("name: D\nref: _global\n{rest}"), None).expect_err("reserved");
    assert!(problems[0].message.contains("reserved"), "{}", problems[0]);
}

#[test]
fn all_faults_are_told_at_once() {
    let inspection = inspect_files(&[
        (
            "pack.yaml",
            "name: demo\nversion: one\npython_versions: ['2']\nkeywords: [1]\n",
        ),
        (
            "actions/a.yaml",
            "name: a\nrunner_type: none\ncolour: red\nenabled: 'yes'\n",
        ),
        ("actions/b.yaml", "name: ["),
    ]);
    assert!(inspection.pack.is_none() && inspection.actions.is_empty());
    let texts: Vec<String> = inspection.problems.iter().map(Problem::to_string).collect();
    for part in [
        "actions/a.yaml:2:1: runner_type: there is no runner type \"none\"",
        "actions/a.yaml:3:1: colour: unknown key \"colour\"",
        "actions/a.yaml:4:1: enabled: enabled is a string, not true or false",
        "actions/b.yaml:1:7: unclosed bracket",
        "pack.yaml:1:1: author is missing",
        "pack.yaml:1:1: description is missing",
        "pack.yaml:2:1: version: \"one\" is no semantic version",
        "pack.yaml:3:1: python_versions: the pack says that it only runs on Python 2",
        "pack.yaml:4:12: keywords[0]: an item of keywords is a number",
    ] {
        assert!(
            texts.iter().any(|text| text.starts_with(part)),
            "{part}\n{texts:#?}"
        );
    }
    assert_eq!(texts.len(), 9, "{texts:#?}");
}

#[test]
fn a_pack_without_metadata_is_no_pack() {
    let problems = inspect_files(&[]).problems;
    assert_eq!(
        problems[0].to_string(),
        "pack.yaml: the file is missing (write the pack's name, description, version and author into it)"
    );
}

#[test]
fn entry_points_exist() {
    let action = |entry_point: &str| format!("name: a\nrunner_type: python-script\n{entry_point}");
    check_problem(
        "actions/a.yaml",
        &action("entry_point: a.py\n"),
        ("entry_point", 3),
        "the file actions/a.py does not exist",
    );
    check_problem(
        "actions/a.yaml",
        &action("entry_point: ../../a.py\n"),
        ("entry_point", 3),
        "leads out of the pack",
    );
    check_problem(
        "actions/a.yaml",
        &action(""),
        ("", 1),
        "entry_point is missing",
    );
    check_problem(
        "sensors/s.yaml",
        "class_name: S\nentry_point: s.py\n",
        ("entry_point", 2),
        "sensors/s.py",
    );
    let inspection = inspect_files(&[
        ("pack.yaml", PACK),
        ("actions/a.yaml", &action("entry_point: ../lib/./a.py\n")),
        ("lib/a.py", ""),
    ]);
    assert_eq!(inspection.problems, []);
}

#[test]
fn names_do_not_clash() {
    let inspection = inspect_files(&[
        ("pack.yaml", PACK),
        ("actions/a.yaml", "name: a\nrunner_type: local-shell-cmd\n"),
        ("actions/b.yaml", "name: a\nrunner_type: local-shell-cmd\n"),
        ("triggers/t.yaml", "name: t\n"),
        ("triggers/u.yaml", "name: t\n"),
        (
            "triggers/v.yaml",
            "name: t\npayload_schema: {type: object}\n",
        ),
    ]);
    let texts: Vec<String> = inspection.problems.iter().map(Problem::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:#?}");
    assert!(
        texts[0].contains("actions/b.yaml: the action \"a\" is also in actions/a.yaml"),
        "{texts:#?}"
    );
    assert!(
        texts[1].contains("triggers/v.yaml: the trigger type \"t\" is described otherwise"),
        "{texts:#?}"
    );
    assert_eq!(inspection.actions.len(), 1);
    assert!(inspection.has_errors());
}

#[test]
fn references_lead_somewhere() {
    let rule = "name: r\ntrigger: {type: core.st2.webhook}\naction: {ref: demo.absent}\n";
    check_problem_without_line(
        "rules/r.yaml",
        rule,
        "the pack has no action \"demo.absent\"",
    );
    check_problem(
        "rules/r.yaml",
        "name: r\ntrigger: {type: webhook}\naction: {ref: core.noop}\n",
        ("trigger.type", 2),
        "\"webhook\" is no reference",
    );
    check_problem(
        "rules/r.yaml",
        "name: r\naction: {ref: core.noop}\n",
        ("", 1),
        "trigger is missing",
    );
    check_problem(
        "rules/r.yaml",
        "name: r\npack: other\ntrigger: {type: a.b}\naction: {ref: core.noop}\n",
        ("pack", 2),
        "names pack \"other\"",
    );
}

#[track_caller]
fn check_problem_without_line(file: &str, text: &str, part: &str) {
    let problems = problems(file, text);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].severity, Severity::Warning);
    assert!(problems[0].message.contains(part), "{}", problems[0]);
}

#[test]
fn rules_aliases_and_policies_are_checked_in_depth() {
    check_problem(
        "rules/r.yaml",
        "name: r\ntrigger: {type: a.b}\naction: {ref: c.d}\ncriteria:\n  trigger.x:\n    type: like\n    pattern: 1\n",
        ("criteria.trigger.x.type", 6),
        "there is no operator \"like\"",
    );
    check_problem(
        "rules/r.yaml",
        "name: r\ntrigger: {type: a.b}\naction: {ref: c.d}\ntype: {ref: best}\n",
        ("type.ref", 4),
        "no rule type \"best\"",
    );
    check_problem(
        "aliases/a.yaml",
        "name: a\naction_ref: c.d\nformats:\n  - ok\n  - 'bad {{ x-y }}'\n",
        ("formats[1]", 5),
        "\"x-y\"",
    );
    check_problem(
        "aliases/a.yaml",
        "name: a\naction_ref: c.d\n",
        ("formats", 1),
        "no format",
    );
    check_problem(
        "policies/p.yaml",
        "name: p\nresource_ref: c.d\npolicy_type: action.retry\nparameters:\n  retry_on: sometimes\n",
        ("parameters.retry_on", 5),
        "sometimes",
    );
    check_problem(
        "policies/p.yaml",
        "name: p\nresource_ref: c.d\npolicy_type: action.magic\n",
        ("policy_type", 3),
        "no policy type",
    );
    check_problem(
        "sensors/s.yaml",
        "class_name: S\nentry_point: pack.yaml\npoll_interval: 1\nentry_point: ../pack.yaml\n",
        ("poll_interval", 3),
        "polls every 4 seconds",
    );
}

#[test]
fn sensors_may_have_unknown_keys() {
    let inspection = inspect_files(&[
        ("pack.yaml", PACK),
        (
            "sensors/s.yaml",
            "class_name: S\nentry_point: s.py\nmood: good\n",
        ),
        ("sensors/s.py", ""),
    ]);
    assert_eq!(inspection.sensors.len(), 1);
    assert_eq!(inspection.problems[0].severity, Severity::Warning);
}

#[test]
fn definitions_of_parameters_are_checked() {
    let action = |parameters: &str| {
        format!("name: a\nrunner_type: local-shell-cmd\nparameters:\n{parameters}")
    };
    let check = |parameters: &str, place: (&str, usize), part: &str| {
        check_problem("actions/a.yaml", &action(parameters), place, part);
    };
    check(
        "  x: {type: text}\n",
        ("parameters.x.type", 4),
        "the type is \"text\"",
    );
    check(
        "  x: {type: [string, text]}\n",
        ("parameters.x.type", 4),
        "the type is \"text\"",
    );
    check(
        "  x: {type: []}\n",
        ("parameters.x.type", 4),
        "the type is a list",
    );
    check(
        "  x: {multipleOf: 0}\n",
        ("parameters.x.multipleOf", 4),
        "0, not a number above 0",
    );
    check(
        "  x: {typ: string}\n",
        ("parameters.x.typ", 4),
        "unknown key \"typ\"",
    );
    check(
        "  x: {required: 'true'}\n",
        ("parameters.x.required", 4),
        "a string, not true or false",
    );
    check(
        "  x: string\n",
        ("parameters.x", 4),
        "a string, not a mapping",
    );
    check(
        "  x-y: {type: string}\n",
        ("parameters.x-y", 4),
        "parameter name \"x-y\" is invalid",
    );
    check(
        "  x: {enum: [1, 1]}\n",
        ("parameters.x.enum[1]", 4),
        "listed twice",
    );
    check(
        "  x: {type: object, properties: {y: {type: no}}}\n",
        ("parameters.x.properties.y.type", 4),
        "the type is",
    );
    check(
        "  x: {pattern: '('}\n",
        ("parameters.x.pattern", 4),
        "not a regular expression",
    );
    check(
        "  x: {exclusiveMinimum: true}\n",
        ("parameters.x.exclusiveMinimum", 4),
        "without minimum",
    );
    check(
        "  x: {position: 0}\n  y: {position: 0}\n",
        ("parameters.y.position", 5),
        "same position 0",
    );
    check(
        "  x: {position: 0}\n  y: {position: 2}\n",
        ("parameters", 3),
        "have a gap",
    );
    check(
        "  x: {position: 1.5}\n",
        ("parameters.x.position", 4),
        "an integer from 0",
    );
    assert_eq!(
        problems(
            "actions/a.yaml",
            &action(
                "  x:\n  y: {position: 1, type: [string, 'null']}\n  z: {position: 2, format: uri}\n"
            )
        ),
        []
    );
}

#[test]
fn definitions_inside_definitions_are_checked_less_strictly() {
    let action = "name: a\nrunner_type: local-shell-cmd\nparameters:\n  x: {type: object, \
                  properties: {y: {type: [string, integer], z: 1}}}\n";
    let problems = problems("actions/a.yaml", action);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].severity, Severity::Warning);
    assert_eq!(problems[0].path, "parameters.x.properties.y.z");
}

#[test]
fn versions_are_padded_and_ranged() {
    assert_eq!(padded_version("0.2"), "0.2.0");
    assert_eq!(padded_version("1.2.3"), "1.2.3");
    let admits = |range: &str, version: &str| {
        VersionRange::parse(range)
            .expect(range)
            .admits(&semver::Version::parse(version).expect(version))
    };
    assert!(admits(">=3.1.0, <4.0.0", "3.9.0"));
    assert!(!admits(">=3.1.0, <4.0.0", "4.0.0"));
    assert!(admits(">1.6.0", "1.6.1"));
    assert!(!admits("=1.6.0", "1.6.1"));
    assert!(VersionRange::parse("3.1.0").is_err());
    assert!(VersionRange::parse(">=3.1").is_err());
    assert!(VersionRange::parse("").is_err());
}

fn schema() -> Map<String, Value> {
    mapping(
        yaml::parse(
            "host: {type: string, required: true}
port: {type: integer, default: 443}
token: {type: string, secret: true}
auth:
  type: object
  properties:
    user: {type: string, default: admin}
    password: {type: string, secret: true, required: true}
sites:
  type: array
  items:
    type: object
    properties:
      name: {type: string}
      key: {type: string, secret: true}
      retries: {type: integer, default: 3}
extra:
  type: object
  additionalProperties: {type: string, secret: true}
",
        )
        .expect("a schema"),
    )
}

fn values(text: &str) -> Map<String, Value> {
    mapping(yaml::parse(text).expect(text))
}

fn check_values_file(text: &str) -> Vec<String> {
    let document = yaml::load(text, Limits::default()).expect(text);
    let mut report = Report::new("configs/demo.yaml", &document);
    config::read_values(&document, Some(&schema()), &mut report);
    report
        .into_problems()
        .iter()
        .map(Problem::to_string)
        .collect()
}

#[test]
fn defaults_count_even_without_values() {
    let effective = config::effective(Some(&schema()), &Map::new());
    assert_eq!(
        Value::Object(effective.values),
        json!({"port": 443, "auth": {"user": "admin"}, "sites": [], "extra": {}})
    );
    let given = values("port: 1\nauth: {user: u}\nsites: [{name: a}, {retries: 1}]\nfree: 1\n");
    let effective = config::effective(Some(&schema()), &given);
    assert_eq!(
        Value::Object(effective.values),
        json!({
            "port": 1, "auth": {"user": "u"}, "extra": {}, "free": 1,
            "sites": [{"name": "a", "retries": 3}, {"retries": 1}],
        })
    );
    assert_eq!(config::effective(None, &given).values, given);
}

#[test]
fn templates_are_found_with_their_secrecy() {
    let given = values(
        "host: '{{ st2kv.system.host }}'\ntoken: '{{ st2kv.user.token }}'\nsites: [{key: '{{ k }}'}]\nextra: {a: '{{ x }}'}\n",
    );
    let mut effective = config::effective(Some(&schema()), &given);
    let found: Vec<(String, bool)> = effective
        .templates
        .iter()
        .map(|template| (template.text.clone(), template.secret))
        .collect();
    assert_eq!(
        found,
        [
            ("{{ x }}".to_owned(), true),
            ("{{ st2kv.system.host }}".to_owned(), false),
            ("{{ k }}".to_owned(), true),
            ("{{ st2kv.user.token }}".to_owned(), true),
        ]
    );
    let path = effective.templates[2].path.clone();
    assert_eq!(
        path,
        [
            Step::Key("sites".to_owned()),
            Step::Index(0),
            Step::Key("key".to_owned())
        ]
    );
    effective.set(&path, json!("rendered"));
    assert_eq!(
        effective.values["sites"],
        json!([{"key": "rendered", "retries": 3}])
    );
}

#[test]
fn values_are_checked_against_the_schema() {
    assert_eq!(
        check_values_file("host: h\nport: '{{ st2kv.system.port }}'\nfree: 1\n"),
        Vec::<String>::new()
    );
    let problems = check_values_file("port: high\nauth:\n  user: 5\nsites: [{retries: x}]\n");
    let starts = [
        "configs/demo.yaml:1:1: \"host\" is a required property",
        "configs/demo.yaml:1:1: port: \"high\" is not of type",
        "configs/demo.yaml:2:1: auth: \"password\" is a required property",
        "configs/demo.yaml:3:3: auth.user: 5 is not of type",
        "configs/demo.yaml:4:10: sites[0].retries: \"x\" is not of type",
    ];
    for start in starts {
        assert!(
            problems.iter().any(|problem| problem.starts_with(start)),
            "{start}\n{problems:#?}"
        );
    }
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    let problems = check_values_file("host: h\ntoken: '{{ st2kv.system.t | decrypt_kv }}'\n");
    assert!(problems[0].contains("decrypt_kv"), "{problems:?}");
    let problems = check_values_file("- 1\n");
    assert!(
        problems[0].contains("a list, not a mapping"),
        "{problems:?}"
    );
}

#[test]
fn a_fault_does_not_show_a_secret() {
    let problems = check_values_file("host: h\ntoken: 31415926\nextra: {a: 27182818}\n");
    assert_eq!(problems.len(), 2, "{problems:#?}");
    for problem in problems {
        assert!(
            !problem.contains("314") && !problem.contains("271"),
            "{problem}"
        );
    }
}

#[test]
fn masked_secrets_come_back_as_they_were() {
    let before = values(
        "host: h\ntoken: t\nauth: {password: p}\nsites: [{name: a, key: k}]\nextra: {a: x}\n",
    );
    let masked = secrets::masked(&before, &schema());
    assert_eq!(
        Value::Object(masked.clone()),
        json!({
            "host": "h", "token": "********", "auth": {"password": "********"},
            "sites": [{"name": "a", "key": "********"}], "extra": {"a": "********"},
        })
    );
    assert_eq!(
        config::unmask(&schema(), &masked, &before),
        Ok(before.clone())
    );
    let changed = values("host: '********'\ntoken: new\nauth: {password: '********'}\n");
    let result = config::unmask(&schema(), &changed, &before).expect("all were known");
    assert_eq!(
        Value::Object(result),
        json!({"host": "********", "token": "new", "auth": {"password": "p"}})
    );
    let longer =
        values("host: h\ntoken: '********'\nsites: [{key: '********'}, {key: '********'}]\n");
    assert_eq!(
        config::unmask(&schema(), &longer, &before),
        Err(vec!["sites[1].key".to_string()])
    );
}

#[test]
fn draft_three_required_becomes_draft_four() {
    let schema = to_json_schema(&schema(), true);
    assert_eq!(schema["required"], json!(["host"]));
    assert_eq!(
        schema["properties"]["auth"]["required"],
        json!(["password"])
    );
    assert_eq!(
        schema["properties"]["auth"]["type"],
        json!(["object", "null"])
    );
    assert_eq!(schema["properties"]["host"]["type"], json!("string"));
    let definitions = mapping(json!({"x": {"type": "string", "enum": ["a"]}, "y": null}));
    assert_eq!(
        check_values(&definitions, &json!({"x": null, "y": [1]}), false),
        []
    );
    assert_eq!(
        check_values(&definitions, &json!({"x": "b", "z": 1}), false).len(),
        2
    );
}

fn overrides(text: &str, reach: Reach) -> (Overrides, Vec<String>) {
    let document = yaml::load(text, Limits::default()).expect(text);
    let mut report = Report::new("overrides/x.yaml", &document);
    let overrides = Overrides::read(&document, reach, &mut report);
    (
        overrides,
        report
            .into_problems()
            .iter()
            .map(Problem::to_string)
            .collect(),
    )
}

#[test]
fn operators_switch_resources() {
    let (global, problems) = overrides("actions: {defaults: {enabled: no}}\n", Reach::AllPacks);
    assert_eq!(problems, Vec::<String>::new());
    let text = "actions:\n  exceptions: {echo: {enabled: true}}\nrules:\n  defaults: {enabled: true}\n  exceptions: {bad: {enabled: false}}\n";
    let (of_pack, problems) = overrides(text, Reach::OnePack);
    assert_eq!(problems, Vec::<String>::new());
    let apply = |kind, name, enabled| overrides::apply(&global, &of_pack, kind, name, enabled);
    assert!(!apply(ResourceKind::Actions, "local", true));
    assert!(apply(ResourceKind::Actions, "echo", true));
    assert!(apply(ResourceKind::Rules, "any", false));
    assert!(!apply(ResourceKind::Rules, "bad", true));
    assert!(apply(ResourceKind::Sensors, "S", true));
    assert!(!apply(ResourceKind::Aliases, "a", false));

    let (_, problems) = overrides("actions: {exceptions: {}}\npolicies: {}\n", Reach::AllPacks);
    assert_eq!(problems.len(), 2, "{problems:?}");
    let (_, problems) = overrides("actions: {defaults: {runner_type: x}}\n", Reach::OnePack);
    assert!(
        problems[0].contains("unknown key \"runner_type\""),
        "{problems:?}"
    );
}

proptest! {
    #[test]
    fn any_metadata_is_read_or_refused(text in "[a-z:{}\\[\\] \n'-]{0,80}", kind in 0usize..6) {
        let folders = ["actions", "sensors", "triggers", "rules", "aliases", "policies"];
        let file = format!("{}/x.yaml", folders[kind]);
        let inspection = inspect_files(&[("pack.yaml", PACK), (&file, &text)]);
        for problem in inspection.problems {
            prop_assert_eq!(&problem.file, &file);
        }
    }

    #[test]
    fn a_mask_hides_every_secret_and_nothing_else(host in "[a-z]{1,9}", token in "[A-Z]{4,9}") {
        let before = mapping(json!({"host": host.clone(), "token": token.clone(), "sites": [{"key": token.clone()}]}));
        let masked = secrets::masked(&before, &schema());
        let text = Value::Object(masked.clone()).to_string();
        prop_assert!(!text.contains(&token) && text.contains(&host));
        prop_assert_eq!(config::unmask(&schema(), &masked, &before), Ok(before.clone()));
    }

    #[test]
    fn documents_of_values_have_no_places(value in "[a-z]{0,5}") {
        prop_assert_eq!(Document::of(json!(value)).place("x"), None);
    }
}
