"""One slow client hurts nobody."""

import asyncio
import socket
from uuid import uuid4

from websockets.asyncio.client import connect

from core.events import LISTINGS, Event, EventType
from db.pool import Pool
from tests.realtime.announcing import announce
from tests.realtime.client import Client, open_client

_BATCHES, _BATCH = 40, 50
_PADDING = "x" * 4096


async def announce_much(pool: Pool) -> None:
    """More than sockets and the hub's buffer hold for a client."""
    for _ in range(_BATCHES):
        events = (
            Event(EventType.LISTING_SOLD, (LISTINGS,), {"id": str(uuid4()), "padding": _PADDING})
            for _ in range(_BATCH)
        )
        await announce(pool, *events)


def small_socket(url: str) -> socket.socket:
    """One whose buffer fills soon."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", int(url.split(":")[2].removesuffix("/ws"))))
    return sock


async def test_a_client_that_does_not_read_is_closed_with_4408_and_can_resume(
    feed: str, pool: Pool
) -> None:
    async with (
        open_client(feed) as fast,
        connect(
            feed, sock=small_socket(feed), compression=None, proxy=None, max_queue=1,
            ping_interval=None,
        ) as connection,
    ):  # fmt: skip
        slow = Client(connection)
        await slow.sign_in()
        position = (await slow.subscribe("listings"))["position"]
        await fast.subscribe("listings")
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(fast.events(_BATCHES * _BATCH))
            await announce_much(pool)
        heard = [event["data"]["id"] for event in hearing.result()]
        assert await slow.close_code() == 4408
    async with open_client(feed) as resumed:
        assert (await resumed.subscribe("listings", position=position))["recovered"] is True
        told = await resumed.events(_BATCHES * _BATCH)
        assert [event["data"]["id"] for event in told] == heard
