-- Number a payment order when it ends.
-- SECURITY DEFINER: the role that settles payments has no right to use the sequence.
CREATE OR REPLACE FUNCTION number_payment_settlement() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.status IN ('completed', 'failed') THEN
        NEW.settlement := nextval('payment_settlements');
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER payment_orders_number_settlement BEFORE INSERT OR UPDATE OF status ON payment_orders
    FOR EACH ROW EXECUTE FUNCTION number_payment_settlement();
