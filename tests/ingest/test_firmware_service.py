"""The ingest process with firmwares: keepalive requests, several ingesters, and garbage."""

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import timedelta
from zoneinfo import ZoneInfo

import aiomqtt
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from core.settings import DatabaseSettings
from db.audit import audit
from db.pool import Pool
from tests.ingest.dialects.test_fuzz import TOPICS, WHOLE, payloads
from tests.ingest.test_service import IDENTITY, NOW, REFUSE_666, holds, ingesting, telemetry
from tests.ingest.world import add_device, add_named
from tests.support.mosquitto import Mosquitto

NAMES = {
    "opendtu": "114182940773", "shelly1": "em", "shelly2": "pm", "tasmota": "plug",
    "senml": "roof", "ahoy": "HM", "victron": "c0619aba2ebd", "grott": "NTCIA00001",
}  # fmt: skip
PLUG_ZONE = ZoneInfo("Asia/Kolkata")
EVERY_TOPIC = sorted({topic for topics in TOPICS.values() for topic in topics} | WHOLE.keys())


async def test_a_gx_receives_keepalive_requests(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    await add_named(pool, "victron", "c0619aba2ebd")
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as gx:
        await gx.subscribe("R/c0619aba2ebd/#")
        async with ingesting(mosquitto.url, database), asyncio.timeout(10):
            asked = await anext(aiter(gx.messages))
    assert (asked.topic.value, asked.payload) == ("R/c0619aba2ebd/keepalive", b"")


async def test_retained_messages_of_firmwares_are_ignored_and_counted(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    await add_named(pool, "tasmota", "plug")
    sensor = json.dumps({"ENERGY": {"Power": 5}})
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.publish("tele/plug/SENSOR", sensor, qos=1, retain=True)
        await client.publish("tele/plug/LWT", "Online", qos=1, retain=True)
        async with ingesting(mosquitto.url, database) as registry:
            await client.publish("tele/plug/STATE", b"{}", qos=1)
            await client.publish("tele/plug/SENSOR", sensor, qos=1)
            await holds(pool, "SELECT received::int FROM device_states", 1)
            assert registry.get_sample_value("solarhub_messages_ignored_total") == 3


async def test_three_ingesters_merge_parts_into_the_same_measurements_as_one(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    await add_named(pool, "opendtu", NAMES["opendtu"])
    async with AsyncExitStack() as stack:
        for n in range(3):
            await stack.enter_async_context(
                ingesting(
                    mosquitto.url,
                    database,
                    ingest_group="hub",
                    ingest_shared_subscription=True,  # each hears some of the parts
                    ingest_client_id=f"ingest-{n}",
                )
            )
        dtu = await stack.enter_async_context(aiomqtt.Client("127.0.0.1", mosquitto.port))
        for n in range(3):
            at = NOW - timedelta(minutes=3 - n)
            for field, value in (
                ("status/last_update", int(at.timestamp())), ("0/power", 300 + n),
                ("0/voltage", 230 + n), ("0/yieldtotal", 600 + n / 100),
            ):  # fmt: skip
                await dtu.publish(f"solar/{NAMES['opendtu']}/{field}", str(value), qos=1)
            await holds(pool, "SELECT stored::int FROM device_states", n + 1)
    told = await pool.fetch("SELECT power_w, voltage_v, energy_wh FROM telemetry ORDER BY time")
    assert [tuple(row) for row in told] == [
        (300 + n, 230 + n, (600 + n / 100) * 1000) for n in range(3)
    ]


async def test_a_firmware_message_that_the_database_refuses_is_recorded_and_stops_no_other(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    plug = await add_named(pool, "tasmota", NAMES["tasmota"])
    inverter = await add_named(pool, "opendtu", NAMES["opendtu"])
    await pool.execute(REFUSE_666)
    dtu = f"solar/{NAMES['opendtu']}"
    async with (
        ingesting(mosquitto.url, database),
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):
        for n, volts in enumerate((666, 230)):
            at = NOW - timedelta(minutes=3 - n)
            energy = {"Power": 5, "Voltage": volts}
            said = {"Time": at.astimezone(PLUG_ZONE).strftime("%Y-%m-%dT%H:%M:%S")}
            await client.publish("tele/plug/SENSOR", json.dumps(said | {"ENERGY": energy}), qos=1)
            for field, value in (
                ("status/last_update", int(at.timestamp())), ("0/power", 300),
                ("0/voltage", volts), ("0/yieldtotal", 600),
            ):  # fmt: skip
                await client.publish(f"{dtu}/{field}", str(value), qos=1)
        await holds(pool, "SELECT sum(stored)::int FROM device_states", 2)
    for device in (plug, inverter):
        row = await pool.fetchrow(f"{IDENTITY} WHERE device_id = $1", device)
        assert tuple(row or ()) == (2, 1, 0, 1)
    reasons = await pool.fetch("SELECT DISTINCT reason FROM rejections")
    assert [row["reason"] for row in reasons] == ["unstorable: CheckViolationError"]


garbage = st.lists(
    st.tuples(st.sampled_from(EVERY_TOPIC), payloads)
    | st.tuples(
        st.sampled_from(EVERY_TOPIC),
        st.sampled_from([json.dumps(message).encode() for message in WHOLE.values()]),
    ),
    min_size=50,
    max_size=300,
)


async def test_garbage_is_counted_and_does_not_stop_the_stream(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    for dialect, name in NAMES.items():
        await add_named(pool, dialect, name)
    device = await add_device(pool)
    streams: list[list[tuple[str, bytes]]] = []
    collect(streams)
    async with (
        ingesting(mosquitto.url, database),
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):
        for n, stream in enumerate(streams, start=1):
            for topic, payload in [*stream, (f"solar/{device}/telemetry", stream[0][1])]:
                await client.publish(topic, payload, qos=1)
            await client.publish(*telemetry(device, 100 - n, 1000 + n), qos=1)
            good = f"SELECT count(*) FROM telemetry WHERE energy_wh = {1000 + n}"
            await holds(pool, good, 1)
    async with pool.acquire() as conn:
        assert [check.name async for check in audit(conn, database) if not check.ok] == []


def collect(streams: list[list[tuple[str, bytes]]]) -> None:
    """Generate streams of garbage by Hypothesis; there is nothing to shrink."""

    @settings(
        max_examples=10,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(garbage)
    def make_up(stream: list[tuple[str, bytes]]) -> None:
        streams.append(stream)

    make_up()
