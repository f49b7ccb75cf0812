-- Return a coordinate rounded to 0.01 degrees (about 1 km), which is the precision of a public place.
-- Others find, measure and see a home by its public place alone, so that no number of requests reveals more.
-- Adding zero turns minus zero into zero.
CREATE OR REPLACE FUNCTION public_degrees(degrees double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN round(degrees * 100) / 100 + 0;
