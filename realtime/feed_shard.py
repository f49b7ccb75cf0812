"""One shard of the feed in Redis: publishing with history, reading history, heartbeats.

Every channel has a history, a stream of its last events. One Lua script per batch writes the
history and publishes the message to realtime processes. Redis must not evict keys (`noeviction`).

A shard has an epoch, offsets, a claim and heartbeats of its own; nothing is compared across shards.
All its keys and channels are in one slot of a cluster.

Events are published once. A batch comes again if a relay died before it deleted the batch from the
outbox, if that delete failed, or if the answer of Redis came too late. So each batch stores the
outbox ids that it published beside the histories. A relay that is new, or that does not know the
result of its last publish, first makes a claim. The claim voids any publish that is still running
and makes Redis skip those ids. Ids are compared for equality only: their order is that of commits
within one listing, user or device, not within a channel.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import uuid4

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisClusterException, RedisError

from core.settings import RedisSettings
from db.outbox import Pending
from realtime.positions import FeedEntry, FeedPosition, Offset

_REMEMBER_IDS_S = 86_400
# Beginnings of errors that any event would meet: the server is at fault, not the event.
_FAULTS_OF_THE_SERVER = ("NOPERM", "OOM", "MISCONF", "READONLY", "NOREPLICAS", "CLUSTERDOWN")


# RedisClusterException is no RedisError.
REDIS_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)


class BusUnavailable(Exception):
    """Redis could not be reached, was too slow, or refused the call."""


@contextmanager
def as_unavailable() -> Iterator[None]:
    """Raise BusUnavailable for every error of Redis and for timeouts."""
    try:
        yield
    except REDIS_ERRORS as error:
        raise BusUnavailable(f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of a channel's history.

    `now`: position at the time of reading. `complete`: no event is missing between the begin of the
    page and its last entry. `more`: there are entries after the page.
    """

    now: FeedPosition
    entries: tuple[FeedEntry, ...]
    complete: bool
    more: bool


@dataclass(frozen=True, slots=True)
class Published:
    """Ids of a batch: published ones, refused ones with the error, and those waiting behind."""

    ids: frozenset[int]
    refused: Mapping[int, str]
    held: frozenset[int]

    @property
    def left(self) -> frozenset[int]:
        """Ids that are not published yet."""
        return self.held | self.refused.keys()

    @classmethod
    def of(cls, parts: Sequence["Published"]) -> "Published":
        """Combine the results of several shards: an id counts as published if all published it."""
        refused = {id_: error for part in parts for id_, error in part.refused.items()}
        held = frozenset().union(*(part.held for part in parts)) - refused.keys()
        ids = frozenset().union(*(part.ids for part in parts))
        return cls(ids - held - refused.keys(), refused, held)


Call = Callable[[str, list[str], list[Any]], Awaitable[Any]]
Dial = Callable[[str], AbstractConnection]


class FeedShard:
    """A shard, made by `open_bus`. Its methods raise BusUnavailable.

    `call` runs a script with keys and arguments. `dial` makes a connection, not yet connected, to
    the server that has a key.
    """

    def __init__(self, prefix: str, settings: RedisSettings, call: Call, dial: Dial) -> None:
        self.heartbeat_channel = f"{prefix}:beat"
        self._channels = f"{prefix}:channel:"
        self._histories = f"{prefix}:history:"
        self._clock = [f"{prefix}:epoch", f"{prefix}:last"]
        self._claims = [f"{prefix}:{name}" for name in ("claim", "under_way", "may_come_again")]
        self._size = settings.history_size
        self._ttl_ms = round(settings.history_ttl.total_seconds() * 1000)
        self._call = call
        self._dial = dial

    def subscription(self, channel: str) -> str:
        """Return the Redis channel of a channel of the feed."""
        return self._channels + channel

    def channel(self, subscription: str) -> str:
        """Return the channel of the feed of a Redis channel."""
        return subscription.removeprefix(self._channels)

    def connection(self) -> AbstractConnection:
        """Return a new connection to the shard's server, not yet connected."""
        with as_unavailable():
            return self._dial(self.heartbeat_channel)

    async def claim(self, name: str) -> None:
        """Become the only publisher, under this name."""
        args = [_new_epoch(), name, _REMEMBER_IDS_S]
        await self._call("claim", self._clock + self._claims, args)

    async def publish(self, claim: str, batch: Sequence[Pending]) -> Published | None:
        """Publish the events that were not published before, in order. None: the claim is void."""
        args: list[Any] = [_new_epoch(), claim, self._histories, self._channels]
        args += [self._size, self._ttl_ms]
        for event in batch:
            args += [event.id, event.event_json, len(event.channels), *event.channels]
        answer = await self._call("publish", self._clock + self._claims, args)
        return None if answer is None else _published(*answer)

    async def reset(self, channels: Collection[str]) -> None:
        """Delete histories that accept no events and begin an epoch: the shard's clients reload."""
        keys = [*self._clock, *(self._histories + channel for channel in channels)]
        await self._call("reset", keys, [_new_epoch()])

    async def beat(self) -> None:
        """Publish a heartbeat to every realtime process."""
        await self._call("beat", self._clock, [_new_epoch(), self.heartbeat_channel])

    async def now(self) -> FeedPosition:
        """Return the shard's current position."""
        return (await self.read("", None, count=0)).now

    async def read(self, channel: str, after: FeedPosition | None, *, count: int) -> HistoryPage:
        """Return entries after a position, oldest first. None: only the current position."""
        keys = [*self._clock, self._histories + channel]
        args = [_new_epoch(), str(after.offset) if after else "", count]
        epoch, now, exists, found = await self._call("read", keys, args)
        here = FeedPosition(epoch.decode(), Offset.parse(now))
        if after is None:
            return HistoryPage(here, (), complete=True, more=False)
        if after.epoch != here.epoch or after.offset > here.offset:
            return HistoryPage(here, (), complete=False, more=False)
        entries = tuple(_entry(here.epoch, raw) for raw in found)
        preceding = _preceding(found[0]) if found else None
        complete = (
            preceding <= after.offset
            if preceding is not None
            else (bool(exists) and not found) or self._remembers(after, entries, here)
        )
        return HistoryPage(here, entries, complete, more=len(entries) == count)

    def _remembers(
        self, after: FeedPosition, entries: Sequence[FeedEntry], now: FeedPosition
    ) -> bool:
        """Return whether a history without an earlier entry would still hold one after a position.

        A history lives for its TTL after its newest event. An event after the position would still
        have been there when the next one came, or would be there now.
        """
        until = entries[0].offset if entries else now.offset
        return until.time_ms - after.offset.time_ms < self._ttl_ms


@cache
def script(name: str) -> str:
    """Return the Lua script of a name, with the functions that all scripts share."""
    lua = files("realtime") / "lua"
    return (lua / "common.lua").read_text() + (lua / f"{name}.lua").read_text()


def _published(ids: list[bytes], refused: list[bytes], held: list[bytes]) -> Published:
    """Return the result of a publish. Raises BusUnavailable if the server is at fault."""
    errors = {
        int(id_): error.decode() for id_, error in zip(refused[::2], refused[1::2], strict=True)
    }
    for error in errors.values():
        if error.startswith(_FAULTS_OF_THE_SERVER):
            raise BusUnavailable(error)
    return Published(frozenset(map(int, ids)), errors, frozenset(map(int, held)))


def _new_epoch() -> str:
    return uuid4().hex[:8]


def _entry(epoch: str, raw: Any) -> FeedEntry:
    offset, (_, _, _, event) = raw
    return FeedEntry(FeedPosition(epoch, Offset.parse(offset)), event)


def _preceding(raw: Any) -> Offset | None:
    """Return the offset of the entry before this one; None: it is the first."""
    _, (_, preceding, _, _) = raw
    return Offset.parse(preceding) if preceding else None


def decode_entries(message: bytes) -> list[FeedEntry]:
    """Return the entries of one message on a channel."""
    epoch, *lines = message.split(b"\n")
    name = epoch.decode()
    entries = []
    for line in lines:
        offset, _, event = line.partition(b" ")
        entries.append(FeedEntry(FeedPosition(name, Offset.parse(offset)), event))
    return entries


def decode_heartbeat(message: bytes) -> FeedPosition:
    """Return the position in a heartbeat: all earlier messages were delivered before it."""
    epoch, _, offset = message.partition(b" ")
    return FeedPosition(epoch.decode(), Offset.parse(offset))
