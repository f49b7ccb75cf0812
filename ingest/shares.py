"""The share of the stream that one session of a group stores. Pure.

The share of a message follows from its topic alone, so all members of a group agree on it. All
messages of a device belong to one share; so do those of a device that the hub does not know.
"""

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

from ingest.mqtt.codec import ReceivedPublish
from ingest.mqtt.receive_buffer import HELD_MAX_BYTES, ReceiveBuffer

# First levels of topics that have the device's name as the second level.
_PREFIXES = frozenset({b"solar", b"shellies", b"tele", b"stat", b"senml", b"inverter", b"N"})
_GROWATT = b"energy"  # the name, if there is one, is the last level

# Devices publish to the same few topics again and again. Long topics are not cached, so the cache
# holds 2 MB at most.
_TOPICS_CACHED = 16_384
_TOPIC_CACHED_MAX_BYTES = 128


@dataclass(frozen=True, slots=True)
class Share:
    """One of `of` shares of the stream, numbered from 0."""

    number: int
    of: int

    def holds(self, topic: bytes) -> bool:
        return crc32(device_name(topic)) % self.of == self.number


class ShareBuffer(ReceiveBuffer):
    """A receive buffer that stores the messages of one share and acknowledges all others.

    The broker queues every message in the session of each share, so the others are not lost. They
    are acknowledged in the order of arrival all the same: MQTT requires it (3.1.1, 4.6), and
    Mosquitto looks for each message from the oldest one that is unacknowledged.
    """

    def __init__(self, share: Share, held_max_bytes: int = HELD_MAX_BYTES) -> None:
        super().__init__(held_max_bytes)
        self._share = share
        self._holds = lru_cache(_TOPICS_CACHED)(share.holds)
        self._added = self._acknowledged = 0
        # Others' messages that wait for ours: the number of ours before each, and its packet id.
        # The broker's window bounds them.
        self._others: deque[tuple[int, int]] = deque()

    def add(self, message: ReceivedPublish) -> None:
        if self._is_closed:
            return
        topic = message.topic
        holds = self._holds if len(topic) <= _TOPIC_CACHED_MAX_BYTES else self._share.holds
        if holds(topic):
            self._added += 1
            super().add(message)
        elif message.packet_id:
            self._others.append((self._added, message.packet_id))
            self._acknowledge_others()

    def acknowledge(self, packet_id: int, size_bytes: int) -> None:
        super().acknowledge(packet_id, size_bytes)
        self._acknowledged += 1
        self._acknowledge_others()

    def _acknowledge_others(self) -> None:
        """Acknowledge those that arrived before our oldest unacknowledged message."""
        others, acknowledged = self._others, self._acknowledged
        while others and others[0][0] <= acknowledged:
            self._acknowledged_ids.append(others.popleft()[1])


def device_name(topic: bytes) -> bytes:
    """Return the level of a topic that names the device."""
    first, _, rest = topic.partition(b"/")
    if first in _PREFIXES:
        return rest.partition(b"/")[0]
    return rest.rpartition(b"/")[2] if first == _GROWATT else first
