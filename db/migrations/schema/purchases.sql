-- Transactions: completed purchases. Links to deleted users, listings and methods become null.

-- investor_amount: part of seller_amount that goes to investors.
CREATE TABLE energy_transactions (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    listing_id        uuid REFERENCES energy_listings ON DELETE SET NULL,
    buyer_id          uuid REFERENCES users ON DELETE SET NULL,
    seller_id         uuid REFERENCES users ON DELETE SET NULL,
    payment_method_id uuid REFERENCES payment_methods ON DELETE SET NULL,
    transfer_id       uuid NOT NULL CONSTRAINT energy_transactions_transfer_key UNIQUE REFERENCES ledger_transfers,
    energy_kwh        numeric(12,3) NOT NULL CONSTRAINT energy_transactions_energy CHECK (energy_kwh > 0),
    price_per_kwh     numeric(10,4) NOT NULL CONSTRAINT energy_transactions_price CHECK (price_per_kwh > 0),
    total_price       numeric(14,2) NOT NULL CONSTRAINT energy_transactions_total CHECK (total_price > 0),
    platform_fee      numeric(14,2) NOT NULL CONSTRAINT energy_transactions_fee CHECK (platform_fee >= 0),
    seller_amount     numeric(14,2) NOT NULL CONSTRAINT energy_transactions_seller CHECK (seller_amount >= 0),
    investor_amount   numeric(14,2) NOT NULL DEFAULT 0,
    status            text NOT NULL DEFAULT 'completed' CONSTRAINT energy_transactions_status CHECK (status IN ('completed')),
    created_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT energy_transactions_adds_up CHECK (total_price = platform_fee + seller_amount),
    CONSTRAINT energy_transactions_investors CHECK (investor_amount BETWEEN 0 AND seller_amount)
);
CREATE INDEX energy_transactions_buyer ON energy_transactions (buyer_id, created_at DESC, id DESC);
CREATE INDEX energy_transactions_seller_newest ON energy_transactions (seller_id, created_at DESC, id DESC);
CREATE INDEX energy_transactions_listing ON energy_transactions (listing_id, created_at DESC);
-- Covers the columns that the market's summary adds up: it reads a month without its rows.
CREATE INDEX energy_transactions_when ON energy_transactions (created_at)
    INCLUDE (energy_kwh, total_price, platform_fee);

-- One order of a batch, with what the database knows about its buyer, payment method and key.
-- id: of the transaction that the order makes. number: position in the batch, from 1.
-- earlier: row of an earlier request with the same key.
CREATE TYPE purchase_order AS (
    id                     uuid,
    number                 integer,
    buyer_id               uuid,
    buyer_is_active        boolean,
    listing_id             uuid,
    energy_kwh             numeric,
    max_price_per_kwh      numeric,
    payment_method_id      uuid,
    payment_method_user_id uuid,
    request_hash           bytea,
    earlier                idempotency_keys
);
