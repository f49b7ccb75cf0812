"""What simulated devices of each firmware say, and that the hub counts what their meters did."""

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
from simulators.dialects.encoders import VOICES, invent_name
from simulators.hub_addresses import BrokerAddress, HubAddresses
from simulators.station import Station
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
WITHOUT_CLOCK = tuple(d for d in Dialect if not VOICES[d].has_clock)
WITH_CLOCK = tuple(d for d in Dialect if VOICES[d].has_clock)
COUNT_WH = {Dialect.GROTT: 100.0, Dialect.VICTRON: 10.0, Dialect.SHELLY1: 0.1}
PAST = timedelta(hours=1)


def covers(topic_filter: str, topic: str) -> bool:
    head, _, tail = topic_filter.partition("#")
    return topic.startswith(head) if tail == "" and "#" in topic_filter else topic == topic_filter


@pytest.mark.parametrize("dialect", Dialect)
def test_a_device_says_nothing_beyond_its_own_topics(dialect: Dialect) -> None:
    name = invent_name(dialect, Random(1))
    assert external_id_fault(dialect, name) is None
    own = name or "8b0b4f0e-6f4e-4f54-8dc1-6d7d2f7a9a11"
    voice, allowed = VOICES[dialect], topics_of(own, dialect, name).publish
    said = [*voice.arrive(own), *voice.say(own, READING)]
    if (will := voice.will(own)) is not None:
        said.append(will)
    for one in said:
        assert any(covers(topic_filter, one.topic) for topic_filter in allowed), one.topic


def said(dialect: Dialect) -> dict[str, str]:
    return {one.topic: one.payload for one in VOICES[dialect].say("x", READING)}


def test_units_and_resolution_are_those_of_the_firmware() -> None:
    assert said(Dialect.OPENDTU)["solar/x/0/yieldtotal"] == "18234.567"
    assert said(Dialect.SHELLY1)["shellies/x/emeter/0/total"] == "18234567.0"
    sensor = json.loads(said(Dialect.TASMOTA)["tele/x/SENSOR"])
    assert (sensor["Time"], sensor["ENERGY"]["Total"]) == ("2026-03-01T12:00:00", 18234.567)
    notice = json.loads(said(Dialect.SHELLY2)["x/events/rpc"])
    assert notice["params"]["switch:0"]["aenergy"]["total"] == 18234567.0
    assert json.loads(said(Dialect.AHOY)["inverter/x/ch0"])["YieldTotal"] == 18234.567
    record = json.loads(said(Dialect.GROTT)["energy/growatt/x"])
    assert record["time"] == "2026-03-01T12:00:00"
    assert (record["values"]["pvpowerout"], record["values"]["pvenergytotal"]) == (31205, 182345)
    forward = said(Dialect.VICTRON)["N/x/pvinverter/20/Ac/L1/Energy/Forward"]
    assert json.loads(forward) == {"value": 18234.57}
    soc = said(Dialect.VICTRON)["N/x/system/0/Dc/Battery/Soc"]
    assert json.loads(soc) == {"value": None}


@pytest.fixture(scope="module")
def hub() -> Iterator[hubs.Hub]:
    quiet = {"SOLARHUB_RATE_LIMIT_LOGIN": "off", "SOLARHUB_LOG_LEVEL": "warning"}
    with data_directory() as data, hubs.hub(data, **quiet) as running:
        running.wait_ready()
        yield running
        running.end()


@pytest.fixture
async def db(hub: hubs.Hub) -> AsyncIterator[Connection]:
    said = json.loads((hub.data / "run.json").read_text())
    settings = DatabaseSettings(database_url=said["database_url"])
    async with open_connection(settings, application_name="test") as connection:
        yield connection


def whereabouts(hub: hubs.Hub) -> HubAddresses:
    said = json.loads((hub.data / "run.json").read_text())
    return HubAddresses(said["api_url"], BrokerAddress.of(said["mqtt_url"]), said["realtime_url"])


def hastening(speed: float) -> Callable[[], datetime]:
    """A clock that runs through the last hour, and does not get to now."""
    began = datetime.now(UTC)
    return lambda: began - PAST + (datetime.now(UTC) - began) * speed


async def is_counted(db: Connection, station: Station) -> bool:
    """The hub has the last count, and its intervals hold all that was counted since the first."""
    device = station.resident.registered.credentials
    shown = await db.fetchrow(
        "SELECT min(energy_wh) AS first, max(energy_wh) AS last, count(energy_wh) AS readings"
        " FROM telemetry WHERE device_id = $1::uuid",
        device.device_id,
    )
    assert shown is not None
    assert shown["readings"] > 2, device
    true_wh = station.resident.meters.generated_uwh / 1e6
    assert abs(true_wh - shown["last"]) <= COUNT_WH.get(device.dialect, 1.0), device
    counted_wh = await db.fetchval(
        "SELECT sum(generated_wh) FROM energy_interval WHERE device_id = $1::uuid"
        " AND quality IN ('measured', 'interpolated')",
        device.device_id,
    )
    assert float(counted_wh) == pytest.approx(shown["last"] - shown["first"], abs=0.01), device
    return True


async def test_the_hub_counts_what_every_firmware_tells(
    hub: hubs.Hub, db: Connection, tmp_path: Path
) -> None:
    hour = fleet.FleetPlan(
        len(WITH_CLOCK), rate_hz=2, duration_s=14, sun_hour=12, seed=21, dialects=WITH_CLOCK
    )
    # Victron's has to wait until the hub asks it, twice a minute.
    live = fleet.FleetPlan(
        len(WITHOUT_CLOCK), rate_hz=1, duration_s=42, sun_hour=12, seed=22, dialects=WITHOUT_CLOCK
    )
    tallies = fleet.FleetTally(), fleet.FleetTally()
    at = whereabouts(hub)
    await asyncio.gather(
        fleet.run(hour, at, tmp_path / "hour.json", tallies[0], now=hastening(100)),
        fleet.run(live, at, tmp_path / "live.json", tallies[1]),
    )
    stations = [*tallies[0].stations, *tallies[1].stations]
    assert {s.resident.registered.credentials.dialect for s in stations} == set(Dialect)
    for station in stations:
        await eventually(partial(is_counted, db, station), within_s=20)
    audit = await asyncio.to_thread(hubs.run, "audit", "--data", str(hub.data))
    assert audit.returncode == 0, audit.stdout
