"""What a device has still to send, and where on the way its line is cut."""

from collections import deque
from collections.abc import Sequence

from simulators.delivery import Sending
from simulators.link import Line
from simulators.send_queue import SendQueue


class FaultySendQueue:
    """Readings in the order in which they leave, with the cuts between them."""

    def __init__(self, outgoing: SendQueue) -> None:
        self._outgoing = outgoing
        self._added = 0
        self._cuts: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._outgoing) + len(self._cuts)

    def add(self, sendings: Sequence[Sending]) -> None:
        for sending in sendings:
            if sending.cut:
                self._cuts.append(self._added)
            for reading in sending.readings:
                waiting = len(self._outgoing)
                self._outgoing.add(reading)
                self._added += len(self._outgoing) - waiting

    def connected_anew(self) -> None:
        self._outgoing.connected_anew()

    async def send(self, line: Line, at_most: int) -> int:
        """Send one message; it goes on waiting when the line is lost meanwhile, or is cut."""
        next_one = self._added - len(self._outgoing)
        if self._cuts and self._cuts[0] <= next_one:
            self._cuts.popleft()
            await line.cut()
        if self._cuts:
            at_most = min(at_most, self._cuts[0] - next_one)
        readings = self._outgoing.ahead(at_most)
        await line.send(readings)
        self._outgoing.taken(len(readings))
        return len(readings)
