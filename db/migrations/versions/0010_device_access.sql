-- The password that a device has is made from a secret, its id and this number (core/device_passwords.py).
ALTER TABLE devices ADD credential_version integer NOT NULL DEFAULT 1
    CONSTRAINT devices_credential_version CHECK (credential_version > 0);

-- NOTIFY makes commits wait for each other; what changes here does so rarely.
CREATE FUNCTION device_access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('device_access', '');
    RETURN NULL;
END $$;
CREATE TRIGGER device_access_changed
    AFTER INSERT OR DELETE OR UPDATE OF dialect, external_id, credential_hash, deleted_at ON devices
    FOR EACH STATEMENT EXECUTE FUNCTION device_access_changed();
