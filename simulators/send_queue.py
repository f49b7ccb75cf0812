"""What a device has still to send, and what it sends again when it had to connect anew.

A broker acknowledges what it has in memory and saves it a while later. Killed in between, it has
lost what it acknowledged, and nobody learns that it did. So a device to which each reading matters
keeps for a while what was taken, and sends it once more on its next connection: the hub counts it
once.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

from core.readings import Reading

# Longer than brokers take to save what they acknowledged.
KEPT_S = 60.0


class SendQueue:
    """A device's readings, oldest first, on their way to the broker.

    At most `waiting_max` wait to be sent: what is measured beyond that is in the counters alone.
    """

    def __init__(
        self,
        readings: Iterable[Reading] = (),
        *,
        waiting_max: int | None = None,
        kept_s: float = KEPT_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waiting = deque(readings)
        self._waiting_max = waiting_max
        self._taken: deque[tuple[float, Reading]] = deque()
        self._kept_s = kept_s
        self._now_s = now_s

    def __len__(self) -> int:
        """How many wait to be sent."""
        return len(self._waiting)

    def add(self, reading: Reading) -> None:
        if self._waiting_max is None or len(self._waiting) < self._waiting_max:
            self._waiting.append(reading)

    def connected_anew(self) -> None:
        """Send again what the broker took but may have lost.

        How old that is by now does not count: while the broker was away it saved nothing.
        """
        self._waiting.extendleft(reading for _, reading in reversed(self._taken))
        self._taken.clear()

    def ahead(self, count: int) -> list[Reading]:
        """The next readings to send, which go on waiting until they are taken."""
        return list(islice(self._waiting, count))

    def taken(self, count: int) -> None:
        """The broker acknowledged the next ones."""
        self._forget()
        now_s = self._now_s()
        self._taken.extend((now_s, self._waiting.popleft()) for _ in range(count))

    def _forget(self) -> None:
        safe_s = self._now_s() - self._kept_s
        while self._taken and self._taken[0][0] < safe_s:
            self._taken.popleft()
