-- The record of truth of the controller. One text for SQLite and PostgreSQL: TEXT, BIGINT,
-- DOUBLE PRECISION and BYTEA only; booleans are BIGINT 0/1; times are Unix microseconds;
-- lists and maps are JSON in TEXT. `row_version` grows with each update and every update compares it.

CREATE TABLE sequences (name TEXT PRIMARY KEY, value BIGINT NOT NULL);

CREATE TABLE users (
    guid TEXT PRIMARY KEY, username TEXT NOT NULL, origin TEXT NOT NULL, password_hash TEXT NOT NULL,
    is_admin BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL,
    UNIQUE (username, origin));

CREATE TABLE refresh_tokens (
    token_hash TEXT PRIMARY KEY, user_guid TEXT NOT NULL REFERENCES users (guid) ON DELETE CASCADE,
    client TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL);

CREATE TABLE organizations (
    guid TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, suspended BIGINT NOT NULL, labels TEXT NOT NULL, annotations TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);

CREATE TABLE spaces (
    guid TEXT PRIMARY KEY, name TEXT NOT NULL, organization_guid TEXT NOT NULL REFERENCES organizations (guid),
    labels TEXT NOT NULL, annotations TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL,
    UNIQUE (organization_guid, name));

CREATE TABLE roles (
    guid TEXT PRIMARY KEY, type TEXT NOT NULL, user_guid TEXT NOT NULL REFERENCES users (guid) ON DELETE CASCADE,
    organization_guid TEXT, space_guid TEXT, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL);
CREATE INDEX roles_user ON roles (user_guid);

CREATE TABLE domains (
    guid TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, internal BIGINT NOT NULL, organization_guid TEXT,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);

CREATE TABLE apps (
    guid TEXT PRIMARY KEY, name TEXT NOT NULL, space_guid TEXT NOT NULL REFERENCES spaces (guid),
    state TEXT NOT NULL,               -- STARTED, STOPPED
    buildpacks TEXT NOT NULL, stack TEXT NOT NULL, environment TEXT NOT NULL,
    current_droplet_guid TEXT, labels TEXT NOT NULL, annotations TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL,
    UNIQUE (space_guid, name));

-- One runnable type of an app. During a deployment an app has two of type web: the newer one
-- carries `deployment_guid`, and only it is left when the deployment is done.
CREATE TABLE processes (
    id BIGINT NOT NULL UNIQUE,         -- from sequences('processes'); pages of the bulk API
    guid TEXT PRIMARY KEY, app_guid TEXT NOT NULL REFERENCES apps (guid), type TEXT NOT NULL,
    command TEXT,                      -- the user's; NULL: the droplet's
    instances BIGINT NOT NULL, memory_mb BIGINT NOT NULL, disk_mb BIGINT NOT NULL,
    health_check_type TEXT NOT NULL,   -- port, http, process
    health_check_endpoint TEXT, health_check_timeout BIGINT, health_check_invocation_timeout BIGINT, health_check_interval BIGINT,
    version TEXT NOT NULL,             -- changes with whatever needs new instances
    droplet_guid TEXT,                 -- what this version runs; NULL: nothing staged
    deployment_guid TEXT,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);
CREATE INDEX processes_app ON processes (app_guid);

CREATE TABLE packages (
    guid TEXT PRIMARY KEY, app_guid TEXT NOT NULL REFERENCES apps (guid), type TEXT NOT NULL,
    state TEXT NOT NULL,               -- AWAITING_UPLOAD, PROCESSING_UPLOAD, READY, FAILED, EXPIRED
    error TEXT, sha1 TEXT, sha256 TEXT, size_bytes BIGINT,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);
CREATE INDEX packages_app ON packages (app_guid);

CREATE TABLE builds (
    guid TEXT PRIMARY KEY, app_guid TEXT NOT NULL REFERENCES apps (guid), package_guid TEXT NOT NULL,
    droplet_guid TEXT,
    state TEXT NOT NULL,               -- STAGING, STAGED, FAILED
    error_type TEXT, error TEXT, buildpacks TEXT NOT NULL, stack TEXT NOT NULL,
    dea TEXT,                          -- the agent it was placed on
    memory_mb BIGINT NOT NULL, disk_mb BIGINT NOT NULL,
    deadline BIGINT NOT NULL,          -- past it the build failed, whoever is asked
    created_by_guid TEXT NOT NULL, created_by_name TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);
CREATE INDEX builds_app ON builds (app_guid);
CREATE INDEX builds_state ON builds (state);

CREATE TABLE droplets (
    guid TEXT PRIMARY KEY, app_guid TEXT NOT NULL REFERENCES apps (guid), package_guid TEXT, build_guid TEXT,
    state TEXT NOT NULL,               -- STAGED
    sha1 TEXT NOT NULL, sha256 TEXT NOT NULL, size_bytes BIGINT NOT NULL,
    process_types TEXT NOT NULL,       -- {"web": "command"}
    detected_buildpack TEXT NOT NULL, buildpacks TEXT NOT NULL, stack TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL);
CREATE INDEX droplets_app ON droplets (app_guid);

CREATE TABLE routes (
    guid TEXT PRIMARY KEY, space_guid TEXT NOT NULL REFERENCES spaces (guid), domain_guid TEXT NOT NULL REFERENCES domains (guid),
    host TEXT NOT NULL, path TEXT NOT NULL, port BIGINT NOT NULL, protocol TEXT NOT NULL, options TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL,
    UNIQUE (domain_guid, host, path, port));

CREATE TABLE destinations (
    guid TEXT PRIMARY KEY, route_guid TEXT NOT NULL REFERENCES routes (guid) ON DELETE CASCADE,
    app_guid TEXT NOT NULL REFERENCES apps (guid) ON DELETE CASCADE, process_type TEXT NOT NULL,
    port BIGINT, protocol TEXT NOT NULL, created_at BIGINT NOT NULL,
    UNIQUE (route_guid, app_guid, process_type));
CREATE INDEX destinations_app ON destinations (app_guid);

CREATE TABLE deployments (
    guid TEXT PRIMARY KEY, app_guid TEXT NOT NULL REFERENCES apps (guid),
    strategy TEXT NOT NULL,            -- rolling
    status TEXT NOT NULL,              -- ACTIVE, FINALIZED
    reason TEXT NOT NULL,              -- DEPLOYING, DEPLOYED, CANCELING, CANCELED, SUPERSEDED
    error TEXT,                        -- why it was taken back
    droplet_guid TEXT NOT NULL, previous_droplet_guid TEXT,
    old_process_guid TEXT, new_process_guid TEXT NOT NULL,
    wanted_instances BIGINT NOT NULL, max_in_flight BIGINT NOT NULL,
    step_since BIGINT NOT NULL,        -- when the running step began
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);
CREATE INDEX deployments_status ON deployments (status);

CREATE TABLE jobs (
    guid TEXT PRIMARY KEY, operation TEXT NOT NULL,
    state TEXT NOT NULL,               -- PROCESSING, COMPLETE, FAILED
    error_code BIGINT, error_title TEXT, error_detail TEXT, warnings TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL);

CREATE TABLE audit_events (
    guid TEXT PRIMARY KEY, type TEXT NOT NULL,
    actor_guid TEXT NOT NULL, actor_type TEXT NOT NULL, actor_name TEXT NOT NULL,
    target_guid TEXT NOT NULL, target_type TEXT NOT NULL, target_name TEXT NOT NULL,
    data TEXT NOT NULL, space_guid TEXT, organization_guid TEXT, created_at BIGINT NOT NULL);
CREATE INDEX audit_events_target ON audit_events (target_guid, created_at);
CREATE INDEX audit_events_time ON audit_events (created_at);

-- Facts: an ordered log, written in the transaction of the change it announces. Consumers keep a
-- cursor; the bus only nudges them.
CREATE TABLE facts (
    sequence BIGINT PRIMARY KEY,       -- from sequences('facts')
    kind TEXT NOT NULL,                -- process.changed, process.removed, routes.changed, app.deleted, build.requested ...
    object TEXT NOT NULL,              -- guid
    payload TEXT NOT NULL, created_at BIGINT NOT NULL);

CREATE TABLE cursors (consumer TEXT PRIMARY KEY, sequence BIGINT NOT NULL);

-- The highest leadership epoch that wrote. Each transaction of a leader checks and raises it.
CREATE TABLE leadership (name TEXT PRIMARY KEY, epoch BIGINT NOT NULL);

INSERT INTO sequences (name, value) VALUES ('processes', 0), ('facts', 0);

-- What each version of a process runs with, as it was at the version's first start (JSON).
CREATE TABLE process_versions (
    version TEXT PRIMARY KEY, process_guid TEXT NOT NULL, settings TEXT NOT NULL, created_at BIGINT NOT NULL);
