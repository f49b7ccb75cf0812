-- Return the investors' shares of every order in a batch, as if each were bought. Null if there are none.
-- p_ids: id of each order's transaction. Orders over the limit of a balance are left out: nobody can pay them.
CREATE OR REPLACE FUNCTION revenue_shares_of_orders(
    p_ids uuid[], p_listing_ids uuid[], p_energies_kwh numeric[], p_fee_rate numeric, p_listings energy_listings[]
) RETURNS revenue_shares[] LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- Most sellers have no investors: skip the allocation.
    IF NOT EXISTS (SELECT FROM unnest(p_listings) AS l JOIN devices d ON d.owner_id = l.seller_id WHERE d.funded > 0) THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT array_agg(share)
          FROM unnest(p_listings) AS l
          JOIN unnest(p_ids, p_listing_ids, p_energies_kwh) AS o (id, listing_id, energy_kwh) ON o.listing_id = l.id,
               round(l.price_per_kwh * o.energy_kwh, 2) AS total,
               allocate_revenue(o.id, device_of_investors(l), total - platform_fee(total, p_fee_rate)) AS share
         WHERE total <= balance_max());
END $$;
