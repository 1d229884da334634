-- What a deployment that is taken back gives back to the processes.

-- The number of instances before a manifest changed it; NULL: nobody did since the last start.
ALTER TABLE processes ADD COLUMN scaled_from BIGINT;

-- Each process as it was before the deployment (JSON, by guid).
ALTER TABLE deployments ADD COLUMN previous TEXT NOT NULL DEFAULT '{}';

-- What PostgreSQL would let two requests do at once: a second build of an app, a role given twice.
UPDATE builds SET state = 'FAILED', error_type = 'StagerError', error = 'another build of the app was running',
    row_version = row_version + 1
    WHERE state = 'STAGING' AND guid NOT IN (SELECT max(guid) FROM builds WHERE state = 'STAGING' GROUP BY app_guid);
CREATE UNIQUE INDEX builds_staging ON builds (app_guid) WHERE state = 'STAGING';

DELETE FROM roles WHERE guid NOT IN (
    SELECT min(guid) FROM roles GROUP BY type, user_guid, organization_guid, space_guid);
CREATE UNIQUE INDEX roles_once ON roles (type, user_guid, COALESCE(organization_guid, ''), COALESCE(space_guid, ''));
