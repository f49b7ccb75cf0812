"""Which share of the stream a message belongs to, by its topic alone. Pure.

A device's messages all belong to one share, whatever it says in them; so does what no device of
ours said. The members of a group must agree: the split depends on nothing but the topic.
"""

from dataclasses import dataclass
from zlib import crc32

# What stands before the device's name, where something does.
_PREFIXES = frozenset({b"solar", b"shellies", b"tele", b"stat", b"senml", b"inverter", b"N"})
_GROWATT = b"energy"  # the name, if there is one, is the last level


@dataclass(frozen=True, slots=True)
class Share:
    """One of `of` shares of the stream, numbered from 0."""

    number: int
    of: int

    def holds(self, topic: bytes) -> bool:
        return crc32(device_name(topic)) % self.of == self.number


def device_name(topic: bytes) -> bytes:
    """The level of a topic that names the device."""
    first, _, rest = topic.partition(b"/")
    if first in _PREFIXES:
        return rest.partition(b"/")[0]
    return rest.rpartition(b"/")[2] if first == _GROWATT else first
