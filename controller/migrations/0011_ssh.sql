-- Sessions inside instances: who may open them is switched by app and by space, and a code from the token
-- endpoint lets somebody in once.

ALTER TABLE apps ADD COLUMN ssh_enabled BIGINT NOT NULL DEFAULT 1;
ALTER TABLE spaces ADD COLUMN ssh_allowed BIGINT NOT NULL DEFAULT 1;

CREATE TABLE authorization_codes (
    code_hash TEXT PRIMARY KEY,
    user_guid TEXT NOT NULL,
    client TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
