-- What was decided about single instances, and why: told by `yard why`, kept for some days.
-- No reference to apps: a leader may write about one that was deleted a moment ago.

CREATE TABLE decisions (
    guid TEXT PRIMARY KEY, app_guid TEXT NOT NULL,
    process_guid TEXT NOT NULL, process_type TEXT NOT NULL, version TEXT NOT NULL,
    instance_index BIGINT NOT NULL,
    instance TEXT,                     -- the one that was started or stopped
    dea TEXT,                          -- the agent it was to be on, or was on
    kind TEXT NOT NULL,                -- STARTED, NOT_PLACED, NEVER_ARRIVED, STOPPED
    because TEXT NOT NULL,             -- why it was to be started or stopped
    placement TEXT,                    -- why that agent, or why none
    created_at BIGINT NOT NULL);
CREATE INDEX decisions_of_app ON decisions (app_guid, created_at);
CREATE INDEX decisions_by_time ON decisions (created_at);
