-- Indexes of executions: what lists count and the engine asks for, and nothing that a move has to write in vain.
-- Lists count what matches, exactly: an index that holds every column of the usual filters is read instead of
-- the rows, which hold documents and results.

DROP INDEX executions_status;
CREATE INDEX executions_status ON executions (status, started_at, action_ref, username, parent);
DROP INDEX executions_action;
CREATE INDEX executions_action ON executions (action_ref, started_at, username, parent);
DROP INDEX executions_user;
CREATE INDEX executions_user ON executions (username, started_at, parent);

-- What the engine has not done with is little, however long the history is.
DROP INDEX executions_deadline;
CREATE INDEX executions_deadline ON executions (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX executions_queue ON executions (action_ref, status, started_at) WHERE deadline IS NOT NULL;
CREATE INDEX executions_placed ON executions (dea) WHERE dea IS NOT NULL AND ended_at IS NULL;

-- Most executions come from no rule.
DROP INDEX executions_rule;
CREATE INDEX executions_rule ON executions (rule_ref, started_at) WHERE rule_ref IS NOT NULL;
DROP INDEX executions_instance;
CREATE INDEX executions_instance ON executions (trigger_instance) WHERE trigger_instance IS NOT NULL;

-- The tokens of an execution are forgotten with its end.
CREATE INDEX automation_tokens_execution ON automation_tokens (execution_id) WHERE execution_id IS NOT NULL;
