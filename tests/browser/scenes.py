"""A neighbourhood with a day behind it, straight into the database: something to look at."""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import UUID

from core.units import SLOT, slot_of
from db.pool import Pool
from tests.support.ledger import as_owner
from tests.support.people import Person, add_device, add_listing, add_purchase, add_user

_HOMES = 60
_NAMES = ("Lotus House", "Jasmine", "Neem Court", "Banyan", "Tulsi", "Mango Grove", "Marigold")
_NAMED = "UPDATE devices SET name = $2 WHERE id = $1"
_STATUS = "UPDATE device_states SET status = $2, last_seen_at = now() WHERE device_id = $1"
_MEASURE = "INSERT INTO telemetry (device_id, time, power_w) VALUES ($1, $2, $3)"
_COUNTED = """
INSERT INTO energy_interval (device_id, slot_start, generated_wh, surplus_wh, quality, reasons)
VALUES ($1, $2, $3, $3, $4, $5)
"""
_REFUSED = """
INSERT INTO rejections (device_id, topic, payload, reason) VALUES ($1, $2, $3, $4)
"""
_BACKDATE = "UPDATE energy_transactions SET created_at = $2 WHERE created_at > $1"
_FLOW = """
INSERT INTO flow_samples SELECT $1, $2, $3, $4, $5, $6, 0, $7, $8, $9, $10
"""
_COUNTS = """
UPDATE device_states
   SET received = $2::bigint, stored = $2::bigint - 500, duplicate = 480, rejected = 20
 WHERE device_id = $1
"""
_RECEIVED = 812_400
# One slot each that tells of a fault, by how many slots ago it was.
_FAULTS = {
    21: ("interpolated", ["gap"]), 22: ("interpolated", ["gap"]), 23: ("interpolated", ["gap"]),
    33: ("rejected", ["spike"]), 40: ("estimated", ["power_only"]), 41: ("missing", ["gap"]),
}  # fmt: skip


async def neighbourhood(pool: Pool) -> UUID:
    """Homes, offers, trades and an hour of flow; the device whose day is told."""
    chance, now = Random(5), datetime.now(UTC)
    buyer = await add_user(pool, balance=100_000)
    told: UUID | None = None
    listings = []
    for n in range(_HOMES):
        host = await add_user(pool, "host")
        place = (12.97 + chance.gauss(0, 0.05), 77.59 + chance.gauss(0, 0.06))
        device_id = await add_device(pool, host, place=place)
        told = told or device_id
        await pool.execute(_NAMED, device_id, f"{_NAMES[n % len(_NAMES)]} {n + 1}")
        status = "fault" if n == 7 else "offline" if n % 9 == 4 else "online"
        await pool.execute(_STATUS, device_id, status)
        await pool.execute(_MEASURE, device_id, now, chance.uniform(400, 4800))
        if n % 3 == 0:
            price = Decimal(round(chance.uniform(4, 8), 2))
            listings.append(
                await add_listing(
                    pool, host, device_id=device_id, kwh=chance.randint(20, 60),
                    price_per_kwh=price.quantize(Decimal("0.01")), place=place,
                )
            )  # fmt: skip
    assert told is not None
    await _day(pool, told, now, chance)
    await _trades(pool, buyer, listings, now, chance)
    await _flow(pool, now, chance)
    return told


async def _day(pool: Pool, device_id: UUID, now: datetime, chance: Random) -> None:
    slot = slot_of(now)
    for ago in range(96):
        sun = max(0.0, math.sin(math.pi * (96 - ago - 18) / 60)) if 18 <= 96 - ago <= 78 else 0.0
        quality, reasons = _FAULTS.get(ago, ("measured", []))
        energy = 0 if quality in ("missing", "rejected") else 1100 * sun * chance.uniform(0.8, 1)
        await pool.execute(
            _COUNTED, device_id, slot - ago * SLOT, Decimal(round(energy)), quality, reasons
        )
    seconds = range(10, 3600, 10)
    points = [
        (
            device_id,
            now - timedelta(seconds=s),
            2600 + 700 * math.sin(s / 400) + chance.gauss(0, 60),
        )
        for s in seconds
    ]
    await pool.executemany(_MEASURE, points)
    topic = f"solar/{device_id}/telemetry"
    await pool.execute(_REFUSED, device_id, topic, b'{"power_w": "much"}', "bad_value")
    await pool.execute(_COUNTS, device_id, _RECEIVED)


async def _trades(
    pool: Pool, buyer: Person, listings: list[UUID], now: datetime, chance: Random
) -> None:
    """Oldest first: what is moved back is no longer newer than what comes."""
    for ago in range(48, 0, -1):
        at = now - ago * SLOT
        for listing_id in [*chance.sample(listings, 2), listings[0]]:
            await add_purchase(
                pool, buyer, listing_id, kwh=Decimal(chance.randint(100, 700)) / 1000
            )
        async with pool.acquire() as conn:
            await as_owner(conn, _BACKDATE, now, at)


async def _flow(pool: Pool, now: datetime, chance: Random) -> None:
    """Up to the counts that the device has: the relay goes on from there."""
    await pool.execute("DELETE FROM flow_samples")
    agos = range(890, 0, -1)
    rates = [round(24 + 6 * math.sin(ago / 90) + chance.gauss(0, 1)) for ago in agos]
    received = _RECEIVED - sum(rates)
    for ago, rate in zip(agos, rates, strict=True):
        received += rate
        latency_ms = 4 + abs(chance.gauss(0, 2))
        await pool.execute(
            _FLOW, now - timedelta(seconds=ago), received, received - 500, 480, 20,
            round(rate / 3), 0.05, 212 + round(5 * math.sin(ago / 200)), latency_ms, 3 * latency_ms,
        )  # fmt: skip
