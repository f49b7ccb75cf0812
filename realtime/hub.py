"""Who listens to what, and what they get in one flush. Knows nothing of Redis or sockets.

A source that was quiet is flushed at once; what comes within `WINDOW_S` after that collects until
the window ends. A flush encodes each channel's events once and each combination of channels once,
however many clients get it. What a client has not read yet is bounded: over `BUFFER_BYTES_MAX`, or
one frame, it is closed and may resume.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from realtime.audiences import Audience, Client, ParsedEvent, newest_of_each
from realtime.channels import Channel
from realtime.closing import CloseCode
from realtime.frames import EncodedBatch, events_frames, pieces
from realtime.metrics import HubMetrics
from realtime.positions import ORIGIN, FeedEntry, FeedPosition, Offset

WINDOW_S = 0.02
BUFFER_BYTES_MAX = 1024 * 1024
WINDOW_BYTES_MAX = 256 * 1024  # of all sources together


@dataclass(slots=True)
class _Source:
    """`audiences`: by the name that clients call it. `seen`: the newest entry that came."""

    audiences: dict[str, Audience] = field(default_factory=dict)
    window: list[ParsedEvent] = field(default_factory=list)
    window_ends_at: float = 0.0
    seen: Offset = ORIGIN

    def listeners(self) -> int:
        return sum(map(len, self.audiences.values()))


class Hub:
    """`encode` makes of a message what a client's `write` takes; `monotonic` counts seconds."""

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
        """Take what is published on a source from now on."""
        self._sources.setdefault(source, _Source())

    def close(self, source: str) -> None:
        self._waiting_bytes -= _size(self._sources.pop(source).window)
        self._due.pop(source, None)

    def seen(self, source: str) -> Offset:
        """The newest entry of a source that was published here."""
        return self._sources[source].seen

    def has_audience(self, source: str) -> bool:
        """Whether any client listens to it."""
        return source in self._sources and bool(self._sources[source].audiences)

    def attach(self, client: Client, channel: Channel, after: Offset) -> None:
        """Let a client have what comes after an offset; it must know all until then."""
        audiences = self._sources[channel.source].audiences
        audiences.setdefault(channel.name, Audience()).add(client, channel.circle, after)

    def detach(self, client: Client, channel: Channel) -> None:
        audiences = self._sources[channel.source].audiences
        if channel.name in audiences:
            audiences[channel.name].discard(client)
            if not audiences[channel.name]:
                del audiences[channel.name]

    def publish(self, name: str, entries: Iterable[FeedEntry]) -> bool:
        """Put entries that are new here into a source's window. True: flush now, it is full."""
        source = self._sources.get(name)
        if source is None:
            return False
        for entry in entries:
            if entry.offset > source.seen:
                source.seen = entry.offset
                if source.audiences:
                    self._put(name, source, entry)
        return self._waiting_bytes >= WINDOW_BYTES_MAX

    def tell(self, name: str, event: dict[str, Any], heard_until: FeedPosition | None) -> None:
        """Put an event into a source's window that has no place in its history.

        `heard_until`: the hub has all entries up to there. The event gets the position of what came
        before it, so that who resumes from it misses nothing.
        """
        source = self._sources.get(name)
        if source is None or heard_until is None or not source.audiences:
            return
        position = FeedPosition(heard_until.epoch, max(heard_until.offset, source.seen))
        encoded = json.dumps(event, separators=(",", ":")).encode()
        self._put(name, source, FeedEntry(position, encoded))

    def _put(self, name: str, source: _Source, entry: FeedEntry) -> None:
        source.window.append(ParsedEvent.of(entry))
        self._waiting_bytes += len(entry.event)
        self._due[name] = source

    def flush(self) -> float | None:
        """Write what is due to every client, as one frame each.

        Returns in how many seconds the next window ends, None when nothing waits.
        """
        now = self._monotonic()
        self._flush([name for name, source in self._due.items() if source.window_ends_at <= now])
        ends_at = min((source.window_ends_at for source in self._due.values()), default=None)
        return None if ends_at is None else max(0.0, ends_at - self._monotonic())

    def flush_all(self) -> None:
        """Write all there is."""
        self._flush(list(self._due))

    def _flush(self, names: Sequence[str]) -> None:
        pieces_of: dict[Client, list[EncodedBatch]] = {}
        told: list[ParsedEvent] = []
        # The few who wait for their own news are not to wait for a crowd.
        flushed = sorted((self._due.pop(name) for name in names), key=_Source.listeners)
        for source in flushed:
            told += source.window
            _share(source, pieces_of)
        self._waiting_bytes -= _size(told)
        self._write(pieces_of)
        ends_at, now = self._monotonic() + WINDOW_S, self._now()
        for source in flushed:
            source.window_ends_at = ends_at
        for one in told:
            self._metrics.told_after((now - one.at).total_seconds())

    def _write(self, pieces_of: dict[Client, list[EncodedBatch]]) -> None:
        frames: dict[tuple[EncodedBatch, ...], list[tuple[bytes, int]]] = {}
        delivered = 0
        for client, own in pieces_of.items():
            key = tuple(own)
            if key not in frames:
                frames[key] = [(self._encode(frame), n) for frame, n in events_frames(key)]
            delivered += sum(self._deliver(client, frame, n) for frame, n in frames[key])
        self._metrics.deliveries.inc(delivered)

    def _deliver(self, client: Client, frame: bytes, events: int) -> int:
        """Write to a client that has room, else close it. Returns how many events it got."""
        buffered_bytes = client.buffered_bytes()
        if buffered_bytes and buffered_bytes + len(frame) > BUFFER_BYTES_MAX:
            self._metrics.drops.inc(events)
            client.end(CloseCode.SLOW, "reads too slowly")
            return 0
        client.write(frame)
        return events


def _size(told: Iterable[ParsedEvent]) -> int:
    return sum(len(one.entry.event) for one in told)


def _share(source: _Source, pieces_of: dict[Client, list[EncodedBatch]]) -> None:
    """Empty a source's window into pieces for its clients."""
    window, source.window = source.window, []
    told = newest_of_each(window)
    for name, audience in source.audiences.items():
        for clients, share in audience.shares(told):
            shared = pieces(name, (one.entry for one in share))
            for client in clients:
                pieces_of.setdefault(client, []).extend(shared)
        audience.settle(source.seen)
