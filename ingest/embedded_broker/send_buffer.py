"""Messages at QoS 1 of a session, from when they were routed until it acknowledges them. Pure."""

from collections import deque
from collections.abc import Iterator

from ingest.embedded_broker.client_packets import Publish, published

_PACKET_ID_MAX = 65_535
# What a message takes beside its bytes.
_OVERHEAD_BYTES = 512


class Outbox:
    """Sends so many ahead, and again to the next connection what was not acknowledged (4.4)."""

    def __init__(self, inflight_max: int) -> None:
        self._inflight_max = inflight_max
        self._sent: dict[int, Publish] = {}
        self._waiting: deque[Publish] = deque()
        self._packet_id = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._sent) + len(self._waiting)

    def add(self, message: Publish) -> Iterator[bytes]:
        """Take a message; yields the packets to send now. Its packet id is given here."""
        self.hold(message)
        return self._fill()

    def hold(self, message: Publish) -> None:
        """Take a message for the next connection."""
        self._waiting.append(message)
        self.size_bytes += _size_bytes(message)

    def acknowledge(self, packet_id: int) -> Iterator[bytes]:
        """Let go of a message; yields the packets to send now."""
        message = self._sent.pop(packet_id, None)
        if message is not None:
            self.size_bytes -= _size_bytes(message)
        return self._fill()

    def resume(self) -> Iterator[bytes]:
        """Yield again, in order, what was sent to the connection before; then what was held."""
        for message in [*self._sent.values()]:
            yield published(message, is_duplicate=True)
        yield from self._fill()

    def clear(self) -> None:
        self._sent.clear()
        self._waiting.clear()
        self.size_bytes = 0

    def _fill(self) -> Iterator[bytes]:
        while self._waiting and len(self._sent) < self._inflight_max:
            message = self._waiting.popleft()._replace(packet_id=self._free_id())
            self._sent[message.packet_id] = message
            yield published(message)

    def _free_id(self) -> int:
        """Fewer are in use than there are."""
        while True:
            self._packet_id = self._packet_id % _PACKET_ID_MAX + 1
            if self._packet_id not in self._sent:
                return self._packet_id


def _size_bytes(message: Publish) -> int:
    return len(message.topic) + len(message.payload) + _OVERHEAD_BYTES
