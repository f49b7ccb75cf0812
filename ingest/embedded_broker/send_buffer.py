"""Messages at QoS 1 for a session, from routing until the client acknowledges them. Pure."""

from collections import deque
from collections.abc import Iterator

from ingest.embedded_broker.client_packets import Publish, encode_publish

_PACKET_ID_MAX = 65_535
# The memory of a message beside its bytes, roughly.
_OVERHEAD_BYTES = 512


class Outbox:
    """Sends a limited number of messages ahead of their acknowledgements.

    Messages that are not acknowledged are sent again on the next connection (4.4).
    """

    def __init__(self, inflight_max: int) -> None:
        self._inflight_max = inflight_max
        # Sent and not acknowledged, by packet id, in the order of sending.
        self._sent: dict[int, Publish] = {}
        self._waiting: deque[Publish] = deque()
        self._packet_id = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._sent) + len(self._waiting)

    def add(self, message: Publish) -> Iterator[bytes]:
        """Add a message and yield the packets to send now."""
        self.hold(message)
        return self._fill()

    def hold(self, message: Publish) -> None:
        """Add a message while there is no connection."""
        self._waiting.append(message)
        self.size_bytes += _size_bytes(message)

    def acknowledge(self, packet_id: int) -> Iterator[bytes]:
        """Remove an acknowledged message and yield the packets to send now."""
        message = self._sent.pop(packet_id, None)
        if message is not None:
            self.size_bytes -= _size_bytes(message)
        return self._fill()

    def resume(self) -> Iterator[bytes]:
        """Yield the unacknowledged packets of the last connection in order, then held messages."""
        for message in [*self._sent.values()]:
            yield encode_publish(message, is_duplicate=True)
        yield from self._fill()

    def clear(self) -> None:
        self._sent.clear()
        self._waiting.clear()
        self.size_bytes = 0

    def _fill(self) -> Iterator[bytes]:
        while self._waiting and len(self._sent) < self._inflight_max:
            message = self._waiting.popleft()._replace(packet_id=self._free_id())
            self._sent[message.packet_id] = message
            yield encode_publish(message)

    def _free_id(self) -> int:
        """Return an unused packet id. There is one: `inflight_max` is below their number."""
        while True:
            self._packet_id = self._packet_id % _PACKET_ID_MAX + 1
            if self._packet_id not in self._sent:
                return self._packet_id


def _size_bytes(message: Publish) -> int:
    return len(message.topic) + len(message.payload) + _OVERHEAD_BYTES
