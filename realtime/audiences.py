"""The clients of a channel, and the events that each of them gets. Pure, without I/O."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from core.events import EventType
from core.geo import COVER_RESOLUTIONS, cell
from realtime.positions import FeedEntry, Offset
from realtime.protocol import CloseCode, SubscribedCircle

T = TypeVar("T")


class Client(Protocol):
    """A client as the hub sees it."""

    def buffered_bytes(self) -> int:
        """Return how much was written and has not left the process."""

    def write(self, frame: bytes) -> None:
        """Send a frame that is already encoded. Never waits."""

    def end(self, code: CloseCode, reason: str) -> None:
        """Begin to close the connection, without waiting for it."""


@dataclass(frozen=True, slots=True)
class ParsedEvent:
    """An entry of the feed and its decoded content."""

    entry: FeedEntry
    type: str
    at: datetime
    data: dict[str, Any]

    @classmethod
    def of(cls, entry: FeedEntry) -> "ParsedEvent":
        event = json.loads(entry.event)
        return cls(entry, event["type"], datetime.fromisoformat(event["time"]), event["data"])


def without_superseded(events: Sequence[ParsedEvent]) -> Sequence[ParsedEvent]:
    """Return the events without listing updates that a newer event of the listing supersedes.

    Only `listing.updated` is superseded. Creation, sale and pause of a listing always remain.
    """
    if len(events) == 1:
        return events
    remaining: list[ParsedEvent] = []
    listing_ids: set[str] = set()
    for event in reversed(events):
        if event.type.startswith("listing."):
            listing_id = event.data["id"]
            if event.type == EventType.LISTING_UPDATED and listing_id in listing_ids:
                continue
            listing_ids.add(listing_id)
        remaining.append(event)
    remaining.reverse()
    return remaining


class Circles(Generic[T]):
    """Subscribers by circle. A lookup checks those of the place's cells, not all of them."""

    def __init__(self) -> None:
        self._circles: dict[T, SubscribedCircle] = {}
        self._in_cell: defaultdict[str, set[T]] = defaultdict(set)

    def add(self, subscriber: T, circle: SubscribedCircle) -> None:
        """Add a subscriber, which must not be present."""
        self._circles[subscriber] = circle
        for name in circle.cells():
            self._in_cell[name].add(subscriber)

    def discard(self, subscriber: T) -> None:
        """Remove a subscriber, if present."""
        circle = self._circles.pop(subscriber, None)
        for name in circle.cells() if circle else ():
            self._in_cell[name].discard(subscriber)
            if not self._in_cell[name]:
                del self._in_cell[name]

    def around(self, latitude: float, longitude: float) -> Iterator[T]:
        """Yield each subscriber whose circle contains the place, once."""
        for resolution in COVER_RESOLUTIONS:
            for subscriber in self._in_cell.get(cell(latitude, longitude, resolution), ()):
                if self._circles[subscriber].holds(latitude, longitude):
                    yield subscriber

    def __len__(self) -> int:
        return len(self._circles)


Share = tuple[Collection[Client], Sequence[ParsedEvent]]


class Audience:
    """The clients of one channel name."""

    def __init__(self) -> None:
        self._everywhere: set[Client] = set()
        self._in_circles: Circles[Client] = Circles()
        # New clients, with the offset up to which each has read the history. Until the hub has
        # passed that offset, events at or before it must not be sent to the client again.
        self._fresh: dict[Client, Offset] = {}

    def add(self, client: Client, circle: SubscribedCircle | None, after: Offset) -> None:
        """Add a client, which must not be present, for events after an offset."""
        self._fresh[client] = after
        if circle is None:
            self._everywhere.add(client)
        else:
            self._in_circles.add(client, circle)

    def discard(self, client: Client) -> None:
        """Remove a client, if present."""
        self._fresh.pop(client, None)
        self._everywhere.discard(client)
        self._in_circles.discard(client)

    def __len__(self) -> int:
        return len(self._everywhere) + len(self._in_circles)

    def shares(self, events: Sequence[ParsedEvent]) -> Iterator[Share]:
        """Yield groups of clients that get the same events, each with its events."""
        for clients, share in self._by_place(events):
            first = share[0].entry.offset
            ahead = [c for c, after in self._fresh.items() if after >= first and c in clients]
            yield (clients.difference(ahead) if ahead else clients), share
            for client in ahead:
                rest = [event for event in share if event.entry.offset > self._fresh[client]]
                if rest:
                    yield (client,), rest

    def settle(self, seen: Offset) -> None:
        """Note that all events up to an offset were shared: clients up to there are not new."""
        self._fresh = {client: after for client, after in self._fresh.items() if after > seen}

    def _by_place(
        self, events: Sequence[ParsedEvent]
    ) -> Iterator[tuple[set[Client], Sequence[ParsedEvent]]]:
        if self._everywhere:
            yield self._everywhere, events
        if not len(self._in_circles):
            return
        indexes: dict[Client, list[int]] = {}
        for n, event in enumerate(events):
            for client in self._in_circles.around(event.data["latitude"], event.data["longitude"]):
                indexes.setdefault(client, []).append(n)
        groups: dict[tuple[int, ...], set[Client]] = {}
        for client, which in indexes.items():
            groups.setdefault(tuple(which), set()).add(client)
        for shared, clients in groups.items():
            yield clients, [events[n] for n in shared]
