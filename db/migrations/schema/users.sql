-- Users, the profile of each role, and how users sign in.

CREATE TABLE users (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text NOT NULL CONSTRAINT users_email_length CHECK (length(email) BETWEEN 3 AND 254),
    password_hash text NOT NULL,
    full_name     text NOT NULL,
    phone         text,
    role          text NOT NULL CONSTRAINT users_role CHECK (role IN ('buyer', 'host', 'investor', 'admin')),
    is_active     boolean NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email_key ON users (lower(email));
CREATE INDEX users_newest ON users (created_at DESC, id DESC);

CREATE TABLE hosts (
    user_id        uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    property_name  text,
    tariff_per_kwh numeric(10,4) CONSTRAINT hosts_tariff CHECK (tariff_per_kwh > 0)
);
CREATE TABLE buyers (
    user_id            uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    monthly_demand_kwh numeric(12,3) CONSTRAINT buyers_demand CHECK (monthly_demand_kwh >= 0)
);
CREATE TABLE investors (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    company text
);

-- One row per refresh token that was issued. All tokens of one sign-in share a family.
CREATE TABLE refresh_tokens (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    family_id  uuid NOT NULL,
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    token_hash bytea NOT NULL CONSTRAINT refresh_tokens_hash_key UNIQUE,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX refresh_tokens_family ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_user ON refresh_tokens (user_id);
-- Counts the sessions of a user, which have a limit.
CREATE INDEX refresh_tokens_good ON refresh_tokens (user_id) WHERE used_at IS NULL AND revoked_at IS NULL;
-- Find expired and revoked tokens, oldest first, to delete them.
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);
CREATE INDEX refresh_tokens_revoked ON refresh_tokens (revoked_at) WHERE revoked_at IS NOT NULL;

-- Codes for a single sign-in, stored as SHA-256.
CREATE TABLE sign_in_codes (
    code_hash  bytea PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);

-- A request with an Idempotency-Key takes effect once per user and operation.
CREATE TABLE idempotency_keys (
    user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    operation    text NOT NULL,
    key          text NOT NULL CONSTRAINT idempotency_keys_length CHECK (length(key) BETWEEN 1 AND 255),
    request_hash bytea NOT NULL,
    result_id    uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, operation, key)
);
-- Finds expired keys, oldest first, to delete them.
CREATE INDEX idempotency_keys_oldest ON idempotency_keys (created_at);
