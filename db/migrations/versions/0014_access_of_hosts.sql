-- With 10,000 devices it matters which of them has changed: looking at all takes longer than a new one may wait.
DROP TRIGGER device_access_changed ON devices;
CREATE OR REPLACE FUNCTION device_access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('device_access', coalesce(NEW.id, OLD.id)::text);
    RETURN NULL;
END $$;
CREATE TRIGGER device_access_changed
    AFTER INSERT OR DELETE OR UPDATE OF dialect, external_id, credential_hash, deleted_at ON devices
    FOR EACH ROW EXECUTE FUNCTION device_access_changed();

-- Devices of a host that is deactivated may not sign in; of one that is active again they may.
CREATE FUNCTION host_access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('device_access', id::text)
       FROM devices WHERE owner_id = NEW.id AND deleted_at IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER host_access_changed
    AFTER UPDATE OF is_active ON users
    FOR EACH ROW WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active)
    EXECUTE FUNCTION host_access_changed();
