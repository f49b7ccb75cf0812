"""A device that tells of what is past, as fast as the broker takes it."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from random import Random

from simulators.link import Line
from simulators.send_queue import SendQueue
from simulators.send_queue_faults import FaultySendQueue
from simulators.station import Station


class Backfill:
    """Measures at each of `moments`, and at last, when all is well, at `ends`."""

    def __init__(
        self,
        station: Station,
        moments: Iterator[datetime],
        ends: datetime,
        batch: int,
        sent: Callable[[int], None],
    ) -> None:
        self.station = station
        self._moments = moments
        self._ends = ends
        self._batch = batch
        self._sent = sent
        # Each reconnection would tell everything once more: here, the broker is trusted.
        self._departures = FaultySendQueue(SendQueue(kept_s=0))
        self._done = False

    async def speak(self, line: Line) -> None:
        while self._measure():
            self._sent(await self._departures.send(line, self._batch))

    def _measure(self) -> bool:
        """Until a message is full. Whether there is anything left to send."""
        while len(self._departures) < self._batch and not self._done:
            at = next(self._moments, None)
            if at is None:
                self._departures.add(self.station.measure_well(self._ends))
                self._done = True
            else:
                self._departures.add(self.station.measure(at))
        return len(self._departures) > 0


def moments(
    begins: datetime, ends: datetime, period_s: float, jitter: float, chance: Random
) -> Iterator[datetime]:
    """When to measure, from `begins` on, before `ends`."""
    at = begins + timedelta(seconds=chance.uniform(0, period_s))
    while at < ends:
        yield at
        at += timedelta(seconds=period_s * chance.uniform(1 - jitter, 1 + jitter))
