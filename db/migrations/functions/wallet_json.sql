-- Return a wallet as REST and the feed show it.
CREATE OR REPLACE FUNCTION wallet_json(w wallets) RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('user_id', w.user_id, 'currency', w.currency, 'balance', w.balance::text);
