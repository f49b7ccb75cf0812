-- Return a listing as the feed shows it, for an event.
CREATE FUNCTION listing_json(l energy_listings) RETURNS jsonb LANGUAGE sql STABLE
RETURN listing_text(l)::jsonb;
