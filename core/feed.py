"""What a client of the feed must remember: positions, order, once.

Pure: it says what to send after connecting, and digests what comes. A client that keeps one
`Memory` over all its connections is given every event once and in order; where the hub can't
promise that, and at the beginning, it is given `Reload` first, and reloads over REST.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Subscription:
    """A channel; `listings:near` has a circle, too."""

    channel: str
    latitude: float | None = None
    longitude: float | None = None
    radius_km: float | None = None


@dataclass(frozen=True, slots=True)
class FeedEvent:
    channel: str
    type: str
    time: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reload:
    """Ask REST how things are on this channel now; the events that follow it go on from there.

    Nothing is known of it yet, or more happened than the hub remembers. What follows may be older
    than what REST says: listings carry a `version`.
    """

    channel: str


class Memory:
    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        self._subscriptions = {s.channel: s for s in subscriptions}
        self._positions: dict[str, str] = {}

    def requests(self) -> list[dict[str, Any]]:
        """The subscribe frames of a new connection: from where the last one ended."""
        return [self._request(subscription) for subscription in self._subscriptions.values()]

    def _request(self, subscription: Subscription) -> dict[str, Any]:
        wanted = {
            "op": "subscribe",
            "channel": subscription.channel,
            "latitude": subscription.latitude,
            "longitude": subscription.longitude,
            "radius_km": subscription.radius_km,
            "position": self._positions.get(subscription.channel),
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def take(self, frame: dict[str, Any]) -> list[FeedEvent | Reload]:
        """What a frame of the hub means; frames that say nothing of the channels mean nothing."""
        if frame["op"] == "subscribed":
            self._positions[frame["channel"]] = frame["position"]
            return [] if frame["recovered"] else [Reload(frame["channel"])]
        if frame["op"] == "events":
            return [self._event(event) for event in frame["events"]]
        return []

    def _event(self, event: dict[str, Any]) -> FeedEvent:
        self._positions[event["channel"]] = event["position"]
        return FeedEvent(event["channel"], event["type"], event["time"], event["data"])
