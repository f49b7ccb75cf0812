-- Write an event about a listing to the outbox.
CREATE OR REPLACE FUNCTION announce_listing(event_type text, l energy_listings) RETURNS void LANGUAGE sql AS $$
    INSERT INTO outbox (type, channels, data)
    VALUES (event_type, ARRAY['listings', 'listing:' || l.id], listing_json(l));
$$;
