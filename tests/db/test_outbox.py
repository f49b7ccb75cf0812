"""The relay is woken when it sleeps, and kept awake by whoever found it awake."""

import asyncio

from core.events import Event, EventType
from db import outbox
from db.pool import Connection, Pool

EVENT = Event(EventType.LISTING_UPDATED, ("listings",), {})


async def test_a_relay_that_sleeps_is_told_of_the_next_commit(conn: Connection, pool: Pool) -> None:
    told = asyncio.Event()
    await outbox.listen(conn, told.set)
    assert await outbox.try_sleep(conn)
    async with pool.acquire() as writer:
        await outbox.add(writer, [EVENT])
    async with asyncio.timeout(5):
        await told.wait()
    await conn.reset()


async def test_a_relay_can_not_sleep_before_those_commit_who_found_it_awake(
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
