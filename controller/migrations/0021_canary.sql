-- Deployments that pause, and what a deployment changes besides the droplet.

ALTER TABLE deployments ADD COLUMN weights TEXT NOT NULL DEFAULT '[]';           -- of a canary, in percent; none given: one instance
ALTER TABLE deployments ADD COLUMN stops_passed BIGINT NOT NULL DEFAULT 0;       -- how many of its pauses were continued
ALTER TABLE deployments ADD COLUMN options TEXT NOT NULL DEFAULT '{}';           -- numbers it was given for the new process
