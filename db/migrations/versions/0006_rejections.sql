-- How many readings a record stands for: one, but for a message of a device that we don't know.
ALTER TABLE rejections
    ADD COLUMN readings integer NOT NULL DEFAULT 1 CONSTRAINT rejections_readings CHECK (readings > 0);

-- Of each device the newest records are kept, and of the others how many readings they stood for.
-- device_id is null for all devices that we don't know, together.
CREATE TABLE rejections_dropped (
    device_id uuid CONSTRAINT rejections_dropped_device_key UNIQUE NULLS NOT DISTINCT
              REFERENCES devices ON DELETE CASCADE,
    readings  bigint NOT NULL
);
