"""What an inbox for one share does with the others' messages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from struct import unpack

import aiomqtt
import pytest

from ingest.packets import ReceivedPublish
from ingest.share_inbox import ShareInbox
from ingest.shares import Share
from tests.ingest.test_receive_buffer import acknowledge
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually

NAMES = [f"device-{n}" for n in range(40)]
SHARE = Share(0, 2)


def is_ours(name: str) -> bool:
    return SHARE.holds(f"solar/{name}/telemetry".encode())


@asynccontextmanager
async def inbox_at(mosquitto: Mosquitto) -> AsyncIterator[ShareInbox]:
    """Of a session that is subscribed to everything, and outlives its connections."""
    client = aiomqtt.Client("127.0.0.1", mosquitto.port, identifier="hub", clean_session=False)
    inbox = ShareInbox(client, SHARE)
    async with client:
        await client.subscribe("#", qos=1)
        yield inbox


async def publish(mosquitto: Mosquitto, *names: str, qos: int = 1) -> None:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        for name in names:
            await client.publish(f"solar/{name}/telemetry", name, qos=qos)


async def taken(inbox: ShareInbox, count: int) -> list[ReceivedPublish]:
    """The first that come to be read; nothing is acknowledged."""
    found: list[ReceivedPublish] = []
    async for arrived in inbox.arrivals():
        while arrived:
            found.append(arrived.popleft())
        if len(found) >= count:
            return found
    return found


def acknowledged(inbox: ShareInbox, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids that are acknowledged from now on."""
    ids: list[int] = []
    queue = inbox.client._client._packet_queue

    def note(kind: object, packets: bytes, *rest: object) -> object:
        if packets[0] == 0x40:
            ids.extend(word & 0xFFFF for word in unpack(f"!{len(packets) // 4}I", packets))
        return queue(kind, packets, *rest)

    monkeypatch.setattr(inbox.client._client, "_packet_queue", note)
    return ids


async def test_only_its_share_is_read_and_all_is_acknowledged_in_the_order_of_arrival(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = [name for name in NAMES if is_ours(name)]
    async with inbox_at(mosquitto) as inbox:
        ids = acknowledged(inbox, monkeypatch)
        await publish(mosquitto, *NAMES)
        found = await taken(inbox, len(ours))
        assert [one.payload.decode() for one in found] == ours
        first = found[0].message_id
        await eventually(lambda: ids == list(range(1, first)))
        acknowledge(inbox, *found[:-1])
        last = found[-1].message_id
        await eventually(lambda: ids == list(range(1, last)))
        acknowledge(inbox, found[-1])
        await eventually(lambda: ids == list(range(1, len(NAMES) + 1)))
        assert inbox.held_bytes == 0


async def test_what_is_acknowledged_does_not_come_again_and_the_rest_does(
    mosquitto: Mosquitto,
) -> None:
    ours = [name for name in NAMES if is_ours(name)]
    async with inbox_at(mosquitto) as inbox:
        await publish(mosquitto, *NAMES)
        acknowledge(inbox, *(await taken(inbox, len(ours)))[:3])
        await eventually(lambda: not inbox._is_settling_due)
    async with inbox_at(mosquitto) as inbox:
        again = await taken(inbox, len(ours) - 3)
        assert [one.payload.decode() for one in again] == ours[3:]


async def test_messages_without_acknowledgement_pass_too(mosquitto: Mosquitto) -> None:
    async with inbox_at(mosquitto) as inbox:
        await publish(mosquitto, *NAMES, qos=0)
        found = await taken(inbox, sum(map(is_ours, NAMES)))
        acknowledge(inbox, *found)
        assert [one.payload.decode() for one in found] == [n for n in NAMES if is_ours(n)]


async def test_when_it_finishes_it_reads_no_more_and_waits_for_what_is_in_hand(
    mosquitto: Mosquitto,
) -> None:
    ours = [name for name in NAMES if is_ours(name)]
    async with inbox_at(mosquitto) as inbox:
        await publish(mosquitto, ours[0])
        [one] = await taken(inbox, 1)
        finishing = asyncio.create_task(inbox.finish())
        await asyncio.sleep(0)
        await publish(mosquitto, *ours[1:])
        assert not finishing.done()
        acknowledge(inbox, one)
        await finishing
        assert inbox.held_bytes == 0
    async with inbox_at(mosquitto) as inbox:
        again = await taken(inbox, len(ours) - 1)
        assert [message.payload.decode() for message in again] == ours[1:]
