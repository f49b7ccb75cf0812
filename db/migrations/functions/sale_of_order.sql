-- Return the transaction that an order makes, at the listing's price.
CREATE OR REPLACE FUNCTION sale_of_order(
    p_order purchase_order, p_listing energy_listings, p_total numeric, p_fee_rate numeric, p_shares revenue_shares[]
) RETURNS energy_transactions LANGUAGE plpgsql AS $$
DECLARE
    v_sale energy_transactions;
BEGIN
    v_sale.id := p_order.id;
    v_sale.listing_id := p_order.listing_id;
    v_sale.buyer_id := p_order.buyer_id;
    v_sale.seller_id := p_listing.seller_id;
    v_sale.payment_method_id := p_order.payment_method_id;
    v_sale.transfer_id := gen_random_uuid();
    v_sale.energy_kwh := p_order.energy_kwh;
    v_sale.price_per_kwh := p_listing.price_per_kwh;
    v_sale.total_price := p_total;
    v_sale.platform_fee := platform_fee(p_total, p_fee_rate);
    v_sale.seller_amount := p_total - v_sale.platform_fee;
    v_sale.investor_amount := 0;
    IF p_shares IS NOT NULL THEN
        v_sale.investor_amount := (
            SELECT coalesce(sum(amount), 0) FROM unnest(p_shares) WHERE transaction_id = p_order.id);
    END IF;
    v_sale.status := 'completed';
    v_sale.created_at := hub_now();
    RETURN v_sale;
END $$;
