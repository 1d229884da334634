-- What a deployment that is taken back gives back to the processes.

-- The number of instances before a manifest changed it; NULL: nobody did since the last start.
ALTER TABLE processes ADD COLUMN scaled_from BIGINT;

-- Each process as it was before the deployment (JSON, by guid).
ALTER TABLE deployments ADD COLUMN previous TEXT NOT NULL DEFAULT '{}';
