ALTER TABLE energy_listings ADD CONSTRAINT energy_listings_price_bounds
    CHECK (pricing = 'fixed' OR price_per_kwh BETWEEN price_floor AND price_cap);
