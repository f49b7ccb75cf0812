"""Limits and acknowledgements of the receive buffer."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from ingest.mqtt.codec import ReceivedPublish
from ingest.mqtt.receive_buffer import ReceiveBuffer

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def message(packet_id: int, size_bytes: int = 100) -> ReceivedPublish:
    return ReceivedPublish(b"solar/a/telemetry", b"", packet_id, False, size_bytes, NOW)


def test_room_is_taken_by_a_message_until_it_is_acknowledged() -> None:
    buffer = ReceiveBuffer(held_max_bytes=2_500)
    for number in (1, 2, 3):
        assert not buffer.is_full
        buffer.add(message(number))
    assert buffer.is_full
    # To read a message makes no room: it is not committed yet.
    buffer.unread.clear()
    assert buffer.is_full
    buffer.acknowledge(1, 100)
    assert not buffer.is_full


@given(st.lists(st.integers(0, 5)))
def test_acknowledgements_are_taken_once_in_their_order_and_not_at_qos_0(ids: list[int]) -> None:
    buffer = ReceiveBuffer()
    for packet_id in ids:
        buffer.add(message(packet_id))
    for packet_id in ids:
        buffer.acknowledge(packet_id, 100)
    assert buffer.held_bytes == 0
    assert buffer.has_acknowledgements == any(ids)
    assert buffer.take_acknowledged() == [one for one in ids if one]
    assert buffer.take_acknowledged() == []
    assert buffer.is_empty


def test_it_is_empty_only_when_the_last_acknowledgement_is_taken() -> None:
    buffer = ReceiveBuffer()
    buffer.add(message(1))
    assert not buffer.is_empty
    buffer.acknowledge(1, 100)
    assert not buffer.is_empty
    buffer.take_acknowledged()
    assert buffer.is_empty


def test_a_closed_buffer_takes_nothing_more_and_still_acknowledges() -> None:
    buffer = ReceiveBuffer()
    buffer.add(message(1))
    buffer.close()
    buffer.add(message(2))
    assert [one.packet_id for one in buffer.unread] == [1]
    buffer.acknowledge(1, 100)
    assert buffer.take_acknowledged() == [1]
    assert buffer.is_empty


def test_a_closed_buffer_is_never_full_so_the_rest_can_be_read_and_dropped() -> None:
    buffer = ReceiveBuffer(held_max_bytes=1)
    buffer.add(message(1))
    assert buffer.is_full
    buffer.close()
    assert not buffer.is_full
