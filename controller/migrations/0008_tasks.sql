-- One-off tasks: a command that runs once with an app's droplet.

CREATE TABLE tasks (
    guid TEXT PRIMARY KEY, app_guid TEXT NOT NULL REFERENCES apps (guid),
    sequence_id BIGINT NOT NULL,       -- counts the tasks of an app
    name TEXT NOT NULL, command TEXT NOT NULL, droplet_guid TEXT NOT NULL,
    memory_mb BIGINT NOT NULL, disk_mb BIGINT NOT NULL,
    state TEXT NOT NULL,               -- PENDING, RUNNING, CANCELING, SUCCEEDED, FAILED
    dea TEXT,                          -- the agent that may have it, written down before it is told
    waits_for TEXT,                    -- why it is not placed
    deadline BIGINT NOT NULL,          -- not placed by then it failed
    failure_reason TEXT, exit_status BIGINT, exit_signal TEXT,
    labels TEXT NOT NULL, annotations TEXT NOT NULL,
    created_by_guid TEXT NOT NULL, created_by_name TEXT NOT NULL,
    started_at BIGINT, ended_at BIGINT,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL,
    UNIQUE (app_guid, sequence_id));
CREATE INDEX tasks_open ON tasks (created_at, guid) WHERE ended_at IS NULL;
CREATE INDEX tasks_ended ON tasks (ended_at) WHERE ended_at IS NOT NULL;

-- The newest number of each app: numbers outlive the tasks that had them.
CREATE TABLE task_numbers (app_guid TEXT PRIMARY KEY REFERENCES apps (guid), newest BIGINT NOT NULL);
