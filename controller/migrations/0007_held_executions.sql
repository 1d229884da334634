-- Executions that a policy holds, by what they are to the limits of their action: the queue of those that are
-- alike, so that the oldest are found without reading the others.

CREATE TABLE held_executions (
    execution_id TEXT PRIMARY KEY REFERENCES executions (id) ON DELETE CASCADE,
    action_ref TEXT NOT NULL, standing TEXT NOT NULL,
    accepted_at BIGINT NOT NULL);
CREATE INDEX held_executions_queue ON held_executions (action_ref, standing, accepted_at, execution_id);
