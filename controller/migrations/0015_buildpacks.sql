-- Buildpacks: those that come with Stackyard (`shipped`; the start of a controller makes their rows), and those that the
-- operator uploads, whose archive is in the blob store under its checksum.

CREATE TABLE buildpacks (
    guid TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, stack TEXT, position BIGINT NOT NULL,
    enabled BIGINT NOT NULL, locked BIGINT NOT NULL, shipped BIGINT NOT NULL,
    filename TEXT, sha256 TEXT,
    labels TEXT NOT NULL, annotations TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);
