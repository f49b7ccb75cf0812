"""Measurements that are being told: read and written while the device's state is locked."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from core.assembly import AssemblyState, OpenMeasurement
from core.dialects import Dialect
from core.ids import DeviceId
from db.pool import Connection, Pool

_OF = "SELECT device_id, partial FROM device_partials WHERE device_id = ANY($1::uuid[])"

_SAVE = """
INSERT INTO device_partials (device_id, partial, closes_at)
SELECT * FROM unnest($1::uuid[], $2::jsonb[], $3::timestamptz[])
    ON CONFLICT (device_id) DO UPDATE
   SET partial = excluded.partial, closes_at = excluded.closes_at
"""

_DUE = """
SELECT d.dialect, d.external_id FROM device_partials p JOIN devices d ON d.id = p.device_id
 WHERE p.closes_at <= $1 AND d.deleted_at IS NULL ORDER BY p.closes_at LIMIT $2
"""


async def of(conn: Connection, device_ids: Collection[DeviceId]) -> dict[DeviceId, AssemblyState]:
    """What is known of these devices; those that nothing is known of are left out."""
    rows = await conn.fetch(_OF, list(device_ids))
    return {row["device_id"]: _from_json(row["partial"]) for row in rows}


async def save(
    conn: Connection,
    partials: Mapping[DeviceId, AssemblyState],
    closes_at: Mapping[DeviceId, datetime],
) -> None:
    """Keep these; `closes_at` of those with an open measurement."""
    await conn.execute(
        _SAVE,
        list(partials),
        [_to_json(partial) for partial in partials.values()],
        [closes_at.get(device_id) for device_id in partials],
    )


async def due(pool: Pool, now: datetime, limit: int) -> list[tuple[Dialect, str]]:
    """Devices of whose open measurement no more is awaited."""
    rows = await pool.fetch(_DUE, now, limit)
    return [(Dialect(row["dialect"]), row["external_id"]) for row in rows]


def _to_json(partial: AssemblyState) -> dict[str, Any]:
    return {
        "known": partial.known,
        "open": partial.open and _open_to_json(partial.open),
        "last_at": partial.last_at and partial.last_at.isoformat(),
    }


def _from_json(value: dict[str, Any]) -> AssemblyState:
    return AssemblyState(
        known=value["known"],
        open=value["open"] and _open_from_json(value["open"]),
        last_at=_instant(value["last_at"]),
    )


def _open_to_json(measurement: OpenMeasurement) -> dict[str, Any]:
    return {
        "opened_at": measurement.opened_at.isoformat(),
        "topic": measurement.topic,
        "at": measurement.at and measurement.at.isoformat(),
        "values": measurement.values,
        "bare": sorted(measurement.bare),
        "timed": sorted(measurement.timed),
    }


def _open_from_json(value: dict[str, Any]) -> OpenMeasurement:
    return OpenMeasurement(
        opened_at=datetime.fromisoformat(value["opened_at"]),
        topic=value["topic"],
        at=_instant(value["at"]),
        values=value["values"],
        bare=set(value["bare"]),
        timed=set(value["timed"]),
    )


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
