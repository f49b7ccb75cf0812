-- One purchase, all or nothing, in one round trip. Lock order: the listing, then wallets by user id.
-- FOR NO KEY UPDATE: rows that refer to the locked ones may still be written.
CREATE OR REPLACE FUNCTION purchase_energy(
    p_buyer_id uuid, p_listing_id uuid, p_energy_kwh numeric, p_max_price_per_kwh numeric,
    p_payment_method_id uuid, p_fee_rate numeric, p_key text, p_request_hash bytea,
    OUT o_transaction energy_transactions, OUT o_listing energy_listings, OUT o_replayed boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v_balance     numeric;
    v_earlier     idempotency_keys;
    v_total       numeric(14,2);
    v_fee         numeric(14,2);
    v_shares      revenue_shares[];
    v_invested    numeric(14,2) := 0;
    v_parties     uuid[];
    v_id          uuid := gen_random_uuid();
    v_transfer_id uuid := gen_random_uuid();
BEGIN
    IF NOT EXISTS (SELECT FROM users WHERE id = p_buyer_id AND is_active) THEN
        PERFORM refuse('account_inactive');
    END IF;

    -- The same key: wait for whoever holds it, then answer what it bought.
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_keys (user_id, operation, key, request_hash, result_id)
        VALUES (p_buyer_id, 'purchase', p_key, p_request_hash, v_id) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            SELECT * INTO v_earlier FROM idempotency_keys
             WHERE user_id = p_buyer_id AND operation = 'purchase' AND key = p_key;
            IF v_earlier.request_hash <> p_request_hash THEN
                PERFORM refuse('idempotency_key_reused');
            END IF;
            SELECT * INTO o_transaction FROM energy_transactions WHERE id = v_earlier.result_id;
            SELECT * INTO o_listing FROM energy_listings WHERE id = o_transaction.listing_id;
            o_replayed := true;
            RETURN;
        END IF;
    END IF;

    IF p_payment_method_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM payment_methods WHERE id = p_payment_method_id AND user_id = p_buyer_id) THEN
        PERFORM refuse('payment_method_not_found');
    END IF;

    -- The listing, as it is when it is our turn.
    SELECT * INTO o_listing FROM energy_listings WHERE id = p_listing_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('listing_not_found');
    ELSIF o_listing.seller_id = p_buyer_id THEN
        PERFORM refuse('own_listing');
    ELSIF o_listing.status <> 'active' THEN
        PERFORM refuse('listing_not_active', jsonb_build_object('status', o_listing.status));
    ELSIF clock_timestamp() < o_listing.available_from OR clock_timestamp() >= o_listing.available_to THEN
        PERFORM refuse('outside_window', jsonb_build_object(
            'available_from', rfc3339(o_listing.available_from), 'available_to', rfc3339(o_listing.available_to)));
    ELSIF o_listing.energy_amount_kwh < p_energy_kwh THEN
        PERFORM refuse('insufficient_energy', jsonb_build_object(
            'asked_kwh', p_energy_kwh::text, 'left_kwh', o_listing.energy_amount_kwh::text));
    ELSIF o_listing.price_per_kwh > p_max_price_per_kwh THEN
        PERFORM refuse('price_changed', jsonb_build_object('price_per_kwh', o_listing.price_per_kwh::text));
    END IF;

    v_total := round(o_listing.price_per_kwh * p_energy_kwh, 2);
    v_fee := round(v_total * p_fee_rate, 2);
    IF v_total = 0 THEN
        PERFORM refuse('purchase_too_small', jsonb_build_object('price_per_kwh', o_listing.price_per_kwh::text));
    END IF;

    -- What the investors in its device get of it.
    v_parties := ARRAY[p_buyer_id, o_listing.seller_id];
    IF o_listing.device_id IS NOT NULL THEN
        SELECT array_agg(dealt), coalesce(sum(dealt.amount), 0),
               v_parties || coalesce(array_agg(DISTINCT dealt.investor_id) FILTER (WHERE dealt.amount > 0), '{}')
          INTO v_shares, v_invested, v_parties
          FROM deal_out(v_id, o_listing.device_id, v_total - v_fee) AS dealt;
    END IF;

    -- Every wallet that it moves, by id.
    PERFORM FROM wallets WHERE user_id = ANY(v_parties) ORDER BY user_id FOR NO KEY UPDATE;
    SELECT balance INTO v_balance FROM wallets WHERE user_id = p_buyer_id;
    IF v_balance IS NULL OR v_balance < v_total THEN
        PERFORM refuse('insufficient_balance', jsonb_build_object('total_price', v_total::text));
    END IF;

    -- The transfer and the transaction that it pays for.
    INSERT INTO ledger_transfers (id, kind, reference_id) VALUES (v_transfer_id, 'purchase', v_id);
    INSERT INTO ledger_entries (transfer_id, account, amount)
    SELECT v_transfer_id, account, amount
      FROM (VALUES ('wallet:' || p_buyer_id, -v_total),
                   ('wallet:' || o_listing.seller_id, v_total - v_fee - v_invested),
                   ('platform:fees', v_fee)) AS moved (account, amount)
     WHERE amount <> 0;
    UPDATE wallets
       SET balance = balance + CASE user_id WHEN p_buyer_id THEN -v_total ELSE v_total - v_fee - v_invested END
     WHERE user_id IN (p_buyer_id, o_listing.seller_id);
    INSERT INTO energy_transactions (id, listing_id, buyer_id, seller_id, payment_method_id, transfer_id,
                                     energy_kwh, price_per_kwh, total_price, platform_fee, seller_amount,
                                     investor_amount)
    VALUES (v_id, o_listing.id, p_buyer_id, o_listing.seller_id, p_payment_method_id, v_transfer_id,
            p_energy_kwh, o_listing.price_per_kwh, v_total, v_fee, v_total - v_fee,
            v_invested)
    RETURNING * INTO o_transaction;

    -- The investors' part of the same transfer.
    IF v_shares IS NOT NULL THEN
        INSERT INTO revenue_shares SELECT * FROM unnest(v_shares);
        INSERT INTO ledger_entries (transfer_id, account, amount)
        SELECT v_transfer_id, 'wallet:' || investor_id, sum(amount)
          FROM unnest(v_shares) WHERE amount > 0 GROUP BY investor_id ORDER BY investor_id;
        UPDATE wallets w SET balance = balance + earned.amount
          FROM (SELECT investor_id, sum(amount) AS amount FROM unnest(v_shares) GROUP BY investor_id) AS earned
         WHERE w.user_id = earned.investor_id AND earned.amount > 0;
    END IF;

    -- The energy.
    UPDATE energy_listings
       SET sold_kwh = sold_kwh + p_energy_kwh, version = version + 1, updated_at = now(),
           status = CASE WHEN energy_amount_kwh = p_energy_kwh THEN 'sold' ELSE status END
     WHERE id = o_listing.id RETURNING * INTO o_listing;

    -- The news.
    INSERT INTO outbox (type, channels, data)
    VALUES (CASE o_listing.status WHEN 'sold' THEN 'listing.sold' ELSE 'listing.updated' END,
            ARRAY['listings', 'listing:' || o_listing.id], listing_json(o_listing)),
           ('purchase.completed', ARRAY['user:' || p_buyer_id, 'user:' || o_listing.seller_id, 'admin'],
            transaction_json(o_transaction));
    INSERT INTO outbox (type, channels, data)
    SELECT 'wallet.updated', ARRAY['user:' || w.user_id], wallet_json(w) FROM wallets w
     WHERE w.user_id = ANY(v_parties) ORDER BY w.user_id;
    o_replayed := false;
END $$;
