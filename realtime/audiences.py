"""Who listens to a source by one name, and which of its events each of them gets. Pure."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from core.events import EventType
from realtime.circles import Circles, SubscribedCircle
from realtime.closing import CloseCode
from realtime.positions import FeedEntry, Offset


class Client(Protocol):
    """A client as the hub sees it."""

    def buffered_bytes(self) -> int:
        """What was written, and did not leave yet."""

    def write(self, frame: bytes) -> None:
        """Send a frame that is encoded already. Never waits."""

    def end(self, code: CloseCode, reason: str) -> None:
        """Close it, without waiting for that."""


@dataclass(frozen=True, slots=True)
class ParsedEvent:
    """An entry, and what is in it."""

    entry: FeedEntry
    type: str
    at: datetime
    data: dict[str, Any]

    @classmethod
    def of(cls, entry: FeedEntry) -> "ParsedEvent":
        event = json.loads(entry.event)
        return cls(entry, event["type"], datetime.fromisoformat(event["time"]), event["data"])


def newest_of_each(told: Sequence[ParsedEvent]) -> Sequence[ParsedEvent]:
    """Without the updates of a listing that a newer event of it supersedes.

    Only `listing.updated` is superseded: that a listing was created, sold or paused is told always.
    """
    if len(told) == 1:
        return told
    kept: list[ParsedEvent] = []
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


Share = tuple[Collection[Client], Sequence[ParsedEvent]]


class Audience:
    """Clients of one channel name. A new one is `fresh`: it knows everything up to an offset."""

    def __init__(self) -> None:
        self._everywhere: set[Client] = set()
        self._in_circles: Circles[Client] = Circles()
        self._fresh: dict[Client, Offset] = {}

    def add(self, client: Client, circle: SubscribedCircle | None, after: Offset) -> None:
        """The client must not be in here."""
        self._fresh[client] = after
        if circle is None:
            self._everywhere.add(client)
        else:
            self._in_circles.add(client, circle)

    def discard(self, client: Client) -> None:
        self._fresh.pop(client, None)
        self._everywhere.discard(client)
        self._in_circles.discard(client)

    def __len__(self) -> int:
        return len(self._everywhere) + len(self._in_circles)

    def shares(self, told: Sequence[ParsedEvent]) -> Iterator[Share]:
        """Groups of clients that get the same, each with what it gets."""
        for clients, share in self._by_place(told):
            first = share[0].entry.offset
            knowing = [c for c, after in self._fresh.items() if after >= first and c in clients]
            yield (clients.difference(knowing) if knowing else clients), share
            for client in knowing:
                rest = [one for one in share if one.entry.offset > self._fresh[client]]
                if rest:
                    yield (client,), rest

    def settle(self, seen: Offset) -> None:
        """What came up to an offset was shared: who knew no more than that is fresh no longer."""
        self._fresh = {client: after for client, after in self._fresh.items() if after > seen}

    def _by_place(
        self, told: Sequence[ParsedEvent]
    ) -> Iterator[tuple[set[Client], Sequence[ParsedEvent]]]:
        if self._everywhere:
            yield self._everywhere, told
        if not len(self._in_circles):
            return
        heard: dict[Client, list[int]] = {}
        for n, one in enumerate(told):
            for client in self._in_circles.around(one.data["latitude"], one.data["longitude"]):
                heard.setdefault(client, []).append(n)
        alike: dict[tuple[int, ...], set[Client]] = {}
        for client, which in heard.items():
            alike.setdefault(tuple(which), set()).add(client)
        for shared, clients in alike.items():
            yield clients, [told[n] for n in shared]
