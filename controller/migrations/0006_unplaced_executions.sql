-- Executions that were let in and wait for an agent with room: looked for in each round of the engine.

CREATE INDEX executions_unplaced ON executions (started_at, id) WHERE status = 'scheduled' AND dea IS NULL;
