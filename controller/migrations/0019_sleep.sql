-- Web processes that sleep, without instances, while nobody asks for them.

ALTER TABLE processes ADD COLUMN sleep_after BIGINT;    -- seconds without a request; null: it never sleeps
ALTER TABLE processes ADD COLUMN asleep_since BIGINT;   -- Unix microseconds; null: it does not sleep

CREATE INDEX processes_that_sleep ON processes (sleep_after) WHERE sleep_after IS NOT NULL;
