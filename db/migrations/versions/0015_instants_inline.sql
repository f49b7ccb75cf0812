-- STABLE as `to_char` is: PostgreSQL puts the body of a function that claims more than its body does into no
-- statement, but calls it, which took four fifths of the time of showing a listing. No zone is looked up by its name.
CREATE OR REPLACE FUNCTION rfc3339(at timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(at AT TIME ZONE interval '0', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
