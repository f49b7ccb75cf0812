-- Notify about a device whose access to the broker may have changed, by its id.
-- NOTIFY makes commits wait for each other, which is acceptable here: these columns change rarely.
-- The id matters: with 10,000 devices, comparing all of them takes longer than a new one may wait.
CREATE OR REPLACE FUNCTION notify_device_access() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('device_access', coalesce(NEW.id, OLD.id)::text);
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER devices_notify_access
    AFTER INSERT OR DELETE OR UPDATE OF dialect, external_id, credential_hash, deleted_at ON devices
    FOR EACH ROW EXECUTE FUNCTION notify_device_access();
