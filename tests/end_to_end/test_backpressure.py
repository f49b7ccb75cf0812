"""With the database away the broker keeps what comes, the ingester's memory stays bounded however
large messages are, and work resumes by itself.

For longer: `SOLARHUB_TEST_TURMOIL=60s pytest tests/end_to_end/test_backpressure.py`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
import psutil
import pytest

from core.readings import Reading
from core.units import rfc3339
from ingest.mqtt.receive_buffer import HELD_MAX_BYTES
from tests.end_to_end.load import Meter
from tests.end_to_end.metering import Hub, database_server, hub_of
from tests.end_to_end.turmoil import Backing, Part, lasts_s
from tests.support import processes
from tests.support.mosquitto import INFLIGHT_MAX
from tests.support.waiting import eventually

AT_ONCE = 10
# Beside what is held, copies of it on the way in, and what the pool and retries take.
SLACK_BYTES = 24_000_000


@asynccontextmanager
async def killed(server: Backing) -> AsyncIterator[None]:
    """Connections are refused."""
    back = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.kill(until=back))
        try:
            yield
        finally:
            back.set()


@asynccontextmanager
async def hung(server: Backing) -> AsyncIterator[None]:
    """Connections are open, and nobody answers on them."""
    with processes.frozen(psutil.Process(server.pid)):
        yield


@dataclass(frozen=True, slots=True)
class Load:
    """So many messages of one reading, padded to a size; `held_bytes` of them are let in."""

    messages: int
    padding_bytes: int
    held_bytes: int


MANY = Load(2 * INFLIGHT_MAX, 8_000, held_bytes=INFLIGHT_MAX * 8_000)
# So few that the broker lets all of them be in flight.
LARGE = Load(600, 256_000, held_bytes=HELD_MAX_BYTES)


async def publish(hub: Hub, padding_bytes: int) -> None:
    """Big messages of little use: an unknown field is most of them."""
    [device], [meter] = hub.devices, hub.meters
    async with aiomqtt.Client("127.0.0.1", hub.mosquitto.port) as client:
        for n in range(0, len(meter.readings), AT_ONCE):
            await asyncio.gather(
                *(
                    client.publish(
                        f"solar/{device}/telemetry", padded(reading, padding_bytes), qos=1
                    )
                    for reading in meter.readings[n : n + AT_ONCE]
                )
            )


def padded(reading: Reading, padding_bytes: int) -> str:
    assert reading.time is not None
    document = {"time": rfc3339(reading.time), "energy_wh": reading.energy_wh}
    return json.dumps(document | {"note": "x" * padding_bytes})


def has_tried_in_vain(ingester: Part) -> bool:
    return ingester.log.read_text().count("batch_not_written") >= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("away", "load"),
    [(killed, MANY), (hung, MANY), (killed, LARGE)],
    ids=["killed", "hung", "large"],
)
async def test_without_its_database_an_ingester_holds_a_bounded_part_of_what_comes(
    data: Path, away: Callable[[Backing], AbstractAsyncContextManager[None]], load: Load
) -> None:
    begins = datetime.now(UTC) - timedelta(days=1)
    every = timedelta(seconds=5)
    meter = Meter(5000.0, [Reading(begins + n * every, energy_wh=n) for n in range(load.messages)])
    async with (
        database_server(data) as server,
        hub_of("pressed", data, server, [meter]) as hub,
    ):
        ingester = hub.ingester(
            "ingester",
            SOLARHUB_DATABASE_STATEMENT_TIMEOUT="1s",
            SOLARHUB_DATABASE_CONNECT_TIMEOUT="1s",
        )
        await ingester.start()
        try:
            await hub.subscribes("ingester")
            process = psutil.Process(ingester.pid)
            before, most = process.memory_info().rss, 0
            async with away(server):
                await publish(hub, load.padding_bytes)
                await eventually(lambda: has_tried_in_vain(ingester), within_s=60)
                ends = asyncio.get_running_loop().time() + lasts_s(1)
                while asyncio.get_running_loop().time() < ends:
                    most = max(most, process.memory_info().rss)
                    await asyncio.sleep(0.1)
            grown = most - before
            came_bytes = load.messages * load.padding_bytes
            print(f"grew by {grown / 1e6:.0f} MB of {came_bytes / 1e6:.0f} MB that came")
            assert grown < load.held_bytes + SLACK_BYTES < came_bytes
            await hub.outcome()
            assert "Traceback" not in ingester.log.read_text()
        finally:
            await ingester.end()
