"""What one client, or many, may take of the embedded broker."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import psutil
import pytest

from db.pool import Pool
from ingest.embedded_broker.limits import BrokerLimits
from solarhub import embedded
from tests.conftest import Broker
from tests.support.broker_clients import received
from tests.support.people import DEVICE_PASSWORD, add_device, add_user
from tests.support.ports import free
from tests.support.raw_mqtt import (
    BAD_CLIENT_ID,
    PUBACK,
    PUBLISH,
    PUBREC,
    UNAVAILABLE,
    RawClient,
    Will,
    connect,
    packet,
    publish,
    raw,
    subscribe,
    telemetry,
    text,
)
from tests.support.waiting import eventually

needs_addresses = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8"
)


@pytest.fixture
async def device_id(pool: Pool) -> UUID:
    return await add_device(pool, await add_user(pool, "host"))


@asynccontextmanager
async def limited(pool: Pool, *, hub_first: bool = False, **limits: float) -> AsyncIterator[Broker]:
    """A broker with these limits, which looks at the time often."""
    broker = Broker(free(), "hub-password")
    taken = BrokerLimits(sweep_every_s=0.05, **limits)  # type: ignore[arg-type]
    async with embedded.broker(
        pool, port=broker.port, hub_password=broker.hub_password, hub_first=hub_first, limits=taken
    ):
        yield broker


def test_a_connect_has_ten_seconds() -> None:
    assert BrokerLimits().connect_within_s == 10


def test_a_process_keeps_open_files_for_other_things_than_connections() -> None:
    assert BrokerLimits().within(1024).connections_max == 768
    assert BrokerLimits().within(sys.maxsize).connections_max == BrokerLimits().connections_max


@pytest.mark.parametrize("sent", [b"", b"\x10", b"\x10\x30\x00\x04MQTT", "all but a byte"])
async def test_half_a_connect_ends_in_time(pool: Pool, device_id: UUID, sent: bytes | str) -> None:
    half = sent if isinstance(sent, bytes) else connect(device_id, DEVICE_PASSWORD)[:-1]
    async with limited(pool, connect_within_s=0.3) as broker, raw(broker.port) as client:
        client.send(half)
        assert await client.receive() is None


async def test_a_connect_that_comes_byte_by_byte_ends_in_time(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, connect_within_s=0.3) as broker, raw(broker.port) as client:
        for byte in connect(device_id, DEVICE_PASSWORD):
            client.send(bytes([byte]))
            await asyncio.sleep(0.02)
        assert await client.receive() is None


async def test_a_large_connect_is_refused_at_its_length(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, connect_max_bytes=200) as broker, raw(broker.port) as client:
        will = Will(f"solar/{device_id}/status", bytes(200))
        client.send(connect(device_id, DEVICE_PASSWORD, will=will))
        assert await client.receive() is None


async def test_a_long_client_id_is_refused(broker: Broker, device_id: UUID) -> None:
    async with raw(broker.port) as client:
        refusal = await client.refused(connect(device_id, DEVICE_PASSWORD, client_id="x" * 257))
        assert refusal == BAD_CLIENT_ID
    async with raw(broker.port) as client:
        await client.connected(connect(device_id, DEVICE_PASSWORD, client_id="x" * 256))


async def test_a_silent_client_ends_after_its_keep_alive_time_with_its_will(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, keep_alive_grace=0.3) as broker:
        async with received(broker, "#") as messages, raw(broker.port) as device:
            will = Will(f"solar/{device_id}/status")
            await device.connected(connect(device_id, DEVICE_PASSWORD, keep_alive_s=1, will=will))
            assert await device.closed()
        assert messages == [(f"solar/{device_id}/status", b"offline")]


async def test_half_a_packet_does_not_keep_a_connection_alive(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, keep_alive_grace=0.5) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, keep_alive_s=1))
        device.send(b"\x32\x7f")
        ended = asyncio.create_task(device.closed())
        while not ended.done():
            device.send(b"\x00")
            await asyncio.sleep(0.05)
        assert await ended


async def test_a_packet_has_a_time_to_come_in(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, packet_within_s=0.3) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, keep_alive_s=0))
        device.send(publish(telemetry(device_id)), publish(telemetry(device_id))[:-1])
        await device.expect(PUBACK)
        assert await device.receive() is None


async def test_a_packet_that_is_too_large_ends_the_connection_before_it_has_come(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, packet_max_bytes=1000) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        device.send(publish(telemetry(device_id), bytes(900)))
        await device.expect(PUBACK)
        device.send(publish(telemetry(device_id), bytes(1000))[:10])
        assert await device.receive() is None


async def test_a_message_of_a_mebibyte_passes(broker: Broker, device_id: UUID) -> None:
    async with received(broker, "#") as messages, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        device.send(publish(telemetry(device_id), bytes(1024 * 1024)))
        await device.expect(PUBACK)
    assert [len(payload) for _, payload in messages] == [1024 * 1024]


async def test_whoever_holds_most_of_what_has_begun_ends_first(pool: Pool, device_id: UUID) -> None:
    async with (
        limited(pool, unfinished_max_bytes=50_000) as broker,
        raw(broker.port) as modest,
        raw(broker.port) as greedy,
    ):
        for client, size in ((modest, 20_000), (greedy, 40_000)):
            await client.connected(connect(device_id, DEVICE_PASSWORD, client_id=str(size)))
            client.send(publish(telemetry(device_id), bytes(size))[:-1])
        assert await greedy.closed()
        modest.send(b"\0")
        await modest.expect(PUBACK)


async def test_a_device_is_read_no_faster_than_its_pace(pool: Pool, device_id: UUID) -> None:
    async with (
        limited(pool, messages_per_device_per_s=50) as broker,
        received(broker, "#") as messages,
        raw(broker.port) as device,
    ):
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        began_s = asyncio.get_running_loop().time()
        for burst in range(3):
            numbers = range(burst * 50 + 1, burst * 50 + 51)
            device.send(*(publish(telemetry(device_id), packet_id=n) for n in numbers))
            for _ in numbers:
                await device.expect(PUBACK)
        assert asyncio.get_running_loop().time() - began_s > 0.9
    assert len(messages) == 150


@needs_addresses
async def test_connections_of_one_address_that_do_not_sign_in_make_room_for_newer_ones(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, pending_per_address_max=3) as broker, raw(broker.port) as signed_in:
        await signed_in.connected(connect(device_id, DEVICE_PASSWORD))
        idle = [await RawClient.open(broker.port) for _ in range(3)]
        elsewhere = await RawClient.open(broker.port, "127.0.0.2")
        async with raw(broker.port) as device:
            await device.connected(connect(device_id, DEVICE_PASSWORD, client_id="other"))
        assert await idle[0].closed()
        assert await signed_in.answers()
        for client in (*idle[1:], elsewhere):
            await client.connected(connect(device_id, DEVICE_PASSWORD, client_id=uuid4().hex))
        for client in (*idle, elsewhere):
            client.abort()


@needs_addresses
async def test_strangers_make_room_where_all_connections_are_taken(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, connections_max=4) as broker, raw(broker.port) as signed_in:
        await signed_in.connected(connect(device_id, DEVICE_PASSWORD))
        one = await RawClient.open(broker.port, "127.0.0.2")
        strangers = [await RawClient.open(broker.port, "127.0.0.3") for _ in range(2)]
        async with raw(broker.port) as device:
            await device.connected(connect(device_id, DEVICE_PASSWORD, client_id="other"))
            assert await strangers[0].closed()
            assert await signed_in.answers()
        for client in (one, *strangers):
            client.abort()


async def test_without_strangers_a_connection_too_many_is_refused(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, connections_per_address_max=2) as broker:
        devices = [await RawClient.open(broker.port) for _ in range(2)]
        for number, device in enumerate(devices):
            await device.connected(connect(device_id, DEVICE_PASSWORD, client_id=str(number)))
        async with raw(broker.port) as surplus:
            assert await surplus.receive() is None
        devices.pop().abort()

        async def there_is_room() -> bool:
            async with raw(broker.port) as device:
                device.send(connect(device_id, DEVICE_PASSWORD, client_id="1"))
                return await device.receive() is not None

        assert await eventually(there_is_room)
        assert await devices[0].answers()
        devices[0].abort()


async def test_a_thousand_strangers_do_not_keep_a_device_out(pool: Pool, device_id: UUID) -> None:
    async with limited(pool) as broker:
        strangers = [await RawClient.open(broker.port) for _ in range(300)]
        for stranger in strangers:
            stranger.send(connect(device_id, DEVICE_PASSWORD)[:-1])
        async with raw(broker.port) as device:
            await device.connected(connect(device_id, DEVICE_PASSWORD))
            assert await device.answers()
        for stranger in strangers:
            stranger.abort()


async def test_a_device_has_so_many_sessions_and_the_least_used_ends(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, sessions_per_device_max=2) as broker:
        async with raw(broker.port) as first, raw(broker.port) as second:
            for client, name in ((first, "first"), (second, "second")):
                await client.connected(
                    connect(device_id, DEVICE_PASSWORD, client_id=name, clean=False)
                )
            async with raw(broker.port) as third:
                await third.connected(connect(device_id, DEVICE_PASSWORD, client_id="third"))
                assert await first.closed()
                assert await second.answers()
        async with raw(broker.port) as first:
            assert not await first.connected(
                connect(device_id, DEVICE_PASSWORD, client_id="first", clean=False)
            )


async def test_a_session_has_so_many_filters(pool: Pool, device_id: UUID) -> None:
    await pool.execute(
        "UPDATE devices SET dialect = 'tasmota', external_id = 'roof' WHERE id = $1", device_id
    )
    async with limited(pool, filters_per_session_max=3) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        filters = [f"cmnd/roof/{n}" for n in range(5)]
        assert await device.subscribed(*filters) == [1, 1, 1, 0x80, 0x80]
        assert await device.subscribed(filters[0]) == [1]
        assert await device.subscribed("cmnd/roof/" + "x" * 1024) == [0x80]
        device.send(packet(0xA2, b"\0\1" + text(filters[0])))
        await device.expect(0xB0)
        assert await device.subscribed(filters[4], filters[0]) == [1, 0x80]


async def test_a_device_waits_for_answers_before_it_asks_on(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, unanswered_max=3) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        ack = f"solar/{device_id}/ack"
        device.send(*(subscribe(ack, packet_id=n) for n in range(1, 2000)))
        assert await device.closed()


async def test_messages_at_qos_2_that_are_never_released_end_the_connection(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, received_max=3) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        for number in range(1, 5):
            device.send(publish(telemetry(device_id), qos=2, packet_id=number))
        for _ in range(3):
            await device.expect(PUBREC)
        assert await device.receive() is None


async def tell_much(broker: Broker, device_id: UUID, messages: int, size: int = 1) -> None:
    async with raw(broker.port) as hub:
        await hub.connected(connect("hub", broker.hub_password, client_id="teller"))
        for number in range(1, messages + 1):
            hub.send(publish(f"solar/{device_id}/ack", bytes(size), packet_id=number))
            await hub.expect(PUBACK)


async def test_a_session_that_is_away_is_forgotten_when_too_much_waits_for_it(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, waiting_messages_max=10) as broker:
        signing_in = connect(device_id, DEVICE_PASSWORD, clean=False)

        async def has_a_session() -> bool:
            async with raw(broker.port) as device:
                return await device.connected(signing_in)

        async with raw(broker.port) as device:
            await device.connected(signing_in)
            await device.subscribed(f"solar/{device_id}/ack")
        await tell_much(broker, device_id, 5)
        assert await has_a_session()
        await tell_much(broker, device_id, 5)

        async def is_forgotten() -> bool:
            return not await has_a_session()

        assert await eventually(is_forgotten)


async def test_a_session_that_is_away_for_long_is_forgotten(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, session_expires_after_s=0.3) as broker:
        signing_in = connect(device_id, DEVICE_PASSWORD, clean=False)

        async def has_expired() -> bool:
            async with raw(broker.port) as device:
                present = await device.connected(signing_in)
            await asyncio.sleep(0.5)
            return not present

        assert await eventually(has_expired)
        assert await eventually(has_expired)


async def test_a_device_that_does_not_read_is_ended(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, unread_max_bytes=100_000) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        await device.subscribed(f"solar/{device_id}/ack", qos=0)
        telling = asyncio.create_task(tell_much(broker, device_id, 200, 100_000))
        await telling
        sizes = []
        while (message := await device.receive()) is not None:
            sizes.append(len(message.payload))
        assert len(sizes) < 200


async def test_a_device_that_does_not_acknowledge_is_ended(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, waiting_messages_max=10) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        await device.subscribed(f"solar/{device_id}/ack")
        await tell_much(broker, device_id, 20)
        for _ in range(10):
            await device.expect(PUBLISH)
        assert await device.receive() is None


async def test_nothing_but_the_listener_listens(pool: Pool) -> None:
    def listening() -> set[int]:
        connections = psutil.Process().net_connections()
        return {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}

    before = listening()
    async with limited(pool) as broker:
        assert listening() - before == {broker.port}


async def test_devices_come_in_once_the_hub_reads(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, hub_first=True) as broker, raw(broker.port) as hub:
        signing_in = connect(device_id, DEVICE_PASSWORD)
        async with raw(broker.port) as device:
            assert await device.refused(signing_in) == UNAVAILABLE
        await hub.connected(connect("hub", broker.hub_password, clean=False))
        async with raw(broker.port) as device:
            assert await device.refused(signing_in) == UNAVAILABLE
        await hub.subscribed("solar/+/telemetry")
        async with raw(broker.port) as device:
            await device.connected(signing_in)
            device.send(publish(telemetry(device_id)))
            await device.expect(PUBACK)
        assert (await hub.expect(PUBLISH)).topic == telemetry(device_id)
