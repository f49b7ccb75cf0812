-- Return a transaction as the feed shows it, for an event.
CREATE FUNCTION transaction_json(t energy_transactions) RETURNS jsonb LANGUAGE sql STABLE
RETURN transaction_text(t)::jsonb;
