-- Return the part of an interval that may be sold, from the slot of the device's earns_from on.
CREATE OR REPLACE FUNCTION sellable_wh(quality text, surplus_wh numeric, early_wh numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN quality IN ('measured', 'interpolated') THEN surplus_wh - coalesce(early_wh, 0) ELSE 0 END;
