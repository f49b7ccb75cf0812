"""The sockets of the benchmarks report when all events have arrived, and when not."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from bench.database import BenchDatabaseServer
from bench.feed_load import WebSocketLoadProcess, open_sockets
from bench.options import Options
from core.events import LISTINGS, Event, EventType, user_channel
from core.settings import DatabaseSettings
from db.pool import Pool
from tests.realtime.announcing import announce, listing_event
from tests.realtime.client import ANYBODY, SECRET

CLIENTS = 15


@pytest.fixture
async def sockets(
    feed: str, database: DatabaseSettings, tmp_path: Path
) -> AsyncIterator[WebSocketLoadProcess]:
    options = Options(BenchDatabaseServer(database.database_url), tmp_path, jwt_secret=SECRET)
    port = int(feed.split(":")[2].removesuffix("/ws"))
    async with open_sockets(
        options, port, CLIENTS, users=[ANYBODY], channels=[LISTINGS, "user"]
    ) as sockets:
        yield sockets


@pytest.mark.parametrize(("expected", "complete"), [(30, True), (31, False)])
async def test_a_burst_is_complete_when_all_its_events_have_arrived(
    sockets: WebSocketLoadProcess, pool: Pool, expected: int, complete: bool
) -> None:
    ids = [uuid4() for _ in range(30)]
    await sockets.send("burst", str(ids[-1]), str(expected))
    await announce(pool, *map(listing_event, ids))
    assert (await sockets.result())["complete"] is complete


async def test_the_latency_of_every_purchase_event_is_measured(
    sockets: WebSocketLoadProcess, pool: Pool
) -> None:
    await sockets.send("purchases", str(2 * CLIENTS))
    data = {"id": str(uuid4())}
    bought = Event(EventType.PURCHASE_COMPLETED, (user_channel(ANYBODY),), data)
    await announce(pool, bought, bought)
    took_ms = (await sockets.result())["took_ms"]
    assert len(took_ms) == 2 * CLIENTS
    assert all(0 < took < 10_000 for took in took_ms)
