-- Good for one sign-in, by its SHA-256.
CREATE TABLE sign_in_codes (
    code_hash  bytea PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);

-- How everything flowed, each second; kept for an hour. Readings: of all devices since ever.
-- Null where no live feed told of it.
CREATE TABLE flow_samples (
    time             timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    received         bigint NOT NULL,
    stored           bigint NOT NULL,
    duplicate        bigint NOT NULL,
    rejected         bigint NOT NULL,
    events           bigint NOT NULL,   -- published since the sample before
    outbox_depth     bigint NOT NULL,
    outbox_age_s     double precision NOT NULL,
    sockets          integer,
    commit_to_socket_p50_ms double precision,
    commit_to_socket_p99_ms double precision
);

-- What the last audits found.
CREATE TABLE audit_results (
    finished_at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    ok          boolean NOT NULL,
    checks      jsonb NOT NULL
);
