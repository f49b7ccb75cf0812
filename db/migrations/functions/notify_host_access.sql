-- Notify about all devices of a host who was deactivated or activated: only an active host's devices may sign in.
CREATE OR REPLACE FUNCTION notify_host_access() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('device_access', id::text)
       FROM devices WHERE owner_id = NEW.id AND deleted_at IS NULL;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER users_notify_host_access
    AFTER UPDATE OF is_active ON users
    FOR EACH ROW WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active)
    EXECUTE FUNCTION notify_host_access();
