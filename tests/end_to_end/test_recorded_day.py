"""A recorded day of real inverters, through the whole hub: what counters say is what counts."""

import asyncio
import csv
import gzip
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from core.settings import DatabaseSettings
from core.units import kwh_of_wh
from db.pool import open_connection
from tests.support import hubs
from tests.support.waiting import eventually

RECORDING = (
    Path(__file__).parents[3]
    / "shared/data/india_solar_plants/Plant_1_Generation_Data.csv.gz"
)  # fmt: skip
DAY = "06-06-2020"
BOUGHT_KWH = Decimal("12.345")
LAYOUT = (
    "--device-column", "SOURCE_KEY", "--time-column", "DATE_TIME", "--time-format",
    "%d-%m-%Y %H:%M", "--time-zone", "Asia/Kolkata", "--power-column", "AC_POWER", "--power-unit",
    "kW", "--energy-column", "TOTAL_YIELD", "--energy-unit", "kWh", "--date", "2020-06-06",
)  # fmt: skip

pytestmark = pytest.mark.skipif(not RECORDING.exists(), reason="the recordings are not here")


@dataclass(frozen=True)
class Hub:
    """Addresses of the hub that replays the recording."""

    data: Path
    api_url: str
    realtime_url: str
    database: DatabaseSettings

    @classmethod
    def of(cls, data: Path, said: dict[str, Any]) -> "Hub":
        database = DatabaseSettings(database_url=said["database_url"])
        return cls(data, said["api_url"], said["realtime_url"], database)


async def finished(hub: Hub, *arguments: str) -> None:
    """Wait for a command, which must end well."""
    ended = await asyncio.to_thread(hubs.run, *arguments, "--data", str(hub.data))
    assert ended.returncode == 0, ended.stdout + ended.stderr


@dataclass(frozen=True)
class Recorded:
    """Figures of one inverter's day in the recording itself."""

    times: int
    generated_wh: Decimal


def recorded_day() -> dict[str, Recorded]:
    totals: dict[str, dict[str, Decimal]] = defaultdict(dict)
    with gzip.open(RECORDING, "rt") as file:
        for row in csv.DictReader(file):
            if row["DATE_TIME"].startswith(DAY):
                totals[row["SOURCE_KEY"]][row["DATE_TIME"]] = Decimal(row["TOTAL_YIELD"]) * 1000
    return {
        device: Recorded(len(by_time), by_time[max(by_time)] - by_time[min(by_time)])
        for device, by_time in totals.items()
    }


async def call(hub: Hub, token: str | None, method: str, path: str, **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= options.pop("headers", {})
    async with httpx.AsyncClient(
        base_url=f"{hub.api_url}/api/v1/", headers=headers, verify=False
    ) as http:
        answer = await http.request(method, path, **options)
    assert answer.is_success, answer.text
    return answer.json()["data"]


async def buyer_with_money(hub: Hub, rupees: int) -> str:
    """A new buyer's token, once the top-up has arrived."""
    account = {"email": "buyer@example.org", "password": "correct horse", "full_name": "Ravi"}
    signed_in = await call(hub, None, "POST", "auth/register", json=account | {"role": "buyer"})
    token: str = signed_in["access_token"]
    method = await call(
        hub, token, "POST", "payment-methods",
        json={"kind": "upi", "label": "UPI", "provider_ref": "tok_1"},
    )  # fmt: skip
    await call(
        hub, token, "POST", "wallet/topups", headers={"Idempotency-Key": "topup"},
        json={"amount": rupees, "payment_method_id": method["id"]},
    )  # fmt: skip

    async def has_arrived() -> bool:
        return Decimal((await call(hub, token, "GET", "wallet"))["balance"]) == rupees

    await eventually(has_arrived)
    return token


@asynccontextmanager
async def listening(hub: Hub, token: str) -> AsyncIterator[ClientConnection]:
    """A socket that hears its user's own events."""
    async with connect(hub.realtime_url) as socket:
        await socket.send(json.dumps({"op": "auth", "token": token}))
        await socket.send(json.dumps({"op": "subscribe", "channel": "user"}))
        async with asyncio.timeout(10):
            while json.loads(await socket.recv())["op"] != "subscribed":
                pass
        yield socket


async def next_purchase(socket: ClientConnection) -> Any:
    async with asyncio.timeout(10):
        async for frame in socket:
            for event in json.loads(frame).get("events", ()):
                if event["type"] == "purchase.completed":
                    return event["data"]
    raise AssertionError("the socket was closed")


async def generated_wh(hub: Hub) -> dict[str, Decimal]:
    async with open_connection(hub.database, application_name="test") as conn:
        rows = await conn.fetch(
            "SELECT device_id::text, sum(generated_wh) FROM energy_interval GROUP BY device_id"
        )
    return dict(map(tuple, rows))


async def has_stored(hub: Hub, readings: int) -> bool:
    async with open_connection(hub.database, application_name="test") as conn:
        assert await conn.fetchval("SELECT count(*) FROM telemetry") == readings
    return True


async def replay(hub: Hub) -> dict[str, Any]:
    """Play the day through the broker; what `replay.json` says of it."""
    await finished(
        hub, "simulate", "replay", str(RECORDING), *LAYOUT, "--speed", "max", "--batch", "7"
    )
    played: dict[str, Any] = json.loads((hub.data / "replay.json").read_text())
    return played


async def buy_and_hear(hub: Hub, buyer: str, host: str, listing_id: str) -> None:
    """Both parties hear of a purchase on their sockets."""
    async with listening(hub, buyer) as ours, listening(hub, host) as theirs:
        purchase = await call(
            hub, buyer, "POST", "marketplace/purchase", headers={"Idempotency-Key": "one"},
            json={"listing_id": listing_id, "energy_kwh": str(BOUGHT_KWH)},
        )  # fmt: skip
        heard = [await next_purchase(ours), await next_purchase(theirs)]
    assert [event["id"] for event in heard] == [purchase["id"]] * 2


@pytest.mark.slow
async def test_a_recorded_day_is_billed_to_the_watt_hour(data: Path) -> None:
    day = recorded_day()
    assert len(day) >= 20
    with hubs.hub(data, SOLARHUB_RATE_LIMIT_LOGIN="off") as running:
        hub = Hub.of(data, running.wait_ready())
        played = await replay(hub)
        distinct = sum(recorded.times for recorded in day.values())
        await eventually(partial(has_stored, hub, distinct), within_s=60)

        measured_wh = await generated_wh(hub)
        devices: dict[str, dict[str, Any]] = played["devices"]
        for name, recorded in day.items():
            assert abs(measured_wh[devices[name]["device_id"]] - recorded.generated_wh) <= 1

        owner = {key: played["owner"][key] for key in ("email", "password")}
        host = (await call(hub, None, "POST", "auth/login", json=owner))["access_token"]
        buyer = await buyer_with_money(hub, 100_000)
        bought = devices[next(iter(day))]
        await buy_and_hear(hub, buyer, host, bought["listing_id"])

        for device in devices.values():
            listing = await call(hub, buyer, "GET", f"marketplace/listings/{device['listing_id']}")
            sold_kwh = BOUGHT_KWH if device is bought else Decimal(0)
            surplus_kwh = kwh_of_wh(measured_wh[device["device_id"]])
            assert Decimal(listing["energy_amount_kwh"]) == surplus_kwh - sold_kwh
        await finished(hub, "audit")
        running.end()
