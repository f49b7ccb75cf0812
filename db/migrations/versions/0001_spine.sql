-- People ---------------------------------------------------------------------------------------

CREATE TABLE users (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text NOT NULL CONSTRAINT users_email_length CHECK (length(email) BETWEEN 3 AND 254),
    password_hash text NOT NULL,
    full_name     text NOT NULL,
    phone         text,
    role          text NOT NULL CONSTRAINT users_role CHECK (role IN ('buyer', 'host', 'investor', 'admin')),
    is_active     boolean NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email_key ON users (lower(email));
CREATE INDEX users_newest ON users (created_at DESC, id DESC);

CREATE TABLE hosts (
    user_id        uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    property_name  text,
    tariff_per_kwh numeric(10,4) CONSTRAINT hosts_tariff CHECK (tariff_per_kwh > 0)
);
CREATE TABLE buyers (
    user_id            uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    monthly_demand_kwh numeric(12,3) CONSTRAINT buyers_demand CHECK (monthly_demand_kwh >= 0)
);
CREATE TABLE investors (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    company text
);

-- One row per refresh token ever handed out; a family is one sign-in.
CREATE TABLE refresh_tokens (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    family_id  uuid NOT NULL,
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    token_hash bytea NOT NULL CONSTRAINT refresh_tokens_hash_key UNIQUE,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX refresh_tokens_family ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_user ON refresh_tokens (user_id);

CREATE TABLE user_addresses (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    label      text NOT NULL DEFAULT 'home',
    latitude   double precision NOT NULL CONSTRAINT user_addresses_latitude CHECK (latitude BETWEEN -90 AND 90),
    longitude  double precision NOT NULL CONSTRAINT user_addresses_longitude CHECK (longitude BETWEEN -180 AND 180),
    is_default boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX user_addresses_one_default ON user_addresses (user_id) WHERE is_default;
CREATE INDEX user_addresses_user ON user_addresses (user_id, created_at DESC);
CREATE INDEX user_addresses_place ON user_addresses USING gist (point(longitude, latitude)) WHERE is_default;

-- Money ----------------------------------------------------------------------------------------

CREATE TABLE wallets (
    user_id  uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    currency text NOT NULL DEFAULT 'INR' CONSTRAINT wallets_currency CHECK (currency = 'INR'),
    balance  numeric(14,2) NOT NULL DEFAULT 0 CONSTRAINT wallets_balance CHECK (balance >= 0)
) WITH (fillfactor = 80);

-- Why money moved: one row per balanced set of entries.
CREATE TABLE ledger_transfers (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind         text NOT NULL CONSTRAINT ledger_transfers_kind
                 CHECK (kind IN ('purchase', 'topup', 'withdrawal', 'reversal', 'investment')),
    reference_id uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ledger_transfers_reference ON ledger_transfers (reference_id);

-- account: 'wallet:<user id>', 'platform:fees' or 'external:<provider>'.
CREATE TABLE ledger_entries (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transfer_id uuid NOT NULL REFERENCES ledger_transfers,
    account     text NOT NULL CONSTRAINT ledger_entries_account
                CHECK (account ~ '^(wallet:[0-9a-f-]{36}|platform:fees|external:[a-z0-9_]{1,40})$'),
    amount      numeric(14,2) NOT NULL CONSTRAINT ledger_entries_amount CHECK (amount <> 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ledger_entries_once UNIQUE (transfer_id, account)
);
CREATE INDEX ledger_entries_account_newest ON ledger_entries (account, id DESC);

CREATE FUNCTION ledger_transfer_sums_to_zero() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sum(amount) FROM ledger_entries WHERE transfer_id = NEW.transfer_id) <> 0 THEN
        RAISE EXCEPTION 'the entries of transfer % do not sum to zero', NEW.transfer_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_transfer_sums_to_zero';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_transfer_sums_to_zero AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_transfer_sums_to_zero();

-- History is only ever added to.
CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER ledger_transfers_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transfers
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

CREATE TABLE payment_methods (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    kind         text NOT NULL CONSTRAINT payment_methods_kind CHECK (kind IN ('upi', 'card', 'bank')),
    label        text NOT NULL,
    provider     text NOT NULL,
    provider_ref text NOT NULL,
    is_default   boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX payment_methods_one_default ON payment_methods (user_id) WHERE is_default;
CREATE INDEX payment_methods_user ON payment_methods (user_id, created_at DESC);

-- Top-ups and withdrawals: what was asked of a provider, and what it answered.
CREATE TABLE payment_orders (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id           uuid REFERENCES users ON DELETE SET NULL,
    payment_method_id uuid REFERENCES payment_methods ON DELETE SET NULL,
    provider          text NOT NULL,
    kind              text NOT NULL CONSTRAINT payment_orders_kind CHECK (kind IN ('topup', 'withdrawal')),
    amount            numeric(14,2) NOT NULL CONSTRAINT payment_orders_amount CHECK (amount > 0),
    status            text NOT NULL DEFAULT 'pending'
                      CONSTRAINT payment_orders_status CHECK (status IN ('pending', 'completed', 'failed')),
    transfer_id       uuid CONSTRAINT payment_orders_transfer_key UNIQUE REFERENCES ledger_transfers,
    created_at        timestamptz NOT NULL DEFAULT now(),
    completed_at      timestamptz
);
CREATE INDEX payment_orders_user ON payment_orders (user_id, created_at DESC);
CREATE INDEX payment_orders_pending ON payment_orders (provider, created_at) WHERE status = 'pending';

-- What a provider's webhook said, once each.
CREATE TABLE payment_events (
    provider    text NOT NULL,
    event_id    text NOT NULL,
    order_id    uuid NOT NULL REFERENCES payment_orders,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, event_id)
);

-- A request that names an Idempotency-Key takes effect once per user and operation.
CREATE TABLE idempotency_keys (
    user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    operation    text NOT NULL,
    key          text NOT NULL CONSTRAINT idempotency_keys_length CHECK (length(key) BETWEEN 1 AND 255),
    request_hash bytea NOT NULL,
    result_id    uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, operation, key)
);

-- Places ---------------------------------------------------------------------------------------

-- Great circle between two places: core/geo.py, formula and radius.
CREATE FUNCTION distance_km(latitude double precision, longitude double precision,
                            other_latitude double precision, other_longitude double precision)
RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 2 * 6371.0088 * asin(sqrt(least(1,
    sin(radians(other_latitude - latitude) / 2) ^ 2
    + cos(radians(latitude)) * cos(radians(other_latitude))
      * sin(radians(other_longitude - longitude) / 2) ^ 2)));

-- Devices and what they measured ---------------------------------------------------------------

CREATE TABLE devices (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id          uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name              text NOT NULL,
    kind              text NOT NULL CONSTRAINT devices_kind CHECK (kind IN ('inverter', 'meter', 'battery')),
    capacity_w        double precision NOT NULL CONSTRAINT devices_capacity CHECK (capacity_w > 0 AND capacity_w <= 1e9),
    latitude          double precision CONSTRAINT devices_latitude CHECK (latitude BETWEEN -90 AND 90),
    longitude         double precision CONSTRAINT devices_longitude CHECK (longitude BETWEEN -180 AND 180),
    dialect           text NOT NULL DEFAULT 'native',
    external_id       text,
    credential_hash   bytea NOT NULL,   -- SHA-256 of the MQTT password: 128 random bits need no stretching
    created_at        timestamptz NOT NULL DEFAULT now(),
    deleted_at        timestamptz,
    CONSTRAINT devices_place CHECK ((latitude IS NULL) = (longitude IS NULL)),
    CONSTRAINT devices_external CHECK (dialect = 'native' OR external_id IS NOT NULL)
);
CREATE INDEX devices_owner ON devices (owner_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX devices_external_key ON devices (dialect, external_id)
    WHERE deleted_at IS NULL AND external_id IS NOT NULL;
CREATE INDEX devices_place_gist ON devices USING gist (point(longitude, latitude)) WHERE deleted_at IS NULL;

-- What ingestion knows of a device; apart from devices because every batch writes it.
-- received = stored + duplicate + rejected. accountant: the state after the last reading (core/accounting.py).
CREATE TABLE device_states (
    device_id    uuid PRIMARY KEY REFERENCES devices ON DELETE CASCADE,
    status       text NOT NULL DEFAULT 'pending'
                 CONSTRAINT device_states_status CHECK (status IN ('pending', 'online', 'offline', 'fault')),
    fault_code   text,
    last_seen_at timestamptz,
    battery_soc_pct double precision,
    accountant   jsonb,
    received     bigint NOT NULL DEFAULT 0,
    stored       bigint NOT NULL DEFAULT 0,
    duplicate    bigint NOT NULL DEFAULT 0,
    rejected     bigint NOT NULL DEFAULT 0,
    CONSTRAINT device_states_identity CHECK (received = stored + duplicate + rejected)
) WITH (fillfactor = 60);
CREATE INDEX device_states_online ON device_states (last_seen_at) WHERE status IN ('online', 'fault');

CREATE TABLE telemetry (
    device_id       uuid NOT NULL REFERENCES devices ON DELETE CASCADE,
    time            timestamptz NOT NULL,
    power_w         double precision,
    energy_wh       double precision,
    export_wh       double precision,
    import_wh       double precision,
    load_w          double precision,
    voltage_v       double precision,
    current_a       double precision,
    frequency_hz    double precision,
    temperature_c   double precision,
    battery_soc_pct double precision,
    PRIMARY KEY (device_id, time)
);

CREATE TABLE energy_interval (
    device_id    uuid NOT NULL REFERENCES devices ON DELETE CASCADE,
    slot_start   timestamptz NOT NULL,
    generated_wh numeric(14,3) NOT NULL CONSTRAINT energy_interval_generated CHECK (generated_wh >= 0),
    surplus_wh   numeric(14,3) NOT NULL CONSTRAINT energy_interval_surplus CHECK (surplus_wh >= 0),
    quality      text NOT NULL CONSTRAINT energy_interval_quality
                 CHECK (quality IN ('measured', 'interpolated', 'estimated', 'missing', 'rejected')),
    reasons      text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (device_id, slot_start),
    CONSTRAINT energy_interval_slot CHECK (date_bin('15 minutes', slot_start, '2000-01-01Z') = slot_start)
);

-- Only this part of an interval may be sold.
CREATE FUNCTION sellable_wh(quality text, surplus_wh numeric) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN quality IN ('measured', 'interpolated') THEN surplus_wh ELSE 0 END;

-- Two parts of one slot: the worse of those that carry energy, else of both (core/intervals.py).
CREATE FUNCTION worse_quality(a text, a_carries boolean, b text, b_carries boolean) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN a_carries AND NOT b_carries THEN a
    WHEN b_carries AND NOT a_carries THEN b
    WHEN array_position(ARRAY['measured', 'interpolated', 'estimated', 'missing', 'rejected'], a)
       > array_position(ARRAY['measured', 'interpolated', 'estimated', 'missing', 'rejected'], b) THEN a
    ELSE b END;

-- The accountant's state as it was before the first reading after slot_start: where re-accounting begins.
CREATE TABLE accountant_checkpoints (
    device_id  uuid NOT NULL REFERENCES devices ON DELETE CASCADE,
    slot_start timestamptz NOT NULL,
    accountant jsonb NOT NULL,
    PRIMARY KEY (device_id, slot_start)
);

-- What was refused, and why. device_id is null when the topic names no device that we know.
CREATE TABLE rejections (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id   uuid REFERENCES devices ON DELETE CASCADE,
    topic       text NOT NULL,
    payload     bytea NOT NULL CONSTRAINT rejections_payload CHECK (length(payload) <= 4096),
    reason      text NOT NULL,
    time        timestamptz,
    received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX rejections_device_newest ON rejections (device_id, id DESC);

-- Market ---------------------------------------------------------------------------------------

-- What is left to sell is derived, never written: what the seller stated plus what the meter measured
-- since measured_from (less baseline_wh, what that first slot held before), less what was sold.
CREATE TABLE energy_listings (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    seller_id         uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    device_id         uuid REFERENCES devices ON DELETE SET NULL,
    stated_kwh        numeric(12,3) NOT NULL DEFAULT 0 CONSTRAINT energy_listings_stated CHECK (stated_kwh >= 0),
    measured_wh       numeric(16,3) NOT NULL DEFAULT 0,
    sold_kwh          numeric(12,3) NOT NULL DEFAULT 0 CONSTRAINT energy_listings_sold CHECK (sold_kwh >= 0),
    energy_amount_kwh numeric(12,3) NOT NULL
                      GENERATED ALWAYS AS (greatest(0, stated_kwh + trunc(measured_wh / 1000, 3) - sold_kwh)) STORED
                      CONSTRAINT energy_listings_amount CHECK (energy_amount_kwh >= 0),
    price_per_kwh     numeric(10,4) NOT NULL CONSTRAINT energy_listings_price CHECK (price_per_kwh > 0),
    status            text NOT NULL DEFAULT 'active' CONSTRAINT energy_listings_status
                      CHECK (status IN ('active', 'paused', 'sold', 'expired', 'cancelled')),
    paused_by         text CONSTRAINT energy_listings_paused_by CHECK (paused_by IN ('seller', 'device')),
    auto_adjust       boolean NOT NULL DEFAULT false,
    pricing           text NOT NULL DEFAULT 'fixed' CONSTRAINT energy_listings_pricing CHECK (pricing IN ('fixed', 'dynamic')),
    price_floor       numeric(10,4) CONSTRAINT energy_listings_floor CHECK (price_floor > 0),
    price_cap         numeric(10,4) CONSTRAINT energy_listings_cap CHECK (price_cap >= price_floor),
    reserve_soc_pct   double precision CONSTRAINT energy_listings_reserve CHECK (reserve_soc_pct BETWEEN 0 AND 100),
    latitude          double precision NOT NULL CONSTRAINT energy_listings_latitude CHECK (latitude BETWEEN -90 AND 90),
    longitude         double precision NOT NULL CONSTRAINT energy_listings_longitude CHECK (longitude BETWEEN -180 AND 180),
    available_from    timestamptz NOT NULL,
    available_to      timestamptz NOT NULL,
    measured_from     timestamptz,
    baseline_wh       numeric(16,3) NOT NULL DEFAULT 0 CONSTRAINT energy_listings_baseline CHECK (baseline_wh >= 0),
    version           integer NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    closed_at         timestamptz,
    CONSTRAINT energy_listings_window CHECK (available_to > available_from),
    CONSTRAINT energy_listings_dynamic CHECK (pricing = 'fixed' OR (price_floor IS NOT NULL AND price_cap IS NOT NULL)),
    CONSTRAINT energy_listings_follows CHECK (measured_from IS NOT NULL OR NOT auto_adjust),
    CONSTRAINT energy_listings_closed CHECK ((closed_at IS NOT NULL) = (status IN ('expired', 'cancelled'))),
    CONSTRAINT energy_listings_paused CHECK ((paused_by IS NOT NULL) = (status = 'paused'))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX energy_listings_one_open_auto ON energy_listings (device_id)
    WHERE auto_adjust AND status IN ('active', 'paused', 'sold');
CREATE INDEX energy_listings_newest ON energy_listings (created_at DESC, id DESC);
CREATE INDEX energy_listings_status_newest ON energy_listings (status, created_at DESC, id DESC);
CREATE INDEX energy_listings_price ON energy_listings (price_per_kwh, id);
CREATE INDEX energy_listings_status_price ON energy_listings (status, price_per_kwh, id);
CREATE INDEX energy_listings_seller ON energy_listings (seller_id, created_at DESC, id DESC);
CREATE INDEX energy_listings_device ON energy_listings (device_id, created_at DESC, id DESC);
CREATE INDEX energy_listings_expiry ON energy_listings (available_to) WHERE status IN ('active', 'paused', 'sold');
CREATE INDEX energy_listings_place ON energy_listings USING gist (point(longitude, latitude)) WHERE status = 'active';

CREATE TABLE energy_transactions (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    listing_id        uuid REFERENCES energy_listings ON DELETE SET NULL,
    buyer_id          uuid REFERENCES users ON DELETE SET NULL,
    seller_id         uuid REFERENCES users ON DELETE SET NULL,
    payment_method_id uuid REFERENCES payment_methods ON DELETE SET NULL,
    transfer_id       uuid NOT NULL CONSTRAINT energy_transactions_transfer_key UNIQUE REFERENCES ledger_transfers,
    energy_kwh        numeric(12,3) NOT NULL CONSTRAINT energy_transactions_energy CHECK (energy_kwh > 0),
    price_per_kwh     numeric(10,4) NOT NULL CONSTRAINT energy_transactions_price CHECK (price_per_kwh > 0),
    total_price       numeric(14,2) NOT NULL CONSTRAINT energy_transactions_total CHECK (total_price > 0),
    platform_fee      numeric(14,2) NOT NULL CONSTRAINT energy_transactions_fee CHECK (platform_fee >= 0),
    seller_amount     numeric(14,2) NOT NULL CONSTRAINT energy_transactions_seller CHECK (seller_amount >= 0),
    status            text NOT NULL DEFAULT 'completed' CONSTRAINT energy_transactions_status CHECK (status IN ('completed')),
    created_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT energy_transactions_adds_up CHECK (total_price = platform_fee + seller_amount)
);
CREATE INDEX energy_transactions_buyer ON energy_transactions (buyer_id, created_at DESC, id DESC);
CREATE INDEX energy_transactions_seller_newest ON energy_transactions (seller_id, created_at DESC, id DESC);
CREATE INDEX energy_transactions_listing ON energy_transactions (listing_id, created_at DESC);

-- The feed -------------------------------------------------------------------------------------

-- Events wait here, written in the transaction that they tell of, until the relay has published them.
CREATE TABLE outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type       text NOT NULL,
    channels   text[] NOT NULL CONSTRAINT outbox_channels CHECK (cardinality(channels) BETWEEN 1 AND 8),
    data       jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- NOTIFY makes commits wait for each other's flush to disk, so only a relay that sleeps is woken: it
-- holds this lock alone. Whoever finds it awake shares the lock until after commit, and keeps it awake.
CREATE FUNCTION outbox_wakes_the_relay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock_shared(764382102 /* AdvisoryLock.RELAY_SLEEP */) THEN
        PERFORM pg_notify('outbox', '');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER outbox_wakes_the_relay AFTER INSERT ON outbox
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_wakes_the_relay();

-- How REST and the feed show an instant, a listing, a transaction, a wallet (tests hold both sides equal).
CREATE FUNCTION rfc3339(at timestamptz) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

CREATE FUNCTION listing_json(l energy_listings) RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object(
    'id', l.id, 'seller_id', l.seller_id, 'device_id', l.device_id,
    'energy_amount_kwh', l.energy_amount_kwh::text, 'sold_kwh', l.sold_kwh::text,
    'price_per_kwh', l.price_per_kwh::text, 'status', l.status, 'auto_adjust', l.auto_adjust,
    'pricing', l.pricing, 'price_floor', l.price_floor::text, 'price_cap', l.price_cap::text,
    'reserve_soc_pct', l.reserve_soc_pct, 'latitude', l.latitude, 'longitude', l.longitude,
    'available_from', rfc3339(l.available_from), 'available_to', rfc3339(l.available_to),
    'version', l.version, 'created_at', rfc3339(l.created_at), 'updated_at', rfc3339(l.updated_at));

CREATE FUNCTION transaction_json(t energy_transactions) RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object(
    'id', t.id, 'listing_id', t.listing_id, 'buyer_id', t.buyer_id, 'seller_id', t.seller_id,
    'payment_method_id', t.payment_method_id,
    'energy_kwh', t.energy_kwh::text, 'price_per_kwh', t.price_per_kwh::text,
    'total_price', t.total_price::text, 'platform_fee', t.platform_fee::text,
    'seller_amount', t.seller_amount::text, 'status', t.status, 'created_at', rfc3339(t.created_at));

CREATE FUNCTION wallet_json(w wallets) RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('user_id', w.user_id, 'currency', w.currency, 'balance', w.balance::text);

CREATE FUNCTION announce_listing(event_type text, l energy_listings) RETURNS void LANGUAGE sql AS $$
    INSERT INTO outbox (type, channels, data)
    VALUES (event_type, ARRAY['listings', 'listing:' || l.id], listing_json(l));
$$;

-- A rule of the business that the data break: the code is the contract's, the facts are for the message.
CREATE FUNCTION refuse(code text, facts jsonb DEFAULT '{}') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'SH409', MESSAGE = code, DETAIL = facts::text;
END $$;
