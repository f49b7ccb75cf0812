-- Dynamic prices, and the demand that they follow.

-- Energy that a buyer wanted in a slot and could not get because the listing had too little: the largest
-- single order that the buyer could have paid. One row per buyer and slot, however many orders were refused.
CREATE TABLE refused_demand (
    slot_start timestamptz NOT NULL,
    buyer_id   uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    listing_id uuid NOT NULL REFERENCES energy_listings ON DELETE CASCADE,
    energy_kwh numeric(12,3) NOT NULL CONSTRAINT refused_demand_energy CHECK (energy_kwh > 0),
    PRIMARY KEY (slot_start, buyer_id)
);

-- Slots for which prices were computed, and their inputs per neighbourhood (H3 cell).
CREATE TABLE price_slots (
    slot_start timestamptz PRIMARY KEY
               CONSTRAINT price_slots_slot CHECK (date_bin('15 minutes', slot_start, '2000-01-01Z') = slot_start)
);
-- Sums of many listings have no limit of digits.
CREATE TABLE neighbourhood_prices (
    slot_start  timestamptz NOT NULL REFERENCES price_slots ON DELETE CASCADE,
    cell        text NOT NULL,
    offered_kwh numeric NOT NULL,
    wanted_kwh  numeric NOT NULL,
    sell_price  numeric(10,4) NOT NULL,
    buy_price   numeric(10,4) NOT NULL,
    PRIMARY KEY (slot_start, cell)
);
