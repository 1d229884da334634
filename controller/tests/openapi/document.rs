//! Puts the description together.

use super::operations::{Operation, QUERIES};
use super::schemas::{self, field, kind};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Parameters of the lists, by what they list.
pub type ListParameters = BTreeMap<String, Vec<String>>;

fn content(media: &str, schema: Value) -> Value {
    json!({media: {"schema": schema}})
}

fn page(of: &str) -> Value {
    json!({
        "type": "object",
        "required": ["pagination", "resources"],
        "properties": {
            "pagination": kind("Pagination"),
            "resources": {"type": "array", "items": kind(of)},
            "included": kind("Included"),
        },
    })
}

/// `multipart Upload` to its media type and schema.
fn body(text: &str) -> Value {
    match text.split_once(' ') {
        Some(("multipart", name)) => content("multipart/form-data", kind(name)),
        Some(("yaml", name)) => content("application/x-yaml", kind(name)),
        Some(("form", name)) => content("application/x-www-form-urlencoded", kind(name)),
        Some(("events", name)) => content("text/event-stream", kind(name)),
        Some(_) => panic!("unknown encoding: {text}"),
        None if text == "bytes" => content(
            "application/octet-stream",
            json!({"type": "string", "format": "binary"}),
        ),
        None if text == "{}" => content("application/json", kind("object")),
        None => content("application/json", kind(text)),
    }
}

fn parameters(operation: &Operation, lists: &ListParameters) -> Vec<Value> {
    let mut parameters: Vec<Value> = operation
        .path_parameters()
        .into_iter()
        .map(|name| {
            let of = if name == "index" { "integer" } else { "string" };
            json!({"name": name, "in": "path", "required": true, "schema": kind(of)})
        })
        .collect();
    if let Some(listed) = operation.listed() {
        for name in lists.get(listed).into_iter().flatten() {
            let description = match name.as_str() {
                "label_selector" => {
                    "Requirements, separated by commas: key, !key, key=value, key!=value, key in (a,b), key notin (a,b)"
                }
                _ => "Alternatives, separated by commas",
            };
            parameters.push(json!({
                "name": name, "in": "query", "schema": kind("string[]"), "style": "form", "explode": false,
                "description": description,
            }));
        }
        parameters.push(
            json!({"name": "page", "in": "query", "schema": {"type": "integer", "minimum": 1}}),
        );
        parameters.push(json!({"name": "per_page", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 5000}}));
        parameters.push(json!({"name": "order_by", "in": "query", "schema": kind("string"), "description": "A field; descending with a '-' before it"}));
    }
    let (_, query) = QUERIES
        .iter()
        .find(|(name, _)| *name == operation.name())
        .unwrap_or(&("", ""));
    for (name, must, of) in query.split_whitespace().map(field) {
        parameters.push(json!({"name": name, "in": "query", "required": must, "schema": kind(of)}));
    }
    parameters
}

/// Status and meaning of what may go wrong.
const ERRORS: &[(&str, &str)] = &[
    ("400", "The query or the document cannot be read"),
    ("401", "Who asks is not known, or not any more"),
    ("403", "This is not allowed"),
    ("404", "There is no such thing, or not for who asks"),
    ("409", "It was changed by somebody else meanwhile"),
    ("413", "The body is too large"),
    ("422", "It is understood and cannot be done"),
    (
        "503",
        "Something that is needed does not answer now: come back",
    ),
    ("default", "Any other error"),
];

/// Errors in the shapes they have: of the API, of the token endpoints, of the routing API, and without a document.
fn errors() -> Map<String, Value> {
    let mut errors = Map::new();
    for (shape, document) in [
        ("Error", Some("ErrorDocument")),
        ("Token", Some("TokenError")),
        ("Routing", Some("RoutingError")),
        ("Plain", None),
    ] {
        for (status, description) in ERRORS {
            let mut error = json!({"description": description});
            if let Some(document) = document {
                error["content"] = content("application/json", kind(document));
            }
            errors.insert(format!("{shape}_{status}"), error);
        }
    }
    errors
}

fn responses(operation: &Operation) -> Value {
    let mut responses = Map::new();
    if let Some(status) = operation.status {
        let answer = match (operation.response.as_str(), operation.listed()) {
            ("", _) => json!({"description": "Done"}),
            ("job", _) => json!({
                "description": "Done, or under way: the job says how it ended",
                "headers": {"Location": {"description": "The address of the job", "schema": kind("string")}},
            }),
            (_, Some(listed)) => {
                json!({"description": "One page", "content": content("application/json", page(listed))})
            }
            (document, None) => json!({"description": "Done", "content": body(document)}),
        };
        responses.insert(status.to_string(), answer);
    }
    if operation.auth == "-" && operation.status.is_some() {
        return Value::Object(responses);
    }
    let shape = match operation.path.split('/').nth(1) {
        Some("bulk") => "Plain",
        Some("internal") if operation.auth == "signed" => "Plain",
        Some("Users" | "oauth") => "Token",
        Some("routing") => "Routing",
        _ => "Error",
    };
    let error = |status: &str| json!({"$ref": format!("#/components/responses/{shape}_{status}")});
    let (is_read, has_body) = (
        ["GET", "HEAD"].contains(&operation.method.as_str()),
        !operation.request.is_empty(),
    );
    let is_bearers = operation.auth == "bearer";
    let told = [
        ("400", operation.listed().is_some() || has_body),
        (
            "401",
            is_bearers || ["basic", "client"].contains(&operation.auth.as_str()),
        ),
        (
            "403",
            operation.auth == "signed" || (is_bearers && !is_read),
        ),
        ("404", operation.path.contains('{')),
        ("409", is_bearers && !is_read),
        ("413", has_body),
        ("422", is_bearers && !is_read),
        ("503", true),
        ("default", true),
    ];
    for (status, _) in told.into_iter().filter(|(_, may_come)| *may_come) {
        responses.insert(status.into(), error(status));
    }
    Value::Object(responses)
}

/// `get_v3_apps_guid`; a slash at the end tells two apart.
fn id(operation: &Operation) -> String {
    let path = operation
        .path
        .replace(['{', '}'], "")
        .replace(['/', '.'], "_");
    format!("{}{path}", operation.method.to_lowercase())
}

fn describe(operation: &Operation, lists: &ListParameters) -> Value {
    let tag = match operation
        .path
        .split('/')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()[..]
    {
        ["v3", noun, ..] => noun,
        ["yard", ..] => "yard",
        ["internal" | "bulk", ..] => "internal",
        ["login" | "oauth" | "Users", ..] => "tokens",
        ["routing", ..] => "routing",
        _ => "root",
    };
    let mut document = json!({
        "operationId": id(operation),
        "summary": operation.summary,
        "tags": [tag],
        "responses": responses(operation),
    });
    let parameters = parameters(operation, lists);
    if !parameters.is_empty() {
        document["parameters"] = json!(parameters);
    }
    if !operation.request.is_empty() {
        document["requestBody"] = json!({"required": true, "content": body(&operation.request)});
    }
    document["security"] = match operation.auth.as_str() {
        "-" | "signed" => json!([]),
        scheme => json!([{scheme: []}]),
    };
    document
}

pub fn build(operations: &[Operation], lists: &ListParameters) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations {
        let path = paths
            .entry(operation.path.clone())
            .or_insert_with(|| json!({}));
        let method = operation.method.to_lowercase();
        assert!(path.get(&method).is_none(), "{} twice", operation.name());
        path[method] = describe(operation, lists);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Stackyard",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The controller's API: Cloud Foundry's v3 with its token endpoints, `/yard/v1` beside it, and what the cluster's own components use (tag `internal`). Generated by `YARD_REGENERATE=1 cargo test -p controller --test openapi`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "responses": errors(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "client": {"type": "http", "scheme": "basic", "description": "The client `cf` with an empty secret"},
                "basic": {"type": "http", "scheme": "basic", "description": "The account of the health manager"},
            },
        },
    })
}
