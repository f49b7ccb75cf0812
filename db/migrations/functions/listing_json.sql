-- Return a listing as events show it to everybody.
CREATE OR REPLACE FUNCTION listing_json(l energy_listings) RETURNS jsonb LANGUAGE sql STABLE
RETURN listing_text(l, NULL)::jsonb;
