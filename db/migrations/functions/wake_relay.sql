-- Wake the relay if it sleeps.
-- NOTIFY makes commits wait for each other's flush to disk, so it is sent only while the relay sleeps: it then
-- holds this lock alone. A transaction that finds the relay awake shares the lock until after its commit, which
-- keeps the relay from sleeping before it has seen the event (db/outbox.py).
CREATE OR REPLACE FUNCTION wake_relay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock_shared(764382102 /* AdvisoryLock.RELAY_SLEEP */) THEN
        PERFORM pg_notify('outbox', '');
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER outbox_wake_relay AFTER INSERT ON outbox
    FOR EACH STATEMENT EXECUTE FUNCTION wake_relay();
