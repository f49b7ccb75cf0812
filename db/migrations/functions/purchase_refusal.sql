-- Decide one order of a purchase. Return null in o_refusal if it can be bought, else the error code of the
-- contract, with the facts for its message. The order of the checks is part of the contract.
-- p_listing: the locked listing, as earlier orders of the batch leave it; null if there is none.
-- p_balance: the buyer's balance, as earlier orders of the batch leave it.
CREATE OR REPLACE FUNCTION purchase_refusal(
    p_order purchase_order, p_listing energy_listings, p_total numeric, p_balance numeric, p_min_kwh numeric,
    OUT o_refusal text, OUT o_facts jsonb
) LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF p_order.payment_method_id IS NOT NULL AND p_order.payment_method_user_id IS DISTINCT FROM p_order.buyer_id THEN
        o_refusal := 'payment_method_not_found';
    ELSIF p_listing.id IS NULL THEN
        o_refusal := 'listing_not_found';
    ELSIF p_listing.seller_id = p_order.buyer_id THEN
        o_refusal := 'own_listing';
    ELSIF p_listing.status <> 'active' THEN
        o_refusal := 'listing_not_active';
        o_facts := jsonb_build_object('status', p_listing.status);
    ELSIF hub_clock_timestamp() < p_listing.available_from OR hub_clock_timestamp() >= p_listing.available_to THEN
        o_refusal := 'outside_window';
        o_facts := jsonb_build_object(
            'available_from', rfc3339(p_listing.available_from), 'available_to', rfc3339(p_listing.available_to));
    ELSIF p_listing.energy_amount_kwh < p_order.energy_kwh THEN
        o_refusal := 'insufficient_energy';
        o_facts := jsonb_build_object(
            'asked_kwh', p_order.energy_kwh::text, 'left_kwh', p_listing.energy_amount_kwh::text);
    ELSIF p_listing.price_per_kwh > p_order.max_price_per_kwh THEN
        o_refusal := 'price_changed';
        o_facts := jsonb_build_object('price_per_kwh', p_listing.price_per_kwh::text);
    ELSIF p_order.energy_kwh < p_min_kwh AND p_order.energy_kwh < p_listing.energy_amount_kwh THEN
        o_refusal := 'purchase_too_small';
        o_facts := jsonb_build_object(
            'least_kwh', p_min_kwh::text, 'left_kwh', p_listing.energy_amount_kwh::text);
    ELSIF p_total = 0 THEN
        o_refusal := 'costs_nothing';
        o_facts := jsonb_build_object('price_per_kwh', p_listing.price_per_kwh::text);
    ELSIF p_balance IS NULL OR p_balance < p_total THEN
        o_refusal := 'insufficient_balance';
        o_facts := jsonb_build_object('total_price', p_total::text);
    END IF;
END $$;
