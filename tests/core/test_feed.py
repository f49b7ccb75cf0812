"""A client that keeps its feed positions misses no event without a request to reload."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.feed import FeedEvent, FeedPositions, Reload, Subscription

REMEMBERED = 5


class Hub:
    """A model of the hub: it keeps the last few events of one channel."""

    def __init__(self) -> None:
        self.published = 0

    def subscribe(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        known = int(request.get("position", self.published))
        recovered = self.published - known <= REMEMBERED if "position" in request else None
        start = known if recovered else self.published
        missed = [self.event(n) for n in range(start + 1, self.published + 1)]
        subscribed = {"op": "subscribed", "channel": "listings", "position": str(start)}
        frames: list[dict[str, Any]] = [{**subscribed, "recovered": recovered}]
        return [*frames, {"op": "events", "events": missed}] if missed else frames

    def publish(self) -> dict[str, Any]:
        self.published += 1
        return {"op": "events", "events": [self.event(self.published)]}

    def event(self, number: int) -> dict[str, Any]:
        return {
            "channel": "listings", "position": str(number), "type": "listing.updated",
            "time": "2026-03-01T06:30:00.000000Z", "data": {"version": number},
        }  # fmt: skip


# Numbers of events that arrive on a connection, are lost with it, and occur before the next one.
CONNECTIONS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)))


@given(CONNECTIONS)
def test_every_event_arrives_once_and_in_order_or_requires_a_reload(
    connections: list[tuple[int, int, int]],
) -> None:
    hub, positions = Hub(), FeedPositions([Subscription("listings")])
    reached: int | None = None
    for received, lost, missed in [*connections, (1, 0, 0)]:
        (request,) = positions.requests()
        frames = hub.subscribe(request)
        frames += [hub.publish() for _ in range(received)]
        for item in (one for frame in frames for one in positions.take(frame)):
            match item:
                case Reload():
                    reached = hub.published - received
                case FeedEvent(data={"version": version}):
                    assert reached is not None
                    assert version == reached + 1
                    reached = version
        for _ in range(lost + missed):
            hub.publish()
    assert reached == hub.published


def test_a_new_client_subscribes_without_positions() -> None:
    positions = FeedPositions(
        [Subscription("user"), Subscription("listings:near", 12.97, 77.59, 5)]
    )
    assert positions.requests() == [
        {"op": "subscribe", "channel": "user"},
        {
            "op": "subscribe", "channel": "listings:near",
            "latitude": 12.97, "longitude": 77.59, "radius_km": 5,
        },
    ]  # fmt: skip


def test_frames_without_a_channel_are_ignored() -> None:
    positions = FeedPositions([Subscription("user")])
    assert positions.take({"op": "pong"}) == []
    assert positions.requests() == [{"op": "subscribe", "channel": "user"}]
