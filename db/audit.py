"""The audit: all derived data, recomputed from ledger entries and readings.

All checks run on one snapshot, so that they hold while the hub is in use. A check selects the rows
that break its rule.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

from core.accounting import AccountingState
from core.earning import EarningTerms, account_readings
from core.ids import DeviceId
from core.intervals import Interval
from core.revenue import Stake, Terms, allocate
from core.settings import DatabaseSettings
from core.units import SLOT, slot_of
from db import audit_ledger, checkpoints, intervals, ledger_digests, readings
from db.audit_results import Check
from db.device_states import terms_of
from db.pool import Connection

# A purchase that begins before an investment commits does not see it: this takes under a minute.
_UNPAID_SHARES = """
SELECT t.id::text FROM energy_transactions t
 WHERE t.investor_amount <> coalesce((
       SELECT sum(amount) FROM revenue_shares WHERE transaction_id = t.id), 0)
    OR EXISTS (
       SELECT investor_id, sum(amount) FROM revenue_shares
        WHERE transaction_id = t.id AND amount > 0 GROUP BY investor_id
       EXCEPT
       SELECT substr(account, 8)::uuid, amount FROM ledger_entries
        WHERE transfer_id = t.transfer_id AND account LIKE 'wallet:%' AND amount > 0)
    OR EXISTS (
       SELECT FROM energy_listings l JOIN investments i ON i.device_id = l.device_id
        WHERE l.id = t.listing_id AND i.investor_id IS NOT NULL
          AND i.created_at < t.created_at - interval '1 minute'
          AND NOT EXISTS (SELECT FROM revenue_shares r
                           WHERE r.transaction_id = t.id AND r.investment_id = i.id))
    OR EXISTS (
       SELECT FROM energy_listings l JOIN investments i ON i.device_id = device_of_investors(l)
        WHERE l.id = t.listing_id AND i.investor_id IS NOT NULL
          AND i.created_at < t.created_at - interval '1 minute'
          AND NOT EXISTS (SELECT FROM revenue_shares r WHERE r.transaction_id = t.id))
"""

_SHARES = """
SELECT r.transaction_id, t.seller_amount, d.funding_target, d.revenue_share,
       array_agg(r.investment_id ORDER BY r.investment_id) AS investments,
       array_agg(r.investor_id ORDER BY r.investment_id) AS investors,
       array_agg(i.amount ORDER BY r.investment_id) AS invested,
       array_agg(r.amount ORDER BY r.investment_id) AS shares
  FROM revenue_shares r JOIN energy_transactions t ON t.id = r.transaction_id
  JOIN investments i ON i.id = r.investment_id JOIN devices d ON d.id = i.device_id
 GROUP BY r.transaction_id, t.id, d.id
"""

_SOLD = """
SELECT l.id::text FROM energy_listings l
  LEFT JOIN (SELECT listing_id, sum(energy_kwh) AS sold_kwh FROM energy_transactions
              GROUP BY listing_id) t ON t.listing_id = l.id
 WHERE l.sold_kwh <> coalesce(t.sold_kwh, 0)
    OR NOT l.auto_adjust AND l.energy_amount_kwh + l.sold_kwh <> l.stated_kwh
"""

_MEASURED = """
SELECT l.id::text FROM energy_listings l
  LEFT JOIN device_states s ON s.device_id = l.device_id
  LEFT JOIN LATERAL (
       SELECT sum(sellable_wh(i.quality, i.surplus_wh, i.early_wh)) AS sellable_wh
         FROM energy_interval i
        WHERE i.device_id = l.device_id
          AND i.slot_start > s.earns_from - interval '15 minutes'
          AND i.slot_start >= l.measured_from AND i.slot_start < l.available_to) m ON true
 WHERE l.auto_adjust AND l.closed_at IS NULL AND l.device_id IS NOT NULL
   AND l.measured_wh <> coalesce(m.sellable_wh, 0) - l.baseline_wh
"""

_STORED = """
SELECT s.device_id::text FROM device_states s JOIN devices d ON d.id = s.device_id
 WHERE s.received <> s.stored + s.duplicate + s.rejected
    OR d.created_at > hub_now() - $1::interval
   AND s.stored <> (SELECT count(*) FROM telemetry t WHERE t.device_id = s.device_id)
"""

_REJECTED = """
SELECT s.device_id::text FROM device_states s
  LEFT JOIN (SELECT device_id, sum(readings) AS readings FROM rejections GROUP BY device_id) r
         ON r.device_id = s.device_id
  LEFT JOIN rejections_dropped d ON d.device_id = s.device_id
 WHERE s.rejected <> coalesce(r.readings, 0) + coalesce(d.readings, 0)
"""

_DEVICES = """
SELECT d.id, d.capacity_w, d.carried, s.earns_from, first.at AS first_at
  FROM devices d JOIN device_states s ON s.device_id = d.id
  JOIN (SELECT device_id, min(time) AS at FROM telemetry GROUP BY device_id) first
    ON first.device_id = d.id
 ORDER BY d.id
"""

_HISTORY = """
SELECT time, power_w, energy_wh, export_wh, parts, counts_since FROM telemetry t
 WHERE device_id = $1 AND time > coalesce($2::timestamptz, '-infinity')
   AND NOT EXISTS (SELECT FROM unaccounted_readings u
                    WHERE u.device_id = t.device_id AND u.time = t.time)
 UNION ALL
SELECT time, power_w, energy_wh, export_wh, parts, counts_since FROM unaccounted_readings
 WHERE device_id = $1 AND time > coalesce($2::timestamptz, '-infinity') AND accounted
 ORDER BY time
"""

# Few, because the API runs audits between its requests.
_READINGS_AT_ONCE = 500
_SALES_AT_ONCE = 50


async def audit(
    conn: Connection, settings: DatabaseSettings, *, noted_hash: bytes | None = None
) -> AsyncIterator[Check]:
    """Run all checks in order, on one read-only snapshot.

    `noted_hash`: the hash of a head of the ledger's digests that was noted outside the database.
    """
    # Retention has deleted no readings of devices that are younger than this.
    whole_for = settings.retention_raw - settings.late_horizon
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        async for check in audit_ledger.checks(conn):
            yield check
        async for check in ledger_digests.checks(conn, noted_hash):
            yield check
        for name, rule, query, *arguments in (
            ("sold", "every listing sold the energy of its transactions", _SOLD),
            ("measured", "every listing that follows a device has its measured energy", _MEASURED),
            ("readings", "received = stored + duplicate + rejected", _STORED, whole_for),
            ("rejected", "every rejected reading is recorded or counted", _REJECTED),
        ):
            rows = await conn.fetch(query, *arguments)
            yield Check(name, rule, tuple(row[0] for row in rows))
        unpaid = {row[0] for row in await conn.fetch(_UNPAID_SHARES)}
        unpaid |= {str(sale_id) async for sale_id in _sales_with_other_shares(conn)}
        yield Check("shares", "every sale paid its investors their shares", tuple(sorted(unpaid)))
        differing = [str(device_id) async for device_id in _devices_with_other_intervals(conn)]
        yield Check("intervals", "every interval has the energy of its readings", tuple(differing))


async def _sales_with_other_shares(conn: Connection) -> AsyncIterator[UUID]:
    sales = await conn.cursor(_SHARES)
    while rows := await sales.fetch(_SALES_AT_ONCE):
        for row in rows:
            terms = Terms(row["funding_target"], row["revenue_share"])
            holdings = zip(row["investments"], row["investors"], row["invested"], strict=True)
            expected = allocate(terms, row["seller_amount"], (Stake(*one) for one in holdings))
            if expected != dict(zip(row["investments"], row["shares"], strict=True)):
                yield row["transaction_id"]


async def _devices_with_other_intervals(conn: Connection) -> AsyncIterator[DeviceId]:
    for device in await conn.fetch(_DEVICES):
        # If retention deleted the first readings, a checkpoint has the state before the rest.
        before = await checkpoints.before(conn, device["id"], device["first_at"])
        from_slot = slot_of(device["first_at"]) + SLOT if before else None
        terms = terms_of(device)
        expected = await _fold(conn, device["id"], device["capacity_w"], before, terms)
        whole = {at: i for at, i in expected.items() if from_slot is None or at >= from_slot}
        if await intervals.between(conn, device["id"], from_slot) != whole:
            yield device["id"]


async def _fold(
    conn: Connection,
    device_id: DeviceId,
    capacity_w: float,
    account: AccountingState | None,
    terms: EarningTerms,
) -> dict[datetime, Interval]:
    """Account a device's whole history again, in parts."""
    whole: dict[datetime, Interval] = {}
    history = await conn.cursor(_HISTORY, device_id, account.last_at if account else None)
    while rows := await history.fetch(_READINGS_AT_ONCE):
        part = [readings.of_row(row) for row in rows]
        accounted = account_readings(account, part, capacity_w, terms)
        assert accounted is not None
        account = accounted.account
        for slot, interval in accounted.intervals.items():
            whole[slot] = whole[slot] + interval if slot in whole else interval
    return whole
