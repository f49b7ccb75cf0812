"""An ingester that is killed again and again, at a stream full of poison.

More kills, or the same again:
`SOLARHUB_TEST_ROUNDS=40 SOLARHUB_TEST_SEED=7 pytest tests/end_to_end/test_storms.py`.
"""

import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from uuid import UUID

import aiomqtt
import httpx
import pytest

from core.dialects import Dialect
from core.readings import Reading
from core.settings import DatabaseSettings
from db import telemetry
from db.pool import Pool
from db.telemetry import Counts
from simulators.dialects.native import payload
from solarhub.metrics_client import fetch_metrics
from tests.end_to_end.load import Meter, faulty
from tests.end_to_end.turmoil import Part, chosen_rounds, chosen_seed
from tests.ingest.dialects.poison import PITFALLS, TOPICS
from tests.ingest.world import add_device, add_named
from tests.support.audits import failed_checks
from tests.support.mosquitto import Mosquitto
from tests.support.ports import free
from tests.support.waiting import eventually

METERS = 6
READINGS_PER_ROUND = 30  # of a meter
APART_MAX_S = 1.5
AWAY_MAX_S = 0.3
SETTLES_WITHIN_S = 120
MEBIBYTE = 1024 * 1024

Publication = tuple[str, bytes]

# As they are named in the topics that are poisoned.
NAMES = {
    Dialect.OPENDTU: "114182940773",
    Dialect.SHELLY1: "em",
    Dialect.SHELLY2: "pm",
    Dialect.TASMOTA: "plug",
    Dialect.SENML: "roof",
    Dialect.AHOY: "HM",
    Dialect.VICTRON: "c0619aba2ebd",
    Dialect.GROTT: "NTCIA00001",
}

ELSEWHERE = [
    *(topic for topics in TOPICS.values() for topic in topics),
    "solar/nobody/telemetry",
    "solar/00000000-0000-0000-0000-000000000000/telemetry",
]


def poison(chance: Random) -> bytes:
    """Return a payload that no device should send: cut or nested JSON, NUL, wrong types."""
    if chance.random() < 0.02:
        return chance.choice((b"[" * MEBIBYTE, b" " * MEBIBYTE + b"1"))
    return chance.choice(
        (
            *PITFALLS,
            chance.randbytes(chance.randrange(300)),
            payload([Reading(energy_wh=5.0)])[: chance.randrange(1, 10)].encode(),
            b'{"power_w": "\\u0000", "\\u0000": 1}',
            b'{"energy_wh": [1], "time": {}}',
            b'{"energy_wh": 1e999}',
        )
    )


def poisoned(meters: dict[UUID, Meter], chance: Random) -> list[Publication]:
    """All readings of the meters, and as much poison: beside them, among them, in their arrays."""
    said = []
    for device, meter in meters.items():
        topic, left = f"solar/{device}/telemetry", meter.readings
        while left:
            size = chance.choice((1, 1, 2, 7))
            good = payload([*left[:size], left[0]])
            said += [
                (topic, chance.choice((good, good[:-1] + ', {"energy_wh": "a lot"}]')).encode())
            ]
            said += [(topic, poison(chance)), (chance.choice(ELSEWHERE), poison(chance))]
            left = left[size:]
    return chance.sample(said, len(said))


async def publish(mosquitto: Mosquitto, said: list[Publication]) -> None:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        for topic, payload in said:
            await client.publish(topic, payload, qos=1)


async def storm(ingester: Part, chance: Random) -> None:
    await asyncio.sleep(chance.uniform(0, APART_MAX_S))
    await ingester.kill(away_s=chance.uniform(0, AWAY_MAX_S))


async def is_up_again(pool: Pool, mosquitto: Mosquitto) -> None:
    """Wait until what is published last is stored, by the process that outlives the storm."""
    last = await add_device(pool)
    now = payload([Reading(datetime.now(UTC), energy_wh=1.0)]).encode()
    await publish(mosquitto, [(f"solar/{last}/telemetry", now)])

    async def is_stored() -> bool:
        return (await counts(pool, last)).stored == 1

    await eventually(is_stored, within_s=SETTLES_WITHIN_S)


async def has_counted(pool: Pool, device: UUID, meter: Meter) -> bool:
    """Devices take lanes: what came last of one says nothing of what came before of another."""
    count = await counts(pool, device)
    assert count.stored == meter.distinct
    assert count.rejected >= len(meter.readings) // 7
    return True


async def counts(pool: Pool, device: UUID) -> Counts:
    async with pool.acquire() as conn:
        return await telemetry.counts(conn, device)


async def measures_balance(metrics_port: int) -> bool:
    async with httpx.AsyncClient(verify=False) as http:
        measures = await fetch_metrics(http, f"http://127.0.0.1:{metrics_port}")
    received, *parts = (
        measures.total(f"solarhub_readings_{what}_total")
        for what in ("received", "stored", "duplicate", "rejected")
    )
    assert received == sum(parts) > 0
    return True


@pytest.mark.slow
async def test_restarted_over_and_over_amid_poison_every_good_reading_counts_once(
    database: DatabaseSettings, pool: Pool, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    rounds, seed = chosen_rounds(5), chosen_seed()
    print(f"the same again: SOLARHUB_TEST_ROUNDS={rounds} SOLARHUB_TEST_SEED={seed}")
    chance = Random(seed)
    simulated = faulty(METERS, (rounds + 1) * READINGS_PER_ROUND, datetime.now(UTC), chance)
    meters = {await add_device(pool, meter.capacity_w): meter for meter in simulated}
    for dialect, name in NAMES.items():
        await add_named(pool, dialect, name)
    metrics_port = free()
    ingester = Part(
        "ingest",
        tmp_path / "ingest.log",
        {
            "SOLARHUB_DATABASE_URL": database.database_url,
            "SOLARHUB_MQTT_URL": mosquitto.url,
            "SOLARHUB_INGEST_CLIENT_ID": "amid-poison",
            "SOLARHUB_INGEST_BATCH_MAX": "100",
            "SOLARHUB_METRICS_PORT": str(metrics_port),
        },
    )
    said = poisoned(meters, chance)
    await ingester.start()
    try:
        # It stands there once it is connected, and again once it has subscribed.
        await eventually(lambda: mosquitto.saved().count(b"amid-poison") > 1, within_s=60)
        for n in range(rounds):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(publish(mosquitto, said[n::rounds]))
                tasks.create_task(storm(ingester, chance))
        await is_up_again(pool, mosquitto)
        for device, meter in meters.items():
            done = partial(has_counted, pool, device, meter)
            await eventually(done, within_s=SETTLES_WITHIN_S)
        await eventually(partial(measures_balance, metrics_port), within_s=SETTLES_WITHIN_S)
        async with pool.acquire() as conn:
            assert await failed_checks(conn, database) == []
    finally:
        await ingester.end()
    assert "Traceback" not in (tmp_path / "ingest.log").read_text()
