-- Return the hub's time, in place of now(): at the start of the transaction.
-- It is the real time, unless a demonstration or a test has set solarhub.clock for its database (db/clock.py).
-- PostgreSQL inlines the function: it costs what now() costs, and a lookup of the setting.
CREATE OR REPLACE FUNCTION hub_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN coalesce(current_setting('solarhub.clock', true), '') = '' THEN now()
            ELSE hub_time(now(), current_setting('solarhub.clock')) END;
