-- Certificates that the cluster orders (ACME), and its accounts with those it orders from.

CREATE TABLE certificates (
    domain TEXT PRIMARY KEY,
    source TEXT NOT NULL,              -- listed, route
    directory TEXT NOT NULL,           -- whom the newest attempt asked
    chain TEXT,                        -- PEM; null: there is none yet
    sealed_key TEXT,
    issued_by TEXT,                    -- the directory it is from
    not_before BIGINT, not_after BIGINT,
    renew_at BIGINT,
    advice_at BIGINT,                  -- when its authority is next asked when to renew it
    failures BIGINT NOT NULL,          -- in a row
    next_attempt_at BIGINT NOT NULL,   -- 0: at once
    last_error TEXT, last_error_at BIGINT,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);

CREATE TABLE acme_accounts (
    directory TEXT PRIMARY KEY,
    email TEXT NOT NULL,               -- empty: none
    sealed_credentials TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, row_version BIGINT NOT NULL);
