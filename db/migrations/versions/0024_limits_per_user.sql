-- A listing's exact place is its seller's to know. What everybody is shown, and all that is computed
-- from it (distances, circles, prices), is the place to 0.01 degrees, unless the seller makes it public.
DROP INDEX energy_listings_place;
ALTER TABLE energy_listings RENAME COLUMN latitude TO exact_latitude;
ALTER TABLE energy_listings RENAME COLUMN longitude TO exact_longitude;
ALTER TABLE energy_listings
    ADD COLUMN exact_location boolean NOT NULL DEFAULT false,
    ADD COLUMN latitude double precision NOT NULL
        GENERATED ALWAYS AS (CASE WHEN exact_location THEN exact_latitude ELSE shown_degrees(exact_latitude) END) STORED,
    ADD COLUMN longitude double precision NOT NULL
        GENERATED ALWAYS AS (CASE WHEN exact_location THEN exact_longitude ELSE shown_degrees(exact_longitude) END) STORED;
CREATE INDEX energy_listings_place ON energy_listings USING gist (point(longitude, latitude)) WHERE status = 'active';

-- How a reader is shown a listing. Null is everybody: the feed, and whoever buys.
CREATE FUNCTION listing_text(l energy_listings, reader_id uuid) RETURNS text LANGUAGE sql STABLE
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
    ',"latitude":', CASE WHEN l.seller_id = reader_id THEN l.exact_latitude ELSE l.latitude END,
    ',"longitude":', CASE WHEN l.seller_id = reader_id THEN l.exact_longitude ELSE l.longitude END,
    ',"exact_location":', CASE WHEN l.exact_location THEN 'true' ELSE 'false' END,
    ',"available_from":"', rfc3339(l.available_from), '","available_to":"', rfc3339(l.available_to),
    '","version":', l.version,
    ',"created_at":"', rfc3339(l.created_at), '","updated_at":"', rfc3339(l.updated_at), '"}');

CREATE OR REPLACE FUNCTION listing_text(l energy_listings) RETURNS text LANGUAGE sql STABLE
RETURN listing_text(l, NULL::uuid);

-- What quotas count.
CREATE INDEX energy_listings_open_of_seller ON energy_listings (seller_id) WHERE status IN ('active', 'paused', 'sold');
CREATE INDEX refresh_tokens_good ON refresh_tokens (user_id) WHERE used_at IS NULL AND revoked_at IS NULL;

-- What finds what is over, oldest first, to delete it.
CREATE INDEX idempotency_keys_oldest ON idempotency_keys (created_at);
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);
CREATE INDEX refresh_tokens_revoked ON refresh_tokens (revoked_at) WHERE revoked_at IS NOT NULL;
