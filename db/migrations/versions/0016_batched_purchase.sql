DROP FUNCTION purchase_energy(uuid, uuid, numeric, numeric, uuid, numeric, text, bytea);
DROP FUNCTION refuse(text, jsonb);

-- How a transaction is shown, as text like a listing; and as what a purchase is answered with.
CREATE FUNCTION transaction_text(t energy_transactions) RETURNS text LANGUAGE sql STABLE
RETURN concat(
    '{"id":"', t.id,
    '","listing_id":', coalesce('"' || t.listing_id || '"', 'null'),
    ',"buyer_id":', coalesce('"' || t.buyer_id || '"', 'null'),
    ',"seller_id":', coalesce('"' || t.seller_id || '"', 'null'),
    ',"payment_method_id":', coalesce('"' || t.payment_method_id || '"', 'null'),
    ',"energy_kwh":"', t.energy_kwh, '","price_per_kwh":"', t.price_per_kwh,
    '","total_price":"', t.total_price, '","platform_fee":"', t.platform_fee,
    '","seller_amount":"', t.seller_amount, '","investor_amount":"', t.investor_amount,
    '","status":"', t.status, '","created_at":"', rfc3339(t.created_at), '"}');

CREATE OR REPLACE FUNCTION transaction_json(t energy_transactions) RETURNS jsonb LANGUAGE sql STABLE
RETURN transaction_text(t)::jsonb;

CREATE FUNCTION purchase_text(t energy_transactions) RETURNS text LANGUAGE sql STABLE
RETURN concat(left(transaction_text(t), -1), ',"listing":',
              coalesce((SELECT listing_text(l) FROM energy_listings l WHERE l.id = t.listing_id), 'null'), '}');

-- The money, the energy and the news of sales that were decided on, their listings and wallets locked.
CREATE FUNCTION record_sales(p_sales energy_transactions[], p_shares revenue_shares[])
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
           SET sold_kwh = sold_kwh + taken.energy_kwh, version = version + 1, updated_at = now(),
               status = CASE WHEN energy_amount_kwh = taken.energy_kwh THEN 'sold' ELSE status END
          FROM (SELECT listing_id, sum(energy_kwh) AS energy_kwh FROM unnest(p_sales) GROUP BY listing_id) AS taken
         WHERE l.id = taken.listing_id RETURNING l AS listing
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

-- Purchases, each all or nothing, in one round trip and one transaction: as if one after the other, in their
-- order, with the money that their buyers had before the first. One outcome each: the answer, or why not.
-- No two with the same buyer and key. Lock order: listings by id, then wallets by user id. Keys are looked
-- up under their buyer's lock. FOR NO KEY UPDATE: rows that refer to the locked ones may still be written.
CREATE FUNCTION purchase_energy(
    p_buyer_ids uuid[], p_listing_ids uuid[], p_energies_kwh numeric[], p_max_prices_per_kwh numeric[],
    p_payment_method_ids uuid[], p_keys text[], p_request_hashes bytea[], p_fee_rate numeric,
    p_lock_timeout_ms integer
) RETURNS TABLE (o_number integer, o_refusal text, o_facts jsonb, o_bought text, o_replayed boolean)
LANGUAGE plpgsql
-- Planned once for a batch of any size, by the indexes: its tables may be empty when it is.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_ids         uuid[];
    v_listing_ids uuid[];
    v_listings    energy_listings[];
    v_user_ids    uuid[];
    v_balances    numeric[];
    v_shares      revenue_shares[];
    v_order       record;
    v_listing     energy_listings;
    v_total       numeric(14,2);
    v_fee         numeric(14,2);
    v_invested    numeric(14,2);
    v_sale        energy_transactions;
    v_sales       energy_transactions[];
BEGIN
    PERFORM set_config('lock_timeout', p_lock_timeout_ms::text, true);

    -- The listings, as they are when it is our turn.
    SELECT array_agg(l.id), array_agg(l) INTO v_listing_ids, v_listings
      FROM (SELECT DISTINCT unnest(p_listing_ids) AS id ORDER BY id) AS wanted,
           LATERAL (SELECT * FROM energy_listings WHERE id = wanted.id FOR NO KEY UPDATE) AS l;

    -- What the investors in their devices get of each sale.
    SELECT array_agg(gen_random_uuid()) INTO v_ids FROM unnest(p_buyer_ids);
    SELECT array_agg(dealt) INTO v_shares
      FROM unnest(v_listings) AS l
      JOIN unnest(v_ids, p_listing_ids, p_energies_kwh) AS o (id, listing_id, energy_kwh) ON o.listing_id = l.id,
           round(l.price_per_kwh * o.energy_kwh, 2) AS total,
           deal_out(o.id, l.device_id, total - round(total * p_fee_rate, 2)) AS dealt
     WHERE l.device_id IS NOT NULL;

    -- Every wallet that they may move.
    SELECT array_agg(user_id), array_agg(balance) INTO v_user_ids, v_balances
      FROM (SELECT user_id, balance FROM wallets
             WHERE user_id = ANY (p_buyer_ids || ARRAY(SELECT seller_id FROM unnest(v_listings))
                                  || ARRAY(SELECT investor_id FROM unnest(v_shares) WHERE amount > 0))
             ORDER BY user_id FOR NO KEY UPDATE) AS held;

    FOR v_order IN
        SELECT o.*, array_position(v_listing_ids, o.listing_id) AS l, array_position(v_user_ids, o.buyer_id) AS u,
               (SELECT is_active FROM users WHERE id = o.buyer_id) AS is_active,
               (SELECT user_id FROM payment_methods WHERE id = o.payment_method_id) AS pays_by_method_of,
               (SELECT k FROM idempotency_keys k
                 WHERE user_id = o.buyer_id AND operation = 'purchase' AND key = o.key) AS earlier
          FROM unnest(v_ids, p_buyer_ids, p_listing_ids, p_energies_kwh, p_max_prices_per_kwh,
                      p_payment_method_ids, p_keys, p_request_hashes) WITH ORDINALITY
               AS o (id, buyer_id, listing_id, energy_kwh, max_price_per_kwh,
                     payment_method_id, key, request_hash, number)
         ORDER BY o.number
    LOOP
        v_listing := v_listings[v_order.l];
        v_total := round(v_listing.price_per_kwh * v_order.energy_kwh, 2);
        v_fee := round(v_total * p_fee_rate, 2);
        o_number := v_order.number;
        o_refusal := NULL;
        o_facts := NULL;
        o_bought := NULL;
        o_replayed := false;
        IF v_order.is_active IS NOT TRUE THEN
            o_refusal := 'account_inactive';
        ELSIF (v_order.earlier).request_hash <> v_order.request_hash THEN
            o_refusal := 'idempotency_key_reused';
        ELSIF (v_order.earlier).result_id IS NOT NULL THEN
            o_replayed := true;
            o_bought := (SELECT purchase_text(t) FROM energy_transactions t WHERE id = (v_order.earlier).result_id);
        ELSIF v_order.payment_method_id IS NOT NULL AND v_order.pays_by_method_of IS DISTINCT FROM v_order.buyer_id THEN
            o_refusal := 'payment_method_not_found';
        ELSIF v_order.l IS NULL THEN
            o_refusal := 'listing_not_found';
        ELSIF v_listing.seller_id = v_order.buyer_id THEN
            o_refusal := 'own_listing';
        ELSIF v_listing.status <> 'active' THEN
            o_refusal := 'listing_not_active';
            o_facts := jsonb_build_object('status', v_listing.status);
        ELSIF clock_timestamp() < v_listing.available_from OR clock_timestamp() >= v_listing.available_to THEN
            o_refusal := 'outside_window';
            o_facts := jsonb_build_object(
                'available_from', rfc3339(v_listing.available_from), 'available_to', rfc3339(v_listing.available_to));
        ELSIF v_listing.energy_amount_kwh < v_order.energy_kwh THEN
            o_refusal := 'insufficient_energy';
            o_facts := jsonb_build_object(
                'asked_kwh', v_order.energy_kwh::text, 'left_kwh', v_listing.energy_amount_kwh::text);
        ELSIF v_listing.price_per_kwh > v_order.max_price_per_kwh THEN
            o_refusal := 'price_changed';
            o_facts := jsonb_build_object('price_per_kwh', v_listing.price_per_kwh::text);
        ELSIF v_total = 0 THEN
            o_refusal := 'purchase_too_small';
            o_facts := jsonb_build_object('price_per_kwh', v_listing.price_per_kwh::text);
        ELSIF v_balances[v_order.u] IS NULL OR v_balances[v_order.u] < v_total THEN
            o_refusal := 'insufficient_balance';
            o_facts := jsonb_build_object('total_price', v_total::text);
        END IF;
        IF o_refusal IS NOT NULL OR o_replayed THEN
            RETURN NEXT;
            CONTINUE;
        END IF;

        -- What it leaves to those behind it.
        v_balances[v_order.u] := v_balances[v_order.u] - v_total;
        v_listing.energy_amount_kwh := v_listing.energy_amount_kwh - v_order.energy_kwh;
        IF v_listing.energy_amount_kwh = 0 THEN
            v_listing.status := 'sold';
        END IF;
        v_listings[v_order.l] := v_listing;

        v_invested := 0;
        IF v_shares IS NOT NULL THEN
            v_invested := (SELECT coalesce(sum(amount), 0) FROM unnest(v_shares) WHERE transaction_id = v_order.id);
        END IF;
        v_sale.id := v_order.id;
        v_sale.listing_id := v_order.listing_id;
        v_sale.buyer_id := v_order.buyer_id;
        v_sale.seller_id := v_listing.seller_id;
        v_sale.payment_method_id := v_order.payment_method_id;
        v_sale.transfer_id := gen_random_uuid();
        v_sale.energy_kwh := v_order.energy_kwh;
        v_sale.price_per_kwh := v_listing.price_per_kwh;
        v_sale.total_price := v_total;
        v_sale.platform_fee := v_fee;
        v_sale.seller_amount := v_total - v_fee;
        v_sale.investor_amount := v_invested;
        v_sale.status := 'completed';
        v_sale.created_at := now();
        v_sales := v_sales || v_sale;
    END LOOP;
    IF v_sales IS NULL THEN
        RETURN;
    END IF;

    PERFORM record_sales(v_sales, v_shares);
    INSERT INTO idempotency_keys (user_id, operation, key, request_hash, result_id)
    SELECT sale.buyer_id, 'purchase', p_keys[n], p_request_hashes[n], sale.id
      FROM unnest(v_sales) AS sale, array_position(v_ids, sale.id) AS n WHERE p_keys[n] IS NOT NULL;
    RETURN QUERY
    SELECT array_position(v_ids, sale.id), NULL, NULL::jsonb, purchase_text(sale), false FROM unnest(v_sales) AS sale;
END $$;
