"""A device with a listing that follows it, and messages of its status."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from core.listings import Listing
from core.readings import Reading
from core.units import slot_of
from db import listings
from db.pool import Pool
from ingest.messages import IngestMessage
from tests.ingest.test_writer import ingest
from tests.ingest.world import add_device, add_following_listing, counting, message, telemetry

START = slot_of(datetime.now(UTC)) - timedelta(hours=3)


def status(
    device: UUID, reported: str, *, ago: timedelta = timedelta(0), code: str | None = None
) -> IngestMessage:
    payload = f'{{"status": "{reported}", "code": "{code}"}}' if code else reported
    received_at = datetime.now(UTC) - ago
    return message(f"solar/{device}/status", payload.encode(), received_at=received_at)


def reading(
    device: UUID, minute: float, *, soc: float | None = None, ago: timedelta = timedelta(0)
) -> IngestMessage:
    at = START + timedelta(minutes=minute)
    one = Reading(at, energy_wh=1000 + 10 * minute, battery_soc_pct=soc)
    return telemetry(device, one, received_at=datetime.now(UTC) - ago)


async def listing_of(pool: Pool, listing_id: UUID) -> Listing:
    async with pool.acquire() as conn:
        found = await listings.by_id(conn, listing_id)
    assert found is not None
    return found


async def add_followed_device(pool: Pool) -> tuple[UUID, UUID]:
    """Add a device with readings, and a listing that follows it."""
    device = await add_device(pool)
    listing_id = await add_following_listing(pool, device, START)
    await ingest(pool, telemetry(device, *counting(START, [1000, 1250])))
    await pool.execute("DELETE FROM outbox")
    return device, listing_id


async def take_events(pool: Pool) -> list[str]:
    """Remove and return the types of the events since the last call."""
    rows = await pool.fetch("DELETE FROM outbox RETURNING id, type")
    return [row["type"] for row in sorted(rows, key=lambda row: row["id"])]
