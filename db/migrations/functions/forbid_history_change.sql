-- Refuse to change or delete history: rows of these tables are only ever added.
-- Links to deleted users, devices and listings may become null, so updates of those columns are allowed.
CREATE OR REPLACE FUNCTION forbid_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE OR REPLACE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_history_change();
CREATE OR REPLACE TRIGGER ledger_transfers_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transfers
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_history_change();
CREATE OR REPLACE TRIGGER ledger_digests_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_digests
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_history_change();
CREATE OR REPLACE TRIGGER energy_transactions_append_only
    BEFORE UPDATE OF id, transfer_id, energy_kwh, price_per_kwh, total_price, platform_fee, seller_amount,
                     investor_amount, status, created_at
        OR DELETE OR TRUNCATE ON energy_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_history_change();
CREATE OR REPLACE TRIGGER investments_append_only
    BEFORE UPDATE OF id, amount, transfer_id, created_at OR DELETE OR TRUNCATE ON investments
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_history_change();
CREATE OR REPLACE TRIGGER revenue_shares_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON revenue_shares
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_history_change();
CREATE OR REPLACE TRIGGER admin_actions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON admin_actions
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_history_change();
-- Updates of payment orders have a rule of their own (`forbid_settled_payment_change`).
CREATE OR REPLACE TRIGGER payment_orders_append_only BEFORE DELETE OR TRUNCATE ON payment_orders
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_history_change();
