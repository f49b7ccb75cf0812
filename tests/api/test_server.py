"""The API process: it serves until cancelled, and finishes the requests in progress."""

import asyncio
import socket

import httpx
import pytest
from prometheus_client import CollectorRegistry

from api.http import expiry, server
from core.settings import ApiSettings, DatabaseSettings
from db.pool import Pool
from tests.api.conftest import JWT_SECRET, Api
from tests.support.people import add_listing, add_user
from tests.support.ports import free
from tests.support.waiting import eventually

_WAITING = """
SELECT count(*) > 0 FROM pg_stat_activity
 WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


async def test_a_port_in_use_raises(database: DatabaseSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = ApiSettings(jwt_secret=JWT_SECRET, api_port=other.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            await server.run(
                settings, database, None, registry=CollectorRegistry(), started=asyncio.Event()
            )


async def test_a_purchase_in_progress_is_answered_before_the_process_ends(
    database: DatabaseSettings, pool: Pool
) -> None:
    buyer = await add_user(pool, balance=100)
    listing_id = await add_listing(pool, await add_user(pool, "host"))
    settings = ApiSettings(jwt_secret=JWT_SECRET, api_port=free())
    started = asyncio.Event()
    running = asyncio.create_task(
        server.run(settings, database, None, registry=CollectorRegistry(), started=started)
    )
    await started.wait()

    async def stopped_listening() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", settings.api_port)
        except ConnectionError:  # refused, or reset on its way to being accepted
            return True
        writer.close()
        await writer.wait_closed()
        return False

    url = f"http://127.0.0.1:{settings.api_port}"
    async with (
        httpx.AsyncClient(base_url=url, timeout=30, verify=False) as http,
        pool.acquire() as conn,
    ):
        lock = conn.transaction()
        await lock.start()
        await conn.execute("SELECT FROM energy_listings FOR UPDATE")
        order = {"listing_id": str(listing_id), "energy_kwh": 1}
        buying = asyncio.create_task(
            Api(http, settings).call("POST", "/api/v1/marketplace/purchase", buyer, json=order)
        )
        await eventually(lambda: pool.fetchval(_WAITING))
        running.cancel()
        await eventually(stopped_listening)
        await lock.rollback()
        assert (await buying).status_code == 201
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_background_task_that_fails_stops_the_process(
    database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail = asyncio.Event()

    async def fails(*_: object) -> None:
        await fail.wait()
        raise ZeroDivisionError

    monkeypatch.setattr(expiry, "run", fails)
    settings = ApiSettings(jwt_secret=JWT_SECRET, api_port=free())
    started = asyncio.Event()
    running = asyncio.create_task(
        server.run(settings, database, None, registry=CollectorRegistry(), started=started)
    )
    await started.wait()
    fail.set()
    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(running, 10)
    assert raised.value.subgroup(ZeroDivisionError) is not None
