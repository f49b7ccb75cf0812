-- Return the device whose investors share the revenue of a sale from this listing.
-- The listing's own device, if the listing follows its meter or the device is funded. For other listings no
-- meter shows where the energy comes from: it is the seller's funded device that owes its investors most, so
-- that nobody avoids the share by stating energy.
CREATE OR REPLACE FUNCTION device_of_investors(l energy_listings) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN l.auto_adjust OR EXISTS (SELECT FROM devices WHERE id = l.device_id AND funded > 0)
                THEN l.device_id
                ELSE (SELECT id FROM devices
                       WHERE owner_id = l.seller_id AND funded > 0 AND deleted_at IS NULL
                       ORDER BY revenue_share * funded / funding_target DESC, id LIMIT 1) END
$$;
