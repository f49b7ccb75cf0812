-- Delete the readings of a deleted device, instead of a foreign key (see `telemetry`).
-- The trigger runs after the state's row is deleted, hence after any batch that held it: no reading that was
-- stored in the meantime remains.
CREATE OR REPLACE FUNCTION delete_telemetry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM telemetry WHERE device_id = OLD.device_id;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER device_states_delete_telemetry AFTER DELETE ON device_states
    FOR EACH ROW EXECUTE FUNCTION delete_telemetry();
