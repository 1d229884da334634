//! Parameters of actions from the call to the runner: what is declared, checked, rendered, masked
//! and written for scripts.

use std::sync::Arc;

use automation::datastore::Key;
use automation::expressions::{Datastore, Engine};
use automation::parameters::{
    Arguments, Map, RenderError, Resolved, Schema, SchemaProblem, Surroundings, datastore_user,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn map(value: Value) -> Map {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is not an object"),
    }
}

fn schema(runner: Value, action: Value) -> Schema {
    Schema::new("pack.name", &map(runner), &map(action)).expect("a sound schema")
}

fn problems(runner: Value, action: Value) -> Vec<String> {
    Schema::new("pack.name", &map(runner), &map(action))
        .expect_err("an unsound schema")
        .iter()
        .map(SchemaProblem::to_string)
        .collect()
}

#[derive(Debug)]
struct Keys;

impl Datastore for Keys {
    fn get(&self, key: &Key) -> Option<String> {
        let value = match (key.owner(), key.name()) {
            (None, "actionnumber") => "1.0",
            (None, "test_key") => "foo",
            (Some("user1"), "test_key") => "bar",
            (Some("stanley"), "test_key") => "baz",
            _ => return None,
        };
        Some(value.into())
    }

    fn decrypt(&self, ciphertext: &str) -> Result<String, String> {
        Ok(ciphertext.chars().rev().collect())
    }
}

struct Call {
    action_context: Value,
    config: Value,
    names: Map,
}

impl Call {
    fn new() -> Call {
        Call {
            action_context: json!({"api_user": "noob", "pack": "generic"}),
            config: json!({"generic_config_param": "So generic"}),
            names: Map::new(),
        }
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            action_context: &self.action_context,
            config: &self.config,
            datastore: Arc::new(Keys),
            user: datastore_user(&self.action_context, "stanley"),
            names: &self.names,
        }
    }

    fn live(&self, schema: &Schema, given: Value) -> Result<Value, String> {
        schema
            .live(&Engine::default(), &map(given), &self.surroundings())
            .map(Value::Object)
            .map_err(|error| error.to_string())
    }

    /// Both passes, as a request and then a worker make them.
    fn both(&self, schema: &Schema, given: Value) -> Result<(Value, Value), String> {
        let engine = Engine::default();
        let render = || -> Result<Resolved, RenderError> {
            let live = schema.live(&engine, &map(given), &self.surroundings())?;
            schema.resolve(&engine, &live, &self.surroundings())
        };
        let resolved = render().map_err(|error| error.to_string())?;
        Ok((
            Value::Object(resolved.runner),
            Value::Object(resolved.action),
        ))
    }
}

fn both(runner: Value, action: Value, given: Value) -> Result<(Value, Value), String> {
    Call::new().both(&schema(runner, action), given)
}

#[test]
fn an_action_changes_of_its_runner_only_what_it_may() {
    let runner = json!({
        "timeout": {"type": "integer", "default": 60, "description": "Seconds."},
        "dir": {"type": "string", "default": "/tmp", "immutable": true},
        "cmd": {"type": "string"},
    });
    let action = json!({
        "timeout": {"default": 5, "type": "integer", "description": "Longest.", "required": true,
                    "enum": [5, 6], "immutable": true},
        "own": {"type": "string", "position": 0},
    });
    let schema = schema(runner.clone(), action);
    assert_eq!(
        Value::Object(schema.view()),
        json!({
            "timeout": {"type": "integer", "default": 5, "description": "Longest.", "required": true,
                        "enum": [5, 6], "immutable": true},
            "dir": {"type": "string", "default": "/tmp", "immutable": true},
            "cmd": {"type": "string"},
            "own": {"type": "string", "position": 0},
        })
    );
    for (action, expected) in [
        (
            json!({"timeout": {"type": "string"}}),
            "The attribute \"type\" for the runner parameter \"timeout\" in action \"pack.name\" cannot be overridden.",
        ),
        (
            json!({"timeout": {"secret": true}}),
            "The attribute \"secret\" for the runner parameter \"timeout\" in action \"pack.name\" cannot be overridden.",
        ),
        (
            json!({"dir": {"immutable": true, "default": "/"}}),
            "Param dir is declared immutable in runner. Cannot override in action.",
        ),
        (
            json!({"cmd": {"immutable": true}}),
            "Immutable param cmd requires a default value.",
        ),
        (
            json!({"own": {"type": "string", "immutable": true}}),
            "Immutable param own requires a default value.",
        ),
        (
            json!({"a": {"position": 0}, "b": {"position": 0}}),
            "Parameters b and a have same position 0. Position values have to be unique.",
        ),
        (
            json!({"a": {"position": 0}, "b": {"position": 2}}),
            "Positions supplied [0, 2] for parameters are not contiguous.",
        ),
        (
            json!({"a-b": {"type": "string"}}),
            "Parameter name \"a-b\" is invalid. Valid characters for parameter name are [a-zA-Z0-9_].",
        ),
        (
            json!({"a": {"defualt": 1}}),
            "parameters.a: Additional properties are not allowed ('defualt' was unexpected)",
        ),
        (
            json!({"a": {"type": "float"}}),
            "parameters.a.type: 'float' is not one of ['array', 'boolean', 'integer', 'null', 'number', 'object', 'string']",
        ),
        (
            json!({"a": {"required": "yes"}}),
            "parameters.a.required: 'yes' is not of type 'boolean'",
        ),
        (
            json!({"a": {"properties": {"b": {"minLength": -1}}}}),
            "parameters.a.properties.b.minLength: -1 is not of type 'non-negative integer'",
        ),
        (
            json!({"a": {"position": -1}}),
            "parameters.a.position: -1 is too small",
        ),
        (
            json!({"a": "text"}),
            "parameters.a: 'text' is not of type 'object'",
        ),
        (
            json!({"a": {"type": ["string", "text"]}}),
            "parameters.a.type: 'text' is not one of ['array', 'boolean', 'integer', 'null', 'number', 'object', 'string']",
        ),
        (
            json!({"a": {"multipleOf": 0}}),
            "parameters.a.multipleOf: 0 is too small",
        ),
        (
            json!({"a": {"enum": []}}),
            "parameters.a.enum: [] is not of type 'array of values'",
        ),
        (
            json!({"a": {"dependencies": {"b": [1]}}}),
            "parameters.a.dependencies.b: [1] is not of type 'array of strings'",
        ),
        (
            json!({"a": {"exclusiveMinimum": true}}),
            "parameters.a: 'minimum' is a dependency of 'exclusiveMinimum'",
        ),
    ] {
        assert_eq!(problems(runner.clone(), action), [expected]);
    }
    let all = problems(
        runner,
        json!({"timeout": {"type": "string", "secret": true}, "x y": {}, "c": {"nope": 1, "type": 3}}),
    );
    assert_eq!(all.len(), 5, "{all:?}");
}

/// What an inspection of a pack lets through, an action made of it can use.
#[test]
fn what_is_tolerated_in_a_definition_does_not_matter() {
    let schema = schema(
        json!({"cmd": {"type": "string", "default": "date"}}),
        json!({
            "cmd": null,
            "free": null,
            "either": {"type": ["string", "integer"]},
            "deep": {"type": "object", "properties": {"x": {"type": "integer", "hint": "a number"}}},
        }),
    );
    let given = json!({"free": [1], "either": 5, "deep": {"x": 1}});
    let complete = schema.validate(&map(given)).expect("sound parameters");
    assert_eq!(complete["cmd"], json!("date"));
    let given = json!({"either": [], "deep": {"x": "1"}});
    let problems = schema
        .validate(&map(given))
        .expect_err("unsound parameters");
    assert_eq!(problems.0.len(), 2, "{problems}");
}

/// The sentences are those of Python's jsonschema 4.26.
#[test]
fn everything_wrong_with_a_call_is_said_at_once() {
    let schema = schema(
        json!({"sudo": {"type": "boolean", "default": false}, "dir": {"default": "/", "immutable": true}}),
        json!({
            "host": {"type": "string", "required": true},
            "count": {"type": "integer", "minimum": 1, "maximum": 5, "default": 1},
            "ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
            "color": {"type": "string", "enum": ["red", "blue"]},
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5, "minLength": 2},
            "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": true, "minItems": 1, "maxItems": 3},
            "spec": {"type": "object", "properties": {"size": {"type": "integer", "required": true}},
                     "additionalProperties": false},
            "password": {"type": "string", "secret": true, "pattern": "^[0-9]+$"},
            "either": {"anyOf": [{"type": "integer"}, {"type": "array"}]},
            "free": {},
            "text": {"description": "No type."},
        }),
    );
    for (given, expected) in [
        (json!({}), vec!["'host' is a required property"]),
        (
            json!({"host": "h", "zz": 1}),
            vec!["Additional properties are not allowed ('zz' was unexpected)"],
        ),
        (
            json!({"host": "h", "y": 1, "z": 1}),
            vec!["Additional properties are not allowed ('y', 'z' were unexpected)"],
        ),
        (json!({"host": 5}), vec!["5 is not of type 'string'"]),
        (json!({"host": null}), vec!["None is not of type 'string'"]),
        (
            json!({"host": "h", "sudo": "true"}),
            vec!["'true' is not of type 'boolean'"],
        ),
        (
            json!({"host": "h", "count": 0}),
            vec!["0 is less than the minimum of 1"],
        ),
        (
            json!({"host": "h", "count": 9}),
            vec!["9 is greater than the maximum of 5"],
        ),
        (
            json!({"host": "h", "count": 1.5}),
            vec!["1.5 is not of type 'integer'"],
        ),
        (
            json!({"host": "h", "ratio": 0}),
            vec!["0 is less than or equal to the minimum of 0"],
        ),
        (
            json!({"host": "h", "ratio": "x"}),
            vec!["'x' is not of type 'number', 'null'"],
        ),
        (
            json!({"host": "h", "color": "green"}),
            vec!["'green' is not one of ['red', 'blue', None]"],
        ),
        (
            json!({"host": "h", "name": "ABC"}),
            vec!["'ABC' does not match '^[a-z]+$'"],
        ),
        (
            json!({"host": "h", "name": "abcdef"}),
            vec!["'abcdef' is too long"],
        ),
        (json!({"host": "h", "name": "a"}), vec!["'a' is too short"]),
        (
            json!({"host": "h", "tags": []}),
            vec!["[] should be non-empty"],
        ),
        (
            json!({"host": "h", "tags": ["a", "a"]}),
            vec!["['a', 'a'] has non-unique elements"],
        ),
        (
            json!({"host": "h", "tags": ["a", 1]}),
            vec!["1 is not of type 'string'"],
        ),
        (
            json!({"host": "h", "tags": ["a", "b", "c", "d"]}),
            vec!["['a', 'b', 'c', 'd'] is too long"],
        ),
        (
            json!({"host": "h", "spec": {}}),
            vec!["'size' is a required property"],
        ),
        (
            json!({"host": "h", "spec": {"size": 1, "x": 2}}),
            vec!["Additional properties are not allowed ('x' was unexpected)"],
        ),
        (
            json!({"host": "h", "password": "hunter2"}),
            vec!["'********' does not match '^[0-9]+$'"],
        ),
        (
            json!({"host": "h", "either": "x"}),
            vec!["'x' is not valid under any of the given schemas"],
        ),
        (
            json!({"host": "h", "text": 5}),
            vec!["5 is not of type 'string', 'null'"],
        ),
        (
            json!({"host": "h", "dir": "/etc"}),
            vec!["Override of immutable parameter(s) ['dir'] is unsupported."],
        ),
    ] {
        let problems = schema.validate(&map(given.clone())).unwrap_err();
        let texts: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        assert_eq!(texts, expected, "{given}");
    }
    let problems = schema
        .validate(&map(json!({"count": "x", "tags": {}, "zz": 1, "dir": 1})))
        .unwrap_err();
    let mut named: Vec<_> = problems
        .0
        .iter()
        .filter_map(|p| p.parameter.clone())
        .collect();
    named.sort();
    assert_eq!(named, ["count", "dir", "host", "tags", "zz"]);
    assert!(problems.to_string().contains("; "), "{problems}");
}

#[test]
fn defaults_fill_in_and_null_is_allowed_where_it_is_the_default() {
    let schema = schema(
        json!({"timeout": {"type": "integer", "default": 60}}),
        json!({
            "optional": {"type": "string"},
            "nothing": {"type": "integer", "default": null},
            "needed": {"type": "string", "required": true, "default": "x"},
            "needed_null": {"type": "string", "required": true, "default": null},
            "choice": {"type": "string", "enum": ["a"], "default": null},
            "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}},
            "free": {},
        }),
    );
    let given = json!({"optional": null, "timeout": null, "list": [{}, {"n": 2}], "choice": null, "free": null});
    assert_eq!(
        schema.validate(&map(given)).map(Value::Object).unwrap(),
        json!({
            "optional": null, "timeout": 60, "nothing": null, "needed": "x", "needed_null": null,
            "choice": null, "list": [{"n": 1}, {"n": 2}], "free": null,
        })
    );
    for free in [
        json!(1),
        json!("a"),
        json!([1]),
        json!({"a": 1}),
        json!(true),
    ] {
        assert!(schema.validate(&map(json!({"free": free}))).is_ok());
    }
}

#[test]
fn parameters_use_each_other_the_context_the_config_and_the_datastore() {
    for (runner, action, given, expected_runner, expected_action) in [
        (
            json!({"r1": {}, "r2": {}}),
            json!({"a1": {}, "a2": {}, "a3": {}}),
            json!({"r1": "{{r2}}", "r2": 1, "a1": true, "a2": "{{r1}} {{a1}}", "a3": "{{action_context.api_user}}"}),
            json!({"r1": "1", "r2": 1}),
            json!({"a1": true, "a2": "1 True", "a3": "noob"}),
        ),
        (
            json!({"r1": {"type": "integer"}, "r2": {"type": "integer"}}),
            json!({"a1": {"type": "boolean"}, "a2": {"type": "boolean"}}),
            json!({"r1": "{{r2}}", "r2": 1, "a1": true, "a2": "{{a1}}"}),
            json!({"r1": 1, "r2": 1}),
            json!({"a1": true, "a2": true}),
        ),
        (
            json!({"r1": {"type": "boolean"}, "r3": {}}),
            json!({"a1": {"type": "boolean"}, "a2": {"type": "array"}, "a3": {}}),
            json!({"r1": "{{a1}}", "r3": 1, "a1": true, "a2": "{{r1}},{{a1}},{{a3}},{{r3}}", "a3": "{{a1}}"}),
            json!({"r1": true, "r3": 1}),
            json!({"a1": true, "a2": [true, true, true, 1], "a3": "True"}),
        ),
        (
            json!({"r1": {"type": "object"}, "r2": {"type": "object"}}),
            json!({"a1": {"type": "boolean"}, "a3": {"type": "object"}, "a4": {"type": "integer"}, "a5": {"type": "array"}}),
            json!({"r1": "{{r2}}", "r2": {"r2.1": 1}, "a1": true, "a4": 3, "a5": ["1", "{{a1}}"],
                   "a3": {"test": "{{a1}}", "test1": "{{a4}}", "test2": "{{a5}}", "{{a4}}": "{{ a4 }}"}}),
            json!({"r1": {"r2.1": 1}, "r2": {"r2.1": 1}}),
            json!({"a1": true, "a3": {"test": true, "test1": 3, "test2": ["1", true], "3": "3"}, "a4": 3, "a5": ["1", true]}),
        ),
        (
            json!({"r2": {"default": "r2"}, "r3": {"default": "r3"}, "r1": {}}),
            json!({"a1": {}, "a2": {"default": "a2"}, "r3": {"default": "a3"}}),
            json!({}),
            json!({"r1": null, "r2": "r2", "r3": "a3"}),
            json!({"a1": null, "a2": "a2"}),
        ),
        (
            json!({}),
            json!({"params": {"type": "object", "default": {"host": "{{host}}", "port": "{{port}}", "path": "/bar"}}}),
            json!({"host": "lolcathost", "port": 5555}),
            json!({}),
            json!({"params": {"host": "lolcathost", "port": 5555, "path": "/bar"}}),
        ),
        (
            json!({}),
            json!({"c": {}, "k": {"default": "{{st2kv.system.test_key}}"}, "u": {"default": "{{ st2kv.user.test_key }}!"},
                   "n": {"type": "number", "default": "{{ st2kv.system.actionnumber }}"},
                   "s": {"default": "{{ 'terces' | decrypt_kv }}"}}),
            json!({"c": "{{config_context.generic_config_param}}"}),
            json!({}),
            json!({"c": "So generic", "k": "foo", "u": "!", "n": 1.0, "s": "secret"}),
        ),
        (
            json!({"cmd": {}}),
            json!({}),
            json!({"cmd": "echo {{\"1.6.0\" | version_bump_minor}} {{ range(2) | join }}"}),
            json!({"cmd": "echo 1.7.0 01"}),
            json!({}),
        ),
        (
            json!({}),
            json!({"a": {"type": "string"}, "b": {"type": "integer"}}),
            json!({"a": "{{ none | use_none }}", "b": "{{ none | use_none }}", "none": null}),
            json!({}),
            json!({"a": null, "b": null}),
        ),
    ] {
        assert_eq!(
            both(runner, action, given.clone()),
            Ok((expected_runner, expected_action)),
            "{given}"
        );
    }
}

#[test]
fn what_was_rendered_once_is_data() {
    let mut call = Call::new();
    call.action_context = json!({"h1": "{", "h2": "{ missing }}"});
    let schema = schema(json!({"r1": {}}), json!({"o": {"type": "object"}}));
    let given =
        json!({"r1": "{{ action_context.h1 }}{{ action_context.h2 }}", "o": {"k": "{{r1}}"}});
    assert_eq!(
        call.both(&schema, given),
        Ok((
            json!({"r1": "{{ missing }}"}),
            json!({"o": {"k": "{{ missing }}"}})
        ))
    );
    // Quotes and newlines within an object do not break it.
    let given = json!({"r1": "a\"b\n{", "o": {"k": "<{{ r1 }}>"}});
    assert_eq!(
        call.live(&schema, given),
        Ok(json!({"r1": "a\"b\n{", "o": {"k": "<a\"b\n{>"}}))
    );
}

#[test]
fn text_that_only_looks_like_an_expression_stays() {
    let schema = schema(json!({}), json!({"a": {}, "o": {"type": "object"}}));
    let given = json!({"a": "http://some?value={{a", "o": {"t": "{{ x }", "u": "{{ undefined_but_not_reached }}", "v": "{% if"}});
    assert_eq!(Call::new().live(&schema, given.clone()), Ok(given));
}

#[test]
fn live_parameters_are_what_was_given_and_defaults_with_expressions() {
    let schema = schema(
        json!({"r": {"default": "some"}}),
        json!({
            "t": {"type": "integer", "default": "{{ 3 | int }}"},
            "fixed": {"type": "integer", "default": "{{ 3 | int }}", "immutable": true},
            "plain": {"type": "integer", "default": 4},
        }),
    );
    let mut call = Call::new();
    call.names = map(json!({"trigger": {"stuff": "generic"}}));
    assert_eq!(call.live(&schema, json!({})), Ok(json!({"t": 3})));
    assert_eq!(call.live(&schema, json!({"t": "4"})), Ok(json!({"t": 4})));
    assert_eq!(
        call.live(&schema, json!({"r": "{{ trigger.stuff }}", "plain": null})),
        Ok(json!({"r": "generic", "t": 3, "plain": 4}))
    );
    assert_eq!(
        call.both(&schema, json!({})),
        Ok((
            json!({"r": "some"}),
            json!({"t": 3, "fixed": 3, "plain": 4})
        ))
    );
}

#[test]
fn nobody_changes_what_is_immutable() {
    let runner = json!({"r": {"default": "runner", "immutable": true}, "s": {"default": "runner"}});
    let action = json!({
        "r": {"default": "action"},
        "s": {"default": "action", "immutable": true},
        "a": {"default": "own", "immutable": true},
    });
    assert_eq!(
        both(
            runner,
            action,
            json!({"r": "given", "s": "given", "a": "given"})
        ),
        Ok((json!({"r": "runner", "s": "action"}), json!({"a": "own"})))
    );
}

#[test]
fn what_cannot_be_rendered_says_why() {
    for (action, given, expected) in [
        (
            json!({"r2": {"default": "{{ r1 }}"}, "r1": {"default": "some"}}),
            json!({"r4": "{{ variable_not_defined }}"}),
            "Dependency unsatisfied in variable \"variable_not_defined\"",
        ),
        (
            json!({"a": {"default": "{{ y }}{{ z }}"}}),
            json!({}),
            "Dependency unsatisfied in variable \"y\", \"z\"",
        ),
        (
            json!({"c": {}, "m": {}, "after": {}}),
            json!({"c": "{{ c }}", "m": "{{ m }}", "after": "{{ c }}"}),
            "Cyclic dependency found in the following variables: c, m. Likely the variable is referencing itself",
        ),
        (
            json!({"r1": {}, "r2": {}, "before": {}}),
            json!({"r1": "{{r2}}", "r2": "{{r1}}{{before}}", "before": "{{ 1 }}"}),
            "Cyclic dependency found in the following variables: r1, r2. Likely the variable is referencing itself",
        ),
        (
            json!({"a2": {"type": "string"}}),
            json!({"a2": "{{action_context.lorem_ipsum}}"}),
            "Failed to render parameter \"a2\": 'dict object' has no attribute 'lorem_ipsum'",
        ),
        (
            json!({"cmd": {}, "a2": {}}),
            json!({"cmd": "{{a2.foo}}", "a2": "test"}),
            "Failed to render parameter \"cmd\": 'str object' has no attribute 'foo'",
        ),
        (
            json!({"n": {"type": "integer"}}),
            json!({"n": "{{ 'x' }}"}),
            "Failed to cast value \"x\" (type: str) for parameter \"n\" of type \"integer\": invalid literal for int() with base 10: 'x'. Perhaps the value is of an invalid type?",
        ),
        (
            json!({"s": {"type": "string"}}),
            json!({"s": [1]}),
            "Failed to cast value \"[1]\" (type: list) for parameter \"s\" of type \"string\": Value \"[1]\" must either be a string or None. Got \"list\". Perhaps the value is of an invalid type?",
        ),
        (
            json!({"p": {"type": "integer", "secret": true}}),
            json!({"p": "hunter2"}),
            "Failed to cast value \"********\" (type: str) for parameter \"p\" of type \"integer\": the value is not shown. Perhaps the value is of an invalid type?",
        ),
    ] {
        let schema = schema(json!({}), action);
        assert_eq!(Call::new().live(&schema, given), Err(expected.to_owned()));
    }
}

#[test]
fn the_users_keys_are_those_of_who_called() {
    for (context, expected) in [
        (json!({"user": "user1"}), "user1"),
        (json!({"user": "user1", "api_user": "noob"}), "noob"),
        (json!({"user": "user1", "api_user": null}), "stanley"),
        (json!({"user": ""}), "stanley"),
        (json!({}), "stanley"),
    ] {
        assert_eq!(datastore_user(&context, "stanley"), expected, "{context}");
    }
    let schema = schema(
        json!({}),
        json!({"v": {"default": "{{ st2kv.user.test_key }}"}}),
    );
    for (user, expected) in [("user1", "bar"), ("user2", ""), ("", "baz")] {
        let mut call = Call::new();
        call.action_context = json!({ "user": user });
        assert_eq!(call.live(&schema, json!({})), Ok(json!({ "v": expected })));
    }
}

#[test]
fn references_cover_what_is_given_and_what_is_default() {
    let schema = schema(
        json!({"r": {"default": "{{ st2kv.system.from_runner }}"}}),
        json!({"a": {"type": "object", "default": {"k": "{{ st2kv.user.from_action }}"}}}),
    );
    let given = map(json!({"r": "{{ st2kv.system.given | decrypt_kv }}", "x": "{{ broken"}));
    let references = schema.references(&Engine::default(), &given);
    let system: Vec<_> = references.system_keys.into_iter().collect();
    assert_eq!(system, ["from_runner", "given"]);
    let user: Vec<_> = references.user_keys.into_iter().collect();
    assert_eq!(user, ["from_action"]);
}

fn with_secrets() -> Schema {
    schema(
        json!({"sudo_password": {"type": "string", "secret": true}, "cmd": {"type": "string"}}),
        json!({
            "token": {"type": "string", "secret": true},
            "pin": {"type": "integer", "secret": true},
            "all": {"type": "object", "secret": true, "properties": {"a": {"type": "string"}}},
            "some": {"type": "object", "properties": {
                "open": {"type": "string"}, "closed": {"type": "string", "secret": true},
                "deep": {"type": "array", "items": {"type": "object", "properties": {"key": {"type": "string", "secret": true}}}}}},
            "list": {"type": "array", "items": {"type": "string", "secret": true}},
            "pair": {"type": "array", "items": [{"type": "string"}, {"type": "string", "secret": true}]},
            "extra": {"type": "object", "patternProperties": {"^pw_": {"type": "string", "secret": true}},
                      "additionalProperties": {"type": "object", "properties": {"x": {"secret": true}}}},
        }),
    )
}

fn secret_values() -> Map {
    map(json!({
        "sudo_password": "hunter22", "cmd": "echo", "token": null, "pin": 123_456,
        "all": {"a": "whole", "n": [true, "abc"]},
        "some": {"open": "o", "closed": "shut!", "deep": [{"key": "k123", "x": 1}, "odd"]},
        "list": ["one!", "two!"], "pair": ["left", "right"],
        "extra": {"pw_a": "patterned", "other": {"x": "extra-x", "y": 1}},
        "unknown": "stays",
    }))
}

#[test]
fn secrets_are_masked_wherever_they_are() {
    assert_eq!(
        Value::Object(with_secrets().mask(&secret_values())),
        json!({
            "sudo_password": "********", "cmd": "echo", "token": "********", "pin": "********",
            "all": "********",
            "some": {"open": "o", "closed": "********", "deep": [{"key": "********", "x": 1}, "odd"]},
            "list": ["********", "********"], "pair": ["left", "********"],
            "extra": {"pw_a": "********", "other": {"x": "********", "y": 1}},
            "unknown": "stays",
        })
    );
}

#[test]
fn secrets_are_known_to_who_scrubs_output() {
    assert_eq!(
        with_secrets().secrets(&secret_values()),
        [
            "patterned",
            "hunter22",
            "extra-x",
            "123456",
            "right",
            "shut!",
            "whole",
            "k123",
            "one!",
            "two!"
        ]
    );
    let key = "-----BEGIN KEY-----\nabcdefgh12\nxy\n-----END KEY-----";
    assert_eq!(
        with_secrets().secrets(&map(json!({ "token": key }))),
        [
            key,
            "-----BEGIN KEY-----",
            "-----END KEY-----",
            "abcdefgh12"
        ]
    );
}

#[test]
fn scripts_get_positional_arguments_as_text_and_the_rest_by_name() {
    let schema = schema(
        json!({"timeout": {"type": "integer", "default": 60}}),
        json!({
            "text": {"type": "string", "position": 0},
            "yes": {"type": "boolean", "position": 1},
            "no": {"type": "boolean", "position": 2},
            "list": {"type": "array", "position": 3},
            "object": {"type": "object", "position": 4},
            "nothing": {"type": "string", "position": 5},
            "integer": {"type": "integer", "position": 6},
            "number": {"type": "number", "position": 7},
            "empty": {"type": "array", "position": 8},
            "untyped": {"position": 9},
            "named": {"type": "string"},
        }),
    );
    let values = json!({
        "text": "a b", "yes": true, "no": false, "list": ["x", 1, true, null], "object": {"k": [1, "é"]},
        "nothing": null, "integer": 0, "number": 1.0, "empty": [], "untyped": true, "named": "n", "other": 5,
    });
    assert_eq!(
        schema.arguments(&map(values)),
        Arguments {
            positional: [
                "a b",
                "1",
                "0",
                "x,1,True,None",
                "{\"k\":[1,\"é\"]}",
                "",
                "0",
                "1.0",
                "",
                "True"
            ]
            .map(str::to_owned)
            .to_vec(),
            named: [
                ("named".to_owned(), json!("n")),
                ("other".to_owned(), json!(5))
            ]
            .into(),
        }
    );
}

#[test]
fn a_call_of_a_workflow_is_compared_before_anything_runs() {
    let schema = schema(
        json!({"cmd": {"type": "string", "required": true}, "timeout": {"default": 1, "required": true}}),
        json!({"host": {"type": "string", "required": true}, "cmd": {"default": "ls"}}),
    );
    let given = ["timeout", "zz", "aa"].map(str::to_owned).into();
    assert_eq!(
        schema.compare(&given),
        (
            vec!["host".to_owned()],
            vec!["aa".to_owned(), "zz".to_owned()]
        )
    );
}

proptest! {
    /// Whatever the graph: all is rendered, or a cycle is named; never a wrong value.
    #[test]
    fn a_graph_of_parameters_is_rendered_or_its_cycle_is_named(edges in prop::collection::vec((0..8_usize, 0..8_usize), 0..12)) {
        let mut given = Map::new();
        for node in 0..8 {
            let uses: String = edges
                .iter()
                .filter(|(from, _)| *from == node)
                .map(|(_, to)| format!("{{{{ p{to} }}}}"))
                .collect();
            given.insert(format!("p{node}"), Value::from(format!("<{node}{uses}>")));
        }
        let schema = schema(json!({}), json!({}));
        let reaches = |from: usize| {
            let mut seen = [false; 8];
            let mut open = vec![from];
            while let Some(node) = open.pop() {
                for (_, to) in edges.iter().filter(|(start, _)| *start == node) {
                    if !std::mem::replace(&mut seen[*to], true) {
                        open.push(*to);
                    }
                }
            }
            seen
        };
        let cyclic: Vec<usize> = (0..8).filter(|node| reaches(*node)[*node]).collect();
        match Call::new().live(&schema, Value::Object(given)) {
            Ok(live) => {
                prop_assert!(cyclic.is_empty());
                for node in 0..8 {
                    let text = live[&format!("p{node}")].as_str().unwrap();
                    prop_assert_eq!(text.matches('<').count(), text.matches('>').count());
                    prop_assert!(!text.contains("{{"));
                }
            }
            Err(error) => {
                prop_assert!(error.starts_with("Cyclic"), "{}", error);
                for node in cyclic {
                    let name = format!("p{node}");
                    prop_assert!(error.contains(&name), "{}", error);
                }
            }
        }
    }

    /// No secret is left in what is shown, and every long enough one is known to the scrubber.
    #[test]
    fn no_secret_is_left_in_masked_values(secrets in prop::collection::vec("[A-Z]{8,12}", 1..5)) {
        let schema = schema(
            json!({"s": {"type": "string", "secret": true}}),
            json!({"o": {"type": "object", "properties": {"l": {"type": "array", "items": {"secret": true}}}}}),
        );
        let values = map(json!({"s": secrets[0], "o": {"l": secrets, "open": "yes"}}));
        let shown = Value::Object(schema.mask(&values)).to_string();
        let scrubbed = schema.secrets(&values);
        for secret in &secrets {
            prop_assert!(!shown.contains(secret));
            prop_assert!(scrubbed.contains(secret));
        }
        prop_assert!(shown.contains("yes"));
    }
}
