-- A foreign key looks the device up for every reading, and locks it. A batch has locked the device's
-- state already (db/device_states.py), without which it stores nothing: so this holds the same. It is
-- after the state is gone, that is after the batch which held it: nothing stored meanwhile is left.
ALTER TABLE telemetry DROP CONSTRAINT telemetry_device_id_fkey;

CREATE FUNCTION telemetry_goes_with_its_device() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM telemetry WHERE device_id = OLD.device_id;
    RETURN NULL;
END $$;
CREATE TRIGGER telemetry_goes_with_its_device AFTER DELETE ON device_states
    FOR EACH ROW EXECUTE FUNCTION telemetry_goes_with_its_device();
