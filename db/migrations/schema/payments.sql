-- Payment methods, and orders that move money between wallets and payment providers.

CREATE TABLE payment_methods (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    kind         text NOT NULL CONSTRAINT payment_methods_kind CHECK (kind IN ('upi', 'card', 'bank')),
    label        text NOT NULL,
    provider     text NOT NULL,
    provider_ref text NOT NULL,
    is_default   boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX payment_methods_one_default ON payment_methods (user_id) WHERE is_default;
CREATE INDEX payment_methods_user ON payment_methods (user_id, created_at DESC);

-- Top-ups and withdrawals, with the provider's result.
-- settlement: rises in the order in which orders end. A lower number may become visible after a higher one,
-- because numbers are assigned before commit.
CREATE TABLE payment_orders (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id           uuid REFERENCES users ON DELETE SET NULL,
    payment_method_id uuid REFERENCES payment_methods ON DELETE SET NULL,
    provider          text NOT NULL,
    kind              text NOT NULL CONSTRAINT payment_orders_kind CHECK (kind IN ('topup', 'withdrawal')),
    amount            numeric(14,2) NOT NULL CONSTRAINT payment_orders_amount CHECK (amount > 0),
    status            text NOT NULL DEFAULT 'pending'
                      CONSTRAINT payment_orders_status CHECK (status IN ('pending', 'completed', 'failed')),
    transfer_id       uuid CONSTRAINT payment_orders_transfer_key UNIQUE REFERENCES ledger_transfers,
    created_at        timestamptz NOT NULL DEFAULT now(),
    completed_at      timestamptz,
    settlement        bigint,
    CONSTRAINT payment_orders_settlement
        CHECK ((settlement IS NOT NULL) = (status IN ('completed', 'failed')))
);
CREATE SEQUENCE payment_settlements OWNED BY payment_orders.settlement;
CREATE INDEX payment_orders_user ON payment_orders (user_id, created_at DESC);
CREATE INDEX payment_orders_user_pending ON payment_orders (user_id) WHERE status = 'pending';
CREATE INDEX payment_orders_pending ON payment_orders (provider, created_at) WHERE status = 'pending';
CREATE UNIQUE INDEX payment_orders_settled ON payment_orders (settlement) WHERE settlement IS NOT NULL;

-- Webhook events of providers. The primary key makes each event take effect once.
CREATE TABLE payment_events (
    provider    text NOT NULL,
    event_id    text NOT NULL,
    order_id    uuid NOT NULL REFERENCES payment_orders,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, event_id)
);
