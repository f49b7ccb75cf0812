"""The codec of the embedded broker: valid packets, and early refusal of others."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.embedded_broker import client_packets as packets
from ingest.embedded_broker.client_packets import (
    PacketBuffer,
    Publish,
    Subscribe,
    Unsubscribe,
    UnsupportedLevelError,
    Will,
)
from ingest.mqtt import codec
from ingest.mqtt.codec import MalformedPacketError
from tests.support import raw_mqtt

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
TOPIC = TEXT.filter(lambda text: not {"+", "#"} & set(text))


def test_a_connect_is_decoded_with_all_its_fields() -> None:
    sent = raw_mqtt.connect(
        "user", "password", client_id="roof", clean=False, keep_alive_s=90,
        will=raw_mqtt.Will("a/b", b"gone", qos=2, retain=True),
    )  # fmt: skip
    connect = packets.decode_connect(sent)
    assert connect == ("roof", "user", "password", False, 90, Will("a/b", b"gone", 2, True))


def test_a_connect_may_have_no_optional_fields() -> None:
    assert packets.decode_connect(codec.encode_connect("", clean_session=True, keep_alive_s=0)) == (
        "",
        "",
        "",
        True,
        0,
        None,
    )


def test_a_connect_may_arrive_byte_by_byte() -> None:
    connect = raw_mqtt.connect("user", "password")
    for size in range(len(connect) + 1):
        packets.check_opening(connect[:size][: packets.OPENING_BYTES])


@pytest.mark.parametrize(("name", "level"), [(b"MQTT", 5), (b"MQTT", 3), (b"MQIsdp", 3)])
def test_another_version_is_recognized_by_its_level(name: bytes, level: int) -> None:
    connect = raw_mqtt.connect("user", "password", name=name, level=level)
    shown = connect.index(name) + len(name) + 1
    packets.check_opening(connect[: shown - 1])
    for size in range(shown, packets.OPENING_BYTES + 1):
        with pytest.raises(UnsupportedLevelError):
            packets.check_opening(connect[:size])


@pytest.mark.parametrize(
    "begun", [b"G", b"\x16", b"\x30", b"\x10\x20\x00\x03", b"\x10\x20\0\4AMQP"]
)
def test_another_packet_is_recognized_by_its_first_bytes(begun: bytes) -> None:
    with pytest.raises(MalformedPacketError):
        packets.check_opening(begun)


@given(st.lists(st.binary(max_size=300), max_size=10), st.data())
def test_packets_are_cut_in_any_split_of_the_stream(
    bodies: list[bytes], data: st.DataObject
) -> None:
    sent = [raw_mqtt.packet(0x30, body) for body in bodies]
    stream = b"".join(sent)
    buffer, cut, at = PacketBuffer(1000), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream)))
        cut += buffer.feed(stream[at : at + size])
        at += size
    assert cut == sent
    assert buffer.unfinished_bytes == 0


def test_packets_before_one_that_is_too_large_are_returned() -> None:
    small = raw_mqtt.publish("a", bytes(10))
    cut = PacketBuffer(100).feed(small + raw_mqtt.publish("a", bytes(100))[:3])
    assert next(cut) == small
    with pytest.raises(MalformedPacketError):
        next(cut)


@given(TOPIC, st.binary(), st.integers(0, 2), st.integers(1, 65_535), st.booleans())
def test_a_publish_is_decoded_as_it_was_encoded(
    topic: str, payload: bytes, qos: int, packet_id: int, retain: bool
) -> None:
    message = Publish(topic, payload, qos, packet_id if qos else 0, retain)
    packet = packets.encode_publish(message)
    assert packet == raw_mqtt.publish(topic, payload, qos=qos, packet_id=packet_id, retain=retain)
    assert packets.decode_publish(packet) == message


@given(st.integers(1, 65_535), st.lists(st.tuples(TEXT, st.integers(0, 2)), min_size=1))
def test_a_subscribe_is_decoded_as_it_was_encoded(
    packet_id: int, filters: list[tuple[str, int]]
) -> None:
    subscribe = codec.encode_subscribe(packet_id, filters)
    assert packets.decode_subscribe(subscribe) == Subscribe(packet_id, filters)
    names = [name for name, _ in filters]
    unsubscribe = codec.encode_unsubscribe(packet_id, names)
    assert packets.decode_unsubscribe(unsubscribe) == Unsubscribe(packet_id, names)


READERS: tuple[tuple[int, Callable[[bytes], object]], ...] = (
    (codec.CONNECT, packets.decode_connect),
    (codec.PUBLISH, packets.decode_publish),
    (codec.PUBLISH | 0x02, packets.decode_publish),
    (codec.PUBACK, packets.decode_answer),
    (codec.SUBSCRIBE, packets.decode_subscribe),
    (codec.UNSUBSCRIBE, packets.decode_unsubscribe),
    (codec.PINGREQ, packets.check_empty),
)


def cuts(packet: bytes) -> Iterator[bytes]:
    """Draw packets with a correct length and too few fields."""
    body = packet[2:]
    return (raw_mqtt.packet(packet[0], body[:size]) for size in range(len(body)))


@pytest.mark.parametrize(
    ("read", "packet"),
    [
        (packets.decode_connect, raw_mqtt.connect("u", "p", will=raw_mqtt.Will("w"))),
        (packets.decode_subscribe, raw_mqtt.subscribe("a")),
        (packets.decode_unsubscribe, raw_mqtt.unsubscribe("a")),
        (packets.decode_answer, raw_mqtt.packet(codec.PUBACK, b"\0\1")),
        (packets.decode_publish, raw_mqtt.publish("a", b"")),
    ],
)
def test_a_packet_without_its_end_is_malformed(
    read: Callable[[bytes], object], packet: bytes
) -> None:
    read(packet)
    for cut in cuts(packet):
        with pytest.raises(MalformedPacketError):
            read(cut)


@given(st.sampled_from(READERS), st.binary(max_size=60))
def test_any_packet_is_decoded_or_malformed(
    reader: tuple[int, Callable[[bytes], object]], body: bytes
) -> None:
    header, read = reader
    with suppress(MalformedPacketError):
        read(raw_mqtt.packet(header, body))


@given(st.binary(max_size=packets.OPENING_BYTES))
def test_any_opening_is_accepted_or_refused(begun: bytes) -> None:
    with suppress(MalformedPacketError, UnsupportedLevelError):
        packets.check_opening(begun)


def test_a_wildcard_is_a_whole_level() -> None:
    assert all(map(packets.is_filter, ("a", "+", "#", "a/+/b", "a/#", "+/#")))
    assert not any(map(packets.is_filter, ("a#", "a+", "#/a", "a/#/b", "a/b+")))
