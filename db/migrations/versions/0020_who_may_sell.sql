-- What is decided of a device, beside what ingestion knows of it: who waits for the state's lock sees it as it
-- was decided meanwhile, which columns of a joined table would not show.
-- earns_from: energy from before it is recorded, and can't be sold. flags_due_from: the first slot that changed
-- since flags were looked for; flags_checked_at: when that was.
ALTER TABLE device_states
    ADD COLUMN earns_from        timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN capacity_approved boolean NOT NULL DEFAULT false,
    ADD COLUMN frozen            boolean NOT NULL DEFAULT false,
    ADD COLUMN flagged           boolean NOT NULL DEFAULT false,
    ADD COLUMN flags_due_from    timestamptz,
    ADD COLUMN flags_checked_at  timestamptz NOT NULL DEFAULT '-infinity';
CREATE INDEX device_states_flags_due ON device_states (flags_checked_at) WHERE flags_due_from IS NOT NULL;

-- What follows a device already goes on as it was.
UPDATE device_states s
   SET earns_from = least(d.created_at, (SELECT min(measured_from) FROM energy_listings WHERE device_id = d.id))
  FROM devices d WHERE d.id = s.device_id;

-- The part of surplus_wh from before the device's earns_from, in the slot that this instant cuts; null: nothing.
ALTER TABLE energy_interval ADD COLUMN early_wh numeric(14,3);

-- Only this part of an interval may be sold, from the slot of the device's earns_from on.
CREATE FUNCTION sellable_wh(quality text, surplus_wh numeric, early_wh numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN quality IN ('measured', 'interpolated') THEN surplus_wh - coalesce(early_wh, 0) ELSE 0 END;

-- A meter, by what its firmware calls it, as it was when its last device went: whoever registers it again goes on
-- from there. device_id: that device, which may be gone. last_at: of the accountant's last reading.
CREATE TABLE meters (
    dialect     text NOT NULL,
    external_id text NOT NULL,
    device_id   uuid NOT NULL,
    frozen      boolean NOT NULL,
    accountant  json,
    last_at     timestamptz,
    partial     jsonb,
    PRIMARY KEY (dialect, external_id),
    CONSTRAINT meters_last_at CHECK ((accountant IS NULL) = (last_at IS NULL))
);

-- The account that a device goes on from: its meter's, under an earlier registration.
ALTER TABLE devices ADD COLUMN carried json;

-- However a device goes, removed by its owner or deleted with them, its meter keeps what was accounted. Only a
-- later account replaces one: a device that never told anything leaves its meter's as it is.
CREATE FUNCTION meter_outlives_its_device() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_state   device_states;
    v_last_at timestamptz;
    v_partial jsonb;
BEGIN
    -- Waits for the batch that holds it.
    SELECT * INTO v_state FROM device_states WHERE device_id = OLD.id FOR UPDATE;
    v_last_at := (v_state.accountant ->> 'last_at')::timestamptz;
    SELECT partial INTO v_partial FROM device_partials WHERE device_id = OLD.id;
    INSERT INTO meters (dialect, external_id, device_id, frozen)
    VALUES (OLD.dialect, OLD.external_id, OLD.id, coalesce(v_state.frozen, false))
        ON CONFLICT (dialect, external_id) DO UPDATE
       SET device_id = excluded.device_id, frozen = excluded.frozen;
    UPDATE meters SET accountant = v_state.accountant, last_at = v_last_at, partial = v_partial
     WHERE dialect = OLD.dialect AND external_id = OLD.external_id
       AND v_last_at > coalesce(last_at, '-infinity');
    RETURN OLD;
END $$;
CREATE TRIGGER meter_outlives_removal AFTER UPDATE OF deleted_at ON devices FOR EACH ROW
    WHEN (OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL AND OLD.external_id IS NOT NULL)
    EXECUTE FUNCTION meter_outlives_its_device();
CREATE TRIGGER meter_outlives_deletion BEFORE DELETE ON devices FOR EACH ROW
    WHEN (OLD.deleted_at IS NULL AND OLD.external_id IS NOT NULL)
    EXECUTE FUNCTION meter_outlives_its_device();

INSERT INTO meters (dialect, external_id, device_id, frozen, accountant, last_at, partial)
SELECT DISTINCT ON (d.dialect, d.external_id) d.dialect, d.external_id, d.id, false, s.accountant,
       (s.accountant ->> 'last_at')::timestamptz, p.partial
  FROM devices d JOIN device_states s ON s.device_id = d.id
  LEFT JOIN device_partials p ON p.device_id = d.id
 WHERE d.deleted_at IS NOT NULL AND d.external_id IS NOT NULL
 ORDER BY d.dialect, d.external_id, (s.accountant ->> 'last_at')::timestamptz DESC NULLS LAST;

-- What looks wrong about a device's energy, with its evidence, until an administrator has looked at it.
CREATE TABLE flags (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id    uuid NOT NULL REFERENCES devices ON DELETE CASCADE,
    kind         text NOT NULL CONSTRAINT flags_kind
                 CHECK (kind IN ('earning_resets', 'night_generation', 'near_limit')),
    state        text NOT NULL DEFAULT 'open' CONSTRAINT flags_state CHECK (state IN ('open', 'confirmed')),
    energy_wh    numeric(16,3) NOT NULL,
    evidence     jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    confirmed_at timestamptz,
    confirmed_by uuid,
    CONSTRAINT flags_confirmed CHECK ((state = 'confirmed') = (confirmed_at IS NOT NULL))
);
CREATE UNIQUE INDEX flags_one_open ON flags (device_id, kind) WHERE state = 'open';
CREATE INDEX flags_device ON flags (device_id, id DESC);
CREATE INDEX flags_state_newest ON flags (state, id DESC);

-- What administrators did: who, to what, what it was before and after, why. Nobody's account is referred to: the
-- record outlives it.
CREATE TABLE admin_actions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    admin_id     uuid NOT NULL,
    action       text NOT NULL,
    subject_kind text NOT NULL CONSTRAINT admin_actions_subject_kind CHECK (subject_kind IN ('user', 'device')),
    subject_id   uuid NOT NULL,
    before       jsonb NOT NULL,
    after        jsonb NOT NULL,
    reason       text CONSTRAINT admin_actions_reason CHECK (length(reason) BETWEEN 1 AND 500),
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX admin_actions_subject ON admin_actions (subject_id, id DESC);
CREATE TRIGGER admin_actions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON admin_actions
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();
