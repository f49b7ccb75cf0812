"""Energy per slot.

New energy is added to the stored interval as `core.intervals.Interval.__add__` does. Each change
returns the change of sellable surplus, for the listings that follow the device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice

from core.ids import DeviceId
from core.intervals import Interval, Quality, Reason
from core.units import mwh_of_wh, wh_of_mwh
from db.pool import Connection

# Not a join of added and old: the planner expects ten rows in each, and would use nested loops.
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

_BETWEEN = """
SELECT slot_start, generated_wh, surplus_wh, quality, reasons, early_wh FROM energy_interval
 WHERE device_id = $1 AND slot_start >= coalesce($2::timestamptz, '-infinity')
   AND slot_start < coalesce($3::timestamptz, 'infinity')
"""

_REPLACE = """
INSERT INTO energy_interval
       (device_id, slot_start, generated_wh, surplus_wh, quality, reasons, early_wh)
SELECT device_id, slot_start, generated_wh, surplus_wh, quality, reasons::text[], early_wh
  FROM unnest($1::uuid[], $2::timestamptz[], $3::numeric[], $4::numeric[], $5::text[],
              $6::text[], $7::numeric[])
       AS n (device_id, slot_start, generated_wh, surplus_wh, quality, reasons, early_wh)
    ON CONFLICT (device_id, slot_start) DO UPDATE
   SET generated_wh = excluded.generated_wh, surplus_wh = excluded.surplus_wh,
       quality = excluded.quality, reasons = excluded.reasons, early_wh = excluded.early_wh
"""

_REMOVE = "DELETE FROM energy_interval WHERE device_id = $1 AND slot_start = ANY($2::timestamptz[])"

_CLEAR_EARLY = """
UPDATE energy_interval SET early_wh = NULL
 WHERE device_id = $1 AND slot_start = $2 AND early_wh IS NOT NULL
"""

# The slots of a full batch of readings, or of a gap of seven weeks.
ADDED_AT_ONCE = 5_000

SlotKey = tuple[DeviceId, datetime]


@dataclass(frozen=True, slots=True)
class SurplusChange:
    """The change of a slot's sellable surplus; negative if it fell."""

    device_id: DeviceId
    slot_start: datetime
    change_wh: Decimal


async def add(conn: Connection, intervals: Mapping[SlotKey, Interval]) -> list[SurplusChange]:
    """Add intervals, in several statements so that each ends within its timeout.

    A gap may have lasted for years, and each of its days may need a new chunk.
    """
    changes, remaining = [], iter(intervals.items())
    while part := dict(islice(remaining, ADDED_AT_ONCE)):
        changes += await _add(conn, part)
    return changes


async def _add(conn: Connection, intervals: Mapping[SlotKey, Interval]) -> list[SurplusChange]:
    rows = await conn.fetch(_ADD, *_columns(intervals))
    return [SurplusChange(r["device_id"], r["slot_start"], r["change_wh"]) for r in rows]


def _columns(intervals: Mapping[SlotKey, Interval]) -> tuple[list[object], ...]:
    return (
        [device_id for device_id, _ in intervals],
        [slot for _, slot in intervals],
        [wh_of_mwh(i.generated_mwh) for i in intervals.values()],
        [wh_of_mwh(i.surplus_mwh) for i in intervals.values()],
        [i.quality for i in intervals.values()],
        ["{" + ",".join(sorted(i.reasons)) + "}" for i in intervals.values()],
        [wh_of_mwh(i.early_mwh) if i.early_mwh else None for i in intervals.values()],
    )


async def between(
    conn: Connection,
    device_id: DeviceId,
    from_slot: datetime | None = None,
    until: datetime | None = None,
) -> dict[datetime, Interval]:
    """Return a device's intervals from a slot (None: the first) until another (None: the last)."""
    return {
        row["slot_start"]: Interval(
            mwh_of_wh(row["generated_wh"]),
            mwh_of_wh(row["surplus_wh"]),
            Quality(row["quality"]),
            frozenset(Reason(reason) for reason in row["reasons"]),
            mwh_of_wh(row["early_wh"] or 0),
        )
        for row in await conn.fetch(_BETWEEN, device_id, from_slot, until)
    }


async def replace(
    conn: Connection,
    device_id: DeviceId,
    stored: Mapping[datetime, Interval],
    intervals: Mapping[datetime, Interval],
) -> list[SurplusChange]:
    """Replace the stored intervals of a period by others."""
    changed = {slot: i for slot, i in intervals.items() if stored.get(slot) != i}
    removed = [slot for slot in stored if slot not in intervals]
    if removed:
        await conn.execute(_REMOVE, device_id, removed)
    remaining = iter(changed.items())
    while part := {(device_id, s): i for s, i in islice(remaining, ADDED_AT_ONCE)}:
        await conn.execute(_REPLACE, *_columns(part))
    return [
        SurplusChange(device_id, slot, _sellable_wh(intervals, slot) - _sellable_wh(stored, slot))
        for slot in [*changed, *removed]
    ]


def _sellable_wh(intervals: Mapping[datetime, Interval], slot: datetime) -> Decimal:
    return intervals[slot].sellable_wh if slot in intervals else Decimal(0)


async def clear_early(conn: Connection, device_id: DeviceId, slot_start: datetime) -> None:
    """Make all energy of a slot sellable: none of it is early any more."""
    await conn.execute(_CLEAR_EARLY, device_id, slot_start)
