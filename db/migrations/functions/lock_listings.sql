-- Lock listings in id order until commit, and return them as they are then. Unknown ids are left out.
-- FOR NO KEY UPDATE: other transactions may still write rows that refer to the locked ones.
CREATE OR REPLACE FUNCTION lock_listings(p_ids uuid[]) RETURNS energy_listings[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        SELECT array_agg(l)
          FROM (SELECT DISTINCT unnest(p_ids) AS id ORDER BY id) AS wanted,
               LATERAL (SELECT * FROM energy_listings WHERE id = wanted.id FOR NO KEY UPDATE) AS l);
END $$;
