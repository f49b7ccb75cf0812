-- Return the hub's time, in place of clock_timestamp(): at the moment of the call. See hub_now.
CREATE OR REPLACE FUNCTION hub_clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN CASE WHEN coalesce(current_setting('solarhub.clock', true), '') = '' THEN clock_timestamp()
            ELSE hub_time(clock_timestamp(), current_setting('solarhub.clock')) END;
