-- Record purchases that were decided, while their listings and wallets are locked: the transfers, the
-- transactions, the investors' shares, the balances, the listings and the events.
CREATE OR REPLACE FUNCTION record_purchases(p_sales energy_transactions[], p_shares revenue_shares[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_transfers (id, kind, reference_id) SELECT transfer_id, 'purchase', id FROM unnest(p_sales);
    INSERT INTO energy_transactions SELECT * FROM unnest(p_sales);
    IF p_shares IS NOT NULL THEN
        INSERT INTO revenue_shares
        SELECT share.* FROM unnest(p_sales) AS sale JOIN unnest(p_shares) AS share ON share.transaction_id = sale.id;
    END IF;

    WITH moved AS (
        SELECT transfer_id, buyer_id AS user_id, -total_price AS amount FROM unnest(p_sales)
         UNION ALL
        SELECT transfer_id, seller_id, seller_amount - investor_amount FROM unnest(p_sales)
         WHERE seller_amount > investor_amount
         UNION ALL
        SELECT sale.transfer_id, share.investor_id, sum(share.amount)
          FROM unnest(p_shares) AS share JOIN unnest(p_sales) AS sale ON sale.id = share.transaction_id
         WHERE share.amount > 0 GROUP BY sale.transfer_id, share.investor_id
    ), entries AS (
        INSERT INTO ledger_entries (transfer_id, account, amount)
        SELECT transfer_id, 'wallet:' || user_id, amount FROM moved
         UNION ALL
        SELECT transfer_id, 'platform:fees', platform_fee FROM unnest(p_sales) WHERE platform_fee > 0
    ), changed_wallets AS (
        UPDATE wallets w SET balance = balance + change.amount
          FROM (SELECT user_id, sum(amount) AS amount FROM moved GROUP BY user_id) AS change
         WHERE w.user_id = change.user_id RETURNING w AS wallet
    ), changed_listings AS (
        UPDATE energy_listings l
           SET sold_kwh = sold_kwh + bought.energy_kwh, version = version + 1, updated_at = hub_now(),
               status = CASE WHEN energy_amount_kwh = bought.energy_kwh THEN 'sold' ELSE status END
          FROM (SELECT listing_id, sum(energy_kwh) AS energy_kwh FROM unnest(p_sales) GROUP BY listing_id) AS bought
         WHERE l.id = bought.listing_id RETURNING l AS listing
    )
    INSERT INTO outbox (type, channels, data)
    SELECT CASE (listing).status WHEN 'sold' THEN 'listing.sold' ELSE 'listing.updated' END,
           ARRAY['listings', 'listing:' || (listing).id], listing_json(listing) FROM changed_listings
     UNION ALL
    SELECT 'purchase.completed', ARRAY['user:' || buyer_id, 'user:' || seller_id, 'admin'],
           transaction_json(sale) FROM unnest(p_sales) AS sale
     UNION ALL
    SELECT 'wallet.updated', ARRAY['user:' || (wallet).user_id], wallet_json(wallet) FROM changed_wallets;
END $$;
