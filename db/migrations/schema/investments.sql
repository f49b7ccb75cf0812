-- Investments in devices, and the revenue that they get.

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

-- Share of a sale's revenue that an investment got; a share of 0 has a row too.
-- investor_id: as of the sale, like the accounts in ledger entries. It does not refer to users.
CREATE TABLE revenue_shares (
    transaction_id uuid NOT NULL REFERENCES energy_transactions,
    investment_id  uuid NOT NULL REFERENCES investments,
    investor_id    uuid NOT NULL,
    amount         numeric(14,2) NOT NULL CONSTRAINT revenue_shares_amount CHECK (amount >= 0),
    PRIMARY KEY (transaction_id, investment_id)
);
CREATE INDEX revenue_shares_investment ON revenue_shares (investment_id) INCLUDE (amount);
