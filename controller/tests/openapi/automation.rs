//! The description of the automation API: the table of its operations, held to its routes both ways, and
//! `docs/openapi-automation.json` made from it.

use super::routes_of;
use super::schemas::{field, kind};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Method, path | query | request | status and response | what it does.
///
/// In queries `P` stands for the attributes and bounds of a page, `S` for its order and names, `A` for the
/// attributes alone; else as in [`super::schemas`]. `[X]` is a list of X.
const TABLE: &str = "
GET /api/v1/ | | | 200 Index | Which version answers; everybody may ask
GET /api/v1/openapi.json | | | 200 object | This description; everybody may ask
GET /api/v1/user | | | 200 User | Who the caller is and what he may do
GET /api/v1/apikeys | limit:integer offset:integer user:string show_secrets:boolean | | 200 [ApiKey] | Lists API keys
POST /api/v1/apikeys | | WriteApiKey | 201 ApiKey | Makes an API key; its text is in this answer only
GET /api/v1/apikeys/{id_or_key} | show_secrets:boolean | | 200 ApiKey | Shows an API key
PUT /api/v1/apikeys/{id_or_key} | | WriteApiKey | 200 ApiKey | Switches an API key on or off, or changes its metadata
DELETE /api/v1/apikeys/{id_or_key} | | | 204 | Deletes an API key
GET /api/v1/actionalias | P S pack:string enabled:boolean | | 200 [ActionAlias] | Lists chat aliases
POST /api/v1/actionalias | | ActionAlias | 201 ActionAlias | Makes a chat alias
GET /api/v1/actionalias/{ref_or_id} | A | | 200 ActionAlias | Shows a chat alias
PUT /api/v1/actionalias/{ref_or_id} | | ActionAlias | 200 ActionAlias | Changes a chat alias
DELETE /api/v1/actionalias/{ref_or_id} | | | 204 | Deletes a chat alias
POST /api/v1/actionalias/match | | Command | 200 AliasMatch | The one alias that a command fits
GET /api/v1/actionalias/help | filter:string pack:string limit:integer offset:integer | | 200 object | Help texts by pack
POST /api/v1/aliasexecution | show_secrets:boolean | ChatCommand | 201 AliasAnswer | Runs a command with a chosen alias and format
POST /api/v1/aliasexecution/match_and_execute | show_secrets:boolean | ChatCommand | 201 AliasAnswers | Finds the alias of a command and runs it
GET /api/v1/executions | P S action:string status:string parent:string user:string runner:string rule:string trigger:string trigger_type:string trigger_instance:string liveaction:string timestamp:string timestamp_gt:string timestamp_lt:string sort_asc:boolean sort_desc:boolean show_secrets:boolean | | 200 [Execution] | Lists executions, without results unless they are asked for
POST /api/v1/executions | show_secrets:boolean | NewExecution | 201 Execution | Runs an action
GET /api/v1/executions/{id} | A show_secrets:boolean max_result_size:integer | | 200 Execution | Shows an execution
PUT /api/v1/executions/{id} | show_secrets:boolean | ChangeExecution | 200 Execution | Pauses a workflow or lets it go on
DELETE /api/v1/executions/{id} | show_secrets:boolean | | 200 Execution | Cancels an execution; a faultstring says that there is nothing to cancel
GET /api/v1/executions/{id}/children | A depth:integer result_fmt:string | | 200 [Execution] | Lists descendants
GET /api/v1/executions/{id}/attribute/{attribute} | | | 200 any | Shows one attribute of an execution
GET /api/v1/executions/{id}/result | download:boolean compress:boolean pretty_format:boolean | | 200 any | Shows the result alone
GET /api/v1/executions/{id}/output | output_type:string | | 200 text | Shows what an execution printed so far
POST /api/v1/executions/{id}/re_run | show_secrets:boolean | RunAgain | 201 Execution | Runs an action again
GET /api/v1/executions/views/filters | types:string | | 200 object | Values that lists of executions can be filtered by
GET /api/v1/actionexecutions | P S action:string status:string parent:string user:string runner:string rule:string trigger:string trigger_type:string trigger_instance:string liveaction:string timestamp:string timestamp_gt:string timestamp_lt:string sort_asc:boolean sort_desc:boolean show_secrets:boolean | | 200 [Execution] | The old name of executions
POST /api/v1/actionexecutions | show_secrets:boolean | NewExecution | 201 Execution | The old name of executions
GET /api/v1/actionexecutions/{id} | A show_secrets:boolean max_result_size:integer | | 200 Execution | The old name of executions
PUT /api/v1/actionexecutions/{id} | show_secrets:boolean | ChangeExecution | 200 Execution | The old name of executions
DELETE /api/v1/actionexecutions/{id} | show_secrets:boolean | | 200 Execution | The old name of executions
GET /api/v1/inquiries | P | | 200 [Inquiry] | Lists questions that wait for an answer
GET /api/v1/inquiries/{id} | | | 200 Inquiry | Shows a question
PUT /api/v1/inquiries/{id} | | InquiryResponse | 200 InquiryResponse | Answers a question
GET /api/v1/keys | scope:string user:string prefix:string decrypt:boolean limit:integer offset:integer | | 200 [KeyValue] | Lists keys of the datastore
GET /api/v1/keys/{name} | scope:string user:string decrypt:boolean | | 200 KeyValue | Shows a key
PUT /api/v1/keys/{name} | scope:string user:string | WriteKeyValue | 200 KeyValue | Sets a key
DELETE /api/v1/keys/{name} | scope:string user:string | | 204 | Deletes a key
GET /api/v1/policies | P S pack:string ref:string enabled:boolean resource_ref:string policy_type:string | | 200 [Policy] | Lists policies
POST /api/v1/policies | | Policy | 201 Policy | Makes a policy
GET /api/v1/policies/{ref_or_id} | A | | 200 Policy | Shows a policy
PUT /api/v1/policies/{ref_or_id} | | Policy | 200 Policy | Changes a policy
DELETE /api/v1/policies/{ref_or_id} | | | 204 | Deletes a policy
GET /api/v1/policytypes | P resource_type:string name:string id:string | | 200 [PolicyType] | Lists types of policies
GET /api/v1/policytypes/{ref_or_id} | | | 200 PolicyType | Shows a type of policies
GET /api/v1/rbac/roles | system:boolean limit:integer offset:integer | | 200 [Role] | Lists roles
GET /api/v1/rbac/roles/{name_or_id} | | | 200 Role | Shows a role
GET /api/v1/rbac/role_assignments | role:string user:string source:string remote:boolean limit:integer offset:integer | | 200 [RoleAssignment] | Lists who has which role
POST /api/v1/rbac/role_assignments | | AssignRole | 201 RoleAssignment | Gives a role to a user
GET /api/v1/rbac/role_assignments/{id} | | | 200 RoleAssignment | Shows an assignment
DELETE /api/v1/rbac/role_assignments/{id} | | | 204 | Takes a role away
GET /api/v1/rbac/permission_types | | | 200 object | Words for permissions by kind of thing
GET /api/v1/rbac/permission_types/{kind} | | | 200 string[] | Words for permissions of one kind of thing
GET /api/v1/service_registry/groups | | | 200 ServiceGroups | Services of StackStorm that somebody here does
GET /api/v1/service_registry/groups/{group}/members | | | 200 ServiceMembers | Who does a service
POST /api/v1/workflows/inspect | | | refused | Workflows are not supported yet
GET /api/v1/actions | P S pack:string tags:string enabled:boolean | | 200 [object] | Lists actions
POST /api/v1/actions | | object | 201 object | Makes an action
GET /api/v1/actions/{reference} | A | | 200 object | Shows an action
PUT /api/v1/actions/{reference} | | object | 200 object | Changes an action
DELETE /api/v1/actions/{reference} | | | 204 | Deletes an action
POST /api/v1/actions/{reference}/clone | | object | 201 object | Copies an action
GET /api/v1/actions/views/parameters/{reference} | | | 200 object | Parameters of an action with its runner's
GET /api/v1/actions/views/overview | P S pack:string | | 200 [object] | Lists actions with all parameters
GET /api/v1/actions/views/overview/{reference} | A | | 200 object | Shows an action with all parameters
GET /api/v1/actions/views/entry_point/{reference} | | | 200 text | Shows the file that an action runs
GET /api/v1/configs | limit:integer offset:integer sort:string show_secrets:boolean | | 200 [object] | Lists configurations of packs
GET /api/v1/configs/{pack} | show_secrets:boolean | | 200 object | Shows the configuration of a pack
PUT /api/v1/configs/{pack} | show_secrets:boolean | object | 200 object | Configures a pack
GET /api/v1/config_schemas | limit:integer offset:integer | | 200 [object] | Lists schemas of configurations
GET /api/v1/config_schemas/{pack} | | | 200 object | Shows the schema of a pack's configuration
GET /api/v1/packs | P S ref:string | | 200 [object] | Lists packs
GET /api/v1/packs/{reference} | A | | 200 object | Shows a pack
POST /api/v1/packs/register | | object | 200 object | Registers what packs bring
POST /api/v1/packs/install | | object | 202 object | Installs packs
POST /api/v1/packs/uninstall | | object | 202 object | Removes packs
POST /api/v1/packs/upload | | bytes | 202 object | Installs a pack from an archive
GET /api/v1/packs/index | | | 200 object | Lists packs that can be installed
POST /api/v1/packs/index/search | | object | 200 any | Searches packs that can be installed
GET /api/v1/packs/index/health | | | 200 object | Whether the index can be read
GET /api/v1/packs/views/files/{reference} | | | 200 [object] | Shows the files of a pack
GET /api/v1/packs/views/file/{reference}/{path} | | | 200 text | Shows a file of a pack
GET /api/v1/runnertypes | P S | | 200 [object] | Lists runners
GET /api/v1/runnertypes/{name} | A | | 200 object | Shows a runner
PUT /api/v1/runnertypes/{name} | | object | 200 object | Switches a runner on or off
GET /api/v1/sensortypes | P S pack:string enabled:boolean | | 200 [object] | Lists sensors
GET /api/v1/sensortypes/{reference} | A | | 200 object | Shows a sensor
PUT /api/v1/sensortypes/{reference} | | object | 200 object | Switches a sensor on or off
GET /api/v1/ruleenforcements | P S execution:string rule_ref:string rule_id:string trigger_instance:string enforced_at_gt:string enforced_at_lt:string | | 200 [object] | Lists what rules made of trigger instances
GET /api/v1/ruleenforcements/{id} | A | | 200 object | Shows an enforcement
GET /api/v1/ruleenforcements/views | P S execution:string rule_ref:string rule_id:string trigger_instance:string enforced_at_gt:string enforced_at_lt:string | | 200 [object] | Lists enforcements with instance and execution
GET /api/v1/ruleenforcements/views/{id} | A | | 200 object | Shows an enforcement with instance and execution
GET /api/v1/rules | P S pack:string action:string trigger:string enabled:boolean show_secrets:boolean | | 200 [object] | Lists rules
POST /api/v1/rules | | object | 201 object | Makes a rule
POST /api/v1/rules/test | | object | 200 object | What a rule would make of a trigger instance
POST /api/v1/rules/replay | | object | 200 object | What a rule would have made of past trigger instances
GET /api/v1/rules/views | P S pack:string action:string trigger:string enabled:boolean | | 200 [object] | Lists rules with descriptions of what they refer to
GET /api/v1/rules/views/{ref_or_id} | A | | 200 object | Shows a rule with descriptions of what it refers to
GET /api/v1/rules/{ref_or_id} | A show_secrets:boolean | | 200 object | Shows a rule
PUT /api/v1/rules/{ref_or_id} | | object | 200 object | Changes a rule
DELETE /api/v1/rules/{ref_or_id} | | | 204 | Deletes a rule
GET /api/v1/ruletypes | limit:integer offset:integer | | 200 [object] | Lists types of rules
GET /api/v1/ruletypes/{id} | | | 200 object | Shows a type of rules
GET /api/v1/traces | P S trace_tag:string execution:string rule:string trigger_instance:string sort_asc:boolean sort_desc:boolean | | 200 [object] | Lists traces
GET /api/v1/traces/{id} | A | | 200 object | Shows a trace
GET /api/v1/triggertypes | P S pack:string | | 200 [object] | Lists types of triggers
POST /api/v1/triggertypes | | object | 201 object | Makes a type of triggers
GET /api/v1/triggertypes/{ref_or_id} | A | | 200 object | Shows a type of triggers
PUT /api/v1/triggertypes/{ref_or_id} | | object | 200 object | Changes a type of triggers
DELETE /api/v1/triggertypes/{ref_or_id} | | | 204 | Deletes a type of triggers
GET /api/v1/triggers | P S type:string | | 200 [object] | Lists triggers
POST /api/v1/triggers | | object | 201 object | Makes a trigger
GET /api/v1/triggers/{ref_or_id} | A | | 200 object | Shows a trigger
PUT /api/v1/triggers/{ref_or_id} | | object | 200 object | Changes a trigger
DELETE /api/v1/triggers/{ref_or_id} | | | 204 | Deletes a trigger
GET /api/v1/timers | timer_type:string limit:integer offset:integer | | 200 [object] | Lists timers
GET /api/v1/timers/{ref_or_id} | | | 200 object | Shows a timer
GET /api/v1/triggerinstances | P S trigger:string trigger_type:string status:string timestamp_gt:string timestamp_lt:string | | 200 [object] | Lists trigger instances
GET /api/v1/triggerinstances/{id} | A | | 200 object | Shows a trigger instance
POST /api/v1/triggerinstances/{id}/re_emit | | | 200 object | Fires a trigger instance once more
GET /api/v1/webhooks | | | 200 [object] | Lists webhooks
GET /api/v1/webhooks/{hook} | | | 200 object | Shows a webhook
POST /api/v1/webhooks/{hook} | | any | 202 any | Calls a webhook
POST /auth/v1/tokens | | NewToken | 201 Token | Logs in with a password (HTTP Basic)
POST /auth/v1/tokens/validate | | ValidateToken | 200 object | Whether a token is good; everybody may ask
GET /auth/v1/sso | | | 200 object | Whether there is single sign-on: there is none
GET /auth/v1/sso/request | | | refused | There is no single sign-on
POST /auth/v1/sso/callback | | | refused | There is no single sign-on
GET /stream/v1/stream | events:string end_event:string end_execution_id:string action_refs:string execution_ids:string | | 200 events | Follows events
GET /stream/v1/executions/{id}/output | output_type:string | | 200 events | Follows what an execution prints
";

/// Operations that ask for no credential, or for a password.
const OPEN: &[&str] = &["/api/v1/", "/api/v1/openapi.json"];

const DOCUMENTS: &[(&str, &str)] = &[
    ("Fault", "faultstring!:string conflict-id:string"),
    ("Index", "version!:string docs_url!:string"),
    (
        "User",
        "username!:string authentication!:object rbac!:object",
    ),
    (
        "ApiKey",
        "id!:string uid!:string user!:string key_hash!:string metadata!:object enabled!:boolean created_at!:string key:string",
    ),
    (
        "WriteApiKey",
        "user:string metadata:object enabled:boolean key_hash:string",
    ),
    (
        "ActionAlias",
        "id:string uid:string ref:string pack:string name!:string description:string? enabled:boolean action_ref!:string formats!:any ack:object result:object extra:object immutable_parameters:object metadata_file:string",
    ),
    ("Command", "command!:string"),
    (
        "AliasMatch",
        "actionalias!:ActionAlias display!:string? representation!:string",
    ),
    (
        "ChatCommand",
        "command!:string name:string format:string user:string source_channel:string source_context:any notification_channel:string notification_route:string",
    ),
    (
        "AliasAnswer",
        "execution!:Execution actionalias!:ActionAlias message!:any extra!:any",
    ),
    ("AliasAnswers", "results!:AliasAnswer[]"),
    (
        "Execution",
        "id!:string action!:object runner!:object liveaction!:object status!:string start_timestamp!:string end_timestamp:string elapsed_seconds:any parameters:object context!:object result:any result_size!:integer parent:string children:any log!:LogEntry[] delay:integer notify:object web_url!:string trigger:object trigger_type:object trigger_instance:object rule:object",
    ),
    ("LogEntry", "timestamp!:string status!:string"),
    (
        "NewExecution",
        "action!:string parameters:object user:string context:object delay:integer notify:object",
    ),
    ("ChangeExecution", "status!:string"),
    (
        "RunAgain",
        "parameters:object tasks:string[] reset:string[] delay:integer",
    ),
    (
        "Inquiry",
        "id!:string parent!:string? route!:string ttl!:integer users!:string[] roles!:string[] schema!:object",
    ),
    ("InquiryResponse", "id:string response!:any"),
    (
        "KeyValue",
        "id!:string uid!:string name!:string value!:string? scope!:string secret!:boolean encrypted!:boolean user:string expire_timestamp:string",
    ),
    (
        "WriteKeyValue",
        "name:string value!:string scope:string user:string secret:boolean encrypted:boolean ttl:integer",
    ),
    (
        "Policy",
        "id:string uid:string ref:string pack:string name!:string description:string? enabled:boolean resource_ref!:string policy_type!:string parameters:object metadata_file:string",
    ),
    (
        "PolicyType",
        "id!:string uid!:string ref!:string resource_type!:string name!:string description!:string enabled!:boolean module!:string parameters!:object",
    ),
    (
        "Role",
        "id!:string uid!:string name!:string description!:string system!:boolean permission_grants!:any",
    ),
    (
        "RoleAssignment",
        "id!:string role!:string user!:string source!:string description!:string is_remote!:boolean",
    ),
    ("AssignRole", "role!:string user!:string description:string"),
    ("ServiceGroups", "groups!:string[]"),
    ("ServiceMembers", "members!:ServiceMember[]"),
    (
        "ServiceMember",
        "group_id!:string member_id!:string capabilities!:object",
    ),
    ("NewToken", "ttl:integer user:string"),
    (
        "Token",
        "id!:string user!:string token!:string expiry!:string metadata!:object",
    ),
    ("ValidateToken", "token!:string"),
];

const ATTRIBUTES: &str = "include_attributes:string exclude_attributes:string";

struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    query: String,
    request: &'a str,
    answer: &'a str,
    summary: &'a str,
}

fn operations() -> Vec<Operation<'static>> {
    TABLE
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let columns: Vec<&str> = line.split('|').map(str::trim).collect();
            let [address, query, request, answer, summary] = columns[..] else {
                panic!("five columns: {line}")
            };
            let (method, path) = address.split_once(' ').expect("a method and a path");
            let query = query
                .split_whitespace()
                .map(|word| match word {
                    "P" => format!("{ATTRIBUTES} limit:integer offset:integer"),
                    "A" => ATTRIBUTES.to_string(),
                    "S" => "sort:string id:string name:string".to_string(),
                    other => other.to_string(),
                })
                .collect::<Vec<_>>()
                .join(" ");
            Operation {
                method,
                path,
                query,
                request,
                answer,
                summary,
            }
        })
        .collect()
}

fn content(name: &str) -> Value {
    if let Some(listed) = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        return json!({"application/json": {"schema": {"type": "array", "items": kind(listed)}}});
    }
    match name {
        "events" => json!({"text/event-stream": {"schema": kind("string")}}),
        "text" => json!({"text/plain": {"schema": kind("string")}}),
        "bytes" => json!({"application/gzip": {"schema": {"type": "string", "format": "binary"}}}),
        name => json!({"application/json": {"schema": kind(name)}}),
    }
}

fn describe(operation: &Operation<'_>) -> Value {
    let mut parameters = Vec::new();
    for part in operation.path.split('{').skip(1) {
        let name = part.split('}').next().expect("a name");
        parameters
            .push(json!({"name": name, "in": "path", "required": true, "schema": kind("string")}));
    }
    for (name, required, of) in operation.query.split_whitespace().map(field) {
        parameters
            .push(json!({"name": name, "in": "query", "required": required, "schema": kind(of)}));
    }
    let fault =
        json!({"description": "Refused: the faultstring says why", "content": content("Fault")});
    let mut responses = Map::from_iter([("default".to_string(), fault)]);
    if operation.answer != "refused" {
        let (status, name) = operation
            .answer
            .split_once(' ')
            .unwrap_or((operation.answer, ""));
        let mut answer = json!({"description": "Done"});
        if !name.is_empty() {
            answer["content"] = content(name);
        }
        if name.starts_with('[') {
            answer["headers"] = json!({
                "X-Total-Count": {"description": "How many there are at all", "schema": kind("integer")},
                "X-Limit": {"description": "How many a page holds", "schema": kind("integer")},
            });
        }
        responses.insert(status.into(), answer);
    }
    let noun = operation.path.split('/').nth(3).unwrap_or_default();
    let id = operation
        .path
        .replace(['{', '}'], "")
        .replace(['/', '.'], "_");
    let mut document = json!({
        "operationId": format!("{}{id}", operation.method.to_lowercase()),
        "summary": operation.summary,
        "tags": [if noun.is_empty() { "index" } else { noun }],
        "responses": responses,
    });
    if !parameters.is_empty() {
        document["parameters"] = json!(parameters);
    }
    if !operation.request.is_empty() {
        document["requestBody"] = json!({"required": true, "content": content(operation.request)});
    }
    if OPEN.contains(&operation.path) || operation.path.starts_with("/auth/v1/sso") {
        document["security"] = json!([]);
    } else if operation.path == "/auth/v1/tokens" {
        document["security"] = json!([{"password": []}]);
    }
    document
}

fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.to_lowercase()] = describe(&operation);
    }
    let mut schemas = Map::new();
    for (name, fields) in DOCUMENTS {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for (field, must, of) in fields.split_whitespace().map(field) {
            properties.insert(field.into(), kind(of));
            if must {
                required.push(field);
            }
        }
        let mut schema = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schemas.insert(name.to_string(), schema);
    }
    let key = |place: &str, name: &str| json!({"type": "apiKey", "in": place, "name": name});
    let schemes = json!({
        "token": key("header", "X-Auth-Token"), "token_in_query": key("query", "x-auth-token"),
        "api_key": key("header", "St2-Api-Key"), "api_key_in_query": key("query", "st2-api-key"),
        "cookie": key("cookie", "auth-token"),
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A token of the platform's own login"},
        "password": {"type": "http", "scheme": "basic"},
    });
    let any: Vec<Value> = [
        "token",
        "token_in_query",
        "api_key",
        "api_key_in_query",
        "cookie",
        "bearer",
    ]
    .iter()
    .map(|scheme| json!({*scheme: []}))
    .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Stackyard automation",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The automation API, in the shape of StackStorm's. Paths under `/api/v1` are also served under `/v1` and without prefix, those under `/auth/v1` without prefix, `/stream/v1/stream` also as `/v1/stream`. Generated by `YARD_REGENERATE=1 cargo test -p controller --test openapi`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": any,
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": schemes},
    })
}

#[test]
fn the_table_of_automation_has_every_route_and_every_route_is_in_the_table() {
    let mut served = BTreeSet::new();
    for (prefix, router) in controller::automation::api::described() {
        for route in routes_of(&router) {
            let (method, path) = route.split_once(' ').unwrap();
            served.insert(format!("{method} {prefix}{path}"));
        }
    }
    let told: BTreeSet<String> = operations()
        .iter()
        .map(|operation| format!("{} {}", operation.method, operation.path))
        .collect();
    let missing: Vec<_> = served.difference(&told).collect();
    let gone: Vec<_> = told.difference(&served).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not in the table: {missing:#?}\nnot served: {gone:#?}"
    );
}

#[test]
fn the_committed_description_of_automation_is_what_the_table_says() {
    let document = document();
    let whole = document.to_string();
    for reference in whole.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"].get(name).is_some(),
            "{name} is not described"
        );
    }
    for (name, _) in DOCUMENTS {
        assert!(
            whole.contains(&format!("schemas/{name}\"")),
            "{name} is of no use"
        );
    }
    let text = format!("{document:#}\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi-automation.json");
    if std::env::var_os("YARD_REGENERATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/openapi-automation.json is stale: run YARD_REGENERATE=1 cargo test -p controller --test openapi"
    );
}
