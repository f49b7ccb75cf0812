-- Return the platform's fee (core/revenue.py): at least 0.01 if the rate is above 0, never more than the total.
CREATE OR REPLACE FUNCTION platform_fee(total numeric, rate numeric) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN rate > 0 THEN least(total, greatest(round(total * rate, 2), 0.01)) ELSE 0.00 END;
