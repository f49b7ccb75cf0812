"""The messages of one connection between their receipt and their acknowledgement. Pure: no I/O.

Two limits bound them. The broker limits the count, by what it sends ahead of acknowledgements
(Mosquitto's `max_inflight_messages`). This buffer limits the bytes: while it is full, the
connection does not read, TCP stops the broker, and the broker keeps the rest. So a slow consumer
loses nothing, and the broker never has to send again.
"""

from collections import deque

from ingest.dialects.native import MESSAGE_MAX_BYTES
from ingest.mqtt.codec import ReceivedPublish

HELD_MAX_BYTES = 32 * 1024 * 1024
# Room for the largest valid message under the longest topic, and one byte more: a larger message is
# rejected for its size, so its end is not needed.
PACKET_MAX_BYTES = MESSAGE_MAX_BYTES + 65_536 + 16
# The memory of a message beside its bytes, roughly: without it, many tiny messages would cost far
# more than the limit.
_OVERHEAD_BYTES = 1024


class ReceiveBuffer:
    """Messages received and not acknowledged yet, with the acknowledgements to send.

    A buffer belongs to one connection: on another one, the same packet id is another message.
    """

    def __init__(self, held_max_bytes: int = HELD_MAX_BYTES) -> None:
        self.unread: deque[ReceivedPublish] = deque()
        # Bytes of all messages that are not acknowledged, unread ones included.
        self.held_bytes = 0
        self._held_max_bytes = held_max_bytes
        self._acknowledged_ids: list[int] = []
        self._is_closed = False

    def close(self) -> None:
        """Drop every message from now on. The broker sends it again on the next connection."""
        self._is_closed = True

    def add(self, message: ReceivedPublish) -> None:
        """Store a message until it is read and acknowledged."""
        if not self._is_closed:
            self.held_bytes += message.size_bytes + _OVERHEAD_BYTES
            self.unread.append(message)

    def acknowledge(self, packet_id: int, size_bytes: int) -> None:
        """Free the room of a message. At QoS 1 its acknowledgement is to be sent."""
        self.held_bytes -= size_bytes + _OVERHEAD_BYTES
        if packet_id:
            self._acknowledged_ids.append(packet_id)

    def take_acknowledged(self) -> list[int]:
        """Return the packet ids to acknowledge to the broker, in order, and forget them."""
        ids, self._acknowledged_ids = self._acknowledged_ids, []
        return ids

    @property
    def has_acknowledgements(self) -> bool:
        return bool(self._acknowledged_ids)

    @property
    def is_full(self) -> bool:
        """True if the connection must not read. A closed buffer takes nothing, so it is not."""
        return self.held_bytes >= self._held_max_bytes and not self._is_closed

    @property
    def is_empty(self) -> bool:
        """True if all messages are acknowledged and all acknowledgements taken."""
        return not self.held_bytes and not self._acknowledged_ids
