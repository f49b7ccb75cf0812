"""The sleep of the relay: a commit wakes it, and running writers keep it awake."""

import asyncio

from core.events import Event, EventType
from db import outbox
from db.pool import Connection, Pool

EVENT = Event(EventType.LISTING_UPDATED, ("listings",), {})


async def test_a_commit_wakes_a_sleeping_relay(conn: Connection, pool: Pool) -> None:
    told = asyncio.Event()
    await outbox.listen(conn, told.set)
    assert await outbox.try_sleep(conn)
    async with pool.acquire() as writer:
        await outbox.add(writer, [EVENT])
    async with asyncio.timeout(5):
        await told.wait()
    await conn.reset()


async def test_a_relay_can_not_sleep_while_a_writer_that_saw_it_awake_is_running(
    conn: Connection, pool: Pool
) -> None:
    async with pool.acquire() as writer:
        async with writer.transaction():
            await outbox.add(writer, [EVENT])
            assert not await outbox.try_sleep(conn)
        assert await outbox.try_sleep(conn)
        async with conn.transaction():
            assert len(await outbox.lock_batch(conn, 10)) == 1
        await outbox.wake_up(conn)
