-- Quotas: what the apps, routes and domains of an organization or of a space may come to. `limits` is a document
-- (`domain::quotas::Limits`): nothing but the quota itself is looked for by what is in it.

CREATE TABLE organization_quotas (
    guid TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, limits TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);

CREATE TABLE space_quotas (
    guid TEXT PRIMARY KEY, name TEXT NOT NULL, organization_guid TEXT NOT NULL REFERENCES organizations (guid), limits TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL,
    UNIQUE (organization_guid, name));

-- Every organization has a quota: those that are there get `default` (`store::quotas::DEFAULT_GUID`), which
-- the start of a controller makes. A space may have one.
ALTER TABLE organizations ADD COLUMN quota_guid TEXT NOT NULL DEFAULT '6a4f4a0e-3c4d-5d5e-8d0b-0f1f6f5c7a11';
ALTER TABLE spaces ADD COLUMN quota_guid TEXT;
CREATE INDEX organizations_quota ON organizations (quota_guid);
CREATE INDEX spaces_quota ON spaces (quota_guid);

-- When rules were last told that a limit of a quota refused something.
CREATE TABLE told_quotas (
    quota_guid TEXT NOT NULL, exceeded TEXT NOT NULL, told_at BIGINT NOT NULL, PRIMARY KEY (quota_guid, exceeded));
