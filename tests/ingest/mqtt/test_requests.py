"""Publishing, subscribing and unsubscribing on a connection."""

import asyncio

import pytest

from ingest.mqtt.codec import CONNECT, PUBACK
from ingest.mqtt.connection import UNANSWERED_MAX, ConnectionLost, MqttError
from tests.ingest.mqtt.connections import endpoint_of, publish, read, reading
from tests.support.mosquitto import Mosquitto
from tests.support.mqtt_peers import ACCEPTED, scripted_broker, tapped
from tests.support.raw_mqtt import packet


async def test_it_publishes_at_both_qualities_of_service(mosquitto: Mosquitto) -> None:
    async with tapped(mosquitto.port) as tap, reading(tap.endpoint) as (connection, _):
        await connection.publish("solar/a/ack", "first", qos=0)
        await connection.publish("solar/a/ack", "second")
        found = await read(connection, 2)
        assert [(one.topic, one.payload) for one in found] == [
            (b"solar/a/ack", b"first"), (b"solar/a/ack", b"second"),
        ]  # fmt: skip
        assert [bool(one.packet_id) for one in found] == [False, True]


async def test_after_an_unsubscription_nothing_more_comes(mosquitto: Mosquitto) -> None:
    async with reading(endpoint_of(mosquitto)) as (connection, buffer):
        await connection.unsubscribe(["#"])
        await publish(mosquitto, b"1")
        await connection.publish("solar/a/ack", "answered after all that came before")
        assert not buffer.unread


async def test_an_answer_to_a_request_that_was_cancelled_is_no_error(mosquitto: Mosquitto) -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, failure: failures.append(failure))
    async with endpoint_of(mosquitto).connect("hub", clean_session=True) as connection:
        subscribing = asyncio.create_task(connection.subscribe([("solar/+/status", 1)]))
        await asyncio.sleep(0)
        subscribing.cancel()
        await asyncio.wait([subscribing])
        assert subscribing.cancelled()
        # The answer to this one comes after the other.
        assert await connection.subscribe([("solar/+/telemetry", 1)]) == (1,)
    assert failures == []


async def test_the_number_of_unanswered_requests_is_limited() -> None:
    async with scripted_broker() as peer, peer.endpoint.connect("a", clean_session=True) as hub:
        for _ in range(UNANSWERED_MAX):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await hub.publish("solar/a/ack", "refused")
        with pytest.raises(MqttError, match="has not answered 100 requests"):
            await hub.publish("solar/a/ack", "refused")


async def test_an_answer_to_no_request_or_to_another_kind_is_ignored() -> None:
    strange = [packet(PUBACK, b"\x00\x09"), packet(PUBACK, b"\x00\x01")]

    def reply(one: bytes) -> bytes:
        suback = packet(0x90, b"\x00\x01\x01")
        return ACCEPTED if one[0] == CONNECT else b"".join([*strange, suback])

    async with (
        scripted_broker(reply) as peer,
        peer.endpoint.connect("hub", clean_session=True) as connection,
    ):
        assert await connection.subscribe([("#", 1)]) == (1,)


async def test_every_waiting_call_fails_when_the_connection_is_lost(
    mosquitto: Mosquitto,
) -> None:
    async with (
        scripted_broker(lambda one: ACCEPTED if one[0] == CONNECT else None) as peer,
        peer.endpoint.connect("hub", clean_session=True) as connection,
    ):
        waiting = (
            read(connection, 1), connection.publish("solar/a/ack", ""),
            connection.subscribe([("#", 1)]), connection.unsubscribe(["#"]),
        )  # fmt: skip
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == 4 * [ConnectionLost]
        with pytest.raises(ConnectionLost, match="the broker closed the connection"):
            await connection.publish("solar/a/ack", "", qos=0)
