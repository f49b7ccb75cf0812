"""Energy per slot, and the checkpoints from which it can be accounted again.

Energy is added to what a slot holds, by the rule of `core.intervals.Interval.__add__`. What that
changes of the surplus that may be sold is returned, for the listings that follow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice

from core.accounting import AccountingState
from core.ids import DeviceId
from core.intervals import Interval, Quality, Reason
from core.units import mwh_of_wh, wh_of_mwh
from db import accounts
from db.pool import Connection

# Not a join of added and old: the planner takes them for ten rows, and would try each with each.
_ADD = """
WITH new AS (
    SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::numeric[], $4::numeric[], $5::text[],
                         $6::text[], $7::numeric[])
                  AS n (device_id, slot_start, generated_wh, surplus_wh, quality, reasons, early_wh)
), old AS (
    SELECT i.device_id, i.slot_start,
           sellable_wh(i.quality, i.surplus_wh, i.early_wh) AS sellable_wh
      FROM new JOIN energy_interval i USING (device_id, slot_start)
), added AS (
    INSERT INTO energy_interval AS i
           (device_id, slot_start, generated_wh, surplus_wh, quality, reasons, early_wh)
    SELECT device_id, slot_start, generated_wh, surplus_wh, quality, reasons::text[], early_wh
      FROM new
        ON CONFLICT (device_id, slot_start) DO UPDATE
       SET generated_wh = i.generated_wh + excluded.generated_wh,
           surplus_wh = i.surplus_wh + excluded.surplus_wh,
           early_wh = coalesce(i.early_wh + excluded.early_wh, i.early_wh, excluded.early_wh),
           quality = worse_quality(
               i.quality, i.generated_wh > 0 OR i.surplus_wh > 0,
               excluded.quality, excluded.generated_wh > 0 OR excluded.surplus_wh > 0),
           reasons = CASE WHEN i.reasons = excluded.reasons THEN i.reasons ELSE
               ARRAY(SELECT DISTINCT unnest(i.reasons || excluded.reasons) ORDER BY 1) END
    RETURNING i.device_id, i.slot_start,
              sellable_wh(i.quality, i.surplus_wh, i.early_wh) AS sellable_wh
)
SELECT device_id, slot_start, sum(wh) AS change_wh
  FROM (SELECT device_id, slot_start, sellable_wh AS wh FROM added
         UNION ALL
        SELECT device_id, slot_start, -sellable_wh FROM old) AS change
 GROUP BY device_id, slot_start
"""

_SINCE = """
SELECT slot_start, generated_wh, surplus_wh, quality, reasons, early_wh FROM energy_interval
 WHERE device_id = $1 AND ($2::timestamptz IS NULL OR slot_start >= $2)
"""

_REMOVE_FROM = """
DELETE FROM energy_interval WHERE device_id = $1 AND slot_start >= $2
RETURNING slot_start, sellable_wh(quality, surplus_wh, early_wh) AS sellable_wh
"""

_CHECKPOINTS_AROUND = """
(SELECT accountant FROM accountant_checkpoints
  WHERE device_id = $1 AND slot_start > $2 ORDER BY slot_start LIMIT 1)
UNION ALL
(SELECT accountant FROM accountant_checkpoints
  WHERE device_id = $1 AND slot_start <= $2 ORDER BY slot_start DESC LIMIT 1)
"""

_REMOVE_CHECKPOINTS_AFTER = """
DELETE FROM accountant_checkpoints WHERE device_id = $1 AND slot_start > $2
"""

_SAVE_CHECKPOINTS = """
INSERT INTO accountant_checkpoints (device_id, slot_start, accountant)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::json[])
    ON CONFLICT (device_id, slot_start) DO UPDATE SET accountant = excluded.accountant
"""

_FORGET_EARLY = """
UPDATE energy_interval SET early_wh = NULL
 WHERE device_id = $1 AND slot_start = $2 AND early_wh IS NOT NULL
"""

# What a full batch of readings touches, or seven weeks of silence.
ADDED_AT_ONCE = 5_000

SlotKey = tuple[DeviceId, datetime]


@dataclass(frozen=True, slots=True)
class SurplusChange:
    """By how much the sellable surplus of one slot rose (or fell)."""

    device_id: DeviceId
    slot_start: datetime
    change_wh: Decimal


async def add(conn: Connection, intervals: Mapping[SlotKey, Interval]) -> list[SurplusChange]:
    """As many statements as it takes for each to end in time: a silence may have lasted years, and
    each of its days may want a chunk of its own."""
    changes, remaining = [], iter(intervals.items())
    while part := dict(islice(remaining, ADDED_AT_ONCE)):
        changes += await _add(conn, part)
    return changes


async def _add(conn: Connection, intervals: Mapping[SlotKey, Interval]) -> list[SurplusChange]:
    rows = await conn.fetch(
        _ADD,
        [device_id for device_id, _ in intervals],
        [slot for _, slot in intervals],
        [wh_of_mwh(i.generated_mwh) for i in intervals.values()],
        [wh_of_mwh(i.surplus_mwh) for i in intervals.values()],
        [i.quality for i in intervals.values()],
        ["{" + ",".join(sorted(i.reasons)) + "}" for i in intervals.values()],
        [wh_of_mwh(i.early_mwh) if i.early_mwh else None for i in intervals.values()],
    )
    return [SurplusChange(r["device_id"], r["slot_start"], r["change_wh"]) for r in rows]


async def since(
    conn: Connection, device_id: DeviceId, slot_start: datetime | None
) -> dict[datetime, Interval]:
    """A device's intervals from a slot on (None: all)."""
    return {
        row["slot_start"]: Interval(
            mwh_of_wh(row["generated_wh"]),
            mwh_of_wh(row["surplus_wh"]),
            Quality(row["quality"]),
            frozenset(Reason(reason) for reason in row["reasons"]),
            mwh_of_wh(row["early_wh"] or 0),
        )
        for row in await conn.fetch(_SINCE, device_id, slot_start)
    }


async def remove_from(
    conn: Connection, device_id: DeviceId, slot_start: datetime
) -> list[SurplusChange]:
    """Take back every interval of a device from a slot on."""
    rows = await conn.fetch(_REMOVE_FROM, device_id, slot_start)
    return [SurplusChange(device_id, r["slot_start"], -r["sellable_wh"]) for r in rows]


async def checkpoint_before(
    conn: Connection, device_id: DeviceId, at: datetime
) -> AccountingState | None:
    """The newest account that knows no reading at or after `at`; None: begin with the first."""
    rows = await conn.fetch(_CHECKPOINTS_AROUND, device_id, at)
    around = (accounts.from_json(row["accountant"]) for row in rows)
    return next((account for account in around if account.last_at < at), None)


async def remove_checkpoints_after(conn: Connection, device_id: DeviceId, at: datetime) -> None:
    """Forget the accounts that took the time before `at` for settled."""
    await conn.execute(_REMOVE_CHECKPOINTS_AFTER, device_id, at)


async def save_checkpoints(
    conn: Connection, checkpoints: Mapping[SlotKey, AccountingState]
) -> None:
    await conn.execute(
        _SAVE_CHECKPOINTS,
        [device_id for device_id, _ in checkpoints],
        [slot for _, slot in checkpoints],
        [accounts.to_json(account) for account in checkpoints.values()],
    )


async def forget_early(conn: Connection, device_id: DeviceId, slot_start: datetime) -> None:
    """Let all of a slot be sold that its device was cut off from before."""
    await conn.execute(_FORGET_EARLY, device_id, slot_start)
