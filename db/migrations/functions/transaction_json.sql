-- Return a transaction as events show it.
CREATE OR REPLACE FUNCTION transaction_json(t energy_transactions) RETURNS jsonb LANGUAGE sql STABLE
RETURN concat('{', transaction_members(t), '}')::jsonb;
