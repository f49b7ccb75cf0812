-- Return the members of the JSON object that shows a transaction, without braces (see `listing_members`).
-- Members and order are those of TransactionView (api/purchases/routes.py). None is free text.
CREATE OR REPLACE FUNCTION transaction_members(t energy_transactions) RETURNS text LANGUAGE sql STABLE
RETURN concat(
    '"id":"', t.id,
    '","listing_id":', coalesce('"' || t.listing_id || '"', 'null'),
    ',"buyer_id":', coalesce('"' || t.buyer_id || '"', 'null'),
    ',"seller_id":', coalesce('"' || t.seller_id || '"', 'null'),
    ',"payment_method_id":', coalesce('"' || t.payment_method_id || '"', 'null'),
    ',"energy_kwh":"', t.energy_kwh, '","price_per_kwh":"', t.price_per_kwh,
    '","total_price":"', t.total_price, '","platform_fee":"', t.platform_fee,
    '","seller_amount":"', t.seller_amount, '","investor_amount":"', t.investor_amount,
    '","status":"', t.status, '","created_at":"', rfc3339(t.created_at), '"');
