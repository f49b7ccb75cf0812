"""`admin` tells administrators what happens everywhere, and nobody else."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from core.events import ADMIN, Event, EventType
from db.pool import Pool
from tests.realtime.announcing import announce
from tests.realtime.client import Client, open_client
from tests.support.people import add_device, add_user

_MEASURE = "INSERT INTO telemetry (device_id, time, power_w, energy_wh) VALUES ($1, $2, $3, 1000)"
_SEEN_NOW = """
UPDATE device_states SET last_seen_at = now(), received = 3, stored = 2, duplicate = 1
 WHERE device_id = $1
"""


async def event_of(client: Client, kind: str) -> dict[str, Any]:
    while (event := await client.event())["type"] != kind:
        pass
    return event


async def test_nobody_else_may_listen(feed: str, pool: Pool) -> None:
    host = await add_user(pool, "host")
    async with open_client(feed, sign_in=False) as client:
        await client.sign_in(host.id, role="host")
        for op in ("subscribe", "unsubscribe"):
            await client.say(op=op, channel="admin")
            assert (await client.hear_op("error"))["code"] == "forbidden"


async def test_an_administrator_hears_how_everything_flows(feed: str, pool: Pool) -> None:
    admin, device_id = await add_user(pool, "admin"), await _device(pool)
    await pool.execute(_SEEN_NOW, device_id)
    async with open_client(feed, sign_in=False) as client:
        await client.sign_in(admin.id, role="admin")
        await client.subscribe("admin")
        event = await event_of(client, "admin.flow")
        while not event["data"]["sockets"]:
            event = await event_of(client, "admin.flow")
    flow = event["data"]
    assert flow["received"] == flow["stored"] + flow["duplicate"] + flow["rejected"] == 3
    assert flow["sockets"] == 1
    assert flow["time"].endswith("Z")


async def test_an_administrator_hears_the_power_of_every_device_once(feed: str, pool: Pool) -> None:
    admin, device_id = await add_user(pool, "admin"), await _device(pool)
    async with open_client(feed, sign_in=False) as client:
        await client.sign_in(admin.id, role="admin")
        await client.subscribe("admin")
        now = datetime.now(UTC)
        for ago_s, power_w in ((20, 900.0), (10, 1200.0)):
            await pool.execute(_MEASURE, device_id, now - timedelta(seconds=ago_s), power_w)
        await pool.execute(_SEEN_NOW, device_id)
        event = await event_of(client, "admin.power")
        [device] = event["data"]["devices"]
        assert (device["id"], device["power_w"]) == (str(device_id), 1200.0)
        await pool.execute(_MEASURE, device_id, now, 1500.0)
        await pool.execute(_SEEN_NOW, device_id)
        event = await event_of(client, "admin.power")
        assert [d["power_w"] for d in event["data"]["devices"]] == [1500.0]


async def test_what_commits_is_replayed_to_an_administrator_who_was_away(
    feed: str, pool: Pool
) -> None:
    admin = await add_user(pool, "admin")
    async with open_client(feed, sign_in=False) as client:
        await client.sign_in(admin.id, role="admin")
        position = (await client.subscribe("admin"))["position"]
    name = str(uuid4())
    await announce(pool, Event(EventType.DEVICE_REGISTERED, (ADMIN,), {"name": name}))
    async with open_client(feed, sign_in=False) as client:
        await client.sign_in(admin.id, role="admin")
        again = await client.subscribe("admin", position=position)
        assert again["recovered"] is True
        assert (await event_of(client, "device.registered"))["data"] == {"name": name}


async def test_an_administrator_may_watch_any_device(feed: str, pool: Pool) -> None:
    admin, device_id = await add_user(pool, "admin"), await _device(pool)
    async with open_client(feed, sign_in=False) as client:
        await client.sign_in(admin.id, role="admin")
        await client.subscribe(f"device:{device_id}")
        await pool.execute(_MEASURE, device_id, datetime.now(UTC), 700.0)
        assert (await event_of(client, "device.telemetry"))["data"]["power_w"] == 700.0


async def _device(pool: Pool) -> UUID:
    return await add_device(pool, await add_user(pool, "host"))
