"""Several ingesters share the stream, and what becomes of those that are killed."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random

import pytest

from db.ingest_sessions import client_ids
from tests.end_to_end.load import faulty, recorded
from tests.end_to_end.metering import Gate, Hub, database_server, hub_of, undisturbed
from tests.end_to_end.turmoil import Part, chosen_seed
from tests.support.waiting import eventually

METERS = 20
READINGS_EACH = 60
MEMBERS = ("first", "second", "third")
SESSIONS = 3

_READERS = "SELECT count(DISTINCT member) FROM ingest_sessions"
_MEMBERS = "SELECT array_agg(client_id ORDER BY client_id) FROM ingesters"
_UNREAD = "SELECT count(*) FROM ingest_sessions WHERE member NOT IN ('first', 'second')"


async def members(hub: Hub, stack: AsyncExitStack) -> list[Part]:
    """Three ingesters that share the stream."""
    parts = [
        hub.ingester(
            name,
            SOLARHUB_INGEST_GROUP="hub",
            SOLARHUB_INGEST_SESSIONS=str(SESSIONS),
            SOLARHUB_INGEST_GONE_AFTER="6s",
        )
        for name in MEMBERS
    ]
    for part in parts:
        await part.start()
        stack.push_async_callback(part.end)
    await eventually(partial(all_are_there, hub), within_s=60)
    for session in client_ids("hub", SESSIONS):
        await hub.subscribes(session)
    return parts


async def all_are_there(hub: Hub) -> bool:
    """Each of them reads a session."""
    return bool(await hub.pool.fetchval(_READERS) == len(MEMBERS))


@pytest.mark.slow
async def test_of_three_that_share_one_may_be_killed_for_a_while_and_one_for_ever(
    data: Path,
) -> None:
    seed = chosen_seed()
    print(f"the same again: SOLARHUB_TEST_SEED={seed}")
    chance, until = Random(seed), datetime.now(UTC)
    meters = [*recorded(1, until), *faulty(METERS, READINGS_EACH, until, chance)]
    async with database_server(data) as server, AsyncExitStack() as stack:
        alone = await undisturbed(data, server, meters)
        hub = await stack.enter_async_context(hub_of("shared", data, server, meters))
        first, second, third = await members(hub, stack)
        gate = Gate(rounds=2)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hub.publish(gate, chance))
            gate.open_wider()
            await eventually(partial(hub.has_stored, chance.randrange(1, hub.distinct // 6)))
            await first.kill(away_s=0.5)
            gate.open_wider()
            await eventually(partial(hub.has_stored, hub.distinct // 3))
            await third.end()
            gate.open_wider()
        assert await hub.outcome() == alone

        async def only_two_are_left() -> bool:
            assert await hub.pool.fetchval(_MEMBERS) == ["first", "second"]
            assert await hub.pool.fetchval(_UNREAD) == 0
            return True

        await eventually(only_two_are_left, within_s=30)
        for part in (first, second):
            assert "Traceback" not in part.log.read_text()
