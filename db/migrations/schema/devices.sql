-- Devices, their state, and the meters behind them.

-- time_zone: zone of the local times that some firmwares send without one.
-- credential_version: the MQTT password is derived from a secret, the id and this number
-- (core/device_passwords.py).
-- funding_target, revenue_share: money that the host asks of investors, and the part of the device's sales
-- that they get once the target is reached. funded: running sum of the device's investments.
-- carried: accounting state of an earlier registration of the same meter, from which this device continues.
CREATE TABLE devices (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id           uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name               text NOT NULL,
    kind               text NOT NULL CONSTRAINT devices_kind CHECK (kind IN ('inverter', 'meter', 'battery')),
    capacity_w         double precision NOT NULL CONSTRAINT devices_capacity CHECK (capacity_w > 0 AND capacity_w <= 1e9),
    latitude           double precision CONSTRAINT devices_latitude CHECK (latitude BETWEEN -90 AND 90),
    longitude          double precision CONSTRAINT devices_longitude CHECK (longitude BETWEEN -180 AND 180),
    dialect            text NOT NULL DEFAULT 'native',
    external_id        text,
    time_zone          text NOT NULL DEFAULT 'Asia/Kolkata',
    -- SHA-256 of the MQTT password: 128 random bits need no slow hash.
    credential_hash    bytea NOT NULL,
    credential_version integer NOT NULL DEFAULT 1 CONSTRAINT devices_credential_version CHECK (credential_version > 0),
    funding_target     numeric(14,2) CONSTRAINT devices_funding_target CHECK (funding_target > 0),
    revenue_share      numeric(5,4) CONSTRAINT devices_revenue_share CHECK (revenue_share > 0 AND revenue_share <= 1),
    funded             numeric(14,2) NOT NULL DEFAULT 0 CONSTRAINT devices_funded CHECK (funded >= 0),
    carried            json,
    created_at         timestamptz NOT NULL DEFAULT now(),
    deleted_at         timestamptz,
    CONSTRAINT devices_place CHECK ((latitude IS NULL) = (longitude IS NULL)),
    CONSTRAINT devices_external CHECK (dialect = 'native' OR external_id IS NOT NULL),
    CONSTRAINT devices_funding_terms CHECK ((funding_target IS NULL) = (revenue_share IS NULL)),
    CONSTRAINT devices_not_overfunded CHECK (funded <= coalesce(funding_target, 0))
);
CREATE INDEX devices_owner ON devices (owner_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX devices_external_key ON devices (dialect, external_id)
    WHERE deleted_at IS NULL AND external_id IS NOT NULL;
CREATE INDEX devices_funded_owner ON devices (owner_id) WHERE funded > 0;
-- Finds devices by their public place (`public_degrees`).
CREATE INDEX devices_public_place ON devices
    USING gist (point(public_degrees(longitude), public_degrees(latitude))) WHERE deleted_at IS NULL;

-- Columns that every batch of readings writes, apart from `devices`, which changes rarely. Decisions of
-- administrators are here too: a transaction that waited for the row's lock sees their newest values, which
-- columns of a joined table would not show.
-- accounting_state: state after the last reading (core/accounting.py). It is json, not jsonb, because only
-- the ingester reads it, and it needs no parsing here.
-- earns_from: energy from before this time is recorded, but can't be sold.
-- flags_due_from: first slot that changed since the device was last checked for flags, at flags_checked_at.
CREATE TABLE device_states (
    device_id         uuid PRIMARY KEY REFERENCES devices ON DELETE CASCADE,
    status            text NOT NULL DEFAULT 'pending'
                      CONSTRAINT device_states_status CHECK (status IN ('pending', 'online', 'offline', 'fault')),
    fault_code        text,
    last_seen_at      timestamptz,
    battery_soc_pct   double precision,
    accounting_state  json,
    received          bigint NOT NULL DEFAULT 0,
    stored            bigint NOT NULL DEFAULT 0,
    duplicate         bigint NOT NULL DEFAULT 0,
    rejected          bigint NOT NULL DEFAULT 0,
    earns_from        timestamptz NOT NULL DEFAULT now(),
    capacity_approved boolean NOT NULL DEFAULT false,
    frozen            boolean NOT NULL DEFAULT false,
    flagged           boolean NOT NULL DEFAULT false,
    flags_due_from    timestamptz,
    flags_checked_at  timestamptz NOT NULL DEFAULT '-infinity',
    CONSTRAINT device_states_identity CHECK (received = stored + duplicate + rejected)
) WITH (fillfactor = 60);
CREATE INDEX device_states_online ON device_states (last_seen_at) WHERE status IN ('online', 'fault');
CREATE INDEX device_states_flags_due ON device_states (flags_checked_at) WHERE flags_due_from IS NOT NULL;

-- Measurements that a device sends in several messages, while they are incomplete (core/assembly.py).
-- closes_at: time after which the open measurement is completed without its missing parts.
-- Apart from `device_states`, whose row is locked while this is read and written: most devices have no row.
CREATE TABLE device_partials (
    device_id uuid PRIMARY KEY REFERENCES devices ON DELETE CASCADE,
    partial   jsonb NOT NULL,
    closes_at timestamptz
) WITH (fillfactor = 60);
CREATE INDEX device_partials_open ON device_partials (closes_at) WHERE closes_at IS NOT NULL;

-- State of a meter, by the identity that its firmware reports, when its last device was removed. A new
-- registration of the meter continues from there.
-- device_id: the removed device; its row may be deleted. last_at: time of the last reading in accounting_state.
CREATE TABLE meters (
    dialect          text NOT NULL,
    external_id      text NOT NULL,
    device_id        uuid NOT NULL,
    frozen           boolean NOT NULL,
    accounting_state json,
    last_at          timestamptz,
    partial          jsonb,
    PRIMARY KEY (dialect, external_id),
    CONSTRAINT meters_last_at CHECK ((accounting_state IS NULL) = (last_at IS NULL))
);

-- Suspicious energy of a device, with evidence, until an administrator decides about it.
CREATE TABLE flags (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id    uuid NOT NULL REFERENCES devices ON DELETE CASCADE,
    kind         text NOT NULL CONSTRAINT flags_kind
                 CHECK (kind IN ('earning_resets', 'night_generation', 'near_limit')),
    state        text NOT NULL DEFAULT 'open' CONSTRAINT flags_state CHECK (state IN ('open', 'confirmed')),
    energy_wh    numeric(16,3) NOT NULL,
    evidence     jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    confirmed_at timestamptz,
    confirmed_by uuid,
    CONSTRAINT flags_confirmed CHECK ((state = 'confirmed') = (confirmed_at IS NOT NULL))
);
CREATE UNIQUE INDEX flags_one_open ON flags (device_id, kind) WHERE state = 'open';
CREATE INDEX flags_device ON flags (device_id, id DESC);
CREATE INDEX flags_state_newest ON flags (state, id DESC);
