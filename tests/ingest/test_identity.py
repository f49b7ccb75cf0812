"""received = stored + duplicate + rejected: per device and in total, in every place."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from uuid import UUID, uuid4

import aiomqtt
import asyncpg
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.dialects import Dialect
from core.readings import Reading
from core.settings import DatabaseSettings, MetricsSettings
from core.units import rfc3339
from db import locks
from db.audit import audit
from db.locks import AdvisoryLock
from db.pool import Pool
from ingest import retention
from ingest.firmware_decoding import close_request
from ingest.messages import IngestMessage
from solarhub.process import metrics_served
from tests.api.conftest import serving
from tests.conftest import Broker
from tests.ingest.test_service import NOW, holds, ingesting
from tests.ingest.test_writer import ingest
from tests.ingest.world import message, telemetry
from tests.support.mosquitto import Mosquitto
from tests.support.people import DEVICE_PASSWORD, add_device, add_user
from tests.support.ports import free
from tests.support.waiting import eventually

DAY = timedelta(days=1)
_COUNTS = "SELECT received, stored, duplicate, rejected FROM device_states WHERE device_id = $1"
# Everything of unknown devices is rejected.
_TOTAL = """
WITH kept AS (SELECT device_id, readings FROM rejections UNION ALL
              SELECT device_id, readings FROM rejections_dropped)
SELECT sum(received) + max(strangers) AS received, sum(stored) AS stored,
       sum(duplicate) AS duplicate, sum(rejected) + max(strangers) AS rejected
  FROM device_states,
       (SELECT coalesce(sum(readings), 0) AS strangers FROM kept WHERE device_id IS NULL) s
"""


@dataclass(frozen=True, slots=True)
class Scraped:
    """Return a metric of an ingester as Prometheus reads it."""

    received: float
    stored: float
    duplicate: float
    rejected: float


async def scrape(port: int) -> Scraped:
    async with httpx.AsyncClient(verify=False) as http:
        text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    totals: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith("_total"):
                totals[sample.name.removeprefix("solarhub_readings_")] += sample.value
    return Scraped(
        *(totals[f"{name}_total"] for name in ("received", "stored", "duplicate", "rejected"))
    )


async def broken_checks(pool: Pool, database: DatabaseSettings) -> dict[str, tuple[str, ...]]:
    async with pool.acquire() as conn:
        return {
            check.name: check.offending async for check in audit(conn, database) if not check.ok
        }


def of_every_kind(device: UUID, seed: int) -> list[tuple[str, bytes]]:
    """Draw valid and invalid messages of a device, some of them twice, in any order."""
    random, topic = Random(seed), f"solar/{device}/telemetry"
    minutes = [random.randrange(1, 600) for _ in range(30)]
    good = [{"time": rfc3339(NOW - timedelta(minutes=m)), "energy_wh": 1000} for m in minutes]
    bad = [
        {"time": rfc3339(NOW - timedelta(days=9)), "power_w": 1},
        {"time": rfc3339(NOW + timedelta(hours=1)), "power_w": 1},
        {"power_w": 1e12},
        {"voltage_v": 230},
        {"time": "today", "power_w": 1},
        7,
    ]
    arrays = [random.choices([*good, *bad], k=random.randrange(1, 40)) for _ in range(8)]
    texts = [json.dumps(document).encode() for document in [*good, *bad, *arrays, []]]
    messages = [(topic, text) for text in [*texts, b"", b"{", b"\xff\x00"]]
    messages += [(f"solar/{device}/status", word) for word in (b"online", b"asleep", b"fault")]
    random.shuffle(messages)
    return messages + messages[:20]


async def test_counts_add_up_in_the_database_the_metrics_the_audit_and_the_api(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    hosts = [await add_user(pool, "host") for _ in range(3)]
    devices = [await add_device(pool, host) for host in hosts]
    sent = [m for n, device in enumerate([*devices, uuid4()]) for m in of_every_kind(device, n)]
    port = free()
    async with (
        ingesting(mosquitto.url, database) as registry,
        metrics_served(MetricsSettings(metrics_port=port), registry),
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):
        for topic, payload in sent:
            await client.publish(topic, payload, qos=1)
        end = json.dumps({"time": rfc3339(NOW), "power_w": 1})
        await client.publish(f"solar/{devices[0]}/telemetry", end, qos=1)
        await holds(pool, f"SELECT count(*) FROM telemetry WHERE time = '{rfc3339(NOW)}'", 1)

        async def counted() -> Scraped:
            found = await scrape(port)
            total = await pool.fetchrow(_TOTAL)
            assert total is not None
            assert found == Scraped(*(float(n) for n in total))
            return found

        scraped = await eventually(counted)
    assert scraped.received == scraped.stored + scraped.duplicate + scraped.rejected
    assert min(scraped.stored, scraped.duplicate, scraped.rejected) > 0
    assert scraped.stored == await pool.fetchval("SELECT count(*) FROM telemetry")
    assert scraped.rejected == await pool.fetchval("SELECT sum(readings) FROM rejections")
    assert await broken_checks(pool, database) == {}
    async with serving(database) as api:
        for host, device in zip(hosts, devices, strict=True):
            shown = await api.get(f"/api/v1/devices/{device}/rejections", host, limit=100)
            counts = await pool.fetchrow(_COUNTS, device)
            assert counts is not None
            assert shown["readings"] == dict(counts)
            assert len(shown["items"]) == min(100, counts["rejected"])


async def test_counts_add_up_for_a_firmware_that_sends_measurements_in_parts(
    pool: Pool, database: DatabaseSettings
) -> None:
    device = await add_device(pool, await add_user(pool, "host"))
    await pool.execute("UPDATE devices SET dialect = 'tasmota', external_id = 'plug'")

    def sensor(minutes: int) -> IngestMessage:
        at = (NOW - timedelta(minutes=minutes)).isoformat(timespec="seconds")
        said = {"Time": at, "ENERGY": {"Total": 100 - minutes / 100, "Power": 600}}
        return message("tele/plug/SENSOR", json.dumps(said).encode())

    garbage = message("tele/plug/SENSOR", b'{"Time": "today", "ENERGY": 7')
    old = sensor(minutes=60 * 24 * 9)
    await ingest(pool, sensor(30), sensor(20), sensor(20), garbage, old, sensor(10))
    await ingest(pool, sensor(20), close_request((Dialect.TASMOTA, "plug"), NOW + DAY))
    counts = await pool.fetchrow(_COUNTS, device)
    assert counts is not None
    assert counts["stored"] == await pool.fetchval("SELECT count(*) FROM telemetry") > 0
    assert counts["rejected"] == await pool.fetchval("SELECT count(*) FROM rejections") > 0
    assert await broken_checks(pool, database) == {}


async def test_the_database_refuses_counts_that_do_not_add_up(pool: Pool) -> None:
    device = await add_device(pool, await add_user(pool, "host"))
    with pytest.raises(asyncpg.CheckViolationError, match="device_states_identity"):
        await pool.execute("UPDATE device_states SET received = 1 WHERE device_id = $1", device)


@pytest.mark.parametrize(
    ("harm", "check"),
    [
        ("DELETE FROM telemetry", "readings"),
        ("UPDATE device_states SET stored = 0, duplicate = duplicate + stored", "readings"),
        ("DELETE FROM rejections", "rejected"),
        ("UPDATE device_states SET rejected = 0, received = received - rejected", "rejected"),
        ("INSERT INTO rejections_dropped SELECT device_id, 1 FROM device_states", "rejected"),
    ],
)
async def test_the_audit_finds_counts_that_differ_from_the_rows(
    pool: Pool, database: DatabaseSettings, harm: str, check: str
) -> None:
    device = await add_device(pool, await add_user(pool, "host"))
    await ingest(pool, telemetry(device, Reading(NOW, power_w=1.0)), garbage(device))
    assert await broken_checks(pool, database) == {}
    await pool.execute(harm)
    broken = await broken_checks(pool, database)
    assert broken[check] == (str(device),)


def garbage(device: UUID, readings: int = 1) -> IngestMessage:
    return message(f"solar/{device}/telemetry", json.dumps([7] * readings).encode())


async def test_only_the_newest_rejections_are_stored_and_all_are_counted(
    pool: Pool, database: DatabaseSettings
) -> None:
    host = await add_user(pool, "host")
    noisy, quiet = await add_device(pool, host), await add_device(pool, host)
    for _ in range(3):
        await ingest(pool, garbage(noisy, 10), garbage(quiet), garbage(uuid4(), 5))
    newest = await pool.fetch("SELECT id FROM rejections WHERE device_id = $1 ORDER BY 1", noisy)
    while await retention.delete_surplus_rejections(
        pool, per_device_max=4, of_unknown_max=2, limit=7
    ):
        pass
    kept = await pool.fetch("SELECT id FROM rejections WHERE device_id = $1 ORDER BY 1", noisy)
    assert kept == newest[-4:]
    rows = "SELECT count(*) FROM rejections WHERE device_id IS NOT DISTINCT FROM $1"
    assert await pool.fetchval(rows, quiet) == 3
    assert await pool.fetchval(rows, None) == 2
    dropped = "SELECT device_id, readings FROM rejections_dropped"
    assert {tuple(row) for row in await pool.fetch(dropped)} == {(noisy, 26), (None, 5)}
    assert await broken_checks(pool, database) == {}
    total = await pool.fetchrow(_TOTAL)
    assert total is not None
    assert (total["received"], total["rejected"]) == (48, 48)


async def test_rejections_are_deleted_while_broker_accounts_are_synchronized(
    pool: Pool,
) -> None:
    device = await add_device(pool, await add_user(pool, "host"))
    await ingest(pool, garbage(device, 10))
    async with pool.acquire() as keeper:
        assert await locks.try_lock(keeper, AdvisoryLock.BROKER_ACCOUNTS)
        assert await retention.delete_surplus_rejections(pool, per_device_max=5) == 5


async def test_several_ingesters_delete_rejections_while_more_arrive(
    pool: Pool, database: DatabaseSettings
) -> None:
    device = await add_device(pool, await add_user(pool, "host"))

    async def send() -> None:
        for _ in range(20):
            await ingest(pool, garbage(device, 10))

    async def tidy() -> None:
        for _ in range(20):
            await retention.delete_surplus_rejections(pool, per_device_max=5, limit=8)

    await asyncio.gather(send(), tidy(), tidy(), tidy())
    while await retention.delete_surplus_rejections(pool, per_device_max=5, limit=8):
        pass
    assert await pool.fetchval("SELECT count(*) FROM rejections") == 5
    assert await broken_checks(pool, database) == {}


async def test_the_payload_of_a_message_with_a_thousand_rejections_is_stored_once(
    pool: Pool,
) -> None:
    device = await add_device(pool, await add_user(pool, "host"))
    await ingest(pool, garbage(device, 1000))
    payloads = await pool.fetch("SELECT payload FROM rejections ORDER BY id")
    assert [len(row["payload"]) for row in payloads] == [3000] + 999 * [0]


@asynccontextmanager
async def hearing(client: aiomqtt.Client, device: UUID) -> AsyncIterator[list[str]]:
    """Yield the reasons in the notices to a device as they arrive."""
    reasons: list[str] = []

    async def hear() -> None:
        async for received in client.messages:
            assert isinstance(received.payload, bytes)
            reasons.extend(
                one["reason"].split(":")[0] for one in json.loads(received.payload)["rejected"]
            )

    await client.subscribe(f"solar/{device}/ack", qos=1)
    task = asyncio.create_task(hear())
    try:
        yield reasons
    finally:
        task.cancel()


async def test_a_device_receives_notices_of_rejections_only(
    pool: Pool, database: DatabaseSettings, broker: Broker
) -> None:
    device = await add_device(pool, await add_user(pool, "host"))
    topic, good = f"solar/{device}/telemetry", json.dumps({"time": rfc3339(NOW), "power_w": 1})
    async with (
        ingesting(broker.url, database),
        aiomqtt.Client(
            "127.0.0.1", broker.port, username=str(device), password=DEVICE_PASSWORD
        ) as client,
        hearing(client, device) as reasons,
    ):
        for payload in (good, good, '{"power_w": 1, "colour": "red"}', "{", good):
            await client.publish(topic, payload, qos=1)
        await client.publish(f"solar/{device}/status", "online", qos=1)
        await client.publish(f"solar/{device}/status", "asleep", qos=1)
        many = [{"time": rfc3339(NOW - timedelta(days=8)), "power_w": 1}] * 250
        await client.publish(topic, json.dumps(many), qos=1)

        async def all_told() -> bool:
            return Counter(reasons) == {"malformed": 2, "too_old": 250}

        await eventually(all_told)
        counts = await pool.fetchrow(_COUNTS, device)
    assert counts is not None
    assert tuple(counts) == (256, 2, 2, 252)
