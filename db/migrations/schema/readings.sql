-- Readings, the energy per slot that they give, and rejections.

-- No foreign key to devices: it would look up and lock the device for every reading. A batch holds the lock
-- of the device's state, and stores nothing without that row. `delete_telemetry` deletes the readings with it.
-- parts: counters of a device that has several, in Wh, by key (core/readings.py). It is json, not jsonb,
-- because only interval accounting reads it.
-- counts_since: start of the counter, as the device reports it.
CREATE TABLE telemetry (
    device_id       uuid NOT NULL,
    time            timestamptz NOT NULL,
    power_w         double precision,
    energy_wh       double precision,
    export_wh       double precision,
    import_wh       double precision,
    load_w          double precision,
    voltage_v       double precision,
    current_a       double precision,
    frequency_hz    double precision,
    temperature_c   double precision,
    battery_soc_pct double precision,
    parts           json,
    counts_since    timestamptz,
    PRIMARY KEY (device_id, time)
);

-- early_wh: part of surplus_wh from before the device's earns_from, where that time is inside the slot.
CREATE TABLE energy_interval (
    device_id    uuid NOT NULL REFERENCES devices ON DELETE CASCADE,
    slot_start   timestamptz NOT NULL,
    generated_wh numeric(14,3) NOT NULL CONSTRAINT energy_interval_generated CHECK (generated_wh >= 0),
    surplus_wh   numeric(14,3) NOT NULL CONSTRAINT energy_interval_surplus CHECK (surplus_wh >= 0),
    early_wh     numeric(14,3),
    quality      text NOT NULL CONSTRAINT energy_interval_quality
                 CHECK (quality IN ('measured', 'interpolated', 'estimated', 'missing', 'rejected')),
    reasons      text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (device_id, slot_start),
    CONSTRAINT energy_interval_slot CHECK (date_bin('15 minutes', slot_start, '2000-01-01Z') = slot_start)
);

-- Accounting state before the first reading of a slot. Accounting of late readings starts from there.
CREATE TABLE accounting_checkpoints (
    device_id        uuid NOT NULL REFERENCES devices ON DELETE CASCADE,
    slot_start       timestamptz NOT NULL,
    accounting_state json NOT NULL,
    PRIMARY KEY (device_id, slot_start)
);

-- One row. Before this day, only one checkpoint per day and device is retained.
CREATE TABLE checkpoint_thinning (
    only_one      boolean PRIMARY KEY DEFAULT true CONSTRAINT checkpoint_thinning_only_one CHECK (only_one),
    thinned_until timestamptz NOT NULL
);
INSERT INTO checkpoint_thinning (thinned_until) VALUES (date_trunc('day', now() - interval '8 days', 'UTC'));

-- Times at which a device's readings changed while its intervals did not yet: a reading came late, or was deleted.
-- accounted: the intervals contain a reading of that time, and this row has its values.
-- id: rises with each change, under the lock of the device's state.
CREATE TABLE unaccounted_readings (
    device_id    uuid NOT NULL REFERENCES device_states ON DELETE CASCADE,
    time         timestamptz NOT NULL,
    id           bigint GENERATED ALWAYS AS IDENTITY,
    accounted    boolean NOT NULL,
    power_w      double precision,
    energy_wh    double precision,
    export_wh    double precision,
    parts        json,
    counts_since timestamptz,
    PRIMARY KEY (device_id, time)
);

-- Rejected messages, with the reason. device_id is null if the topic names no known device.
-- readings: how many readings the record stands for. It is 1, except for messages of unknown devices.
CREATE TABLE rejections (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id   uuid REFERENCES devices ON DELETE CASCADE,
    topic       text NOT NULL,
    payload     bytea NOT NULL CONSTRAINT rejections_payload CHECK (length(payload) <= 4096),
    reason      text NOT NULL,
    readings    integer NOT NULL DEFAULT 1 CONSTRAINT rejections_readings CHECK (readings > 0),
    time        timestamptz,
    received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX rejections_device_newest ON rejections (device_id, id DESC);

-- Number of readings in records that retention deleted. Only the newest records of a device are retained.
-- device_id is null for all unknown devices together.
CREATE TABLE rejections_dropped (
    device_id uuid CONSTRAINT rejections_dropped_device_key UNIQUE NULLS NOT DISTINCT
              REFERENCES devices ON DELETE CASCADE,
    readings  bigint NOT NULL
);
