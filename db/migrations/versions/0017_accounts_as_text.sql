-- Nobody but the ingester looks into an account: as text it is neither taken apart nor put together here.
-- Instants were microseconds since 1970.
CREATE FUNCTION pg_temp.with_instants(value jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_object_agg(key, CASE
               WHEN jsonb_typeof(v) = 'object' THEN pg_temp.with_instants(v)
               WHEN jsonb_typeof(v) = 'number' AND (key = 'at' OR key LIKE '%\_at') THEN
                   to_jsonb(rfc3339('1970-01-01Z'::timestamptz + v::bigint * interval '1 microsecond'))
               ELSE v END)
      FROM jsonb_each(value) AS member (key, v)
$$;
ALTER TABLE device_states ALTER COLUMN accountant TYPE json USING pg_temp.with_instants(accountant)::json;
ALTER TABLE accountant_checkpoints ALTER COLUMN accountant TYPE json USING pg_temp.with_instants(accountant)::json;
