"""A batch of messages in one transaction: rows, intervals, listings and events."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import uuid4

import pytest

from core.readings import Reading
from core.settings import DatabaseSettings
from core.units import slot_of
from db.audit import audit
from db.pool import Pool
from ingest.messages import IngestMessage
from ingest.writer import WrittenBatch, write
from tests.ingest.world import (
    add_device,
    add_following_listing,
    counting,
    intervals_of,
    message,
    telemetry,
)

HORIZON = timedelta(days=7)
START = slot_of(datetime.now(UTC)) - timedelta(hours=3)


async def ingest(pool: Pool, *batch: IngestMessage) -> WrittenBatch:
    return await write(pool, batch, HORIZON)


async def offending(pool: Pool, database: DatabaseSettings) -> dict[str, tuple[str, ...]]:
    async with pool.acquire() as conn:
        return {c.name: c.offending async for c in audit(conn, database) if not c.ok}


async def test_a_reading_becomes_a_row_an_interval_a_listing_and_an_event(
    pool: Pool, database: DatabaseSettings
) -> None:
    device = await add_device(pool)
    listing = await add_following_listing(pool, device, START)
    written = await ingest(pool, telemetry(device, *counting(START, [1000, 1250, 1500])))
    assert (written.received, written.stored, written.duplicate) == (3, 3, 0)
    assert await pool.fetchval("SELECT count(*) FROM telemetry") == 3
    (interval,) = await intervals_of(pool, device)
    assert interval["surplus_wh"] == 500
    assert await pool.fetchval(
        "SELECT energy_amount_kwh FROM energy_listings WHERE id = $1", listing
    ) == Decimal("0.5")
    event = await pool.fetchrow("SELECT * FROM outbox WHERE type = 'listing.updated'")
    assert event["channels"] == ["listings", f"listing:{listing}"]
    assert event["data"]["energy_amount_kwh"] == "0.500"
    assert await offending(pool, database) == {}


async def test_a_batch_writes_one_event_per_listing_not_one_per_reading(pool: Pool) -> None:
    device = await add_device(pool)
    await add_following_listing(pool, device, START)
    await ingest(pool, *(telemetry(device, r) for r in counting(START, range(1000, 2000, 100))))
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE type LIKE 'listing.%'") == 1


async def test_readings_in_any_order_and_repeated_give_the_same(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = [
        *counting(START, [5000, 5100, 5200, 5150, 5300], timedelta(minutes=4)),
        *counting(START + timedelta(minutes=70), [5900, 0, 6000], timedelta(minutes=2)),
        *counting(START + timedelta(minutes=80), [30, 90], timedelta(minutes=1)),
        Reading(START + timedelta(minutes=82), power_w=300.0),
        *counting(START + timedelta(minutes=95), [4e9, 180], timedelta(minutes=3)),
    ]
    in_order, shuffled = await add_device(pool), await add_device(pool)
    listings = [await add_following_listing(pool, d, START) for d in (in_order, shuffled)]
    await ingest(pool, telemetry(in_order, *history))
    random = Random(2026)
    for _ in range(6):
        random.shuffle(history)
        for reading in history[: random.randrange(len(history))]:
            await ingest(pool, telemetry(shuffled, reading))
    for reading in history:
        await ingest(pool, telemetry(shuffled, reading))
    expected = await intervals_of(pool, in_order)
    assert expected
    assert await intervals_of(pool, shuffled) == expected
    amounts = await pool.fetch(
        "SELECT DISTINCT measured_wh FROM energy_listings WHERE id = ANY($1)", listings
    )
    assert len(amounts) == 1
    assert await offending(pool, database) == {}


async def test_parallel_ingesters_give_the_same_as_one(
    pool: Pool, database: DatabaseSettings
) -> None:
    alone = await add_device(pool)
    devices = [await add_device(pool) for _ in range(8)]
    for device in devices:
        await add_following_listing(pool, device, START)
    history = counting(START, range(1000, 9000, 200), timedelta(minutes=3))
    await ingest(pool, telemetry(alone, *history))
    random = Random(7)
    messages = [telemetry(d, r) for r in history for d in devices for _ in range(2)]
    random.shuffle(messages)

    async def ingester(share: list[IngestMessage]) -> None:
        for n in range(0, len(share), 40):
            await ingest(pool, *share[n : n + 40])

    await asyncio.gather(*(ingester(messages[n::4]) for n in range(4)))
    expected = await intervals_of(pool, alone)
    for device in devices:
        assert await intervals_of(pool, device) == expected
    assert await offending(pool, database) == {}


async def test_received_is_stored_and_duplicate_and_rejected(
    pool: Pool, database: DatabaseSettings
) -> None:
    device = await add_device(pool)
    now = datetime.now(UTC)
    first, second = counting(START, [1, 2])
    written = await ingest(
        pool,
        telemetry(device, first, first, second),
        telemetry(device, Reading(now - timedelta(days=8), power_w=1.0)),
        telemetry(device, Reading(now + timedelta(minutes=6), power_w=1.0)),
        message(f"solar/{device}/telemetry", b'[{"power_w": NaN}, {"power_w": 1}]'),
        message(f"solar/{device}/telemetry", b"\x00 poison"),
    )
    assert (written.received, written.stored, written.duplicate) == (8, 3, 1)
    row = await pool.fetchrow("SELECT * FROM device_states WHERE device_id = $1", device)
    counts = (row["received"], row["stored"], row["duplicate"], row["rejected"])
    assert counts == (8, 3, 1, 4)
    reasons = await pool.fetch("SELECT reason FROM rejections ORDER BY id")
    kinds = [r["reason"].split(":")[0] for r in reasons]
    assert kinds == ["too_old", "in_the_future", "bad_value", "malformed"]
    assert await offending(pool, database) == {}


async def test_the_same_batch_again_changes_nothing_but_the_counts(pool: Pool) -> None:
    device = await add_device(pool)
    await add_following_listing(pool, device, START)
    batch = telemetry(device, *counting(START, [1000, 1200, 1500]))
    await ingest(pool, batch)
    before = await pool.fetch("SELECT * FROM energy_listings"), await intervals_of(pool, device)
    again = await ingest(pool, batch)
    assert (again.stored, again.duplicate) == (0, 3)
    after = await pool.fetch("SELECT * FROM energy_listings"), await intervals_of(pool, device)
    assert after == before


@pytest.mark.parametrize("payload", [b"{}", b"online", b"[1, 2]", b"\xff" * 10_000_000])
@pytest.mark.parametrize("topic", ["solar/{}/telemetry", "solar/nobody/telemetry"])
async def test_garbage_is_recorded_and_the_next_valid_message_is_stored(
    pool: Pool, topic: str, payload: bytes
) -> None:
    device = await add_device(pool)
    garbage = message(topic.format(device), payload)
    written = await ingest(pool, garbage, telemetry(device, *counting(START, [1000])))
    assert written.stored == 1
    stored = await pool.fetchval("SELECT payload FROM rejections LIMIT 1")
    assert stored == payload[:4096]


async def test_an_unknown_device_changes_nothing(pool: Pool) -> None:
    written = await ingest(pool, telemetry(uuid4(), *counting(START, [1000, 2000])))
    assert (written.received, written.stored, written.duplicate) == (2, 0, 0)
    rejection = await pool.fetchrow("SELECT * FROM rejections")
    assert (rejection["device_id"], rejection["reason"]) == (None, "unknown_device")


async def test_a_reading_without_a_time_has_the_time_of_receipt(pool: Pool) -> None:
    device = await add_device(pool)
    received_at = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
    await ingest(pool, telemetry(device, Reading(power_w=1.0), received_at=received_at))
    assert await pool.fetchval("SELECT time FROM telemetry") == received_at


async def test_energy_from_before_the_window_of_a_listing_is_not_in_it(
    pool: Pool, database: DatabaseSettings
) -> None:
    device = await add_device(pool)
    await add_following_listing(pool, device, START + timedelta(hours=1))
    hourly = counting(START, [0.5, 1000, 1700], timedelta(hours=1))
    await ingest(pool, telemetry(device, *hourly))
    assert await pool.fetchval("SELECT measured_wh FROM energy_listings") == 700
    assert await offending(pool, database) == {}


async def test_a_listing_is_paused_while_its_device_is_offline(pool: Pool) -> None:
    device = await add_device(pool)
    await add_following_listing(pool, device, START)
    await ingest(pool, telemetry(device, *counting(START, [1000, 1100])))
    for status, becomes in (("offline", "paused"), ("online", "active"), ("fault", "paused")):
        await ingest(pool, message(f"solar/{device}/status", status.encode()))
        assert await pool.fetchval("SELECT status FROM energy_listings") == becomes
    types = [r["type"] for r in await pool.fetch("SELECT type FROM outbox ORDER BY id")]
    assert types == [
        "listing.updated", "device.status", "listing.paused", "device.status",
        "listing.resumed", "device.status", "listing.paused", "device.status",
    ]  # fmt: skip
