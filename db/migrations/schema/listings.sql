-- Listings: offers of energy.

-- energy_amount_kwh is what is left to sell. It is derived and never written: the energy that the seller
-- stated, plus the energy that the meter measured since measured_from, minus the energy that was sold.
-- baseline_wh: energy that the first slot contained before the listing followed its device. It is not sold.
-- price_slot: slot in which the current price was set, by the seller or by the market.
-- exact_latitude, exact_longitude: only the seller sees them. latitude, longitude: the public place, to 0.01
-- degrees unless the seller publishes the exact one. Distances, circles and prices use the public place alone.
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
    price_slot        timestamptz NOT NULL DEFAULT date_bin('15 minutes', now(), '2000-01-01Z'),
    reserve_soc_pct   double precision CONSTRAINT energy_listings_reserve CHECK (reserve_soc_pct BETWEEN 0 AND 100),
    exact_latitude    double precision NOT NULL CONSTRAINT energy_listings_latitude CHECK (exact_latitude BETWEEN -90 AND 90),
    exact_longitude   double precision NOT NULL
                      CONSTRAINT energy_listings_longitude CHECK (exact_longitude BETWEEN -180 AND 180),
    exact_location    boolean NOT NULL DEFAULT false,
    latitude          double precision NOT NULL GENERATED ALWAYS AS
                      (CASE WHEN exact_location THEN exact_latitude ELSE public_degrees(exact_latitude) END) STORED,
    longitude         double precision NOT NULL GENERATED ALWAYS AS
                      (CASE WHEN exact_location THEN exact_longitude ELSE public_degrees(exact_longitude) END) STORED,
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
    CONSTRAINT energy_listings_price_bounds
        CHECK (pricing = 'fixed' OR price_per_kwh BETWEEN price_floor AND price_cap),
    CONSTRAINT energy_listings_follows CHECK (measured_from IS NOT NULL OR NOT auto_adjust),
    CONSTRAINT energy_listings_closed CHECK ((closed_at IS NOT NULL) = (status IN ('expired', 'cancelled'))),
    CONSTRAINT energy_listings_paused CHECK ((paused_by IS NOT NULL) = (status = 'paused'))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX energy_listings_one_open_auto ON energy_listings (device_id)
    WHERE auto_adjust AND status IN ('active', 'paused', 'sold');
CREATE INDEX energy_listings_newest ON energy_listings (created_at DESC, id DESC);
CREATE INDEX energy_listings_price ON energy_listings (price_per_kwh, id);
CREATE INDEX energy_listings_status_price ON energy_listings (status, price_per_kwh, id);
-- All columns ascending: a filter and a page's cursor are then one row comparison.
CREATE INDEX energy_listings_status_newest ON energy_listings (status, created_at, id);
CREATE INDEX energy_listings_seller_newest ON energy_listings (seller_id, created_at, id);
CREATE INDEX energy_listings_device_newest ON energy_listings (device_id, created_at, id);
-- Counts a seller's open listings, which have a limit.
CREATE INDEX energy_listings_open_of_seller ON energy_listings (seller_id) WHERE status IN ('active', 'paused', 'sold');
CREATE INDEX energy_listings_dynamic ON energy_listings (id)
    WHERE pricing = 'dynamic' AND status IN ('active', 'paused', 'sold');
CREATE INDEX energy_listings_expiry ON energy_listings (available_to) WHERE status IN ('active', 'paused', 'sold');
CREATE INDEX energy_listings_place ON energy_listings USING gist (point(longitude, latitude)) WHERE status = 'active';
