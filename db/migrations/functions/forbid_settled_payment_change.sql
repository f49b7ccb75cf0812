-- Refuse to change a payment order that has ended. Its links to users and methods may become null.
CREATE OR REPLACE FUNCTION forbid_settled_payment_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'payment % is settled', OLD.id USING ERRCODE = 'restrict_violation';
END $$;

CREATE OR REPLACE TRIGGER payment_orders_final BEFORE UPDATE ON payment_orders FOR EACH ROW
    WHEN (OLD.settlement IS NOT NULL
          AND (OLD.id, OLD.provider, OLD.kind, OLD.amount, OLD.status, OLD.transfer_id, OLD.created_at,
               OLD.completed_at, OLD.settlement)
              IS DISTINCT FROM
              (NEW.id, NEW.provider, NEW.kind, NEW.amount, NEW.status, NEW.transfer_id, NEW.created_at,
               NEW.completed_at, NEW.settlement))
    EXECUTE FUNCTION forbid_settled_payment_change();
