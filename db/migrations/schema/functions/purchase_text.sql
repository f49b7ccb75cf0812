-- Return the response to a purchase: the transaction, with its listing.
CREATE FUNCTION purchase_text(t energy_transactions) RETURNS text LANGUAGE sql STABLE
RETURN concat(left(transaction_text(t), -1), ',"listing":',
              coalesce((SELECT listing_text(l) FROM energy_listings l WHERE l.id = t.listing_id), 'null'), '}');
