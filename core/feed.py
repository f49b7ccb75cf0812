"""The client side of the live feed's protocol: positions, and recovery after a reconnect.

Pure: it returns the frames to send after connecting, and interprets the frames received. A client
that keeps one `FeedPositions` over all its connections gets every event once and in order. At the
start, and where the hub can't recover missed events, it gets `Reload` and reloads over REST.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Subscription:
    """A channel to subscribe to; `listings:near` has a circle too."""

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
    """A request to reload a channel's state over REST; the events that follow continue from there.

    Returned when a channel has no position yet, or when the hub's history no longer contains it.
    Events that follow may be older than the state from REST: compare the `version` of listings.
    """

    channel: str


class FeedPositions:
    """The position of the last event on each channel, kept over all connections of a client."""

    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        self._subscriptions = {s.channel: s for s in subscriptions}
        self._positions: dict[str, str] = {}

    def requests(self) -> list[dict[str, Any]]:
        """Return the subscribe frames of a new connection, from the last positions on."""
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
        """Return the events and reloads of a received frame; other frames return nothing."""
        if frame["op"] == "subscribed":
            self._positions[frame["channel"]] = frame["position"]
            return [] if frame["recovered"] else [Reload(frame["channel"])]
        if frame["op"] == "events":
            return [self._event(event) for event in frame["events"]]
        return []

    def _event(self, event: dict[str, Any]) -> FeedEvent:
        self._positions[event["channel"]] = event["position"]
        return FeedEvent(event["channel"], event["type"], event["time"], event["data"])
