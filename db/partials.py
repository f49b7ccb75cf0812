"""Open measurements of devices, read and written under the lock of the device's state."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from core.assembly import AssemblyState, OpenMeasurement
from core.dialects import Dialect
from core.ids import DeviceId
from db.pool import Connection

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
    """Return the stored states of these devices, without those that have none."""
    rows = await conn.fetch(_OF, list(device_ids))
    return {row["device_id"]: _from_json(row["partial"]) for row in rows}


async def save(
    conn: Connection,
    states: Mapping[DeviceId, AssemblyState],
    closes_at: Mapping[DeviceId, datetime],
) -> None:
    """Store states; `closes_at`: the end of the window of each open measurement."""
    await conn.execute(
        _SAVE,
        list(states),
        [_to_json(state) for state in states.values()],
        [closes_at.get(device_id) for device_id in states],
    )


async def due(conn: Connection, now: datetime, limit: int) -> list[tuple[Dialect, str]]:
    """Return devices with an open measurement whose window is over."""
    rows = await conn.fetch(_DUE, now, limit)
    return [(Dialect(row["dialect"]), row["external_id"]) for row in rows]


def _to_json(state: AssemblyState) -> dict[str, Any]:
    return {
        "known": state.known,
        "open": state.open and _open_to_json(state.open),
        "last_at": state.last_at and state.last_at.isoformat(),
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
