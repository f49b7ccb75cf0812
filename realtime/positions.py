"""Positions in the feed: `<epoch>-<milliseconds>-<number>`, opaque to clients.

Offsets grow over all channels of a shard (`feed_shard.py`), so a position is one moment for all of
them. An epoch ends when Redis restarts or loses its data. Positions of another epoch or of another
shard can't be compared.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

_POSITION = re.compile(r"([0-9a-f]{1,32})-([0-9]{1,15})-([0-9]{1,15})")


class Offset(NamedTuple):
    """The id of a stream entry."""

    time_ms: int
    number: int

    @classmethod
    def parse(cls, text: bytes) -> "Offset":
        time_ms, _, number = text.partition(b"-")
        return cls(int(time_ms), int(number))

    def __str__(self) -> str:
        return f"{self.time_ms}-{self.number}"


ORIGIN = Offset(0, 0)


@dataclass(frozen=True, slots=True)
class FeedPosition:
    """An offset within an epoch."""

    epoch: str
    offset: Offset

    @classmethod
    def parse(cls, text: str) -> "FeedPosition | None":
        """Return the position, or None if the text is none."""
        match = _POSITION.fullmatch(text)
        if match is None:
            return None
        return cls(match[1], Offset(int(match[2]), int(match[3])))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.offset}"


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One event of a channel: its JSON object `{"type", "time", "data"}`, encoded once."""

    position: FeedPosition
    event: bytes

    @property
    def offset(self) -> Offset:
        return self.position.offset
