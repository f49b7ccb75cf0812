"""When the active relay dies or hangs, the other one takes over."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from core.settings import DatabaseSettings, RedisSettings
from db.pool import Pool
from tests.end_to_end.turmoil import Part
from tests.realtime.announcing import announce, listing_event
from tests.realtime.histories import history
from tests.support.ports import free
from tests.support.waiting import eventually

WELL_WITHIN_S = 30


@dataclass(frozen=True, slots=True)
class Relay:
    part: Part
    metrics_port: int

    async def is_active(self) -> bool:
        return "solarhub_relay_active 1.0" in await self._metrics()

    async def is_up(self) -> bool:
        return "solarhub_relay_active" in await self._metrics()

    async def _metrics(self) -> str:
        async with httpx.AsyncClient(trust_env=False, verify=False) as browser:
            try:
                metrics = await browser.get(f"http://127.0.0.1:{self.metrics_port}/metrics")
            except httpx.HTTPError:
                return ""
        return metrics.text


@pytest.fixture
async def relays(
    database: DatabaseSettings, redis_settings: RedisSettings, tmp_path: Path
) -> AsyncIterator[tuple[Relay, Relay]]:
    """The active one, and the one that stands by."""
    async with AsyncExitStack() as stack:
        made = []
        for n in range(2):
            port = free()
            settings = {
                "SOLARHUB_DATABASE_URL": database.database_url,
                "SOLARHUB_REDIS_URL": redis_settings.redis_url,
                "SOLARHUB_METRICS_PORT": str(port),
            }
            relay = Relay(Part("relay", tmp_path / f"relay-{n}.log", settings), port)
            await relay.part.start()
            stack.push_async_callback(relay.part.end)
            await eventually(relay.is_up if n else relay.is_active, within_s=WELL_WITHIN_S)
            made.append(relay)
        yield made[0], made[1]


async def published(settings: RedisSettings, pool: Pool) -> list[int]:
    """The versions of what was announced, once nothing waits any more."""
    assert not await pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")
    return [event["data"]["version"] for event in await history(settings, "listings")]


@pytest.mark.parametrize(
    "blow",
    [
        pytest.param(signal.SIGKILL, id="dies"),
        pytest.param(signal.SIGSTOP, id="hangs", marks=pytest.mark.slow),
    ],
)
async def test_another_relay_takes_over_and_repeats_nothing(
    relays: tuple[Relay, Relay], pool: Pool, redis_settings: RedisSettings, blow: signal.Signals
) -> None:
    active, other = relays
    listing_id = uuid4()
    for version in range(50):
        await announce(pool, listing_event(listing_id, version))
    os.kill(active.part.pid, blow)
    for version in range(50, 100):
        await announce(pool, listing_event(listing_id, version))
    await eventually(other.is_active, within_s=WELL_WITHIN_S)
    await eventually(lambda: published(redis_settings, pool), within_s=WELL_WITHIN_S)
    assert await published(redis_settings, pool) == list(range(100))


@pytest.mark.slow
async def test_a_relay_that_hung_stands_by_when_it_goes_on(
    relays: tuple[Relay, Relay], pool: Pool, redis_settings: RedisSettings
) -> None:
    active, other = relays
    os.kill(active.part.pid, signal.SIGSTOP)
    await eventually(other.is_active, within_s=WELL_WITHIN_S)
    os.kill(active.part.pid, signal.SIGCONT)

    async def stands_by() -> bool:
        return not await active.is_active()

    await eventually(stands_by, within_s=WELL_WITHIN_S)
    listing_id = uuid4()
    for version in range(20):
        await announce(pool, listing_event(listing_id, version))
    await eventually(lambda: published(redis_settings, pool), within_s=WELL_WITHIN_S)
    assert await published(redis_settings, pool) == list(range(20))
