-- Return the quality of a slot that is added from two parts a and b: the worse one of those that carry energy,
-- else the worse one of both (core/intervals.py).
CREATE OR REPLACE FUNCTION worse_quality(a text, a_carries boolean, b text, b_carries boolean) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN a_carries AND NOT b_carries THEN a
    WHEN b_carries AND NOT a_carries THEN b
    WHEN array_position(ARRAY['measured', 'interpolated', 'estimated', 'missing', 'rejected'], a)
       > array_position(ARRAY['measured', 'interpolated', 'estimated', 'missing', 'rejected'], b) THEN a
    ELSE b END;
