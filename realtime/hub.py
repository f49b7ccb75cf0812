"""The hub: the clients of every source, and the frames that a flush writes to them. Pure.

The first event of a quiet source is flushed at once. Events within `WINDOW_S` after a flush are
collected until the window ends. A flush encodes the events of each channel once and each
combination of channels once, for any number of clients. Unread data of a client is limited: a
client over `BUFFER_BYTES_MAX` (or one frame) is closed with 4408 and may resume.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from realtime.audiences import Audience, Client, ParsedEvent, without_superseded
from realtime.metrics import HubMetrics
from realtime.positions import ORIGIN, FeedEntry, FeedPosition, Offset
from realtime.protocol import Channel, CloseCode, EncodedBatch, encoded_batches, events_frames

# Longest delay of an event by collecting.
WINDOW_S = 0.02
# Limit of what was written to a client and not sent yet.
BUFFER_BYTES_MAX = 1024 * 1024
# Limit of collected events of all sources together; then they are flushed at once.
WINDOW_BYTES_MAX = 256 * 1024


@dataclass(slots=True)
class _Source:
    """A followed source. `audiences`: by channel name. `seen`: offset of the newest entry."""

    audiences: dict[str, Audience] = field(default_factory=dict)
    window: list[ParsedEvent] = field(default_factory=list)
    window_ends_at: float = 0.0
    seen: Offset = ORIGIN

    def listeners(self) -> int:
        return sum(map(len, self.audiences.values()))


class Hub:
    """Distributes events to clients.

    `encode` turns a message into the frame for `Client.write`. `monotonic` counts seconds.
    """

    def __init__(
        self,
        encode: Callable[[bytes], bytes],
        metrics: HubMetrics,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._encode = encode
        self._metrics = metrics
        self._now = now
        self._monotonic = monotonic
        self._sources: dict[str, _Source] = {}
        self._due: dict[str, _Source] = {}
        self._waiting_bytes = 0

    def open(self, source: str) -> None:
        """Accept events of a source from now on."""
        self._sources.setdefault(source, _Source())

    def close(self, source: str) -> None:
        """Forget a source, which has no clients any more."""
        self._waiting_bytes -= _size(self._sources.pop(source).window)
        self._due.pop(source, None)

    def seen(self, source: str) -> Offset:
        """Return the offset of a source's newest entry."""
        return self._sources[source].seen

    def has_audience(self, source: str) -> bool:
        """Return whether any client listens to a source."""
        return source in self._sources and bool(self._sources[source].audiences)

    def attach(self, client: Client, channel: Channel, after: Offset) -> None:
        """Send a client the events after an offset; it must have all events up to there."""
        audiences = self._sources[channel.source].audiences
        audiences.setdefault(channel.name, Audience()).add(client, channel.circle, after)

    def detach(self, client: Client, channel: Channel) -> None:
        """Send a client no more events of a channel."""
        audiences = self._sources[channel.source].audiences
        if channel.name in audiences:
            audiences[channel.name].discard(client)
            if not audiences[channel.name]:
                del audiences[channel.name]

    def publish(self, name: str, entries: Iterable[FeedEntry]) -> bool:
        """Collect entries that are new. Return True if the window is full: flush it now."""
        source = self._sources.get(name)
        if source is None:
            return False
        for entry in entries:
            if entry.offset > source.seen:
                source.seen = entry.offset
                if source.audiences:
                    self._put(name, source, entry)
        return self._waiting_bytes >= WINDOW_BYTES_MAX

    def publish_unstored(
        self, name: str, event: dict[str, Any], received_until: FeedPosition | None
    ) -> None:
        """Collect an event that is not in the source's history.

        `received_until`: the hub has all entries up to there. The event gets the position of the
        entry before it, so that a client that resumes from it misses nothing.
        """
        source = self._sources.get(name)
        if source is None or received_until is None or not source.audiences:
            return
        position = FeedPosition(received_until.epoch, max(received_until.offset, source.seen))
        encoded = json.dumps(event, separators=(",", ":")).encode()
        self._put(name, source, FeedEntry(position, encoded))

    def _put(self, name: str, source: _Source, entry: FeedEntry) -> None:
        source.window.append(ParsedEvent.of(entry))
        self._waiting_bytes += len(entry.event)
        self._due[name] = source

    def flush(self) -> float | None:
        """Write the due events to every client, as one frame each if they fit.

        Returns the seconds until the next window ends; None: no window is open.
        """
        now = self._monotonic()
        self._flush([name for name, source in self._due.items() if source.window_ends_at <= now])
        ends_at = min((source.window_ends_at for source in self._due.values()), default=None)
        return None if ends_at is None else max(0.0, ends_at - self._monotonic())

    def flush_all(self) -> None:
        """Write all collected events."""
        self._flush(list(self._due))

    def _flush(self, names: Sequence[str]) -> None:
        batches_of: dict[Client, list[EncodedBatch]] = {}
        events: list[ParsedEvent] = []
        # Sources with few clients first, so that they do not wait for the large ones.
        flushed = sorted((self._due.pop(name) for name in names), key=_Source.listeners)
        for source in flushed:
            events += source.window
            _share(source, batches_of)
        self._waiting_bytes -= _size(events)
        self._write(batches_of)
        ends_at, now = self._monotonic() + WINDOW_S, self._now()
        for source in flushed:
            source.window_ends_at = ends_at
        for one in events:
            self._metrics.observe_delivery((now - one.at).total_seconds())

    def _write(self, batches_of: dict[Client, list[EncodedBatch]]) -> None:
        frames: dict[tuple[EncodedBatch, ...], list[tuple[bytes, int]]] = {}
        delivered = 0
        for client, own in batches_of.items():
            key = tuple(own)
            if key not in frames:
                frames[key] = [(self._encode(frame), n) for frame, n in events_frames(key)]
            delivered += sum(self._deliver(client, frame, n) for frame, n in frames[key])
        self._metrics.deliveries.inc(delivered)

    def _deliver(self, client: Client, frame: bytes, events: int) -> int:
        """Write to a client, or close it with 4408 if it reads too slowly.

        Returns the number of events written.
        """
        buffered_bytes = client.buffered_bytes()
        if buffered_bytes and buffered_bytes + len(frame) > BUFFER_BYTES_MAX:
            self._metrics.drops.inc(events)
            client.end(CloseCode.SLOW, "reads too slowly")
            return 0
        client.write(frame)
        return events


def _size(events: Iterable[ParsedEvent]) -> int:
    return sum(len(one.entry.event) for one in events)


def _share(source: _Source, batches_of: dict[Client, list[EncodedBatch]]) -> None:
    """Move a source's window into encoded batches for its clients."""
    window, source.window = source.window, []
    events = without_superseded(window)
    for name, audience in source.audiences.items():
        for clients, share in audience.shares(events):
            shared = encoded_batches(name, (one.entry for one in share))
            for client in clients:
                batches_of.setdefault(client, []).extend(shared)
        audience.settle(source.seen)
