"""Devices and listings for the tests of the ingester, and messages as a broker delivers them."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from core.readings import FIELDS, Reading
from core.units import rfc3339
from db import unaccounted
from db.pool import Connection, Pool, Record
from ingest.dialects import Decoded
from ingest.late_readings import account_all
from ingest.messages import IngestMessage, decode
from ingest.reaccounting import LIMITS, Limits
from tests.support import people


async def add_device(pool: Pool, capacity_w: float = 5000) -> UUID:
    """Add an inverter of a new host."""
    return await people.add_device(pool, await people.add_user(pool, "host"), capacity_w=capacity_w)


async def add_named(pool: Pool, dialect: str, external_id: str, kind: str = "inverter") -> UUID:
    """Add a device of a firmware, of a new host."""
    owner = await people.add_user(pool, "host")
    return await people.add_device(pool, owner, kind=kind, dialect=dialect, external_id=external_id)


async def add_following_listing(pool: Pool, device_id: UUID, available_from: datetime) -> UUID:
    """Add an auto-adjusted listing that is open for the next day."""
    owner = await pool.fetchrow(
        "SELECT u.id, email, role FROM users u JOIN devices d ON d.owner_id = u.id WHERE d.id = $1",
        device_id,
    )
    assert owner is not None
    return await people.add_listing(
        pool,
        people.Person(owner["id"], owner["email"], owner["role"]),
        kwh=0,
        device_id=device_id,
        available_from=available_from,
    )


def telemetry(
    device_id: UUID, *readings: Reading, received_at: datetime | None = None
) -> IngestMessage:
    items = [
        {name: getattr(r, name) for name in FIELDS if getattr(r, name) is not None}
        | ({"time": rfc3339(r.time)} if r.time else {})
        for r in readings
    ]
    payload = json.dumps(items, default=str).encode()
    return message(f"solar/{device_id}/telemetry", payload, received_at=received_at)


def detailed(
    device_id: UUID, *readings: Reading, received_at: datetime | None = None
) -> IngestMessage:
    """Return a decoded message, whose readings may have values that the native format lacks."""
    native = telemetry(device_id, *readings, received_at=received_at)
    return replace(native, decoded=Decoded(readings=readings))


def message(topic: str, payload: bytes, *, received_at: datetime | None = None) -> IngestMessage:
    decoded = decode(
        topic, payload, received_at=received_at or datetime.now(UTC), acknowledge=lambda: None
    )
    assert decoded is not None
    return decoded


def counting(
    start: datetime, values_wh: Iterable[float], every: timedelta = timedelta(minutes=5)
) -> list[Reading]:
    """Return evenly spaced readings of a generation counter."""
    return [Reading(start + n * every, energy_wh=wh) for n, wh in enumerate(values_wh)]


async def intervals_of(pool: Pool, device_id: UUID) -> list[Record]:
    return await pool.fetch(
        "SELECT slot_start, generated_wh, surplus_wh, quality, reasons FROM energy_interval"
        " WHERE device_id = $1 ORDER BY slot_start",
        device_id,
    )


async def account_what_waits(conn: Connection, limits: Limits = LIMITS) -> None:
    """Account every device whose late readings wait."""
    while await unaccounted.next_device(conn, None) is not None:
        assert await account_all(conn, limits)
