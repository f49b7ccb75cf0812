-- With TimescaleDB: hypertables in chunks of one day, columnstore, continuous aggregates.
SELECT create_hypertable('telemetry', by_range('time', INTERVAL '1 day'), create_default_indexes => false);
SELECT create_hypertable('energy_interval', by_range('slot_start', INTERVAL '1 day'), create_default_indexes => false);

-- Segmented by device: a late row, or a deleted device, then touches only its own part of a compressed chunk.
ALTER TABLE telemetry SET (timescaledb.compress,
    timescaledb.compress_segmentby = 'device_id', timescaledb.compress_orderby = 'time');
ALTER TABLE energy_interval SET (timescaledb.compress,
    timescaledb.compress_segmentby = 'device_id', timescaledb.compress_orderby = 'slot_start');

-- materialized_only = false: buckets that are not materialized yet are computed from readings.
CREATE MATERIALIZED VIEW telemetry_1h WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT device_id, time_bucket('1 hour', time) AS bucket,
       avg(power_w) AS power_w, max(power_w) AS power_max_w, avg(load_w) AS load_w,
       max(energy_wh) AS energy_wh, max(export_wh) AS export_wh, max(import_wh) AS import_wh,
       avg(battery_soc_pct) AS battery_soc_pct, count(*) AS readings
  FROM telemetry GROUP BY 1, 2 WITH NO DATA;
CREATE MATERIALIZED VIEW telemetry_1d WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT device_id, time_bucket('1 day', time) AS bucket,
       avg(power_w) AS power_w, max(power_w) AS power_max_w, avg(load_w) AS load_w,
       max(energy_wh) AS energy_wh, max(export_wh) AS export_wh, max(import_wh) AS import_wh,
       avg(battery_soc_pct) AS battery_soc_pct, count(*) AS readings
  FROM telemetry GROUP BY 1, 2 WITH NO DATA;

-- Set the policies for retention, compression and aggregates. `solarhub migrate` calls it each time.
-- Compression and aggregation wait until no late reading can change the data, plus one day: aggregates then
-- never lag behind readings, and ingestion never writes to a compressed chunk of telemetry.
-- Aggregates start where raw data end: a refresh of deleted raw data would delete the aggregates too.
-- Jobs run at 19:00 UTC, which is night in India.
CREATE FUNCTION apply_retention(retention_raw interval, late_horizon interval) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_settled interval := late_horizon + INTERVAL '1 day';
    v_tonight timestamptz := date_trunc('day', now(), 'UTC') + INTERVAL '19 hours';
    v_table   regclass;
BEGIN
    v_tonight := v_tonight + CASE WHEN now() < v_tonight THEN INTERVAL '0' ELSE INTERVAL '1 day' END;
    PERFORM remove_retention_policy('telemetry', if_exists => true);
    PERFORM add_retention_policy('telemetry', retention_raw,
                                 schedule_interval => INTERVAL '1 day', initial_start => v_tonight);
    FOREACH v_table IN ARRAY ARRAY['telemetry', 'energy_interval']::regclass[] LOOP
        PERFORM remove_compression_policy(v_table, if_exists => true);
        PERFORM add_compression_policy(v_table, v_settled,
                                       schedule_interval => INTERVAL '1 day', initial_start => v_tonight);
    END LOOP;
    FOREACH v_table IN ARRAY ARRAY['telemetry_1h', 'telemetry_1d']::regclass[] LOOP
        PERFORM remove_continuous_aggregate_policy(v_table, if_exists => true);
        PERFORM add_continuous_aggregate_policy(v_table, retention_raw, v_settled,
                                                schedule_interval => INTERVAL '1 day', initial_start => v_tonight);
    END LOOP;
END $$;
