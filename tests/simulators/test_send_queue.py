"""What a device keeps until it is surely saved."""

from datetime import UTC, datetime, timedelta

from core.readings import Reading
from simulators.send_queue import SendQueue

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
READINGS = [Reading(NOON + timedelta(minutes=n), power_w=n) for n in range(6)]


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_what_was_taken_lately_is_sent_again_first_and_in_order() -> None:
    outgoing = SendQueue(READINGS, now_s=Clock())
    outgoing.taken(2)
    outgoing.taken(1)
    assert outgoing.ahead(9) == READINGS[3:]
    outgoing.connected_anew()
    assert outgoing.ahead(9) == READINGS
    outgoing.connected_anew()
    assert outgoing.ahead(9) == READINGS


def test_what_was_taken_long_ago_is_not_sent_again() -> None:
    clock = Clock()
    outgoing = SendQueue(READINGS, kept_s=60, now_s=clock)
    outgoing.taken(2)
    clock.now_s = 61
    outgoing.taken(2)
    outgoing.connected_anew()
    assert outgoing.ahead(9) == READINGS[2:]


def test_after_every_return_what_was_taken_last_goes_again_however_long_that_is_ago() -> None:
    clock = Clock()
    outgoing = SendQueue(READINGS, kept_s=60, now_s=clock)
    outgoing.taken(3)
    for _ in range(3):
        clock.now_s += 600
        outgoing.connected_anew()
        assert outgoing.ahead(9) == READINGS
        outgoing.taken(3)


def test_no_more_than_its_share_waits() -> None:
    outgoing = SendQueue(waiting_max=2)
    for reading in READINGS:
        outgoing.add(reading)
    assert outgoing.ahead(9) == READINGS[:2]
    assert len(outgoing) == 2
