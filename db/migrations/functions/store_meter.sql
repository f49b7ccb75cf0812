-- Store the state of a device's meter when the device is removed, or deleted together with its owner.
-- Only a later accounting state replaces an earlier one: a device without readings leaves it as it is.
CREATE OR REPLACE FUNCTION store_meter() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_state   device_states;
    v_last_at timestamptz;
    v_partial jsonb;
BEGIN
    -- Waits for a batch of readings that holds the row.
    SELECT * INTO v_state FROM device_states WHERE device_id = OLD.id FOR UPDATE;
    v_last_at := (v_state.accounting_state ->> 'last_at')::timestamptz;
    SELECT partial INTO v_partial FROM device_partials WHERE device_id = OLD.id;
    INSERT INTO meters (dialect, external_id, device_id, frozen)
    VALUES (OLD.dialect, OLD.external_id, OLD.id, coalesce(v_state.frozen, false))
        ON CONFLICT (dialect, external_id) DO UPDATE
       SET device_id = excluded.device_id, frozen = excluded.frozen;
    UPDATE meters SET accounting_state = v_state.accounting_state, last_at = v_last_at, partial = v_partial
     WHERE dialect = OLD.dialect AND external_id = OLD.external_id
       AND v_last_at > coalesce(last_at, '-infinity');
    RETURN OLD;
END $$;

CREATE OR REPLACE TRIGGER devices_store_meter_on_removal AFTER UPDATE OF deleted_at ON devices FOR EACH ROW
    WHEN (OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL AND OLD.external_id IS NOT NULL)
    EXECUTE FUNCTION store_meter();
CREATE OR REPLACE TRIGGER devices_store_meter_on_deletion BEFORE DELETE ON devices FOR EACH ROW
    WHEN (OLD.deleted_at IS NULL AND OLD.external_id IS NOT NULL)
    EXECUTE FUNCTION store_meter();
