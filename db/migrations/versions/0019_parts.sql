-- parts: what each counter of a device with several shows, in Wh, by its key (core/readings.py). As text:
-- nobody but the accountant looks into it. counts_since: since when the device says that its counter counts.
ALTER TABLE telemetry ADD COLUMN parts json;
ALTER TABLE telemetry ADD COLUMN counts_since timestamptz;

-- Accounts hold their counters by key.
CREATE FUNCTION pg_temp.by_key(account jsonb) RETURNS json LANGUAGE sql AS $$
    SELECT (account - 'energy' - 'export' || jsonb_build_object('counters', jsonb_strip_nulls(
               jsonb_build_object('energy_wh', account->'energy', 'export_wh', account->'export'))))::json
$$;
UPDATE device_states SET accountant = pg_temp.by_key(accountant::jsonb) WHERE accountant IS NOT NULL;
UPDATE accountant_checkpoints SET accountant = pg_temp.by_key(accountant::jsonb);

-- Sums of parts wait for nothing any more, and since when a counter counts stands in each reading.
UPDATE device_partials SET partial = partial - ARRAY['fresh', 'gone', 'offsets', 'counting_since'];
