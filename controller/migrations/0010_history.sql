-- Who ran which administrative command: looked for by type, the newest first.
CREATE INDEX audit_events_type ON audit_events (type, created_at);
