-- Times at which a device's readings changed, but its intervals did not yet: a reading came late, or was taken
-- back. accounted: whether the intervals hold a reading of that time, which is this one. id rises with each change,
-- under the lock of the device's state.
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

-- One row: before this day, one checkpoint a day is left of each device.
CREATE TABLE checkpoint_thinning (
    only_one      boolean PRIMARY KEY DEFAULT true CONSTRAINT checkpoint_thinning_only_one CHECK (only_one),
    thinned_until timestamptz NOT NULL
);
INSERT INTO checkpoint_thinning (thinned_until)
SELECT date_trunc('day', coalesce(min(slot_start), now() - interval '8 days'), 'UTC') FROM accountant_checkpoints;
