"""Whether a device is there, and what that makes of the listing that follows it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import aiomqtt
import pytest
from structlog.testing import capture_logs

from core.listings import Listing
from core.readings import Reading
from core.settings import DatabaseSettings
from core.units import slot_of
from db import listings, purchases
from db.pool import Pool
from db.purchases import Purchase, PurchaseOrder
from ingest import presence
from ingest.listing_sync import expire_listings
from ingest.messages import IngestMessage
from ingest.presence import take_silent_devices_offline
from tests.ingest.test_service import holds, ingesting
from tests.ingest.test_writer import ingest
from tests.ingest.world import add_device, add_following_listing, counting, message, telemetry
from tests.support.mosquitto import Mosquitto
from tests.support.people import add_user
from tests.support.waiting import eventually

START = slot_of(datetime.now(UTC)) - timedelta(hours=3)
SILENT = timedelta(minutes=5)
LONG_AGO = timedelta(minutes=6)
_STATE = "SELECT status, fault_code, last_seen_at FROM device_states WHERE device_id = $1"


def status(
    device: UUID, word: str, *, ago: timedelta = timedelta(0), code: str | None = None
) -> IngestMessage:
    said = f'{{"status": "{word}", "code": "{code}"}}' if code else word
    received_at = datetime.now(UTC) - ago
    return message(f"solar/{device}/status", said.encode(), received_at=received_at)


def reading(
    device: UUID, minute: float, *, soc: float | None = None, ago: timedelta = timedelta(0)
) -> IngestMessage:
    at = START + timedelta(minutes=minute)
    one = Reading(at, energy_wh=1000 + 10 * minute, battery_soc_pct=soc)
    return telemetry(device, one, received_at=datetime.now(UTC) - ago)


async def state_of(pool: Pool, device: UUID) -> tuple[str, str | None]:
    row = await pool.fetchrow(_STATE, device)
    assert row is not None
    return row["status"], row["fault_code"]


async def listing_of(pool: Pool, listing_id: UUID) -> Listing:
    async with pool.acquire() as conn:
        found = await listings.by_id(conn, listing_id)
    assert found is not None
    return found


async def a_seller(pool: Pool) -> tuple[UUID, UUID]:
    """A device that measured something, and the listing that follows it."""
    device = await add_device(pool)
    listing_id = await add_following_listing(pool, device, START)
    await ingest(pool, telemetry(device, *counting(START, [1000, 1250])))
    await pool.execute("DELETE FROM outbox")
    return device, listing_id


async def events(pool: Pool) -> list[str]:
    """What was announced since it was last asked."""
    rows = await pool.fetch("DELETE FROM outbox RETURNING id, type")
    return [row["type"] for row in sorted(rows, key=lambda row: row["id"])]


async def statuses(pool: Pool, *devices: UUID) -> list[str]:
    rows = await pool.fetch(
        "SELECT status FROM energy_listings WHERE device_id = ANY($1)", list(devices)
    )
    return [row["status"] for row in rows]


# Wills, faults and returns ---------------------------------------------------------------------


async def test_a_last_will_pauses_and_a_word_of_return_resumes(pool: Pool) -> None:
    device, listing_id = await a_seller(pool)
    seen_at = (await pool.fetchrow(_STATE, device))["last_seen_at"]
    await ingest(pool, status(device, "offline"))
    assert await state_of(pool, device) == ("offline", None)
    # A last will is the broker's word: nobody saw the device.
    assert (await pool.fetchrow(_STATE, device))["last_seen_at"] == seen_at
    assert (await listing_of(pool, listing_id)).paused_by == "device"
    assert await events(pool) == ["listing.paused", "device.status"]
    await ingest(pool, status(device, "online"))
    assert (await listing_of(pool, listing_id)).status == "active"
    assert await events(pool) == ["listing.resumed", "device.status"]


async def test_a_reading_is_a_return_too(pool: Pool) -> None:
    device, listing_id = await a_seller(pool)
    await ingest(pool, status(device, "offline"))
    await ingest(pool, reading(device, 30))
    assert await state_of(pool, device) == ("online", None)
    assert (await listing_of(pool, listing_id)).status == "active"


async def test_readings_that_are_old_news_are_a_return_as_well(pool: Pool) -> None:
    device, listing_id = await a_seller(pool)
    await ingest(pool, status(device, "offline"))
    await ingest(pool, telemetry(device, Reading(START - timedelta(days=9), power_w=1.0)))
    assert await state_of(pool, device) == ("online", None)
    assert (await listing_of(pool, listing_id)).status == "active"


async def test_a_fault_is_told_with_its_code_and_pauses(pool: Pool) -> None:
    device, listing_id = await a_seller(pool)
    await ingest(pool, status(device, "fault", code="E07"))
    assert (await listing_of(pool, listing_id)).status == "paused"
    [event] = await pool.fetch("SELECT channels, data FROM outbox WHERE type = 'device.status'")
    assert (event["data"]["status"], event["data"]["fault_code"]) == ("fault", "E07")
    assert event["channels"][0] == f"device:{device}"
    await events(pool)
    await ingest(pool, status(device, "fault", code="E08"))
    assert await events(pool) == ["device.status"]
    await ingest(pool, status(device, "fault", code="E08"))
    assert await events(pool) == []


async def test_a_fault_is_lifted_by_the_devices_word_not_by_a_reading(pool: Pool) -> None:
    device, listing_id = await a_seller(pool)
    await ingest(pool, status(device, "fault", code="E07"))
    await ingest(pool, reading(device, 30))
    assert await state_of(pool, device) == ("fault", "E07")
    found = await listing_of(pool, listing_id)
    # What it measures meanwhile is for sale later.
    assert (found.status, found.measured_wh) == ("paused", 300)
    await ingest(pool, status(device, "online"))
    assert await state_of(pool, device) == ("online", None)
    assert (await listing_of(pool, listing_id)).status == "active"


async def test_a_storm_of_reconnects_in_one_batch_is_one_event_or_none(pool: Pool) -> None:
    device, listing_id = await a_seller(pool)
    flaps = [status(device, word) for word in 50 * ("offline", "online")]
    await ingest(pool, *flaps)
    assert await events(pool) == []
    await ingest(pool, *flaps, status(device, "offline"))
    assert await events(pool) == ["listing.paused", "device.status"]
    assert (await listing_of(pool, listing_id)).version == 3


async def test_of_a_will_and_a_return_the_later_counts_whoever_commits_first(pool: Pool) -> None:
    device, listing_id = await a_seller(pool)
    will, back = status(device, "offline", ago=timedelta(seconds=-1)), status(
        device, "online", ago=timedelta(seconds=-2)
    )  # fmt: skip
    await ingest(pool, back)
    await ingest(pool, will)
    assert await state_of(pool, device) == ("online", None)
    assert (await listing_of(pool, listing_id)).status == "active"


# Silence ---------------------------------------------------------------------------------------


async def test_who_was_silent_for_too_long_is_offline_and_says_so_once(pool: Pool) -> None:
    device, listing_id = await a_seller(pool)
    assert await take_silent_devices_offline(pool, SILENT) == 0
    await pool.execute("UPDATE device_states SET last_seen_at = now() - $1::interval", LONG_AGO)
    marked = await asyncio.gather(*(take_silent_devices_offline(pool, SILENT) for _ in range(4)))
    assert sum(marked) == 1
    assert await state_of(pool, device) == ("offline", None)
    assert (await listing_of(pool, listing_id)).paused_by == "device"
    assert await events(pool) == ["listing.paused", "device.status"]


async def test_who_only_ever_sent_a_status_goes_silent_as_well(pool: Pool) -> None:
    device = await add_device(pool)
    await ingest(pool, status(device, "online", ago=LONG_AGO))
    assert await take_silent_devices_offline(pool, SILENT) == 1
    assert await state_of(pool, device) == ("offline", None)


@pytest.mark.parametrize("word", ["offline", "fault"])
async def test_who_is_not_online_has_nothing_to_lose_by_silence(pool: Pool, word: str) -> None:
    device = await add_device(pool)
    never_seen = await add_device(pool)
    await ingest(pool, status(device, word, ago=LONG_AGO))
    assert await take_silent_devices_offline(pool, SILENT) == 0
    assert (await state_of(pool, device))[0] == word
    assert (await state_of(pool, never_seen))[0] == "pending"


async def test_a_catch_up_with_old_readings_is_presence_now(pool: Pool) -> None:
    device, _ = await a_seller(pool)
    old = counting(START - timedelta(days=2), range(100, 200, 10))
    await ingest(pool, telemetry(device, *old))
    assert await take_silent_devices_offline(pool, SILENT) == 0
    newest = "SELECT max(time) FROM telemetry WHERE device_id = $1"
    assert await pool.fetchval(newest, device) == START + timedelta(minutes=5)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def watching(pool: Pool, clock: Clock) -> AsyncIterator[None]:
    task = asyncio.create_task(presence.watch(pool, SILENT, every_s=0.01, monotonic_s=clock))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_hub_that_could_not_listen_takes_nobody_for_silent(pool: Pool) -> None:
    device, _ = await a_seller(pool)
    await pool.execute("UPDATE device_states SET last_seen_at = now() - $1::interval", LONG_AGO)
    clock, looked = Clock(), await add_following_listing(pool, await add_device(pool), START)

    async def has_looked() -> None:
        """The listing whose window passes shows that it looked around."""
        await pool.execute(
            "UPDATE energy_listings SET status = 'active', closed_at = NULL, available_to = now()"
            " WHERE id = $1", looked,
        )  # fmt: skip
        await eventually(expired)

    async def expired() -> bool:
        return (await listing_of(pool, looked)).status == "expired"

    async def offline() -> bool:
        return (await state_of(pool, device))[0] == "offline"

    async with watching(pool, clock):
        await has_looked()
        assert not await offline()
        clock.now_s = 299
        with capture_logs() as logs:
            await pool.execute("ALTER TABLE device_states RENAME TO away")
            clock.now_s = 301
            await eventually(lambda: "presence_not_checked" in {line["event"] for line in logs})
            await pool.execute("ALTER TABLE away RENAME TO device_states")
        await has_looked()
        assert not await offline()
        clock.now_s = 602
        await eventually(offline)


# The battery -----------------------------------------------------------------------------------


async def test_a_battery_that_falls_under_its_reserve_pauses_until_it_is_back(pool: Pool) -> None:
    device, listing_id = await a_seller(pool)
    await pool.execute("UPDATE energy_listings SET reserve_soc_pct = 30")
    for minute, soc, becomes in ((20, 30, "active"), (21, 29.9, "paused"), (22, 30, "active")):
        await ingest(pool, reading(device, minute, soc=soc))
        assert (await listing_of(pool, listing_id)).status == becomes
    assert (await events(pool)).count("listing.paused") == 1


async def test_a_charge_goes_by_when_it_was_measured(pool: Pool) -> None:
    device, listing_id = await a_seller(pool)
    await pool.execute("UPDATE energy_listings SET reserve_soc_pct = 30")

    async def charge() -> float | None:
        value = await pool.fetchval("SELECT battery_soc_pct FROM device_states")
        return None if value is None else float(value)

    # In one batch, the newer one first.
    await ingest(pool, reading(device, 22, soc=80), reading(device, 21, soc=20))
    assert await charge() == 80
    # Late ones: older than what is known; and newer than it, behind a reading that told none.
    await ingest(pool, reading(device, 20, soc=10))
    assert await charge() == 80
    await ingest(pool, reading(device, 30))
    await ingest(pool, reading(device, 25, soc=15), reading(device, 23, soc=90))
    assert await charge() == 15
    assert (await listing_of(pool, listing_id)).status == "paused"


# The listing -----------------------------------------------------------------------------------


async def test_what_its_seller_paused_no_device_resumes(pool: Pool) -> None:
    device, listing_id = await a_seller(pool)
    await pool.execute("UPDATE energy_listings SET status = 'paused', paused_by = 'seller'")
    for word in ("offline", "online", "fault", "online"):
        await ingest(pool, status(device, word))
        found = await listing_of(pool, listing_id)
        assert (found.status, found.paused_by) == ("paused", "seller")
    await ingest(pool, reading(device, 30))
    assert (await listing_of(pool, listing_id)).energy_amount_kwh == Decimal("0.3")


async def test_sold_out_becomes_active_with_the_next_energy(pool: Pool) -> None:
    device, listing_id = await a_seller(pool)
    buyer = await add_user(pool, balance=100)
    async with pool.acquire() as conn:
        order = PurchaseOrder(buyer.id, listing_id, Decimal("0.25"), None, None)
        [bought] = await purchases.purchase(conn, [order], fee_rate=Decimal(0))
    assert isinstance(bought, Purchase)
    assert (await listing_of(pool, listing_id)).status == "sold"
    await events(pool)
    await ingest(pool, reading(device, 30))
    found = await listing_of(pool, listing_id)
    assert (found.status, found.energy_amount_kwh) == ("active", Decimal("0.05"))
    assert await events(pool) == ["listing.resumed"]


@pytest.mark.parametrize("word", ["online", "offline", "fault"])
async def test_when_its_window_has_passed_it_is_expired_whatever_else(
    pool: Pool, word: str
) -> None:
    device, listing_id = await a_seller(pool)
    await pool.execute("UPDATE energy_listings SET available_to = now() - interval '1 second'")
    await ingest(pool, status(device, word), reading(device, 30))
    assert (await listing_of(pool, listing_id)).status == "expired"
    assert "listing.expired" in await events(pool)
    await ingest(pool, status(device, "online"), reading(device, 31))
    assert await expire_listings(pool) == 0
    assert (await listing_of(pool, listing_id)).status == "expired"


# Through brokers -------------------------------------------------------------------------------


async def test_a_device_that_dies_is_announced_by_its_last_will(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    device, _ = await a_seller(pool)
    topic = f"solar/{device}/status"
    will = aiomqtt.Will(topic, "offline", qos=1, retain=True)
    async with ingesting(mosquitto.url, database):
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, will=will) as client:
            await client.publish(topic, "online", qos=1, retain=True)
            # Its cable is cut: it says no goodbye.
            client._client.socket().shutdown(socket.SHUT_RDWR)
            await holds(pool, "SELECT status FROM energy_listings", "paused")
            assert client._disconnected.exception() is not None
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, will=will) as client:
            await client.publish(topic, "online", qos=1, retain=True)
            await holds(pool, "SELECT status FROM energy_listings", "active")


async def test_a_retained_status_that_comes_again_flips_nothing(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    device, listing_id = await a_seller(pool)
    topic = f"solar/{device}/status"
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.publish(topic, "offline", qos=1, retain=True)
        # Two ingesters that were never here: each subscribes, and gets the retained copy.
        for name in ("one", "two"):
            async with ingesting(mosquitto.url, database, ingest_client_id=name) as registry:
                await eventually(
                    lambda r=registry: r.get_sample_value("solarhub_messages_ignored_total") == 1
                )
        assert (await listing_of(pool, listing_id)).status == "active"
        async with ingesting(mosquitto.url, database, ingest_client_id="one"):
            await client.publish(topic, "offline", qos=1, retain=True)
            await holds(pool, "SELECT status FROM energy_listings", "paused")
    assert await events(pool) == ["listing.paused", "device.status"]


async def test_several_ingesters_write_one_event_for_one_will(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    devices = [(await a_seller(pool))[0] for _ in range(6)]
    shared = {"ingest_group": "hub", "ingest_shared_subscription": True, "offline_after": "1h"}
    async with (
        ingesting(mosquitto.url, database, ingest_client_id="one", **shared),
        ingesting(mosquitto.url, database, ingest_client_id="two", **shared),
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):
        for device in devices:
            await client.publish(f"solar/{device}/status", "offline", qos=1)
        paused = "SELECT count(*) FROM energy_listings WHERE status = 'paused'"
        await holds(pool, paused, len(devices))
    found = await events(pool)
    assert sorted(found) == 6 * ["device.status"] + 6 * ["listing.paused"]
