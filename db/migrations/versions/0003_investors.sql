-- What a host asks for a device, and what part of its sales goes to investors once all of it is there.
-- funded: the running sum of its investments.
ALTER TABLE devices
    ADD COLUMN funding_target numeric(14,2) CONSTRAINT devices_funding_target CHECK (funding_target > 0),
    ADD COLUMN revenue_share  numeric(5,4)
        CONSTRAINT devices_revenue_share CHECK (revenue_share > 0 AND revenue_share <= 1),
    ADD COLUMN funded         numeric(14,2) NOT NULL DEFAULT 0 CONSTRAINT devices_funded CHECK (funded >= 0),
    ADD CONSTRAINT devices_funding_terms CHECK ((funding_target IS NULL) = (revenue_share IS NULL)),
    ADD CONSTRAINT devices_not_overfunded CHECK (funded <= coalesce(funding_target, 0));

CREATE TABLE investments (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    investor_id uuid REFERENCES users ON DELETE SET NULL,
    device_id   uuid REFERENCES devices ON DELETE SET NULL,
    amount      numeric(14,2) NOT NULL CONSTRAINT investments_amount CHECK (amount > 0),
    transfer_id uuid NOT NULL CONSTRAINT investments_transfer_key UNIQUE REFERENCES ledger_transfers,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX investments_device ON investments (device_id, investor_id, id);
CREATE INDEX investments_investor ON investments (investor_id, created_at DESC, id DESC);

ALTER TABLE energy_transactions
    ADD COLUMN investor_amount numeric(14,2) NOT NULL DEFAULT 0,
    ADD CONSTRAINT energy_transactions_investors CHECK (investor_amount BETWEEN 0 AND seller_amount);

-- What a sale brought each investment that it was dealt out to, also where that is nothing.
-- investor_id: as it was then, like the accounts of the ledger.
CREATE TABLE revenue_shares (
    transaction_id uuid NOT NULL REFERENCES energy_transactions,
    investment_id  uuid NOT NULL REFERENCES investments,
    investor_id    uuid NOT NULL,
    amount         numeric(14,2) NOT NULL CONSTRAINT revenue_shares_amount CHECK (amount >= 0),
    PRIMARY KEY (transaction_id, investment_id)
);
CREATE INDEX revenue_shares_investment ON revenue_shares (investment_id) INCLUDE (amount);

-- Who buys energy of a device that they invested in pays and earns by the same transfer.
ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_once;
CREATE UNIQUE INDEX ledger_entries_once ON ledger_entries (transfer_id, account, sign(amount));

-- A sale dealt out among the investments in its device, by the rule of core/revenue.py: whole paise, which
-- add up to the exact sum, rounded half up. Division of whole numbers, for it to be exact.
CREATE FUNCTION deal_out(p_transaction_id uuid, p_device_id uuid, p_seller_amount numeric)
RETURNS SETOF revenue_shares LANGUAGE sql STABLE AS $$
    SELECT p_transaction_id, id, investor_id, upto - lag(upto, 1, 0.00) OVER (ORDER BY investor_id, id)
      FROM (SELECT i.id, i.investor_id,
                   div(200 * p_seller_amount * d.revenue_share * sum(i.amount) OVER (ORDER BY i.investor_id, i.id)
                       + d.funding_target, 2 * d.funding_target) * 0.01 AS upto
              FROM investments i JOIN devices d ON d.id = i.device_id
             WHERE i.device_id = p_device_id AND i.investor_id IS NOT NULL) AS dealt
$$;

CREATE OR REPLACE FUNCTION transaction_json(t energy_transactions) RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object(
    'id', t.id, 'listing_id', t.listing_id, 'buyer_id', t.buyer_id, 'seller_id', t.seller_id,
    'payment_method_id', t.payment_method_id,
    'energy_kwh', t.energy_kwh::text, 'price_per_kwh', t.price_per_kwh::text,
    'total_price', t.total_price::text, 'platform_fee', t.platform_fee::text,
    'seller_amount', t.seller_amount::text, 'investor_amount', t.investor_amount::text,
    'status', t.status, 'created_at', rfc3339(t.created_at));
