-- Others see a home to a hundredth of a degree (about 1 km): what is near is found, measured and shown
-- by that place alone, so that no number of questions tells more. Plus zero: never minus zero.
CREATE FUNCTION shown_degrees(degrees double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN round(degrees * 100) / 100 + 0;

DROP INDEX user_addresses_place;
CREATE INDEX user_addresses_shown_place ON user_addresses
    USING gist (point(shown_degrees(longitude), shown_degrees(latitude))) WHERE is_default;

DROP INDEX devices_place_gist;
CREATE INDEX devices_shown_place ON devices
    USING gist (point(shown_degrees(longitude), shown_degrees(latitude))) WHERE deleted_at IS NULL;
