-- Lock wallets in user id order until commit, and return them as they are then. Users without one are left out.
-- FOR NO KEY UPDATE: other transactions may still write rows that refer to the locked ones.
CREATE OR REPLACE FUNCTION lock_wallets(p_user_ids uuid[]) RETURNS wallets[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        SELECT array_agg(locked)
          FROM (SELECT * FROM wallets WHERE user_id = ANY (p_user_ids)
                 ORDER BY user_id FOR NO KEY UPDATE) AS locked);
END $$;
