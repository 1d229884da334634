use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    AliasError, CompiledAlias, HelpQuery, Pattern, PatternError, add_immutable, extract, find, help,
};
use crate::spec::{Alias, AliasFormat};

#[track_caller]
fn check(format: &str, command: &str, expected: Value) {
    let pattern = Pattern::compile(format).expect(format);
    let parameters = pattern.extract(command).map(Value::Object);
    assert_eq!(parameters, Ok(expected), "{format:?} on {command:?}");
}

#[track_caller]
fn check_mismatch(format: &str, command: &str, text: &str) {
    let pattern = Pattern::compile(format).expect(format);
    let error = pattern.extract(command).expect_err(command);
    assert_eq!(error.to_string(), text);
}

#[test]
fn parameters_are_taken_from_the_text() {
    check(
        "move {{what}} into {{where}} at once.",
        "move box into hall at once.",
        json!({"what": "box", "where": "hall"}),
    );
    check(
        "do {{ a }} with {{b}}",
        "  do a1 with b1  ",
        json!({"a": "a1", "b": "b1"}),
    );
    check(
        "say {{ text }}",
        "say many words",
        json!({"text": "many words"}),
    );
    check(
        "move {{what}} into {{where}}.",
        "move \"red box\" into hall.",
        json!({"what": "red box", "where": "hall"}),
    );
    check(
        "run {{a}} on {{b}}",
        "run 'x y' on host",
        json!({"a": "x y", "b": "host"}),
    );
    check(
        "post {{body}} to {{room}}.",
        r#"post {"text": "hi", "to": "all"} to ops."#,
        json!({"body": r#"{"text": "hi", "to": "all"}"#, "room": "ops"}),
    );
    check("über {{ ziel }}", "über köln", json!({"ziel": "köln"}));
    check("a {{ b }}", "a x\ny", json!({"b": "x\ny"}));
}

#[test]
fn defaults_stand_in_for_what_is_not_said() {
    check(
        "grant {{who}} {{what}} {{days=7}}",
        "grant \"ada l\" read",
        json!({"who": "ada l", "what": "read", "days": "7"}),
    );
    check("status {{of=all}}", "status", json!({"of": "all"}));
    check(
        "from {{a}} via {{ b }} via {{ c=none }} to {{ d = home }}",
        "from x via y via z to",
        json!({"a": "x", "b": "y", "c": "z", "d": "home"}),
    );
    check(
        "tell {{ who = team }} now",
        "tell now",
        json!({"who": "team"}),
    );
    check(
        "tell {{ who = team }} now",
        "tell ada now",
        json!({"who": "ada"}),
    );
    check(
        "paint it {{ tone = {{ st2kv.system.tone }} }}",
        "paint it",
        json!({"tone": "{{ st2kv.system.tone }}"}),
    );
    check("x {{ a='two words' }}", "x", json!({"a": "two words"}));
    check("x {{ a=\"\" }}", "x", json!({"a": ""}));
    check("x {{ a={'k':'v'} }}", "x", json!({"a": "{'k':'v'}"}));
    check(
        "up {{ a=one }} and up {{ b=two }}!",
        "up and up!",
        json!({"a": "one", "b": "two"}),
    );
}

#[test]
fn pairs_at_the_end_are_parameters_too() {
    check(
        "go home",
        "go home by=bus at=noon",
        json!({"by": "bus", "at": "noon"}),
    );
    check(
        "build {{ app }}",
        "build web tag=v2",
        json!({"app": "web", "tag": "v2"}),
    );
    check(
        "build {{ app=all }}",
        "build note=\"not today\"",
        json!({"app": "all", "note": "not today"}),
    );
    check(
        "build {{ app=all }} {{ stack=base }}",
        r#"build web env={"A": "2"} note="long text""#,
        json!({"app": "web", "stack": "base", "env": r#"{"A": "2"}"#, "note": "long text"}),
    );
    check(
        "",
        r#"a=one b="two 3 4" c='three 4' d={"a": {"b": 1}} e="" f=''"#,
        json!({"a": "one", "b": "two 3 4", "c": "three 4", "d": r#"{"a": {"b": 1}}"#, "e": "", "f": ""}),
    );
    check(
        "{{ verb='get' }} at {{ zone=eu }} from {{ url }} {{ head={'k':'v'} }}",
        "at us from http://x.y {{ execution.id }} tag='x' more={'a':'c'}",
        json!({
            "verb": "get", "zone": "us", "url": "http://x.y", "head": "{{ execution.id }}",
            "tag": "x", "more": "{'a':'c'}",
        }),
    );
}

#[test]
fn text_around_parameters_is_an_expression() {
    check(
        "(please )?restart {{ host }}( now)?",
        "please restart web now",
        json!({"host": "web"}),
    );
    check(
        "(please )?restart {{ host }}( now)?",
        "restart web",
        json!({"host": "web"}),
    );
    check(
        r"^\s*close (?P<key>[A-Z]+-\d+)",
        "close OPS-17",
        json!({"key": "OPS-17"}),
    );
    check(
        r"close (?P<key>[A-Z]+-\d+)\s*$",
        "close OPS-1",
        json!({"key": "OPS-1"}),
    );
    check("go(?: to (?P<place>\\w+))?", "go", json!({"place": null}));
    check(
        r"(?<!not )deploy {{ app }}",
        "deploy web",
        json!({"app": "web"}),
    );
}

#[test]
fn other_commands_do_not_match() {
    check_mismatch(
        "open the door",
        "open the gate",
        "Command \"open the gate\" doesn't match format string \"open the door\"",
    );
    check_mismatch(
        r"close (?P<key>[A-Z]+-\d+)\s*$",
        "close A-1 now",
        "Command \"close A-1 now\" doesn't match format string \"close (?P<key>[A-Z]+-\\d+)\\s*$\"",
    );
    check_mismatch("(x)?", "", "No value supplied and no default value found.");
}

#[test]
fn bad_patterns_are_named() {
    let error = |format: &str| Pattern::compile(format).expect_err(format);
    assert_eq!(
        error("a {{ b-c }}"),
        PatternError::Name {
            name: "b-c".to_owned()
        }
    );
    assert_eq!(
        error("a {{ b c }}").to_string(),
        "the parameter \"b c\" is no name of letters, digits and underscores"
    );
    assert!(matches!(error("{{a}} {{a=1}}"), PatternError::Twice { .. }));
    assert!(matches!(error("a {{ b"), PatternError::Open { .. }));
    assert_eq!(
        error("a {{ b = 1").to_string(),
        "a parameter has no end: `}}` is missing after \"{{ b = 1\""
    );
    assert!(matches!(
        error("a ( {{ b }}"),
        PatternError::Expression { .. }
    ));
}

#[test]
fn every_match_can_be_taken() {
    let pattern = Pattern::compile(r"(?:^|\s+)(?P<key>[A-Z]+-\d+)(?:$|\b)").expect("a pattern");
    let all = pattern
        .extract_all("see OPS-1 and OPS-22 level=high")
        .expect("matches");
    assert_eq!(
        Value::from_iter(all),
        json!([{"key": "OPS-1", "level": "high"}, {"key": "OPS-22", "level": "high"}])
    );
    assert_eq!(pattern.extract_all("nothing"), Ok(Vec::new()));
}

fn alias(name: &str, formats: Vec<AliasFormat>) -> Alias {
    Alias {
        name: name.to_owned(),
        pack: "p".to_owned(),
        reference: format!("p.{name}"),
        description: Some(format!("does {name}")),
        enabled: true,
        action_ref: "core.local".to_owned(),
        formats,
        ack: None,
        result: None,
        extra: serde_json::Map::new(),
        immutable_parameters: serde_json::Map::new(),
        metadata_file: String::new(),
    }
}

fn text(pattern: &str) -> AliasFormat {
    AliasFormat::Text(pattern.to_owned())
}

fn detailed(display: Option<&str>, patterns: &[&str], match_multiple: bool) -> AliasFormat {
    AliasFormat::Detailed {
        display: display.map(str::to_owned),
        representation: patterns
            .iter()
            .map(|pattern| (*pattern).to_owned())
            .collect(),
        match_multiple,
    }
}

#[test]
fn exactly_one_pattern_wins() {
    let mut off = alias("off", vec![text("deploy {{ x }}")]);
    off.enabled = false;
    let aliases = [
        alias(
            "deploy",
            vec![text("deploy {{ app }}"), text("ship {{ app }}")],
        ),
        alias(
            "deploy_now",
            vec![detailed(None, &["deploy {{ app }} now", "go"], false)],
        ),
        alias(
            "issue",
            vec![detailed(Some("ISSUE-1"), &[r".*(?P<key>OPS-\d+)"], true)],
        ),
        alias(
            "issue2",
            vec![detailed(None, &[r".*(?P<key>X-\d+|OPS-9)"], true)],
        ),
        off,
    ];
    let compiled: Vec<CompiledAlias<'_>> = aliases.iter().map(CompiledAlias::new).collect();
    let found = find(&compiled, "ship web").expect("one");
    assert_eq!(
        (found.alias.name.as_str(), found.representation),
        ("deploy", "ship {{ app }}")
    );
    let found = find(&compiled, "please fix OPS-1").expect("one");
    assert_eq!(
        (found.alias.name.as_str(), found.match_multiple),
        ("issue", true)
    );
    let error = |command: &str| find(&compiled, command).expect_err(command).to_string();
    assert_eq!(
        error("deploy web now"),
        "Command 'deploy web now' matched more than 1 pattern"
    );
    assert_eq!(
        error("fix OPS-9"),
        "Command 'fix OPS-9' matched more than 1 (multi) pattern"
    );
    assert_eq!(error("nonsense"), "Command 'nonsense' matched no patterns");
}

#[test]
fn an_alias_gives_the_parameters_of_its_executions() {
    let alias = alias("a", vec![text("deploy {{ app }}")]);
    let parameters = extract(&alias, "deploy {{ app }}", "deploy web", false);
    assert_eq!(
        parameters.map(Value::from_iter),
        Ok(json!([{"app": "web"}]))
    );
    assert_eq!(
        extract(&alias, "ship {{ app }}", "ship web", false)
            .expect_err("not of this alias")
            .to_string(),
        "Format string \"ship {{ app }}\" is not available on the alias \"a\""
    );
    let off = Alias {
        enabled: false,
        ..alias
    };
    assert_eq!(
        extract(&off, "deploy {{ app }}", "deploy web", false)
            .expect_err("off")
            .to_string(),
        "Action alias with name \"a\" is disabled."
    );
}

#[test]
fn immutable_parameters_cannot_be_said() {
    let immutable = json!({"env": "dev"});
    let immutable = immutable.as_object().expect("a mapping");
    let mut parameters = json!({"a": 1}).as_object().expect("a mapping").clone();
    add_immutable(immutable, &mut parameters).expect("no clash");
    assert_eq!(
        Value::Object(parameters.clone()),
        json!({"a": 1, "env": "dev"})
    );
    let error = add_immutable(immutable, &mut parameters).expect_err("a clash");
    assert_eq!(
        error.to_string(),
        "Immutable arguments cannot be overriden: env"
    );
    assert!(matches!(error, AliasError::Immutable { .. }));
}

#[test]
fn help_is_filtered_and_paged() {
    let mut other = alias("b", vec![text("Deploy two")]);
    other.pack = "q".to_owned();
    let aliases = [
        alias(
            "a",
            vec![
                text("deploy one"),
                detailed(None, &["hidden"], false),
                text("restart"),
            ],
        ),
        other,
    ];
    let ask = |filter, pack, limit, offset| {
        let query = HelpQuery {
            filter,
            pack,
            limit,
            offset,
        };
        let help = help(&aliases, &query).expect("a filter");
        let lines: Vec<&str> = help.lines.iter().map(|line| line.display).collect();
        (help.available, lines)
    };
    assert_eq!(
        ask("", "", 0, 0),
        (3, vec!["deploy one", "restart", "Deploy two"])
    );
    assert_eq!(
        ask("deploy", "", 0, 0),
        (2, vec!["deploy one", "Deploy two"])
    );
    assert_eq!(ask("", "q", 0, 0), (1, vec!["Deploy two"]));
    assert_eq!(ask("", "", 1, 0), (3, vec!["deploy one"]));
    assert_eq!(ask("", "", 0, 2), (3, vec!["Deploy two"]));
    assert_eq!(ask("", "", 1, 1), (3, vec!["restart"]));
    let query = HelpQuery {
        filter: "(",
        ..HelpQuery::default()
    };
    assert!(help(&aliases, &query).is_err());
}

proptest! {
    #[test]
    fn words_come_back(app in "[a-z]{1,8}", place in "[a-z]{1,8}", extra in "[a-z0-9]{1,8}") {
        let pattern = Pattern::compile("deploy {{ app }} to {{ place = here }}").expect("a pattern");
        let parameters = pattern.extract(&format!("deploy {app} to {place} tag={extra}"));
        prop_assert_eq!(
            parameters.map(Value::Object),
            Ok(json!({"app": app, "place": place, "tag": extra}))
        );
    }

    #[test]
    fn any_format_and_command_give_an_answer(
        format in "[a-c {}=()?^$\"'\\\\]{0,24}",
        command in "[a-c {}=\"'\n]{0,40}",
    ) {
        if let Ok(pattern) = Pattern::compile(&format) {
            let _ = pattern.extract(&command);
            let _ = pattern.extract_all(&command);
        }
    }
}
