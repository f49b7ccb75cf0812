"""The share of the stream that a message belongs to, and the buffer of one share."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import aiomqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.broker import BrokerEndpoint
from ingest.dialects.firmwares import resolve_topic
from ingest.mqtt.codec import ReceivedPublish
from ingest.mqtt.connection import MqttConnection
from ingest.shares import Share, ShareBuffer, device_name
from tests.ingest.mqtt.connections import acknowledge, endpoint_of, read, subscribed
from tests.ingest.test_firmware_service import EVERY_TOPIC
from tests.support.mosquitto import Mosquitto
from tests.support.mqtt_peers import tapped
from tests.support.waiting import eventually

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DEVICE = UUID("5f8b1a4e-0c7d-4d1b-9a53-0d7f1f0a6c11")
NAMES = [f"device-{n}" for n in range(40)]
SHARE = Share(0, 2)


def test_all_topics_of_a_device_belong_to_one_share() -> None:
    read_topics = {
        topic: to for topic in EVERY_TOPIC if (to := resolve_topic(topic, b"{}")) is not None
    }
    assert len(read_topics) > 20
    for topic, to in read_topics.items():
        assert device_name(topic.encode()) == to.external_id.encode(), topic
    for last in ("telemetry", "status"):
        assert device_name(f"solar/{DEVICE}/{last}".encode()) == str(DEVICE).encode()


@pytest.mark.parametrize(
    "topic",
    [b"energy/growatt/NTC", b"energy/growatt", b"", b"/", b"solar", b"solar/", b"\xff/\x00"],
)
@pytest.mark.parametrize("of", [1, 2, 3, 16])
def test_any_topic_belongs_to_exactly_one_share(topic: bytes, of: int) -> None:
    assert sum(Share(number, of).holds(topic) for number in range(of)) == 1


def test_shares_are_alike() -> None:
    topics = [f"solar/{uuid4()}/telemetry".encode() for _ in range(3000)]
    for number in range(3):
        assert 800 < sum(map(Share(number, 3).holds, topics)) < 1200


# The buffer of one share -----------------------------------------------------------------------


def topic_of(name: str) -> bytes:
    return f"solar/{name}/telemetry".encode()


OURS = [name for name in NAMES if SHARE.holds(topic_of(name))]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 3))))
def test_every_message_is_acknowledged_in_the_order_of_arrival(
    steps: list[tuple[str, int]],
) -> None:
    buffer = ShareBuffer(SHARE)
    in_hand: list[ReceivedPublish] = []
    acknowledged: list[int] = []
    for packet_id, (name, count) in enumerate(steps, 1):
        buffer.add(ReceivedPublish(topic_of(name), b"", packet_id, False, 100, NOW))
        while buffer.unread:
            in_hand.append(buffer.unread.popleft())
        for one in in_hand[:count]:
            buffer.acknowledge(one.packet_id, one.size_bytes)
        del in_hand[:count]
        acknowledged += buffer.take_acknowledged()
        # All before the oldest of ours that is not acknowledged, whosever they are.
        before = in_hand[0].packet_id if in_hand else packet_id + 1
        assert acknowledged == list(range(1, before))
    assert buffer.is_empty == (not in_hand)


def test_a_closed_buffer_does_not_acknowledge_messages_of_others_either() -> None:
    buffer = ShareBuffer(SHARE)
    buffer.close()
    for packet_id, name in enumerate(NAMES, 1):
        buffer.add(ReceivedPublish(topic_of(name), b"", packet_id, False, 100, NOW))
    assert not buffer.unread
    assert buffer.take_acknowledged() == []


@asynccontextmanager
async def session(endpoint: BrokerEndpoint) -> AsyncIterator[tuple[MqttConnection, ShareBuffer]]:
    """A session that is subscribed to everything, and outlives its connections."""
    buffer = ShareBuffer(SHARE)
    async with subscribed(endpoint, buffer, clean_session=False) as connection:
        yield connection, buffer


async def publish(mosquitto: Mosquitto, *names: str, qos: int = 1) -> None:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        for name in names:
            await client.publish(f"solar/{name}/telemetry", name, qos=qos)


def payloads(found: Sequence[ReceivedPublish]) -> list[str]:
    return [one.payload.decode() for one in found]


async def test_only_its_share_is_read_and_all_messages_are_acknowledged_in_order(
    mosquitto: Mosquitto,
) -> None:
    async with (
        tapped(mosquitto.port) as tap,
        session(tap.endpoint) as (connection, buffer),
    ):
        await publish(mosquitto, *NAMES)
        found = await read(connection, len(OURS))
        assert payloads(found) == OURS
        first, last = found[0].packet_id, found[-1].packet_id
        await eventually(lambda: tap.acknowledged() == list(range(1, first)))
        acknowledge(connection, found[:-1])
        await eventually(lambda: tap.acknowledged() == list(range(1, last)))
        acknowledge(connection, found[-1:])
        await eventually(lambda: tap.acknowledged() == list(range(1, len(NAMES) + 1)))
        assert buffer.held_bytes == 0


async def test_after_a_reconnection_only_unacknowledged_messages_come_again(
    mosquitto: Mosquitto,
) -> None:
    async with session(endpoint_of(mosquitto)) as (connection, _):
        await publish(mosquitto, *NAMES)
        acknowledge(connection, (await read(connection, len(OURS)))[:3])
    async with session(endpoint_of(mosquitto)) as (connection, _):
        assert payloads(await read(connection, len(OURS) - 3)) == OURS[3:]


async def test_messages_at_qos_0_are_filtered_too(mosquitto: Mosquitto) -> None:
    async with session(endpoint_of(mosquitto)) as (connection, _):
        await publish(mosquitto, *NAMES, qos=0)
        found = await read(connection, len(OURS))
        acknowledge(connection, found)
        assert payloads(found) == OURS


async def test_finish_takes_no_more_messages_and_waits_for_those_taken(
    mosquitto: Mosquitto,
) -> None:
    async with session(endpoint_of(mosquitto)) as (connection, buffer):
        await publish(mosquitto, OURS[0])
        [one] = await read(connection, 1)
        finishing = asyncio.create_task(connection.finish())
        await asyncio.sleep(0)
        await publish(mosquitto, *OURS[1:])
        assert not finishing.done()
        acknowledge(connection, [one])
        await finishing
        assert buffer.held_bytes == 0
    async with session(endpoint_of(mosquitto)) as (connection, _):
        assert payloads(await read(connection, len(OURS) - 1)) == OURS[1:]
