-- Wallets and the ledger. A transfer is a balanced set of entries, one signed amount per account.

CREATE TABLE wallets (
    user_id  uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    currency text NOT NULL DEFAULT 'INR' CONSTRAINT wallets_currency CHECK (currency = 'INR'),
    balance  numeric(14,2) NOT NULL DEFAULT 0 CONSTRAINT wallets_balance CHECK (balance >= 0)
) WITH (fillfactor = 80);

-- reference_id: id of the purchase, payment order or investment that the transfer pays for.
CREATE TABLE ledger_transfers (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind         text NOT NULL CONSTRAINT ledger_transfers_kind
                 CHECK (kind IN ('purchase', 'topup', 'withdrawal', 'reversal', 'investment')),
    reference_id uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ledger_transfers_reference ON ledger_transfers (reference_id);

-- account: 'wallet:<user id>', 'platform:fees' or 'external:<provider>'.
CREATE TABLE ledger_entries (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transfer_id uuid NOT NULL REFERENCES ledger_transfers,
    account     text NOT NULL CONSTRAINT ledger_entries_account
                CHECK (account ~ '^(wallet:[0-9a-f-]{36}|platform:fees|external:[a-z0-9_]{1,40})$'),
    amount      numeric(14,2) NOT NULL CONSTRAINT ledger_entries_amount CHECK (amount <> 0),
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ledger_entries_account_newest ON ledger_entries (account, id DESC);
-- By sign: a buyer who invested in the seller's device pays and earns in the same transfer.
CREATE UNIQUE INDEX ledger_entries_once ON ledger_entries (transfer_id, account, sign(amount));

-- A chain of digests of the ledger (core/ledger_chain.py). Each contains its predecessor's hash, so that
-- no row can change unless every later digest changes too.
-- A digest and its predecessors cover every entry up to entries_to, and every settlement up to settlements_to.
CREATE TABLE ledger_digests (
    sequence        bigint PRIMARY KEY CONSTRAINT ledger_digests_sequence CHECK (sequence > 0),
    entries_to      bigint NOT NULL,
    settlements_to  bigint NOT NULL,
    transfer_ids    uuid[] NOT NULL,
    transfer_hashes bytea[] NOT NULL,
    payment_ids     uuid[] NOT NULL,
    payment_hashes  bytea[] NOT NULL,
    hash            bytea NOT NULL,
    CONSTRAINT ledger_digests_transfers CHECK (cardinality(transfer_ids) = cardinality(transfer_hashes)),
    CONSTRAINT ledger_digests_payments CHECK (cardinality(payment_ids) = cardinality(payment_hashes))
);
