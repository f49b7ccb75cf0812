"""Who listens to what, and what they get in one flush. Knows nothing of Redis or sockets.

Entries of a channel collect in its window until the next flush. A flush encodes each channel's
events once and each combination of channels once, however many clients get it. What a client has
not read yet is bounded: over `BUFFER_BYTES_MAX`, or one frame, it is closed and may resume.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from core.events import EventType
from realtime.channels import shown
from realtime.closing import CloseCode
from realtime.frames import events_frame, fragment
from realtime.metrics import HubMetrics
from realtime.positions import ORIGIN, Entry, Offset

BUFFER_BYTES_MAX = 1024 * 1024
WINDOW_ENTRIES_MAX = 500


class Client(Protocol):
    """A client as the hub sees it."""

    def buffered_bytes(self) -> int:
        """What was written, and did not leave yet."""

    def write(self, frame: bytes) -> None:
        """Send a frame that `encode` has made. Never waits."""

    def end(self, code: CloseCode, reason: str) -> None:
        """Close it, without waiting for that."""


@dataclass(slots=True)
class _Channel:
    """`seen`: the newest entry that came. `fresh`: clients that know entries up to an offset."""

    clients: set[Client] = field(default_factory=set)
    fresh: dict[Client, Offset] = field(default_factory=dict)
    window: list["Told"] = field(default_factory=list)
    seen: Offset = ORIGIN


@dataclass(frozen=True, slots=True)
class Told:
    """An entry, and what is in it."""

    entry: Entry
    type: str
    at: datetime
    data: dict[str, Any]

    @classmethod
    def of(cls, entry: Entry) -> "Told":
        event = json.loads(entry.event)
        return cls(entry, event["type"], datetime.fromisoformat(event["time"]), event["data"])


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Events of one channel, encoded for all who get them."""

    encoded: bytes
    events: int


class Hub:
    """`encode` makes of a message what a client's `write` takes."""

    def __init__(
        self, encode: Callable[[bytes], bytes], metrics: HubMetrics, clock: Callable[[], datetime]
    ) -> None:
        self._encode = encode
        self._metrics = metrics
        self._clock = clock
        self._channels: dict[str, _Channel] = {}
        self._due: dict[str, _Channel] = {}
        self._waiting = 0

    def open(self, source: str) -> None:
        """Take what is published on a channel from now on."""
        self._channels.setdefault(source, _Channel())

    def close(self, source: str) -> None:
        self._channels.pop(source, None)
        self._due.pop(source, None)

    def seen(self, source: str) -> Offset:
        """The newest entry of a channel that was published here."""
        return self._channels[source].seen

    def attach(self, client: Client, source: str, after: Offset) -> None:
        """Let a client have what comes after an offset; it must know all until then."""
        self._channels[source].fresh[client] = after

    def detach(self, client: Client, source: str) -> None:
        channel = self._channels[source]
        channel.clients.discard(client)
        channel.fresh.pop(client, None)

    def publish(self, source: str, entries: Iterable[Entry]) -> bool:
        """Put entries that are new here into the channel's window. True: flush now, it is full."""
        channel = self._channels.get(source)
        if channel is None:
            return False
        for entry in entries:
            if entry.offset > channel.seen:
                channel.seen = entry.offset
                if channel.clients or channel.fresh:
                    channel.window.append(Told.of(entry))
                    self._waiting += 1
                    self._due[source] = channel
        return self._waiting >= WINDOW_ENTRIES_MAX

    def flush(self) -> None:
        """Write to every client what collected for it, as one frame."""
        due, self._due, self._waiting = self._due, {}, 0
        parts_of: dict[Client, list[_Part]] = {}
        told: list[Told] = []
        for source, channel in due.items():
            window, channel.window = channel.window, []
            told += window
            self._share(shown(source), channel, newest_of_each(window), parts_of)
        frames: dict[tuple[_Part, ...], tuple[bytes, int]] = {}
        delivered = 0
        for client, parts in parts_of.items():
            key = tuple(parts)
            if key not in frames:
                frames[key] = self._frame(key)
            delivered += self._deliver(client, *frames[key])
        self._metrics.deliveries.inc(delivered)
        now = self._clock()
        for one in told:
            self._metrics.commit_to_socket_seconds.observe((now - one.at).total_seconds())

    def _share(
        self,
        name: str,
        channel: _Channel,
        told: Sequence[Told],
        parts_of: dict[Client, list[_Part]],
    ) -> None:
        part = _part(name, told)
        for client in channel.clients:
            parts_of.setdefault(client, []).append(part)
        for client, after in list(channel.fresh.items()):
            unknown = [one for one in told if one.entry.offset > after]
            if unknown:
                own = part if len(unknown) == len(told) else _part(name, unknown)
                parts_of.setdefault(client, []).append(own)
            if after <= channel.seen:
                del channel.fresh[client]
                channel.clients.add(client)

    def _frame(self, parts: Sequence[_Part]) -> tuple[bytes, int]:
        message = events_frame([part.encoded for part in parts])
        return self._encode(message), sum(part.events for part in parts)

    def _deliver(self, client: Client, frame: bytes, events: int) -> int:
        """Write to a client that has room, else close it. Returns how many events it got."""
        buffered_bytes = client.buffered_bytes()
        if buffered_bytes and buffered_bytes + len(frame) > BUFFER_BYTES_MAX:
            self._metrics.drops.inc(events)
            client.end(CloseCode.SLOW, "reads too slowly")
            return 0
        client.write(frame)
        return events


def _part(name: str, told: Sequence[Told]) -> _Part:
    return _Part(fragment(name, (one.entry for one in told)), len(told))


def newest_of_each(told: Sequence[Told]) -> Sequence[Told]:
    """Without the updates of a listing that a newer event of it supersedes.

    Only `listing.updated` is superseded: that a listing was created, sold or paused is told always.
    """
    if len(told) == 1:
        return told
    kept: list[Told] = []
    listings_told: set[str] = set()
    for one in reversed(told):
        if one.type.startswith("listing."):
            listing_id = one.data["id"]
            if one.type == EventType.LISTING_UPDATED and listing_id in listings_told:
                continue
            listings_told.add(listing_id)
        kept.append(one)
    kept.reverse()
    return kept
