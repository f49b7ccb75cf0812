"""The hub by itself: who gets what in one flush."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from realtime.hub import BUFFER_BYTES_MAX, WINDOW_BYTES_MAX, WINDOW_S, Hub
from realtime.metrics import HubMetrics
from realtime.positions import ORIGIN, FeedEntry, FeedPosition, Offset
from realtime.protocol import Channel, CloseCode

NOW = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)


class Reader:
    """A client that reads when told to."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.unread_bytes = 0
        self.ended: CloseCode | None = None

    def buffered_bytes(self) -> int:
        return self.unread_bytes

    def write(self, frame: bytes) -> None:
        self.frames.append(frame)

    def end(self, code: CloseCode, reason: str) -> None:
        self.ended = code

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for frame in self.frames for event in json.loads(frame)["events"]]

    @property
    def versions(self) -> list[int]:
        return [event["data"]["version"] for event in self.events]


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def hub(registry: CollectorRegistry, clock: Clock) -> Hub:
    hub = Hub(bytes, HubMetrics(registry), now=lambda: NOW, monotonic=clock)
    for source in ("listings", "listing:a", "user:asha"):
        hub.open(source)
    return hub


def entry(number: int, listing_id: str = "a", event_type: str = "listing.updated") -> FeedEntry:
    event = {
        "type": event_type,
        "time": "2026-03-01T06:29:59.990000Z",
        "data": {"id": listing_id, "version": number},
    }
    encoded = json.dumps(event, separators=(",", ":")).encode()
    return FeedEntry(FeedPosition("e", Offset(0, number)), encoded)


def channel(name: str) -> Channel:
    return Channel(name, "user:asha" if name == "user" else name)


def reader(hub: Hub, *names: str, after: Offset = ORIGIN) -> Reader:
    client = Reader()
    for name in names:
        hub.attach(client, channel(name), after)
    return client


def test_an_event_says_where_it_is_and_what_happened(hub: Hub) -> None:
    client = reader(hub, "listings")
    hub.publish("listings", [entry(1)])
    hub.flush_all()
    assert client.events == [
        {
            "channel": "listings", "position": "e-0-1", "type": "listing.updated",
            "time": "2026-03-01T06:29:59.990000Z", "data": {"id": "a", "version": 1},
        }
    ]  # fmt: skip


def test_everything_of_one_window_comes_in_one_frame(hub: Hub) -> None:
    client = reader(hub, "listings", "listing:a")
    hub.publish("listings", [entry(1, "a"), entry(2, "b")])
    hub.publish("listing:a", [entry(3, "a")])
    hub.flush_all()
    assert len(client.frames) == 1
    assert [(e["channel"], e["position"]) for e in client.events] == [
        ("listings", "e-0-1"), ("listings", "e-0-2"), ("listing:a", "e-0-3"),
    ]  # fmt: skip


def test_clients_of_the_same_channels_share_one_frame(hub: Hub) -> None:
    first, second = reader(hub, "listings"), reader(hub, "listings")
    hub.publish("listings", [entry(1)])
    hub.flush_all()
    assert first.frames[0] is second.frames[0]


def test_of_a_listings_updates_in_one_window_the_newest_is_told(hub: Hub) -> None:
    client = reader(hub, "listings")
    hub.publish("listings", [entry(n, "ab"[n % 2]) for n in range(1, 101)])
    hub.flush_all()
    assert client.versions == [99, 100]
    hub.publish("listings", [entry(101)])
    hub.flush_all()
    assert client.versions == [99, 100, 101]


def test_that_a_listing_was_created_or_sold_is_told_even_if_more_follows(hub: Hub) -> None:
    client = reader(hub, "listings")
    types = ["listing.created", "listing.updated", "listing.sold", "listing.updated"]
    hub.publish("listings", [entry(n, "a", t) for n, t in enumerate(types, start=1)])
    hub.flush_all()
    assert [event["type"] for event in client.events] == [types[0], types[2], types[3]]


def test_other_peoples_events_are_not_merged_away(hub: Hub) -> None:
    client = reader(hub, "user")
    hub.publish("user:asha", [entry(n, "a", "wallet.updated") for n in (1, 2)])
    hub.flush_all()
    assert client.versions == [1, 2]
    assert {event["channel"] for event in client.events} == {"user"}


def test_a_client_gets_only_what_comes_after_what_it_knows(hub: Hub) -> None:
    hub.publish("listings", [entry(1, "a")])
    knows_all = reader(hub, "listings")
    hub.publish("listings", [entry(2, "b"), entry(3, "c")])
    resumed = reader(hub, "listings", after=Offset(0, 2))
    ahead = reader(hub, "listings", after=Offset(0, 4))
    hub.flush_all()
    hub.publish("listings", [entry(4, "d"), entry(5, "e")])
    hub.flush_all()
    assert knows_all.versions == [2, 3, 4, 5]
    assert resumed.versions == [3, 4, 5]
    assert ahead.versions == [5]


def test_what_was_published_already_is_not_published_again(hub: Hub) -> None:
    client = reader(hub, "listings")
    hub.publish("listings", [entry(1, "a"), entry(2, "b")])
    hub.flush_all()
    hub.publish("listings", [entry(2, "b"), entry(3, "c")])
    hub.flush_all()
    assert client.versions == [1, 2, 3]


def test_who_left_gets_nothing_more(hub: Hub) -> None:
    client = reader(hub, "listings")
    hub.publish("listings", [entry(1)])
    hub.detach(client, channel("listings"))
    hub.flush_all()
    assert client.frames == []


def test_a_client_that_does_not_read_is_closed_and_hurts_nobody(
    hub: Hub, registry: CollectorRegistry
) -> None:
    slow, fast = reader(hub, "listings"), reader(hub, "listings")
    slow.unread_bytes = BUFFER_BYTES_MAX
    hub.publish("listings", [entry(1, "a"), entry(2, "b")])
    hub.flush_all()
    assert (slow.ended, slow.frames) == (CloseCode.SLOW, [])
    assert (fast.ended, fast.versions) == (None, [1, 2])
    assert registry.get_sample_value("solarhub_feed_drops_total") == 2
    assert registry.get_sample_value("solarhub_feed_deliveries_total") == 2


def test_a_full_window_asks_to_be_flushed(hub: Hub) -> None:
    reader(hub, "listings")
    half = "x" * (WINDOW_BYTES_MAX // 2)
    assert not hub.publish("listings", [entry(1, half)])
    assert hub.publish("listings", [entry(2, half)])
    hub.flush_all()
    assert not hub.publish("listings", [entry(3, half)])


def test_a_frame_stays_smaller_than_clients_take_by_default(hub: Hub) -> None:
    client = reader(hub, "listings")
    hub.publish("listings", [entry(n, "x" * 9_000 + str(n)) for n in range(1, 301)])
    hub.flush_all()
    assert client.versions == list(range(1, 301))
    assert len(client.frames) > 1
    assert max(len(frame) for frame in client.frames) < 1024 * 1024


def test_the_time_from_commit_to_socket_is_measured(hub: Hub, registry: CollectorRegistry) -> None:
    reader(hub, "listings")
    hub.publish("listings", [entry(1)])
    hub.flush_all()
    total_s = registry.get_sample_value("solarhub_feed_commit_to_socket_seconds_sum")
    assert total_s == pytest.approx(0.01)


def test_a_quiet_channel_is_flushed_at_once_and_a_busy_one_when_its_window_ends(
    hub: Hub, clock: Clock
) -> None:
    client = reader(hub, "listings", "user")
    hub.publish("listings", [entry(1)])
    assert hub.flush() is None
    assert client.versions == [1]
    hub.publish("listings", [entry(2)])
    hub.publish("listings", [entry(3)])
    hub.publish("user:asha", [entry(4, event_type="wallet.updated")])
    assert hub.flush() == pytest.approx(WINDOW_S)
    assert client.versions == [1, 4]
    clock.seconds += WINDOW_S
    assert hub.flush() is None
    assert client.versions == [1, 4, 3]


def test_a_channel_that_nobody_follows_any_more_is_not_flushed(hub: Hub) -> None:
    client = reader(hub, "listings")
    hub.publish("listings", [entry(1)])
    hub.detach(client, channel("listings"))
    hub.close("listings")
    hub.flush_all()
    assert client.frames == []
