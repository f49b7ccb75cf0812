-- Refuse a transfer whose entries do not sum to zero. Deferred to the commit, when all entries are there.
CREATE OR REPLACE FUNCTION check_transfer_sums_to_zero() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sum(amount) FROM ledger_entries WHERE transfer_id = NEW.transfer_id) <> 0 THEN
        RAISE EXCEPTION 'the entries of transfer % do not sum to zero', NEW.transfer_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_transfer_sums_to_zero';
    END IF;
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS ledger_transfer_sums_to_zero ON ledger_entries;
CREATE CONSTRAINT TRIGGER ledger_transfer_sums_to_zero AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_transfer_sums_to_zero();
