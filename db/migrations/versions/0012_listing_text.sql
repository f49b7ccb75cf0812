-- How a listing is shown, as text: the same members, put together at a third of what jsonb takes.
-- Nothing in it is free text, so nothing of it is to be escaped. A null is no part of a concat.
CREATE FUNCTION listing_text(l energy_listings) RETURNS text LANGUAGE sql STABLE
RETURN concat(
    '{"id":"', l.id, '","seller_id":"', l.seller_id,
    '","device_id":', coalesce('"' || l.device_id || '"', 'null'),
    ',"energy_amount_kwh":"', l.energy_amount_kwh, '","sold_kwh":"', l.sold_kwh,
    '","price_per_kwh":"', l.price_per_kwh, '","status":"', l.status,
    '","auto_adjust":', CASE WHEN l.auto_adjust THEN 'true' ELSE 'false' END,
    ',"pricing":"', l.pricing,
    '","price_floor":', coalesce('"' || l.price_floor || '"', 'null'),
    ',"price_cap":', coalesce('"' || l.price_cap || '"', 'null'),
    ',"reserve_soc_pct":', coalesce(l.reserve_soc_pct::text, 'null'),
    ',"latitude":', l.latitude, ',"longitude":', l.longitude,
    ',"available_from":"', rfc3339(l.available_from), '","available_to":"', rfc3339(l.available_to),
    '","version":', l.version,
    ',"created_at":"', rfc3339(l.created_at), '","updated_at":"', rfc3339(l.updated_at), '"}');

CREATE OR REPLACE FUNCTION listing_json(l energy_listings) RETURNS jsonb LANGUAGE sql STABLE
RETURN listing_text(l)::jsonb;
