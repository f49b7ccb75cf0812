"""Killed at any moment, ingester, broker and database lose nothing and count nothing twice.

`make test-all` runs a short version. A long one, or the same one again:
`SOLARHUB_TEST_ROUNDS=20 SOLARHUB_TEST_SEED=7 pytest tests/end_to_end/test_crashes.py`.
"""

import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Protocol

import pytest

from tests.end_to_end.load import Meter, faulty, recorded
from tests.end_to_end.metering import Gate, Hub, database_server, hub_of, undisturbed
from tests.end_to_end.turmoil import Backing, Part, chosen_rounds, chosen_seed
from tests.support.waiting import eventually

FAULTY_METERS = 20
READINGS_PER_ROUND = 20  # of a faulty meter
ROUNDS_PER_RECORDED_DAY = 4
APART_MAX_S = 1.0
AWAY_MAX_S = 2.0


class Blow(Protocol):
    """Kills something, and starts it again after a while."""

    async def __call__(self, *, away_s: float) -> None: ...


def load(rounds: int, chance: Random) -> list[Meter]:
    until = datetime.now(UTC)
    days = min(5, -(-rounds // ROUNDS_PER_RECORDED_DAY))
    simulated = faulty(FAULTY_METERS, (rounds + 1) * READINGS_PER_ROUND, until, chance)
    return [*recorded(days, until), *simulated]


def blows(
    rounds: int, hub: Hub, server: Backing, ingester: Part, chance: Random
) -> list[list[Blow]]:
    """Return what is killed in each round: each part alone at first, then sometimes several."""
    alone: list[Blow] = [ingester.kill, hub.mosquitto.crash, server.kill]
    first = [[blow] for blow in chance.sample(alone, len(alone))]
    rest = [chance.sample(alone, chance.choice((1, 2, 2, 3))) for _ in range(rounds)]
    return [*first, *rest][:rounds]


async def suffer(hub: Hub, gate: Gate, rounds: list[list[Blow]], chance: Random) -> None:
    """In each round more is let out, and while that is being ingested something dies."""
    share = hub.distinct // (len(rounds) + 1)

    async def strike(blow: Blow) -> None:
        await asyncio.sleep(chance.uniform(0, APART_MAX_S))
        await blow(away_s=chance.uniform(0, AWAY_MAX_S))

    for struck in rounds:
        before = await hub.stored()
        gate.open_wider()
        at_work = partial(hub.has_stored, before + chance.randrange(1, share // 2))
        await eventually(at_work, within_s=60)
        async with asyncio.TaskGroup() as tasks:
            for blow in struck:
                tasks.create_task(strike(blow))
    gate.open_wider()


@pytest.mark.slow
async def test_killing_whatever_it_stands_on_changes_no_interval(data: Path) -> None:
    rounds, seed = chosen_rounds(3), chosen_seed()
    print(f"the same again: SOLARHUB_TEST_ROUNDS={rounds} SOLARHUB_TEST_SEED={seed}")
    chance = Random(seed)
    meters = load(rounds, chance)
    async with database_server(data) as server:
        calm = await undisturbed(data, server, meters)
        async with hub_of("disturbed", data, server, meters) as hub:
            ingester = hub.ingester("ingester")
            await ingester.start()
            try:
                await hub.subscribes("ingester")
                gate = Gate(rounds)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(hub.publish(gate, chance))
                    struck = blows(rounds, hub, server, ingester, chance)
                    await suffer(hub, gate, struck, chance)
                assert await hub.outcome() == calm
                print(await hub.summary())
            finally:
                await ingester.end()
            assert "Traceback" not in ingester.log.read_text()
