"""Readings that a device has still to send, and those it sends again on a new connection.

A broker acknowledges a message that it holds in memory and saves it later. If it is killed in
between, the message is lost and nobody is notified. Therefore a device keeps acknowledged readings
for a while and sends them again after reconnecting; the hub ignores duplicates.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from core.readings import Reading
from simulators.delivery import SendBatch
from simulators.device_connection import DeviceConnection

# Longer than brokers take to save acknowledged messages.
RETAINED_S = 60.0


class SendQueue:
    """Readings of one device, oldest first.

    At most `waiting_max` readings wait to be sent. Newer ones are dropped then: their energy is in
    the counters of the next reading.
    """

    def __init__(
        self,
        readings: Iterable[Reading] = (),
        *,
        waiting_max: int | None = None,
        retained_s: float = RETAINED_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waiting = deque(readings)
        self._waiting_max = waiting_max
        # Acknowledged readings with the time of their acknowledgement, oldest first.
        self._acknowledged: deque[tuple[float, Reading]] = deque()
        self._retained_s = retained_s
        self._now_s = now_s

    def __len__(self) -> int:
        """Return the number of readings that wait to be sent."""
        return len(self._waiting)

    def add(self, reading: Reading) -> None:
        if self._waiting_max is None or len(self._waiting) < self._waiting_max:
            self._waiting.append(reading)

    def reconnected(self) -> None:
        """Queue again what was acknowledged and may be lost.

        The age of readings is not checked here: while the broker was down, it saved nothing.
        """
        self._waiting.extendleft(reading for _, reading in reversed(self._acknowledged))
        self._acknowledged.clear()

    def peek(self, count: int) -> list[Reading]:
        """Return the next readings to send; they stay queued until they are acknowledged."""
        return list(islice(self._waiting, count))

    def acknowledge(self, count: int) -> None:
        """Remove the next readings: the broker acknowledged them."""
        self._drop_saved()
        now_s = self._now_s()
        self._acknowledged.extend((now_s, self._waiting.popleft()) for _ in range(count))

    def _drop_saved(self) -> None:
        saved_before_s = self._now_s() - self._retained_s
        while self._acknowledged and self._acknowledged[0][0] < saved_before_s:
            self._acknowledged.popleft()


class FaultySendQueue:
    """A send queue with points at which the connection is cut."""

    def __init__(self, queue: SendQueue) -> None:
        self._queue = queue
        # Readings ever queued; a cut is the number of readings queued before it.
        self._added = 0
        self._cuts: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._queue) + len(self._cuts)

    def add(self, batches: Sequence[SendBatch]) -> None:
        for batch in batches:
            if batch.cut:
                self._cuts.append(self._added)
            for reading in batch.readings:
                waiting = len(self._queue)
                self._queue.add(reading)
                self._added += len(self._queue) - waiting

    def reconnected(self) -> None:
        self._queue.reconnected()

    async def send(self, connection: DeviceConnection, count_max: int) -> int:
        """Send one message; return its number of readings.

        The readings stay queued if the connection is lost or cut. Raises aiomqtt.MqttError.
        """
        sent = self._added - len(self._queue)
        if self._cuts and self._cuts[0] <= sent:
            self._cuts.popleft()
            await connection.cut()
        if self._cuts:
            count_max = min(count_max, self._cuts[0] - sent)
        readings = self._queue.peek(count_max)
        await connection.send(readings)
        self._queue.acknowledge(len(readings))
        return len(readings)
