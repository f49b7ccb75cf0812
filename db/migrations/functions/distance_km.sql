-- Return the great-circle distance of two places, with formula and radius of core/geo.py.
CREATE OR REPLACE FUNCTION distance_km(latitude double precision, longitude double precision,
                            other_latitude double precision, other_longitude double precision)
RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 2 * 6371.0088 * asin(sqrt(least(1,
    sin(radians(other_latitude - latitude) / 2) ^ 2
    + cos(radians(latitude)) * cos(radians(other_latitude))
      * sin(radians(other_longitude - longitude) / 2) ^ 2)));
