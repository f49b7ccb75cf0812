-- Without TimescaleDB: views with the names and columns of its continuous aggregates.
CREATE VIEW telemetry_1h AS
SELECT device_id, date_bin('1 hour', time, '2000-01-01Z') AS bucket,
       avg(power_w) AS power_w, max(power_w) AS power_max_w, avg(load_w) AS load_w,
       max(energy_wh) AS energy_wh, max(export_wh) AS export_wh, max(import_wh) AS import_wh,
       avg(battery_soc_pct) AS battery_soc_pct, count(*) AS readings
  FROM telemetry GROUP BY 1, 2;
CREATE VIEW telemetry_1d AS
SELECT device_id, date_bin('1 day', time, '2000-01-01Z') AS bucket,
       avg(power_w) AS power_w, max(power_w) AS power_max_w, avg(load_w) AS load_w,
       max(energy_wh) AS energy_wh, max(export_wh) AS export_wh, max(import_wh) AS import_wh,
       avg(battery_soc_pct) AS battery_soc_pct, count(*) AS readings
  FROM telemetry GROUP BY 1, 2;

-- Plain tables retain everything: they have no chunks to compress or to drop.
CREATE FUNCTION apply_retention(retention_raw interval, late_horizon interval) RETURNS void LANGUAGE sql
RETURN NULL;
