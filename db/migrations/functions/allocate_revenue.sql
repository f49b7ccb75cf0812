-- Return the share of each investment in a device of one sale's revenue, by the rule of core/revenue.py.
-- Shares are whole paise: differences of running sums, which are rounded half up, so that the shares add up to
-- the exact sum. `div` of whole numbers keeps the rounding exact.
CREATE OR REPLACE FUNCTION allocate_revenue(p_transaction_id uuid, p_device_id uuid, p_seller_amount numeric)
RETURNS SETOF revenue_shares LANGUAGE sql STABLE AS $$
    SELECT p_transaction_id, id, investor_id, upto - lag(upto, 1, 0.00) OVER (ORDER BY investor_id, id)
      FROM (SELECT i.id, i.investor_id,
                   div(200 * p_seller_amount * d.revenue_share * sum(i.amount) OVER (ORDER BY i.investor_id, i.id)
                       + d.funding_target, 2 * d.funding_target) * 0.01 AS upto
              FROM investments i JOIN devices d ON d.id = i.device_id
             WHERE i.device_id = p_device_id AND i.investor_id IS NOT NULL) AS running
$$;
