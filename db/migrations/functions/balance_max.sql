-- Return the largest balance of a wallet, in INR: the limit of numeric(14,2), and BALANCE_MAX of core/units.py.
CREATE OR REPLACE FUNCTION balance_max() RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 999999999999.99;
