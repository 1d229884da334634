-- Automation: packs and what they bring, executions, triggers and what came of them, the datastore.
-- Ids are 24 hexadecimal digits. `document` holds what a noun says about itself as JSON; the other
-- columns are what is searched, compared or changed alone.

CREATE TABLE packs (
    reference TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, version TEXT NOT NULL,
    document TEXT NOT NULL,            -- pack.yaml, and the files' names
    config_schema TEXT NOT NULL,       -- null: none
    archive_sha256 TEXT, archive_size BIGINT,   -- NULL: a built-in pack without anything to run
    builtin BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);

CREATE TABLE pack_configs (
    pack TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE,
    document TEXT NOT NULL,            -- the values; secret ones encrypted
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);

-- Files of packs as the API shows and actions need them (entry points, metadata): small texts only.
CREATE TABLE pack_files (
    pack TEXT NOT NULL REFERENCES packs (reference) ON DELETE CASCADE, path TEXT NOT NULL, content BYTEA NOT NULL,
    PRIMARY KEY (pack, path));

CREATE TABLE runner_types (
    name TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, enabled BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);

CREATE TABLE actions (
    reference TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, pack TEXT NOT NULL, name TEXT NOT NULL, runner_type TEXT NOT NULL,
    enabled BIGINT NOT NULL, document TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);
CREATE INDEX actions_pack ON actions (pack);

CREATE TABLE sensor_types (
    reference TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, pack TEXT NOT NULL, name TEXT NOT NULL,
    enabled BIGINT NOT NULL, document TEXT NOT NULL,
    dea TEXT,                          -- the agent that runs it
    generation BIGINT NOT NULL,        -- grows with every placement and change
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);

CREATE TABLE trigger_types (
    reference TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, pack TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);

-- A trigger type with parameters: made for the rules that name it, shared by equal parameters.
CREATE TABLE triggers (
    reference TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, pack TEXT NOT NULL, name TEXT NOT NULL,
    type_ref TEXT NOT NULL, parameters TEXT NOT NULL, parameters_hash TEXT NOT NULL, document TEXT NOT NULL,
    next_fire_at BIGINT,               -- timers: Unix microseconds; NULL: no timer, or done
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL,
    UNIQUE (type_ref, parameters_hash));
CREATE INDEX triggers_next ON triggers (next_fire_at);

CREATE TABLE rules (
    reference TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, pack TEXT NOT NULL, name TEXT NOT NULL,
    trigger_ref TEXT NOT NULL, action_ref TEXT NOT NULL, enabled BIGINT NOT NULL, document TEXT NOT NULL,
    owner_guid TEXT,                   -- whose rights its actions have; NULL: the system's
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);
CREATE INDEX rules_trigger ON rules (trigger_ref);

CREATE TABLE action_aliases (
    reference TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, pack TEXT NOT NULL, name TEXT NOT NULL,
    enabled BIGINT NOT NULL, document TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);

CREATE TABLE policies (
    reference TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, pack TEXT NOT NULL, name TEXT NOT NULL,
    resource_ref TEXT NOT NULL, policy_type TEXT NOT NULL, enabled BIGINT NOT NULL, document TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);
CREATE INDEX policies_resource ON policies (resource_ref);

-- An execution. `life` is its state machine as the engine keeps it; the columns beside it that say
-- the same (status, dea, deadline, ended_at) are for searching, and always written with it.
CREATE TABLE executions (
    id TEXT PRIMARY KEY, liveaction_id TEXT NOT NULL UNIQUE,
    action_ref TEXT NOT NULL, runner_type TEXT NOT NULL, status TEXT NOT NULL,
    username TEXT NOT NULL, user_guid TEXT, parent TEXT,
    rule_ref TEXT, trigger_instance TEXT, trigger_ref TEXT, trigger_type TEXT,
    parameters TEXT NOT NULL,          -- rendered as far as a request can; secret ones encrypted
    context TEXT NOT NULL,
    document TEXT NOT NULL,            -- action and runner as they were, notify
    life TEXT NOT NULL,
    result TEXT,                       -- NULL: none yet, or in the blob store
    result_sha256 TEXT, result_size BIGINT NOT NULL,
    dea TEXT,                          -- the agent it was placed on
    deadline BIGINT,                   -- when the engine must look at it; NULL: never again
    started_at BIGINT NOT NULL,        -- when it was accepted
    ended_at BIGINT,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);
CREATE INDEX executions_deadline ON executions (deadline);
CREATE INDEX executions_started ON executions (started_at);
CREATE INDEX executions_status ON executions (status, started_at);
CREATE INDEX executions_parent ON executions (parent, started_at);
CREATE INDEX executions_action ON executions (action_ref, started_at);
CREATE INDEX executions_rule ON executions (rule_ref, started_at);
CREATE INDEX executions_instance ON executions (trigger_instance);
CREATE INDEX executions_user ON executions (username, started_at);
CREATE INDEX executions_trigger ON executions (trigger_ref, started_at) WHERE trigger_ref IS NOT NULL;
CREATE INDEX executions_trigger_type ON executions (trigger_type, started_at) WHERE trigger_type IS NOT NULL;
CREATE INDEX executions_blob ON executions (result_sha256) WHERE result_sha256 IS NOT NULL;

CREATE TABLE execution_outputs (
    id TEXT PRIMARY KEY, execution_id TEXT NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    position BIGINT NOT NULL, output_type TEXT NOT NULL, data TEXT NOT NULL, created_at BIGINT NOT NULL,
    UNIQUE (execution_id, position));
CREATE INDEX execution_outputs_time ON execution_outputs (created_at);

CREATE TABLE trigger_instances (
    id TEXT PRIMARY KEY, trigger_ref TEXT NOT NULL, trigger_type TEXT NOT NULL, payload TEXT NOT NULL,
    status TEXT NOT NULL,              -- pending, processing, processed, processing_failed
    trace_tag TEXT, trace_id TEXT, source TEXT,   -- source: a key that makes a repeated report the same instance
    occurred_at BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL,
    UNIQUE (source));
CREATE INDEX trigger_instances_status ON trigger_instances (status, occurred_at);
CREATE INDEX trigger_instances_trigger ON trigger_instances (trigger_ref, occurred_at);
CREATE INDEX trigger_instances_time ON trigger_instances (occurred_at);

-- One row a rule that matched, or failed to be judged, for one trigger instance: never two.
CREATE TABLE rule_enforcements (
    id TEXT PRIMARY KEY, rule_ref TEXT NOT NULL, rule_id TEXT NOT NULL, trigger_instance TEXT NOT NULL,
    execution_id TEXT, status TEXT NOT NULL, failure_reason TEXT,
    reasons TEXT NOT NULL,             -- one a criterion
    enforced_at BIGINT NOT NULL,
    UNIQUE (rule_id, trigger_instance));
CREATE INDEX rule_enforcements_time ON rule_enforcements (enforced_at);
CREATE INDEX rule_enforcements_rule ON rule_enforcements (rule_ref, enforced_at);

CREATE TABLE traces (
    id TEXT PRIMARY KEY, trace_tag TEXT NOT NULL, started_at BIGINT NOT NULL);
CREATE INDEX traces_tag ON traces (trace_tag);
CREATE INDEX traces_time ON traces (started_at);

CREATE TABLE trace_components (
    trace_id TEXT NOT NULL REFERENCES traces (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,                -- action_execution, rule, trigger_instance
    object_id TEXT NOT NULL, object_ref TEXT NOT NULL,
    caused_by_type TEXT, caused_by_id TEXT, updated_at BIGINT NOT NULL,
    PRIMARY KEY (trace_id, kind, object_id));
CREATE INDEX trace_components_object ON trace_components (object_id);

CREATE TABLE key_values (
    uid TEXT PRIMARY KEY,              -- key_value_pair:SCOPE:NAME
    id TEXT NOT NULL UNIQUE, scope TEXT NOT NULL, name TEXT NOT NULL, username TEXT NOT NULL,
    value TEXT NOT NULL, secret BIGINT NOT NULL, encrypted BIGINT NOT NULL, expires_at BIGINT,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);
CREATE INDEX key_values_name ON key_values (scope, name);
CREATE INDEX key_values_expiry ON key_values (expires_at);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY, key_hash TEXT NOT NULL UNIQUE, user_guid TEXT NOT NULL REFERENCES users (guid) ON DELETE CASCADE,
    username TEXT NOT NULL, metadata TEXT NOT NULL, enabled BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);

-- Tokens of the automation API. `execution_id`: made for one execution, gone with it.
CREATE TABLE automation_tokens (
    token_hash TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, user_guid TEXT NOT NULL, username TEXT NOT NULL,
    metadata TEXT NOT NULL, execution_id TEXT, expires_at BIGINT NOT NULL, created_at BIGINT NOT NULL);
CREATE INDEX automation_tokens_expiry ON automation_tokens (expires_at);

CREATE TABLE automation_roles (
    id TEXT PRIMARY KEY, role TEXT NOT NULL, username TEXT NOT NULL, source TEXT NOT NULL, description TEXT NOT NULL,
    created_at BIGINT NOT NULL, UNIQUE (role, username));

-- Nodes as the platform's events told of them: who is not `present` has been told as lost.
CREATE TABLE known_nodes (
    dea TEXT PRIMARY KEY, present BIGINT NOT NULL, seen_at BIGINT NOT NULL);

-- The triggers each running sensor has been told of, so that a new leader tells it only of changes.
CREATE TABLE sensor_triggers (
    sensor TEXT PRIMARY KEY, generation BIGINT NOT NULL, triggers TEXT NOT NULL);

-- Tasks on agents that install what packs require. The one who waits and the one who hears of the end may be
-- different controllers.
CREATE TABLE pack_stagings (
    task TEXT PRIMARY KEY, pack TEXT NOT NULL, dea TEXT,
    outcome TEXT NOT NULL,             -- null: it is not over
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);
