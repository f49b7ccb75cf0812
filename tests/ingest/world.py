"""Devices and listings for the ingester's tests, and messages as a broker would hand them over."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from core.readings import FIELDS, Reading
from core.units import rfc3339
from db.pool import Pool, Record
from ingest.messages import Message, decode

CAPACITY_W = 5000.0


async def add_device(pool: Pool, capacity_w: float = CAPACITY_W) -> UUID:
    """A host's native inverter."""
    return UUID(
        str(
            await pool.fetchval(
                """
                WITH host AS (
                    INSERT INTO users (email, password_hash, full_name, role)
                    VALUES (gen_random_uuid() || '@example.org', 'x', 'Asha', 'host') RETURNING id
                ), purse AS (
                    INSERT INTO wallets (user_id) SELECT id FROM host
                ), device AS (
                    INSERT INTO devices (owner_id, name, kind, capacity_w, credential_hash)
                    SELECT id, 'roof', 'inverter', $1, '' FROM host RETURNING id
                )
                INSERT INTO device_states (device_id) SELECT id FROM device RETURNING device_id
                """,
                capacity_w,
            )
        )
    )


async def add_following_listing(
    pool: Pool, device_id: UUID, available_from: datetime, stated_kwh: int = 0
) -> UUID:
    """An auto-adjusted listing that is open for a day to come."""
    return UUID(
        str(
            await pool.fetchval(
                """
                INSERT INTO energy_listings
                       (seller_id, device_id, stated_kwh, price_per_kwh, auto_adjust, latitude,
                        longitude, available_from, available_to, measured_from)
                SELECT owner_id, id, $2, 6, true, 12.97, 77.59, $3::timestamptz,
                       now() + interval '1 day',
                       date_bin('15 minutes', $3::timestamptz, '2000-01-01Z')
                  FROM devices WHERE id = $1 RETURNING id
                """,
                device_id,
                stated_kwh,
                available_from,
            )
        )
    )


def telemetry(device_id: UUID, *readings: Reading, received_at: datetime | None = None) -> Message:
    items = [
        {name: getattr(r, name) for name in FIELDS if getattr(r, name) is not None}
        | ({"time": rfc3339(r.time)} if r.time else {})
        for r in readings
    ]
    payload = json.dumps(items, default=str).encode()
    return message(f"solar/{device_id}/telemetry", payload, received_at=received_at)


def message(topic: str, payload: bytes, *, received_at: datetime | None = None) -> Message:
    decoded = decode(
        topic, payload, received_at=received_at or datetime.now(UTC), acknowledge=lambda: None
    )
    assert decoded is not None
    return decoded


def counting(
    start: datetime, values_wh: Iterable[float], every: timedelta = timedelta(minutes=5)
) -> list[Reading]:
    """Readings of a generation counter, evenly spaced."""
    return [Reading(start + n * every, energy_wh=wh) for n, wh in enumerate(values_wh)]


async def intervals_of(pool: Pool, device_id: UUID) -> list[Record]:
    return await pool.fetch(
        "SELECT slot_start, generated_wh, surplus_wh, quality, reasons FROM energy_interval"
        " WHERE device_id = $1 ORDER BY slot_start",
        device_id,
    )
