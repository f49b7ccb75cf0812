-- Devices whose firmware writes local times without saying of which zone.
ALTER TABLE devices ADD COLUMN time_zone text NOT NULL DEFAULT 'Asia/Kolkata';

-- What is known of a device that tells a measurement in parts (core/assembly.py). Apart from device_states,
-- whose row is locked while this is read and written: most devices have none.
-- closes_at: when no more of the open measurement is awaited.
CREATE TABLE device_partials (
    device_id uuid PRIMARY KEY REFERENCES devices ON DELETE CASCADE,
    partial   jsonb NOT NULL,
    closes_at timestamptz
) WITH (fillfactor = 60);
CREATE INDEX device_partials_open ON device_partials (closes_at) WHERE closes_at IS NOT NULL;
