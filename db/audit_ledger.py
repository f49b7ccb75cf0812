"""Checks of money in an audit: transfers and their causes, wallets and their entries."""

from collections.abc import AsyncIterator

from db.audit_results import Check
from db.pool import Connection

_TRANSFERS = """
SELECT t.id::text FROM ledger_transfers t LEFT JOIN ledger_entries e ON e.transfer_id = t.id
 GROUP BY t.id HAVING coalesce(sum(e.amount), 0) <> 0 OR count(e.id) < 2
"""

_WALLETS = """
SELECT w.user_id::text FROM wallets w
  LEFT JOIN (SELECT account, sum(amount) AS total FROM ledger_entries GROUP BY account) e
         ON e.account = 'wallet:' || w.user_id
 WHERE w.balance <> coalesce(e.total, 0)
"""

# A new kind of transfer needs a cause here: without one, its transfers break the rule.
_CAUSES = """
SELECT t.id::text FROM ledger_transfers t
 WHERE NOT CASE t.kind
       WHEN 'purchase' THEN EXISTS (
            SELECT FROM energy_transactions x WHERE x.id = t.reference_id AND x.transfer_id = t.id)
       WHEN 'investment' THEN EXISTS (
            SELECT FROM investments i WHERE i.id = t.reference_id AND i.transfer_id = t.id)
       WHEN 'topup' THEN EXISTS (
            SELECT FROM payment_orders o WHERE o.id = t.reference_id AND o.transfer_id = t.id
               AND o.kind = 'topup' AND o.status = 'completed')
       WHEN 'withdrawal' THEN EXISTS (
            SELECT FROM payment_orders o WHERE o.id = t.reference_id AND o.transfer_id = t.id
               AND o.kind = 'withdrawal')
       WHEN 'reversal' THEN EXISTS (
            SELECT FROM payment_orders o WHERE o.id = t.reference_id
               AND o.kind = 'withdrawal' AND o.status = 'failed')
       ELSE false END
"""

# All wallets are one account here, since a user may be deleted. The checks of each cause compare
# their owners.
_MOVED_OTHERWISE = """
WITH due (transfer_id, account, amount) AS (
    SELECT transfer_id, 'wallet', -total_price FROM energy_transactions
     UNION ALL
    SELECT transfer_id, 'wallet', seller_amount - investor_amount FROM energy_transactions
     WHERE seller_amount > investor_amount
     UNION ALL
    SELECT x.transfer_id, 'wallet', sum(s.amount)
      FROM revenue_shares s JOIN energy_transactions x ON x.id = s.transaction_id
     WHERE s.amount > 0 GROUP BY x.transfer_id, s.investor_id
     UNION ALL
    SELECT transfer_id, 'platform:fees', platform_fee FROM energy_transactions
     WHERE platform_fee > 0
     UNION ALL
    SELECT transfer_id, 'wallet', amount * side FROM investments, unnest(ARRAY[-1, 1]) AS side
     UNION ALL
    SELECT t.id, account, o.amount * CASE WHEN t.kind = 'withdrawal' THEN -side ELSE side END
      FROM ledger_transfers t JOIN payment_orders o ON o.id = t.reference_id,
           LATERAL (VALUES ('wallet', 1), ('external:' || o.provider, -1)) AS sides (account, side)
     WHERE t.kind IN ('topup', 'withdrawal', 'reversal')
), moved (transfer_id, account, amount) AS (
    SELECT transfer_id, CASE WHEN account LIKE 'wallet:%' THEN 'wallet' ELSE account END, amount
      FROM ledger_entries
), differing AS (
    (SELECT transfer_id, account, amount FROM due
      EXCEPT ALL SELECT transfer_id, account, amount FROM moved)
     UNION ALL
    (SELECT transfer_id, account, amount FROM moved
      EXCEPT ALL SELECT transfer_id, account, amount FROM due)
)
SELECT DISTINCT transfer_id::text FROM differing WHERE transfer_id IS NOT NULL
"""

_TRANSACTIONS = """
SELECT t.id::text FROM energy_transactions t
  LEFT JOIN ledger_transfers l
         ON l.id = t.transfer_id AND l.kind = 'purchase' AND l.reference_id = t.id
 WHERE l.id IS NULL
    OR t.total_price <> round(t.price_per_kwh * t.energy_kwh, 2)
    OR t.buyer_id IS NOT NULL AND NOT EXISTS (
       SELECT FROM ledger_entries WHERE transfer_id = t.transfer_id
          AND account = 'wallet:' || t.buyer_id AND amount = -t.total_price)
    OR t.seller_id IS NOT NULL AND t.seller_amount - t.investor_amount <> coalesce((
       SELECT sum(amount) FROM ledger_entries WHERE transfer_id = t.transfer_id
          AND account = 'wallet:' || t.seller_id), 0)
"""

_INVESTMENTS = """
SELECT i.id::text FROM investments i
  LEFT JOIN ledger_transfers l
         ON l.id = i.transfer_id AND l.kind = 'investment' AND l.reference_id = i.id
  LEFT JOIN devices d ON d.id = i.device_id
 WHERE l.id IS NULL
    OR i.investor_id IS NOT NULL AND NOT EXISTS (
       SELECT FROM ledger_entries WHERE transfer_id = l.id
          AND account = 'wallet:' || i.investor_id AND amount = -i.amount)
    OR d.owner_id IS NOT NULL AND NOT EXISTS (
       SELECT FROM ledger_entries WHERE transfer_id = l.id
          AND account = 'wallet:' || d.owner_id AND amount = i.amount)
"""

# A withdrawal moves the money when it is requested, and returns it once if it fails. A user who was
# deleted by then has no wallet to return it to.
_PAYMENTS = """
SELECT o.id::text FROM payment_orders o
  LEFT JOIN ledger_transfers t ON t.id = o.transfer_id AND t.kind = o.kind AND t.reference_id = o.id
 CROSS JOIN LATERAL (
       SELECT (o.kind = 'withdrawal' AND o.status = 'failed')::int AS at_most,
              (SELECT count(*) FROM ledger_transfers
                WHERE reference_id = o.id AND kind = 'reversal') AS times) AS reversed
 WHERE (o.transfer_id IS NOT NULL) <> (t.id IS NOT NULL)
    OR (t.id IS NOT NULL) <> (o.kind = 'withdrawal' OR o.status = 'completed')
    OR reversed.times > reversed.at_most
    OR reversed.times < reversed.at_most AND o.user_id IS NOT NULL
    OR o.user_id IS NOT NULL AND EXISTS (
       SELECT FROM ledger_transfers l JOIN ledger_entries e ON e.transfer_id = l.id
        WHERE l.reference_id = o.id AND e.account LIKE 'wallet:%'
          AND e.account <> 'wallet:' || o.user_id)
"""

_FUNDED = """
SELECT d.id::text FROM devices d
  LEFT JOIN (SELECT device_id, sum(amount) AS total FROM investments GROUP BY device_id) i
         ON i.device_id = d.id
 WHERE d.funded <> coalesce(i.total, 0) OR d.funded > coalesce(d.funding_target, 0)
"""


async def checks(conn: Connection) -> AsyncIterator[Check]:
    """Run the checks of money, except those of energy for sale and of revenue shares."""
    for name, rule, query in (
        ("transfers", "every transfer sums to zero", _TRANSFERS),
        ("causes", "every transfer has its cause", _CAUSES),
        (
            "moved",
            "every transfer moves exactly the amounts of its cause",
            _MOVED_OTHERWISE,
        ),
        ("wallets", "every wallet equals its entries", _WALLETS),
        ("transactions", "every transaction has its transfer", _TRANSACTIONS),
        ("investments", "every investment has its transfer", _INVESTMENTS),
        ("payments", "every payment moved its amount once, and back if it failed", _PAYMENTS),
        ("funded", "every device is funded by its investments, to its target", _FUNDED),
    ):
        yield Check(name, rule, tuple(row[0] for row in await conn.fetch(query)))
