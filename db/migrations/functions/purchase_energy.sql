-- Purchase energy: a batch of orders in one round trip and one transaction.
--
-- Each order is all or nothing. Orders are decided one after the other, in their order, with the money that
-- their buyers had before the first. Returns one row per order: the response, or the refusal.
-- No two orders of a batch may have the same buyer and key.
--
-- Lock order: listings by id, then wallets by user id. Idempotency keys are read under the lock of their
-- buyer's wallet, so that two orders with the same key never both see it missing.
CREATE OR REPLACE FUNCTION purchase_energy(
    p_buyer_ids uuid[], p_listing_ids uuid[], p_energies_kwh numeric[], p_max_prices_per_kwh numeric[],
    p_payment_method_ids uuid[], p_keys text[], p_request_hashes bytea[], p_fee_rate numeric,
    p_min_kwh numeric, p_lock_timeout_ms integer
) RETURNS TABLE (o_number integer, o_refusal text, o_facts jsonb, o_bought text, o_replayed boolean)
LANGUAGE plpgsql
-- One generic plan for batches of every size, by the indexes: the tables may be empty when it is made.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_ids         uuid[] := ARRAY(SELECT gen_random_uuid() FROM unnest(p_buyer_ids));
    v_listings    energy_listings[];
    v_listing_ids uuid[];
    v_wallets     wallets[];
    v_user_ids    uuid[];
    v_balances    numeric[];        -- what buyers can still spend
    v_final       numeric[];        -- what wallets hold at the end; null if none can reach the limit
    v_final_after numeric[];
    v_shares      revenue_shares[];
    v_order       purchase_order;
    v_listing     energy_listings;
    v_l           integer;          -- position of the order's listing
    v_u           integer;          -- position of the order's buyer
    v_total       numeric;
    v_refusal     record;
    v_sale        energy_transactions;
    v_sales       energy_transactions[];
BEGIN
    -- Lock: the listings, and every wallet that the orders may change.
    PERFORM set_config('lock_timeout', p_lock_timeout_ms::text, true);
    v_listings := lock_listings(p_listing_ids);
    v_listing_ids := ARRAY(SELECT id FROM unnest(v_listings));
    v_shares := revenue_shares_of_orders(v_ids, p_listing_ids, p_energies_kwh, p_fee_rate, v_listings);
    v_wallets := lock_wallets(p_buyer_ids || ARRAY(SELECT seller_id FROM unnest(v_listings))
                              || ARRAY(SELECT investor_id FROM unnest(v_shares) WHERE amount > 0));
    v_user_ids := ARRAY(SELECT user_id FROM unnest(v_wallets));
    v_balances := ARRAY(SELECT balance FROM unnest(v_wallets));
    -- A wallet gets at most what all buyers have together. Only very large balances can reach the limit.
    IF (SELECT max(balance) FROM unnest(v_wallets)) * (1 + cardinality(p_buyer_ids)) > balance_max() THEN
        v_final := v_balances;
    END IF;

    -- Decide: each order by itself, after those before it.
    FOR v_order IN
        SELECT o.id, o.number, o.buyer_id, (SELECT is_active FROM users WHERE id = o.buyer_id),
               o.listing_id, o.energy_kwh, o.max_price_per_kwh, o.payment_method_id,
               (SELECT user_id FROM payment_methods WHERE id = o.payment_method_id),
               o.request_hash,
               (SELECT k FROM idempotency_keys k
                 WHERE user_id = o.buyer_id AND operation = 'purchase' AND key = o.key)
          FROM unnest(v_ids, p_buyer_ids, p_listing_ids, p_energies_kwh, p_max_prices_per_kwh,
                      p_payment_method_ids, p_keys, p_request_hashes) WITH ORDINALITY
               AS o (id, buyer_id, listing_id, energy_kwh, max_price_per_kwh,
                     payment_method_id, key, request_hash, number)
         ORDER BY o.number
    LOOP
        o_number := v_order.number;
        o_refusal := NULL;
        o_facts := NULL;
        o_bought := NULL;
        o_replayed := false;
        v_l := array_position(v_listing_ids, v_order.listing_id);
        v_u := array_position(v_user_ids, v_order.buyer_id);
        v_listing := v_listings[v_l];
        v_total := round(v_listing.price_per_kwh * v_order.energy_kwh, 2);
        IF v_order.buyer_is_active IS NOT TRUE THEN
            o_refusal := 'account_inactive';
        ELSIF (v_order.earlier).request_hash <> v_order.request_hash THEN
            o_refusal := 'idempotency_key_reused';
        ELSIF (v_order.earlier).result_id IS NOT NULL THEN
            o_replayed := true;
            o_bought := (SELECT purchase_text(t) FROM energy_transactions t WHERE id = (v_order.earlier).result_id);
        ELSE
            v_refusal := purchase_refusal(v_order, v_listing, v_total, v_balances[v_u], p_min_kwh);
            o_refusal := v_refusal.o_refusal;
            o_facts := v_refusal.o_facts;
        END IF;
        IF o_refusal IS NULL AND NOT o_replayed THEN
            v_sale := sale_of_order(v_order, v_listing, v_total, p_fee_rate, v_shares);
            IF v_final IS NOT NULL THEN
                v_final_after := balances_after(v_sale, v_shares, v_user_ids, v_final);
                IF balance_max() < ANY (v_final_after) THEN
                    o_refusal := 'payee_wallet_limit';
                    o_facts := jsonb_build_object('at_most', balance_max()::text);
                ELSE
                    v_final := v_final_after;
                END IF;
            END IF;
        END IF;
        IF o_refusal IS NOT NULL OR o_replayed THEN
            RETURN NEXT;
            CONTINUE;
        END IF;

        -- What the order leaves to those after it.
        v_balances[v_u] := v_balances[v_u] - v_total;
        v_listing.energy_amount_kwh := v_listing.energy_amount_kwh - v_order.energy_kwh;
        IF v_listing.energy_amount_kwh = 0 THEN
            v_listing.status := 'sold';
        END IF;
        v_listings[v_l] := v_listing;
        v_sales := v_sales || v_sale;
    END LOOP;

    -- Record: what was bought.
    IF v_sales IS NULL THEN
        RETURN;
    END IF;
    PERFORM record_purchases(v_sales, v_shares);
    INSERT INTO idempotency_keys (user_id, operation, key, request_hash, result_id)
    SELECT sale.buyer_id, 'purchase', p_keys[n], p_request_hashes[n], sale.id
      FROM unnest(v_sales) AS sale, array_position(v_ids, sale.id) AS n WHERE p_keys[n] IS NOT NULL;
    RETURN QUERY
    SELECT array_position(v_ids, sale.id), NULL, NULL::jsonb, purchase_text(sale), false FROM unnest(v_sales) AS sale;
END $$;
