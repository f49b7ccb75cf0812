-- Return the response to a purchase, as JSON text: the transaction with its listing, or null if that is deleted.
CREATE OR REPLACE FUNCTION purchase_text(t energy_transactions) RETURNS text LANGUAGE sql STABLE
RETURN concat('{', transaction_members(t), ',"listing":',
              coalesce((SELECT listing_text(l, NULL) FROM energy_listings l WHERE l.id = t.listing_id), 'null'), '}');
