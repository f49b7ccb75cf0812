"""The send queue: acknowledged readings are sent again after a reconnection."""

from datetime import UTC, datetime, timedelta

from core.readings import Reading
from simulators.send_queue import SendQueue

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
READINGS = [Reading(NOON + timedelta(minutes=n), power_w=n) for n in range(6)]


class FakeClock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_recently_acknowledged_readings_are_sent_again_first_and_in_order() -> None:
    queue = SendQueue(READINGS, now_s=FakeClock())
    queue.acknowledge(2)
    queue.acknowledge(1)
    assert queue.peek(9) == READINGS[3:]
    queue.reconnected()
    assert queue.peek(9) == READINGS
    queue.reconnected()
    assert queue.peek(9) == READINGS


def test_readings_acknowledged_long_ago_are_not_sent_again() -> None:
    clock = FakeClock()
    queue = SendQueue(READINGS, retained_s=60, now_s=clock)
    queue.acknowledge(2)
    clock.now_s = 61
    queue.acknowledge(2)
    queue.reconnected()
    assert queue.peek(9) == READINGS[2:]


def test_the_last_acknowledged_readings_are_sent_again_after_any_outage() -> None:
    clock = FakeClock()
    queue = SendQueue(READINGS, retained_s=60, now_s=clock)
    queue.acknowledge(3)
    for _ in range(3):
        clock.now_s += 600
        queue.reconnected()
        assert queue.peek(9) == READINGS
        queue.acknowledge(3)


def test_at_most_waiting_max_readings_wait() -> None:
    queue = SendQueue(waiting_max=2)
    for reading in READINGS:
        queue.add(reading)
    assert queue.peek(9) == READINGS[:2]
    assert len(queue) == 2
