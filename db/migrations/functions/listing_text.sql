-- Return a listing as REST shows it, as JSON text. A null reader_id stands for everybody but the seller.
CREATE OR REPLACE FUNCTION listing_text(l energy_listings, reader_id uuid) RETURNS text LANGUAGE sql STABLE
RETURN concat('{', listing_members(l, reader_id), '}');
