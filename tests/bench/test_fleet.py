"""Tests of the ingest cases' load: readings, messages, and the broker's queue."""

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


def test_a_message_contains_the_same_reading_as_its_row() -> None:
    readings = FleetReadings(DEVICES, BEGAN_AT, first_tick=7, ticks=2)
    decoded = []
    for topic, payload in readings.messages():
        (reading,) = native.decode_telemetry(payload).readings
        decoded.append((topic, *astuple(reading)))
    assert decoded == [(f"solar/{row[0]}/telemetry", *row[1:]) for row in readings.rows()]


def test_arrays_contain_every_reading_once() -> None:
    readings = FleetReadings(DEVICES, BEGAN_AT, first_tick=0, ticks=100)
    decoded = [r for _, p in readings.messages(50) for r in native.decode_telemetry(p).readings]
    assert len(decoded) == readings.count == 300
    assert {r.time for r in decoded} == {BEGAN_AT + tick * STEP for tick in range(100)}


def test_counters_rise_at_most_by_the_capacity() -> None:
    readings = FleetReadings(DEVICES[:1], BEGAN_AT, first_tick=0, ticks=5000)
    rows = [Reading(*row[1:]) for row in readings.rows()]  # type: ignore[arg-type]
    hours = STEP.total_seconds() / 3600
    for before, after in pairwise(rows):
        assert before.energy_wh is not None
        assert after.energy_wh is not None
        assert 0 < after.energy_wh - before.energy_wh <= CAPACITY_W * hours


async def test_the_broker_queues_messages_for_a_disconnected_session(
    mosquitto: Mosquitto,
) -> None:
    mqtt.open_session(mosquitto.port, "disconnected", TOPICS)
    sent = [(f"solar/{n}/telemetry", b"%d" % n) for n in range(2 * mqtt.WINDOW + 1)]
    assert mqtt.publish(mosquitto.port, sent) == len(sent)
    client = aiomqtt.Client(
        "127.0.0.1", mosquitto.port, identifier="disconnected", clean_session=False
    )
    received = []
    async with client:
        async for message in client.messages:
            received.append((message.topic.value, message.payload))
            if len(received) == len(sent):
                break
    assert received == sent
