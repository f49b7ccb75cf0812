"""What the benchmarks load the hub with is what devices would say."""

from datetime import UTC, datetime
from itertools import pairwise
from uuid import uuid4

import aiomqtt
from msgspec.structs import astuple

from bench import mqtt
from bench.ingest import TOPICS
from bench.readings import CAPACITY_W, STEP, FleetReadings
from core.readings import Reading
from ingest.dialects import native
from tests.support.mosquitto import Mosquitto

BEGAN_AT = datetime(2026, 3, 1, 6, tzinfo=UTC)
DEVICES = [uuid4() for _ in range(3)]


def test_a_message_holds_the_same_reading_as_its_row() -> None:
    stretch = FleetReadings(DEVICES, BEGAN_AT, first_tick=7, ticks=2)
    said = []
    for topic, payload in stretch.messages():
        (reading,) = native.decode_telemetry(payload).readings
        said.append((topic, *astuple(reading)))
    assert said == [(f"solar/{row[0]}/telemetry", *row[1:]) for row in stretch.rows()]


def test_arrays_hold_every_reading_once() -> None:
    stretch = FleetReadings(DEVICES, BEGAN_AT, first_tick=0, ticks=100)
    readings = [r for _, p in stretch.messages(50) for r in native.decode_telemetry(p).readings]
    assert len(readings) == stretch.readings == 300
    assert {r.time for r in readings} == {BEGAN_AT + tick * STEP for tick in range(100)}


def test_counters_rise_as_fast_as_the_power_says() -> None:
    stretch = FleetReadings(DEVICES[:1], BEGAN_AT, first_tick=0, ticks=5000)
    readings = [Reading(*row[1:]) for row in stretch.rows()]  # type: ignore[arg-type]
    hours = STEP.total_seconds() / 3600
    for before, after in pairwise(readings):
        assert before.energy_wh is not None
        assert after.energy_wh is not None
        assert 0 < after.energy_wh - before.energy_wh <= CAPACITY_W * hours


async def test_the_broker_keeps_what_is_published_for_a_session_that_is_away(
    mosquitto: Mosquitto,
) -> None:
    mqtt.open_session(mosquitto.port, "away", TOPICS)
    sent = [(f"solar/{n}/telemetry", b"%d" % n) for n in range(2 * mqtt.WINDOW + 1)]
    assert mqtt.publish(mosquitto.port, sent) == len(sent)
    client = aiomqtt.Client("127.0.0.1", mosquitto.port, identifier="away", clean_session=False)
    received = []
    async with client:
        async for message in client.messages:
            received.append((message.topic.value, message.payload))
            if len(received) == len(sent):
                break
    assert received == sent
