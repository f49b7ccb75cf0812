-- With TimescaleDB: hypertables in one-day chunks, compressed once they are behind the late horizon.
SELECT create_hypertable('telemetry', by_range('time', INTERVAL '1 day'), create_default_indexes => false);
SELECT create_hypertable('energy_interval', by_range('slot_start', INTERVAL '1 day'), create_default_indexes => false);

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
