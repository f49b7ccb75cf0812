"""CPU time of a hub whose clients watch different circles, so that each gets its own frames."""

import random
import socket
from contextlib import ExitStack
from datetime import UTC, datetime
from time import monotonic, process_time
from uuid import uuid4

from msgspec.json import encode
from prometheus_client import CollectorRegistry

from bench.cpu import US_PER_S
from bench.fanout import listing
from core.events import LISTINGS, EventType
from core.ids import ListingId
from core.units import rfc3339
from realtime.hub import Hub
from realtime.metrics import HubMetrics
from realtime.positions import ORIGIN, FeedEntry, FeedPosition, Offset
from realtime.protocol import NEAR, Channel, CloseCode, SubscribedCircle
from realtime.sockets import text_frame

CLIENTS, RADIUS_KM, SPREAD = 5_000, 5, 3.0
EVENTS, WINDOW_EVENTS = 2_000, 100
_DATAGRAM_BYTES = 1400


class _Client:
    """A client whose frames are sent to the kernel, but to no process."""

    def __init__(self, sink: socket.socket) -> None:
        self._sink = sink
        self.frames = 0

    def buffered_bytes(self) -> int:
        return 0

    def write(self, frame: bytes) -> None:
        self.frames += 1
        self._sink.send(frame[:_DATAGRAM_BYTES])

    def end(self, code: CloseCode, reason: str) -> None:
        raise AssertionError(f"{code}: {reason}")


def costs() -> dict[str, float]:
    """Return microseconds per event that is in no circle, and per frame of one that is."""
    alone_us, _ = _publish(1)
    us, frames = _publish(CLIENTS)
    return {
        "hub_event_us": round(alone_us, 1),
        "hub_frame_us": round((us - alone_us) / frames, 1),
    }


def _publish(clients: int) -> tuple[float, float]:
    """Return the CPU time of an event in microseconds, and its number of frames."""
    rng = random.Random(1)
    metrics = HubMetrics(CollectorRegistry())
    hub = Hub(text_frame, metrics, now=lambda: datetime.now(UTC), monotonic=monotonic)
    hub.open(LISTINGS)
    with ExitStack() as stack:
        clients_ = [_Client(sink) for sink in [_sink(stack)] * clients]
        for watcher in clients_:
            circle = SubscribedCircle(*_random_place(rng), RADIUS_KM)
            hub.attach(watcher, Channel(NEAR, LISTINGS, circle=circle), ORIGIN)
        entries = [_event(number, *_random_place(rng)) for number in range(1, EVENTS + 1)]
        began_s = process_time()
        for first in range(0, EVENTS, WINDOW_EVENTS):
            hub.publish(LISTINGS, entries[first : first + WINDOW_EVENTS])
            hub.flush_all()
        used_us = (process_time() - began_s) * US_PER_S
    return used_us / EVENTS, sum(watcher.frames for watcher in clients_) / EVENTS


def _sink(stack: ExitStack) -> socket.socket:
    """Return a socket whose peer reads nothing: the kernel drops what it cannot buffer."""
    end, sink = (stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2))
    end.bind(("127.0.0.1", 0))
    sink.connect(end.getsockname())
    return sink


def _random_place(rng: random.Random) -> tuple[float, float]:
    return 12 + rng.uniform(0, SPREAD), 77 + rng.uniform(0, SPREAD)


def _event(number: int, latitude: float, longitude: float) -> FeedEntry:
    place = {"latitude": latitude, "longitude": longitude}
    event = {
        "type": EventType.LISTING_UPDATED,
        "time": rfc3339(datetime.now(UTC)),
        "data": listing(ListingId(uuid4())) | place,
    }
    return FeedEntry(FeedPosition("e", Offset(0, number)), encode(event))
