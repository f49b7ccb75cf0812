"""Encoders of each firmware, and the hub's accounting of what such devices publish."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random

import pytest

from core.dialects import Dialect, external_id_fault, topics_of
from core.readings import Reading
from core.settings import DatabaseSettings
from db.pool import Connection, open_connection
from simulators import fleet
from simulators.device import SimulatedDevice
from simulators.dialects.encoders import ENCODERS, random_name
from simulators.hub_client import BrokerAddress, HubAddresses
from tests.conftest import data_directory
from tests.support import hubs
from tests.support.waiting import eventually

READING = Reading(
    time=datetime(2026, 3, 1, 6, 30, tzinfo=UTC),
    power_w=3120.5,
    energy_wh=18_234_567.0,
    export_wh=9_120_044.0,
    voltage_v=231.2,
)
WITHOUT_CLOCK = tuple(d for d in Dialect if not ENCODERS[d].has_clock)
WITH_CLOCK = tuple(d for d in Dialect if ENCODERS[d].has_clock)
# The resolution of each firmware's counter, where it is not 1 Wh.
RESOLUTION_WH = {Dialect.GROTT: 100.0, Dialect.VICTRON: 10.0, Dialect.SHELLY1: 0.1}
PAST = timedelta(hours=1)


def covers(topic_filter: str, topic: str) -> bool:
    head, _, tail = topic_filter.partition("#")
    return topic.startswith(head) if tail == "" and "#" in topic_filter else topic == topic_filter


@pytest.mark.parametrize("dialect", Dialect)
def test_a_device_publishes_on_its_own_topics_only(dialect: Dialect) -> None:
    name = random_name(dialect, Random(1))
    assert external_id_fault(dialect, name) is None
    own = name or "8b0b4f0e-6f4e-4f54-8dc1-6d7d2f7a9a11"
    encoder, allowed = ENCODERS[dialect], topics_of(own, dialect, name).publish
    messages = [*encoder.on_connect(own), *encoder.encode(own, READING)]
    if (will := encoder.will(own)) is not None:
        messages.append(will)
    for message in messages:
        assert any(covers(topic_filter, message.topic) for topic_filter in allowed), message.topic


def payloads(dialect: Dialect) -> dict[str, str]:
    return {message.topic: message.payload for message in ENCODERS[dialect].encode("x", READING)}


def test_units_and_resolution_are_those_of_the_firmware() -> None:
    assert payloads(Dialect.OPENDTU)["solar/x/0/yieldtotal"] == "18234.567"
    assert payloads(Dialect.SHELLY1)["shellies/x/emeter/0/total"] == "18234567.0"
    sensor = json.loads(payloads(Dialect.TASMOTA)["tele/x/SENSOR"])
    assert (sensor["Time"], sensor["ENERGY"]["Total"]) == ("2026-03-01T12:00:00", 18234.567)
    notification = json.loads(payloads(Dialect.SHELLY2)["x/events/rpc"])
    assert notification["params"]["switch:0"]["aenergy"]["total"] == 18234567.0
    assert json.loads(payloads(Dialect.AHOY)["inverter/x/ch0"])["YieldTotal"] == 18234.567
    record = json.loads(payloads(Dialect.GROTT)["energy/growatt/x"])
    assert record["time"] == "2026-03-01T12:00:00"
    assert (record["values"]["pvpowerout"], record["values"]["pvenergytotal"]) == (31205, 182345)
    forward = payloads(Dialect.VICTRON)["N/x/pvinverter/20/Ac/L1/Energy/Forward"]
    assert json.loads(forward) == {"value": 18234.57}
    soc = payloads(Dialect.VICTRON)["N/x/system/0/Dc/Battery/Soc"]
    assert json.loads(soc) == {"value": None}


@pytest.fixture(scope="module")
def hub() -> Iterator[hubs.Hub]:
    settings = {"SOLARHUB_RATE_LIMIT_LOGIN": "off", "SOLARHUB_LOG_LEVEL": "warning"}
    with data_directory() as data, hubs.hub(data, **settings) as running:
        running.wait_ready()
        yield running
        running.end()


@pytest.fixture
async def db(hub: hubs.Hub) -> AsyncIterator[Connection]:
    run = json.loads((hub.data / "run.json").read_text())
    settings = DatabaseSettings(database_url=run["database_url"])
    async with open_connection(settings, application_name="test") as connection:
        yield connection


def addresses_of(hub: hubs.Hub) -> HubAddresses:
    run = json.loads((hub.data / "run.json").read_text())
    return HubAddresses(run["api_url"], BrokerAddress.of(run["mqtt_url"]), run["realtime_url"])


def accelerated(speed: float) -> Callable[[], datetime]:
    """Return a clock that runs through the last hour and does not reach the present."""
    began = datetime.now(UTC)
    return lambda: began - PAST + (datetime.now(UTC) - began) * speed


async def is_accounted(db: Connection, simulated: SimulatedDevice) -> bool:
    """Assert that the hub has the last counter, and that intervals add up to its rise."""
    device = simulated.registered.device.credentials
    stored = await db.fetchrow(
        "SELECT min(energy_wh) AS first, max(energy_wh) AS last, count(energy_wh) AS readings"
        " FROM telemetry WHERE device_id = $1::uuid",
        device.device_id,
    )
    assert stored is not None
    assert stored["readings"] > 2, device
    true_wh = simulated.registered.meters.generated_uwh / 1e6
    assert abs(true_wh - stored["last"]) <= RESOLUTION_WH.get(device.dialect, 1.0), device
    accounted_wh = await db.fetchval(
        "SELECT sum(generated_wh) FROM energy_interval WHERE device_id = $1::uuid"
        " AND quality IN ('measured', 'interpolated')",
        device.device_id,
    )
    assert float(accounted_wh) == pytest.approx(stored["last"] - stored["first"], abs=0.01), device
    return True


@pytest.mark.slow
async def test_the_hub_accounts_for_the_readings_of_every_firmware(
    hub: hubs.Hub, db: Connection, tmp_path: Path
) -> None:
    hour = fleet.FleetPlan(
        len(WITH_CLOCK), rate_hz=2, duration_s=14, sun_hour=12, seed=21, dialects=WITH_CLOCK
    )
    # A Victron publishes only after the hub's keep-alive, which is sent twice a minute.
    live = fleet.FleetPlan(
        len(WITHOUT_CLOCK), rate_hz=1, duration_s=42, sun_hour=12, seed=22, dialects=WITHOUT_CLOCK
    )
    tallies = fleet.FleetTally(), fleet.FleetTally()
    hub_addresses = addresses_of(hub)
    await asyncio.gather(
        fleet.run(hour, hub_addresses, tmp_path / "hour.json", tallies[0], now=accelerated(100)),
        fleet.run(live, hub_addresses, tmp_path / "live.json", tallies[1]),
    )
    devices = [*tallies[0].devices, *tallies[1].devices]
    assert {d.registered.device.credentials.dialect for d in devices} == set(Dialect)
    for device in devices:
        await eventually(partial(is_accounted, db, device), within_s=20)
    audit = await asyncio.to_thread(hubs.run, "audit", "--data", str(hub.data))
    assert audit.returncode == 0, audit.stdout
