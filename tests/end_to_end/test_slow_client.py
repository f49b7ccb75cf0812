"""One client stops reading; its 999 neighbours don't notice, nor does the hub's memory.

How long events take to them, with and without that client, is printed (`pytest -s`), not asserted.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import pytest
from websockets.asyncio.client import connect

from core.events import LISTINGS, Event, EventType, listing_channel
from core.settings import DatabaseSettings, RedisSettings
from db.pool import Pool
from realtime.hub import BUFFER_BYTES_MAX
from tests.end_to_end.turmoil import Part
from tests.realtime.announcing import announce, listing_event
from tests.realtime.client import SECRET, Client, open_client
from tests.support.people import Person, add_user
from tests.support.ports import free
from tests.support.waiting import eventually

NEIGHBOURS = 999
PER_USER = 20
TOLD = 40
FLOOD_BATCHES, FLOOD_BATCH, PADDING = 60, 50, "x" * 8192
MEMORY_BYTES_MAX = 16 * BUFFER_BYTES_MAX  # the flood is 24 MB


@dataclass(frozen=True, slots=True)
class Hub:
    url: str
    process: psutil.Process


@asynccontextmanager
async def hub_process(
    directory: Path, database: DatabaseSettings, redis: RedisSettings
) -> AsyncIterator[Hub]:
    """A relay and a hub as their own processes."""
    port = free()
    settings = {
        "SOLARHUB_DATABASE_URL": database.database_url,
        "SOLARHUB_REDIS_URL": redis.redis_url,
        "SOLARHUB_JWT_SECRET": SECRET,
        "SOLARHUB_REALTIME_PORT": str(port),
    }
    async with AsyncExitStack() as stack:
        parts = [Part(name, directory / f"{name}.log", settings) for name in ("relay", "realtime")]
        for part in parts:
            await part.start()
            stack.push_async_callback(part.end)

        async def answers() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await eventually(answers, within_s=30)
        yield Hub(f"ws://127.0.0.1:{port}/ws", psutil.Process(parts[1].pid))


async def neighbours(stack: AsyncExitStack, url: str, users: list[Person]) -> list[Client]:
    """They come a few at a time: the door is as wide as its backlog."""
    doors = asyncio.Semaphore(50)

    async def enter(user: Person) -> Client:
        async with doors:
            client = await stack.enter_async_context(open_client(url, user.id))
            return client

    return await asyncio.gather(*(enter(users[n // PER_USER]) for n in range(NEIGHBOURS)))


def reading_little(url: str) -> connect:
    """A connection that holds little of what is not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", int(url.split(":")[2].removesuffix("/ws"))))
    return connect(url, sock=sock, compression=None, proxy=None, max_queue=1, ping_interval=None)


async def announce_some(pool: Pool, listing_id: UUID) -> None:
    """Publish the events that the other clients receive, one after the other."""
    for version in range(TOLD):
        await announce(pool, listing_event(listing_id, version, EventType.LISTING_SOLD))
        await asyncio.sleep(0.02)


async def flood(pool: Pool) -> None:
    """More than sockets and the hub's buffer hold for a client."""
    for _ in range(FLOOD_BATCHES):
        data = {"id": str(uuid4()), "padding": PADDING}
        await announce(pool, *([Event(EventType.LISTING_SOLD, (LISTINGS,), data)] * FLOOD_BATCH))


async def hear_all(client: Client) -> list[float]:
    """Return the seconds from the commit of each event to its receipt."""
    took_s = []
    for version in range(TOLD):
        event = await client.event()
        assert event["data"]["version"] == version
        committed_at = datetime.fromisoformat(event["time"])
        took_s.append((datetime.now(UTC) - committed_at).total_seconds())
    return took_s


def p99(took_s: list[list[float]]) -> str:
    every = sorted(one for client in took_s for one in client)
    return f"{1000 * every[int(len(every) * 0.99)]:.0f} ms"


@pytest.mark.slow
async def test_a_client_that_stops_reading_hurts_none_of_999_others(
    pool: Pool, database: DatabaseSettings, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    users = [await add_user(pool) for _ in range(NEIGHBOURS // PER_USER + 1)]
    async with (
        AsyncExitStack() as stack,
        hub_process(tmp_path, database, redis_settings) as hub,
    ):
        others = await neighbours(stack, hub.url, users)
        listing_id = uuid4()
        await asyncio.gather(*(one.subscribe(listing_channel(listing_id)) for one in others))
        _, *before = await asyncio.gather(announce_some(pool, listing_id), *map(hear_all, others))
        memory_bytes = hub.process.memory_info().rss
        slow = Client(await stack.enter_async_context(reading_little(hub.url)))
        await slow.sign_in(users[-1].id)
        await slow.subscribe(LISTINGS)
        _, _, *meanwhile = await asyncio.gather(
            flood(pool), announce_some(pool, listing_id), *map(hear_all, others)
        )
        assert await slow.close_code() == 4408
        grown_bytes = hub.process.memory_info().rss - memory_bytes
        print(f"p99 without: {p99(before)}, with: {p99(meanwhile)}; grown by {grown_bytes:,} bytes")
        assert grown_bytes < MEMORY_BYTES_MAX
