"""The client's codec: every split of the stream, every packet there and back, hostile bytes."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.embedded_broker import client_packets
from ingest.mqtt import codec
from ingest.mqtt.codec import (
    Connack,
    MalformedPacketError,
    PacketStream,
    ReceivedPublish,
    Suback,
    decode_connack,
    decode_packet_id,
    decode_publish,
    decode_suback,
    is_publish,
)
from tests.support import raw_mqtt
from tests.support.raw_mqtt import packet

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PINGRESP = b"\xd0\x00"
KEPT_BYTES = 300

TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=80
)
TOPIC = TEXT.filter(lambda text: not {"+", "#"} & set(text))
IDS = st.integers(1, 65_535)


def publish(topic: bytes, payload: bytes, packet_id: int | None = None) -> bytes:
    number = b"" if packet_id is None else packet_id.to_bytes(2)
    first = 0x30 if packet_id is None else 0x32
    return packet(first, len(topic).to_bytes(2) + topic + number + payload)


def cut(chunks: Iterable[bytes], kept_bytes: int = KEPT_BYTES) -> list[bytes]:
    stream = PacketStream(kept_bytes)
    return [found for chunk in chunks for found in stream.feed(chunk)]


# The stream ------------------------------------------------------------------------------------


bodies = st.binary(max_size=40) | st.sampled_from([127, 128, 250, 296, 297, 20_000]).map(bytes)
sent = st.lists(st.builds(packet, st.sampled_from([0x32, 0x90, 0xD0]), bodies), max_size=8)


@given(sent, st.data())
def test_packets_are_the_same_wherever_the_stream_was_split(
    sent: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(sent)
    ends = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    chunks = [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True)]
    expected = [p[:KEPT_BYTES] for p in sent]
    assert [p[:KEPT_BYTES] for p in cut(chunks)] == expected
    assert cut([stream[n : n + 1] for n in range(min(len(stream), 2000))]) == cut([stream[:2000]])


def test_the_end_of_a_packet_that_is_too_large_is_dropped_and_the_next_one_is_there() -> None:
    large = publish(b"solar/a/telemetry", b"x" * 1_000_000, 7)
    found = cut([large[n : n + 65_536] for n in range(0, len(large), 65_536)] + [PINGRESP])
    assert found == [large[:KEPT_BYTES], PINGRESP]
    kept = decode_publish(found[0], NOW)
    assert (kept.topic, kept.packet_id) == (b"solar/a/telemetry", 7)
    assert kept.payload == b"x" * (KEPT_BYTES - len(large) + 1_000_000)


def test_a_length_without_end_is_malformed() -> None:
    with pytest.raises(MalformedPacketError):
        cut([b"\x32\xff\xff\xff\xff\x01"])


@given(st.lists(st.binary(max_size=400), max_size=10))
def test_any_bytes_are_decoded_or_malformed_and_the_kept_part_is_bounded(
    chunks: list[bytes],
) -> None:
    with suppress(MalformedPacketError):
        for found in cut(chunks):
            assert 2 <= len(found) <= KEPT_BYTES
            for decode in DECODERS:
                with suppress(MalformedPacketError):
                    decode(found)


# Decoding --------------------------------------------------------------------------------------


DECODERS: tuple[Callable[[bytes], object], ...] = (
    lambda found: decode_publish(found, NOW),
    decode_connack,
    decode_suback,
    decode_packet_id,
)


@given(st.binary(max_size=200), st.binary(max_size=200), st.none() | IDS)
def test_a_publish_is_decoded(topic: bytes, payload: bytes, packet_id: int | None) -> None:
    whole = publish(topic, payload, packet_id)
    assert is_publish(whole)
    assert decode_publish(whole, NOW) == ReceivedPublish(
        topic, payload, packet_id or 0, False, len(whole), NOW
    )


def test_a_retained_message_is_marked_as_one() -> None:
    whole = publish(b"solar/a/status", b"online", 1)
    assert decode_publish(bytes([whole[0] | 1]) + whole[1:], NOW).is_retained


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x32\x01\x00", b"\x32\x04\x00\x09so", b"\x30\x00",
        b"\x32\x05\x00\x01a\x00\x00",  # the packet id 0
        b"\x34\x05\x00\x01a\x00\x01",  # QoS 2
        b"\x36\x05\x00\x01a\x00\x01",  # QoS 3
    ],
)  # fmt: skip
def test_a_publish_that_ends_early_or_has_impossible_fields_is_malformed(nonsense: bytes) -> None:
    [whole] = cut([nonsense])
    with pytest.raises(MalformedPacketError):
        decode_publish(whole, NOW)


@given(TOPIC, st.binary(max_size=200), IDS, st.data())
def test_a_publish_without_its_end_is_malformed_or_has_a_shorter_payload(
    topic: str, payload: bytes, packet_id: int, data: st.DataObject
) -> None:
    whole = codec.encode_publish(topic, payload, packet_id)
    body = whole[codec.body_at(whole) :]
    size = data.draw(st.integers(0, len(body) - 1))
    shorter = packet(whole[0], body[:size])
    if size < len(body) - len(payload):
        with pytest.raises(MalformedPacketError):
            decode_publish(shorter, NOW)
    else:
        assert payload.startswith(decode_publish(shorter, NOW).payload)


@given(st.booleans(), st.integers(0, 255))
def test_a_connack_of_a_broker_is_decoded(session_present: bool, code: int) -> None:
    connack = client_packets.encode_connack(code, session_present=session_present)
    assert decode_connack(connack) == Connack(session_present, code)


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        (0, None),
        (1, "it does not support MQTT 3.1.1"),
        (2, "it does not allow the client id"),
        (3, "it is unavailable"),
        (4, "wrong user name or password"),
        (5, "not authorized"),
        (6, "unknown reason"),
    ],
)
def test_each_refusal_has_its_reason(code: int, refusal: str | None) -> None:
    assert decode_connack(client_packets.encode_connack(code)).refusal == refusal


@pytest.mark.parametrize(
    "first",
    [PINGRESP, b"\x20\x00", b"\x20\x02\x02\x00", b"\x20\x03\x00\x00\x00", publish(b"a", b"", 1)],
)
def test_a_first_packet_that_is_no_connack_is_malformed(first: bytes) -> None:
    with pytest.raises(MalformedPacketError):
        decode_connack(first)


@given(IDS, st.lists(st.sampled_from([0, 1, 2, 128]), min_size=1, max_size=200))
def test_a_suback_of_a_broker_is_decoded(packet_id: int, codes: list[int]) -> None:
    suback = client_packets.encode_suback(packet_id, codes)
    assert decode_suback(suback) == Suback(packet_id, tuple(codes))


@given(st.sampled_from([codec.PUBACK, codec.UNSUBACK]), IDS)
def test_the_packet_id_of_an_answer_is_decoded(kind: int, packet_id: int) -> None:
    assert decode_packet_id(client_packets.encode_answer(kind, packet_id)) == packet_id


@pytest.mark.parametrize(
    "nonsense", [b"\x40\x00", b"\x40\x01\x00", b"\x40\x03\x00\x01\x00", b"\x50\x02\x00\x01"]
)
def test_an_answer_with_more_or_less_than_a_packet_id_is_malformed(nonsense: bytes) -> None:
    with pytest.raises(MalformedPacketError):
        decode_packet_id(nonsense)


@pytest.mark.parametrize("nonsense", [b"\x90\x00", b"\x90\x01\x00", b"\x90\x02\x00\x01"])
def test_a_suback_without_codes_is_malformed(nonsense: bytes) -> None:
    with pytest.raises(MalformedPacketError):
        decode_suback(nonsense)


# Encoding, compared with the embedded broker's strict decoder ----------------------------------


@given(TEXT, st.booleans(), st.integers(0, 65_535), st.none() | TEXT, st.none() | TEXT)
def test_a_connect_contains_all_its_arguments(
    client_id: str, clean: bool, keep_alive_s: int, username: str | None, password: str | None
) -> None:
    connect = codec.encode_connect(
        client_id, clean_session=clean, keep_alive_s=keep_alive_s,
        username=username, password=password,
    )  # fmt: skip
    client_packets.check_opening(connect)
    sent_password = (password or "") if username is not None else ""
    assert client_packets.decode_connect(connect) == (
        client_id, username or "", sent_password, clean, keep_alive_s, None
    )  # fmt: skip


@given(TOPIC, st.binary(max_size=300), st.none() | IDS)
def test_a_publish_comes_back_as_it_went(topic: str, payload: bytes, packet_id: int | None) -> None:
    encoded = codec.encode_publish(topic, payload, packet_id)
    qos = 0 if packet_id is None else 1
    assert encoded == raw_mqtt.publish(topic, payload, qos=qos, packet_id=packet_id or 0)
    assert client_packets.decode_publish(encoded) == (topic, payload, qos, packet_id or 0, False)
    received = decode_publish(encoded, NOW)
    assert (received.topic.decode(), received.payload) == (topic, payload)


@given(IDS, st.lists(st.tuples(TEXT, st.integers(0, 2)), min_size=1, max_size=30))
def test_a_subscription_comes_back_as_it_went(
    packet_id: int, filters: list[tuple[str, int]]
) -> None:
    subscribe = codec.encode_subscribe(packet_id, filters)
    assert client_packets.decode_subscribe(subscribe) == (packet_id, filters)
    names = [name for name, _ in filters]
    unsubscribe = codec.encode_unsubscribe(packet_id, names)
    assert client_packets.decode_unsubscribe(unsubscribe) == (packet_id, names)


@given(st.lists(IDS, max_size=50))
def test_acknowledgements_come_back_in_their_order(packet_ids: list[int]) -> None:
    acknowledgements = cut([codec.encode_pubacks(packet_ids)])
    assert list(map(decode_packet_id, acknowledgements)) == packet_ids
    assert list(map(client_packets.decode_answer, acknowledgements)) == packet_ids


def test_packets_without_fields_are_empty() -> None:
    for empty in (codec.PINGREQ_PACKET, codec.DISCONNECT_PACKET):
        client_packets.check_empty(empty)


def test_more_than_a_packet_or_a_string_holds_is_not_encoded() -> None:
    with pytest.raises(ValueError, match="70000 bytes are more than an MQTT string holds"):
        codec.encode_publish("x" * 70_000, b"")
    with pytest.raises(ValueError, match="more than an MQTT packet holds"):
        codec.encode_publish("a", bytes(268_435_453))
