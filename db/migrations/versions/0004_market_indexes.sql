-- All columns in one direction: what is selected by and where to go on are one row comparison.
DROP INDEX energy_listings_status_newest;
CREATE INDEX energy_listings_status_newest ON energy_listings (status, created_at, id);
DROP INDEX energy_listings_seller;
CREATE INDEX energy_listings_seller_newest ON energy_listings (seller_id, created_at, id);
DROP INDEX energy_listings_device;
CREATE INDEX energy_listings_device_newest ON energy_listings (device_id, created_at, id);

-- Covers what the market's summary adds up, so that a month is read without its rows.
CREATE INDEX energy_transactions_when ON energy_transactions (created_at)
    INCLUDE (energy_kwh, total_price, platform_fee);
