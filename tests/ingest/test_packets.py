"""However the bytes of a connection come in, the same packets are cut out of them."""

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.packets import (
    MalformedPacketError,
    Packets,
    ReceivedPublish,
    address,
    is_publication,
    publication,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PINGRESP = b"\xd0\x00"
KEPT_BYTES = 300


def packet(first: int, body: bytes) -> bytes:
    length, header = len(body), [first]
    while True:
        length, group = divmod(length, 128)
        header.append(group | (0x80 if length else 0))
        if not length:
            return bytes(header) + body


def publish(topic: bytes, payload: bytes, message_id: int | None = None) -> bytes:
    number = b"" if message_id is None else message_id.to_bytes(2)
    first = 0x30 if message_id is None else 0x32
    return packet(first, len(topic).to_bytes(2) + topic + number + payload)


def cut(chunks: Iterable[bytes], kept_bytes: int = KEPT_BYTES) -> list[bytes]:
    packets = Packets(kept_bytes)
    return [found for chunk in chunks for found in packets.cut(chunk)]


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


def test_the_end_of_what_is_too_large_is_thrown_away_and_what_follows_is_there() -> None:
    large = publish(b"solar/a/telemetry", b"x" * 1_000_000, 7)
    found = cut([large[n : n + 65_536] for n in range(0, len(large), 65_536)] + [PINGRESP])
    assert found == [large[:KEPT_BYTES], PINGRESP]
    kept = publication(found[0], NOW)
    assert (kept.topic, kept.message_id) == (b"solar/a/telemetry", 7)
    assert kept.payload == b"x" * (KEPT_BYTES - len(large) + 1_000_000)


@given(st.binary(max_size=200), st.binary(max_size=200), st.none() | st.integers(1, 65_535))
def test_a_publication_is_taken_apart(topic: bytes, payload: bytes, message_id: int | None) -> None:
    whole = publish(topic, payload, message_id)
    assert is_publication(whole)
    qos = 0 if message_id is None else 1
    assert publication(whole, NOW) == ReceivedPublish(
        topic, payload, message_id or 0, qos, False, len(whole), NOW
    )
    assert address(whole) == (topic, message_id or 0)


def test_a_retained_copy_says_that_it_is_one() -> None:
    whole = publish(b"solar/a/status", b"online", 1)
    assert publication(bytes([whole[0] | 1]) + whole[1:], NOW).is_retained


@pytest.mark.parametrize("nonsense", [b"\x32\x01\x00", b"\x32\x04\x00\x09so", b"\x30\x00"])
def test_a_publication_that_ends_before_its_payload_is_refused(nonsense: bytes) -> None:
    [whole] = cut([nonsense])
    with pytest.raises(MalformedPacketError):
        publication(whole, NOW)
    with pytest.raises(MalformedPacketError):
        address(whole)


def test_a_length_without_end_is_refused() -> None:
    with pytest.raises(MalformedPacketError):
        cut([b"\x32\xff\xff\xff\xff\x01"])
