"""Steps of tests about administrators' decisions: register, offer, measure, decide."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from core.settings import DatabaseSettings
from core.units import rfc3339
from db.audit import audit
from db.pool import Pool
from ingest.writer import write
from tests.api.conftest import Api, data_of
from tests.ingest.world import telemetry
from tests.support.people import Person

ADMIN, DEVICES = "/api/v1/admin", "/api/v1/devices"
LISTINGS, PURCHASE = "/api/v1/marketplace/listings", "/api/v1/marketplace/purchase"
HORIZON = timedelta(days=7)


async def register(api: Api, host: Person, **more: Any) -> str:
    body = {"name": "Roof", "kind": "inverter", "capacity_w": 5000, **more}
    device_id: str = (await api.post(DEVICES, host, body))["id"]
    return device_id


def offer(device_id: str, since: datetime, **more: Any) -> dict[str, Any]:
    return {
        "device_id": device_id, "price_per_kwh": 5, "latitude": 12.97, "longitude": 77.59,
        "available_from": rfc3339(since), "available_to": rfc3339(since + timedelta(days=30)),
        "auto_adjust": True, **more,
    }  # fmt: skip


async def follow(api: Api, host: Person, device_id: str, since: datetime) -> str:
    """Create a metered listing of the device."""
    listing_id: str = (await api.post(LISTINGS, host, offer(device_id, since)))["id"]
    return listing_id


async def decide(api: Api, admin: Person, device_id: object, **decision: Any) -> dict[str, Any]:
    body = {"reason": "As agreed on the phone", **decision}
    device: dict[str, Any] = data_of(
        await api.call("PATCH", f"{ADMIN}/devices/{device_id}", admin, json=body)
    )
    return device


async def measure(pool: Pool, device_id: str, *batches: Any) -> None:
    for readings in batches:
        await write(pool, [telemetry(UUID(device_id), *readings)], HORIZON)


async def offered(api: Api, host: Person, listing_id: str) -> tuple[str, Decimal]:
    listing = await api.get(f"{LISTINGS}/{listing_id}", host)
    return listing["status"], Decimal(listing["energy_amount_kwh"])


async def unsound(pool: Pool, database: DatabaseSettings) -> list[str]:
    async with pool.acquire() as conn:
        return [check.name async for check in audit(conn, database) if not check.ok]
