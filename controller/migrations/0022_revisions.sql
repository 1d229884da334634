-- What an app ran with, each time that changed: what one can go back to.

CREATE TABLE revisions (
    guid TEXT PRIMARY KEY, app_guid TEXT NOT NULL REFERENCES apps (guid),
    number BIGINT NOT NULL,            -- counted per app, from 1
    droplet_guid TEXT NOT NULL,
    environment TEXT NOT NULL,         -- the app's own variables
    commands TEXT NOT NULL,            -- by type of process; null: the droplet's
    description TEXT NOT NULL,
    labels TEXT NOT NULL, annotations TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL,
    UNIQUE (app_guid, number));

ALTER TABLE processes ADD COLUMN revision_guid TEXT;     -- what it runs; null: it has never been started
ALTER TABLE deployments ADD COLUMN revision_guid TEXT;   -- what it brings
ALTER TABLE deployments ADD COLUMN revision_number BIGINT;
ALTER TABLE deployments ADD COLUMN environment_before TEXT NOT NULL DEFAULT 'null';   -- of one that goes back to a revision
