-- How a payment ended is history, but for who is deleted. settlement: in which order they ended, for
-- whoever reads on; a lower one may become visible later, as numbers are handed out before commits.
ALTER TABLE payment_orders ADD COLUMN settlement bigint;
CREATE SEQUENCE payment_settlements OWNED BY payment_orders.settlement;
UPDATE payment_orders o SET settlement = nextval('payment_settlements')
  FROM (SELECT id FROM payment_orders WHERE status IN ('completed', 'failed')
         ORDER BY completed_at, id) AS settled
 WHERE o.id = settled.id;
ALTER TABLE payment_orders ADD CONSTRAINT payment_orders_settlement
    CHECK ((settlement IS NOT NULL) = (status IN ('completed', 'failed')));
CREATE UNIQUE INDEX payment_orders_settled ON payment_orders (settlement) WHERE settlement IS NOT NULL;

-- SECURITY DEFINER: who settles a payment has no right to set the sequence.
CREATE FUNCTION number_payment_settlement() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.status IN ('completed', 'failed') THEN
        NEW.settlement := nextval('payment_settlements');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payment_orders_number_settlement BEFORE INSERT OR UPDATE OF status ON payment_orders
    FOR EACH ROW EXECUTE FUNCTION number_payment_settlement();

CREATE FUNCTION payment_is_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'payment % is settled', OLD.id USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER payment_orders_are_final BEFORE UPDATE ON payment_orders FOR EACH ROW
    WHEN (OLD.settlement IS NOT NULL
          AND (OLD.id, OLD.provider, OLD.kind, OLD.amount, OLD.status, OLD.transfer_id, OLD.created_at,
               OLD.completed_at, OLD.settlement)
              IS DISTINCT FROM
              (NEW.id, NEW.provider, NEW.kind, NEW.amount, NEW.status, NEW.transfer_id, NEW.created_at,
               NEW.completed_at, NEW.settlement))
    EXECUTE FUNCTION payment_is_settled();
CREATE TRIGGER payment_orders_stay BEFORE DELETE OR TRUNCATE ON payment_orders
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

-- What transfers were for, too, but for links to what is deleted.
CREATE TRIGGER energy_transactions_append_only
    BEFORE UPDATE OF id, transfer_id, energy_kwh, price_per_kwh, total_price, platform_fee, seller_amount,
                     investor_amount, status, created_at
        OR DELETE OR TRUNCATE ON energy_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER investments_append_only
    BEFORE UPDATE OF id, amount, transfer_id, created_at OR DELETE OR TRUNCATE ON investments
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER revenue_shares_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON revenue_shares
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

-- What the ledger held when the relay looked (core/ledger_chain.py): each digest has its predecessor's hash
-- in its own, so that no row of any can be changed without changing all that follow.
-- entries_to, settlements_to: with those before, it covers every entry and settlement up to these.
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
CREATE TRIGGER ledger_digests_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_digests
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();
