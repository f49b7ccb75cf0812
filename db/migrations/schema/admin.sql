-- Records for administrators: actions, audits, throughput.

-- Actions of administrators. The record outlives its admin and its subject: it refers to neither.
CREATE TABLE admin_actions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    admin_id     uuid NOT NULL,
    action       text NOT NULL,
    subject_kind text NOT NULL CONSTRAINT admin_actions_subject_kind CHECK (subject_kind IN ('user', 'device')),
    subject_id   uuid NOT NULL,
    before       jsonb NOT NULL,
    after        jsonb NOT NULL,
    reason       text CONSTRAINT admin_actions_reason CHECK (length(reason) BETWEEN 1 AND 500),
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX admin_actions_subject ON admin_actions (subject_id, id DESC);

-- Results of the last audits.
CREATE TABLE audit_results (
    finished_at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    ok          boolean NOT NULL,
    checks      jsonb NOT NULL
);

-- Throughput of the hub, one row per second, retained for an hour.
-- received, stored, duplicate, rejected: readings of all devices since the beginning.
-- events: number published since the previous sample.
-- sockets, commit_to_socket_*: null if no feed process reported.
CREATE TABLE flow_samples (
    time                    timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    received                bigint NOT NULL,
    stored                  bigint NOT NULL,
    duplicate               bigint NOT NULL,
    rejected                bigint NOT NULL,
    events                  bigint NOT NULL,
    outbox_depth            bigint NOT NULL,
    outbox_age_s            double precision NOT NULL,
    sockets                 integer,
    commit_to_socket_p50_ms double precision,
    commit_to_socket_p99_ms double precision
);
