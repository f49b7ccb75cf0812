-- Fees -----------------------------------------------------------------------------------------

-- A paisa at least where there is a rate, never more than the total: core/revenue.py.
CREATE FUNCTION platform_fee(total numeric, rate numeric) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN rate > 0 THEN least(total, greatest(round(total * rate, 2), 0.01)) ELSE 0.00 END;

-- Investors ------------------------------------------------------------------------------------

CREATE INDEX devices_funded_owner ON devices (owner_id) WHERE funded > 0;

-- Whose investors a sale from a listing pays. No meter tells where energy comes from that is only stated: it
-- is that of the device that the listing names, if it is funded, else of the funded device of the seller's
-- that owes its investors most, so that nobody sells past them.
CREATE FUNCTION device_of_investors(l energy_listings) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN l.auto_adjust OR EXISTS (SELECT FROM devices WHERE id = l.device_id AND funded > 0)
                THEN l.device_id
                ELSE (SELECT id FROM devices
                       WHERE owner_id = l.seller_id AND funded > 0 AND deleted_at IS NULL
                       ORDER BY revenue_share * funded / funding_target DESC, id LIMIT 1) END
$$;

-- Limits ---------------------------------------------------------------------------------------

-- Sums of many listings have no limit of their own.
ALTER TABLE neighbourhood_prices
    ALTER COLUMN offered_kwh TYPE numeric,
    ALTER COLUMN wanted_kwh  TYPE numeric;

CREATE INDEX payment_orders_user_pending ON payment_orders (user_id) WHERE status = 'pending';

-- Balances, each in the place of its user, as a sale leaves them.
CREATE FUNCTION balances_after(
    p_sale_id uuid, p_buyer_id uuid, p_seller_id uuid, p_total numeric, p_sellers_part numeric,
    p_shares revenue_shares[], p_user_ids uuid[], p_balances numeric[]
) RETURNS numeric[] LANGUAGE sql STABLE AS $$
    WITH moved (user_id, amount) AS (
        SELECT p_buyer_id, -p_total
         UNION ALL SELECT p_seller_id, p_sellers_part
         UNION ALL SELECT investor_id, amount FROM unnest(p_shares) WHERE transaction_id = p_sale_id
    )
    SELECT array_agg(balance + coalesce((SELECT sum(amount) FROM moved WHERE moved.user_id = held.user_id), 0)
                     ORDER BY n)
      FROM unnest(p_user_ids, p_balances) WITH ORDINALITY AS held (user_id, balance, n)
$$;

-- Queues ---------------------------------------------------------------------------------------

-- What failed, by the queue that it stands in and its id there: it is tried again at retry_at, and set aside
-- for administrators once it failed too often. data: of what is nowhere else any more.
CREATE TABLE failed_items (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    queue        text NOT NULL,
    item         text NOT NULL,
    error        text NOT NULL,
    tries        integer NOT NULL DEFAULT 1,
    data         jsonb,
    failed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    retry_at     timestamptz,
    set_aside_at timestamptz,
    CONSTRAINT failed_items_once UNIQUE (queue, item),
    CONSTRAINT failed_items_next CHECK ((retry_at IS NULL) = (set_aside_at IS NOT NULL))
);
CREATE INDEX failed_items_set_aside ON failed_items (set_aside_at DESC, id DESC) WHERE set_aside_at IS NOT NULL;

-- Purchase -------------------------------------------------------------------------------------

DROP FUNCTION purchase_energy(uuid[], uuid[], numeric[], numeric[], uuid[], text[], bytea[], numeric, integer);

-- Purchases, each all or nothing, in one round trip and one transaction: as if one after the other, in their
-- order, with the money that their buyers had before the first. One outcome each: the answer, or why not.
-- No two with the same buyer and key. Lock order: listings by id, then wallets by user id. Keys are looked
-- up under their buyer's lock. FOR NO KEY UPDATE: rows that refer to the locked ones may still be written.
CREATE FUNCTION purchase_energy(
    p_buyer_ids uuid[], p_listing_ids uuid[], p_energies_kwh numeric[], p_max_prices_per_kwh numeric[],
    p_payment_method_ids uuid[], p_keys text[], p_request_hashes bytea[], p_fee_rate numeric,
    p_min_kwh numeric, p_lock_timeout_ms integer
) RETURNS TABLE (o_number integer, o_refusal text, o_facts jsonb, o_bought text, o_replayed boolean)
LANGUAGE plpgsql
-- Planned once for a batch of any size, by the indexes: its tables may be empty when it is.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    c_balance_max CONSTANT numeric := 999999999999.99;  -- core/units.py
    v_ids         uuid[];
    v_listing_ids uuid[];
    v_listings    energy_listings[];
    v_user_ids    uuid[];
    v_balances    numeric[];
    v_most        numeric;
    v_ends_with   numeric[];
    v_after       numeric[];
    v_shares      revenue_shares[];
    v_order       record;
    v_listing     energy_listings;
    v_total       numeric;
    v_fee         numeric;
    v_invested    numeric;
    v_sale        energy_transactions;
    v_sales       energy_transactions[];
BEGIN
    PERFORM set_config('lock_timeout', p_lock_timeout_ms::text, true);

    -- The listings, as they are when it is our turn.
    SELECT array_agg(l.id), array_agg(l) INTO v_listing_ids, v_listings
      FROM (SELECT DISTINCT unnest(p_listing_ids) AS id ORDER BY id) AS wanted,
           LATERAL (SELECT * FROM energy_listings WHERE id = wanted.id FOR NO KEY UPDATE) AS l;

    -- What the investors of their sellers get of each sale. What nobody could pay for is left out.
    SELECT array_agg(gen_random_uuid()) INTO v_ids FROM unnest(p_buyer_ids);
    IF EXISTS (SELECT FROM unnest(v_listings) AS l JOIN devices d ON d.owner_id = l.seller_id WHERE d.funded > 0) THEN
        SELECT array_agg(dealt) INTO v_shares
          FROM unnest(v_listings) AS l
          JOIN unnest(v_ids, p_listing_ids, p_energies_kwh) AS o (id, listing_id, energy_kwh) ON o.listing_id = l.id,
               round(l.price_per_kwh * o.energy_kwh, 2) AS total,
               deal_out(o.id, device_of_investors(l), total - platform_fee(total, p_fee_rate)) AS dealt
         WHERE total <= c_balance_max;
    END IF;

    -- Every wallet that they may move.
    SELECT array_agg(user_id), array_agg(balance), max(balance) INTO v_user_ids, v_balances, v_most
      FROM (SELECT user_id, balance FROM wallets
             WHERE user_id = ANY (p_buyer_ids || ARRAY(SELECT seller_id FROM unnest(v_listings))
                                  || ARRAY(SELECT investor_id FROM unnest(v_shares) WHERE amount > 0))
             ORDER BY user_id FOR NO KEY UPDATE) AS held;
    -- Nobody gets more than all the buyers had: only wallets of the very rich can come near the limit.
    IF v_most * (1 + cardinality(p_buyer_ids)) > c_balance_max THEN
        v_ends_with := v_balances;
    END IF;

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
        v_fee := platform_fee(v_total, p_fee_rate);
        v_invested := 0;
        IF v_shares IS NOT NULL THEN
            v_invested := (SELECT coalesce(sum(amount), 0) FROM unnest(v_shares) WHERE transaction_id = v_order.id);
        END IF;
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
        ELSIF v_order.energy_kwh < p_min_kwh AND v_order.energy_kwh < v_listing.energy_amount_kwh THEN
            o_refusal := 'purchase_too_small';
            o_facts := jsonb_build_object(
                'least_kwh', p_min_kwh::text, 'left_kwh', v_listing.energy_amount_kwh::text);
        ELSIF v_total = 0 THEN
            o_refusal := 'costs_nothing';
            o_facts := jsonb_build_object('price_per_kwh', v_listing.price_per_kwh::text);
        ELSIF v_balances[v_order.u] IS NULL OR v_balances[v_order.u] < v_total THEN
            o_refusal := 'insufficient_balance';
            o_facts := jsonb_build_object('total_price', v_total::text);
        END IF;
        IF v_ends_with IS NOT NULL AND o_refusal IS NULL AND NOT o_replayed THEN
            v_after := balances_after(v_order.id, v_order.buyer_id, v_listing.seller_id, v_total,
                                      v_total - v_fee - v_invested, v_shares, v_user_ids, v_ends_with);
            IF c_balance_max < ANY (v_after) THEN
                o_refusal := 'payee_wallet_limit';
                o_facts := jsonb_build_object('at_most', c_balance_max::text);
            ELSE
                v_ends_with := v_after;
            END IF;
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
