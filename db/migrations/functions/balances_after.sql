-- Return balances as a sale leaves them, in the order of p_user_ids.
CREATE OR REPLACE FUNCTION balances_after(
    p_sale energy_transactions, p_shares revenue_shares[], p_user_ids uuid[], p_balances numeric[]
) RETURNS numeric[] LANGUAGE sql STABLE AS $$
    WITH moved (user_id, amount) AS (
        SELECT p_sale.buyer_id, -p_sale.total_price
         UNION ALL SELECT p_sale.seller_id, p_sale.seller_amount - p_sale.investor_amount
         UNION ALL SELECT investor_id, amount FROM unnest(p_shares) WHERE transaction_id = p_sale.id
    )
    SELECT array_agg(balance + coalesce((SELECT sum(amount) FROM moved WHERE moved.user_id = held.user_id), 0)
                     ORDER BY n)
      FROM unnest(p_user_ids, p_balances) WITH ORDINALITY AS held (user_id, balance, n)
$$;
