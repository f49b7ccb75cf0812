-- The slot that a listing's price was made in, by its seller or by the market: the next one makes another.
ALTER TABLE energy_listings
    ADD COLUMN price_slot timestamptz NOT NULL DEFAULT date_bin('15 minutes', now(), '2000-01-01Z');
CREATE INDEX energy_listings_dynamic ON energy_listings (id)
    WHERE pricing = 'dynamic' AND status IN ('active', 'paused', 'sold');

-- What a buyer wanted in a slot and could not have, as there was not enough: the most that they asked for
-- at once and could have paid, where that was. One row a buyer and slot, however often they ask.
CREATE TABLE refused_demand (
    slot_start timestamptz NOT NULL,
    buyer_id   uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    listing_id uuid NOT NULL REFERENCES energy_listings ON DELETE CASCADE,
    energy_kwh numeric(12,3) NOT NULL CONSTRAINT refused_demand_energy CHECK (energy_kwh > 0),
    PRIMARY KEY (slot_start, buyer_id)
);

-- The slots that prices were made for, and of each neighbourhood (H3 cell) what they were made of.
CREATE TABLE price_slots (
    slot_start timestamptz PRIMARY KEY
               CONSTRAINT price_slots_slot CHECK (date_bin('15 minutes', slot_start, '2000-01-01Z') = slot_start)
);
CREATE TABLE neighbourhood_prices (
    slot_start  timestamptz NOT NULL REFERENCES price_slots ON DELETE CASCADE,
    cell        text NOT NULL,
    offered_kwh numeric(18,3) NOT NULL,
    wanted_kwh  numeric(18,3) NOT NULL,
    sell_price  numeric(10,4) NOT NULL,
    buy_price   numeric(10,4) NOT NULL,
    PRIMARY KEY (slot_start, cell)
);
