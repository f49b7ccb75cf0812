"""One lane of the feed on Redis: publish with history, read history, heartbeats.

Every feed channel has a history, a stream of its last events, written in the same step (one Lua
script per batch) as the message that hubs hear. Redis must not evict keys (`noeviction`).

A lane is a feed by itself, with an epoch, offsets, a claim and heartbeats of its own; nothing is
compared across lanes. All its keys and channels stand in one slot of a cluster.

Published once. Three things make a batch come again: a relay that died before it deleted from the
outbox what it had published, one whose delete failed, and an answer of Redis that came too late.
So each batch leaves the outbox ids that it published beside the histories. A relay that can't
know how its last publish ended (or that is new) first makes a claim: that voids whatever is still
under way, and has those ids skipped when they come again. Ids are compared, never ordered: they
are in the order of commits within one listing, user or device, not in a whole channel.
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
# How errors begin that any event would meet.
_FAULTS_OF_THE_SERVER = ("NOPERM", "OOM", "MISCONF", "READONLY", "NOREPLICAS", "CLUSTERDOWN")


class BusAway(Exception):
    """Redis did not do it: it can't be reached, is too slow, or refused."""


@contextmanager
def away() -> Iterator[None]:
    """Whatever keeps Redis from answering is one thing to those who wait for it."""
    try:
        yield
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        raise BusAway(f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A part of a channel's history.

    `now` is the position of the moment it was read at. `complete`: nothing is missing between
    where reading began and the last of the entries. `more`: there are entries after them.
    """

    now: FeedPosition
    entries: tuple[FeedEntry, ...]
    complete: bool
    more: bool


@dataclass(frozen=True, slots=True)
class Published:
    """Ids of a batch: what was published now; what Redis refused, and why; what waits behind it."""

    ids: frozenset[int]
    refused: Mapping[int, str]
    held: frozenset[int]

    @property
    def left(self) -> frozenset[int]:
        """What is still to be published."""
        return self.held | self.refused.keys()

    @classmethod
    def of(cls, parts: Sequence["Published"]) -> "Published":
        """Of all lanes: what is refused or held in one of them is still to be published."""
        refused = {id_: error for part in parts for id_, error in part.refused.items()}
        held = frozenset().union(*(part.held for part in parts)) - refused.keys()
        ids = frozenset().union(*(part.ids for part in parts))
        return cls(ids - held - refused.keys(), refused, held)


Call = Callable[[str, list[str], list[Any]], Awaitable[Any]]
Dial = Callable[[str], AbstractConnection]


class FeedShard:
    """Made by `open_bus`. Its methods raise BusAway.

    `call` runs a script on keys with arguments; `dial` makes a connection, not connected yet, to
    the server that has a key.
    """

    def __init__(self, prefix: str, settings: RedisSettings, call: Call, dial: Dial) -> None:
        self.beat_channel = f"{prefix}:beat"
        self._channels = f"{prefix}:channel:"
        self._histories = f"{prefix}:history:"
        self._clock = [f"{prefix}:epoch", f"{prefix}:last"]
        self._claims = [f"{prefix}:{name}" for name in ("claim", "under_way", "may_come_again")]
        self._size = settings.history_size
        self._ttl_ms = round(settings.history_ttl.total_seconds() * 1000)
        self._call = call
        self._dial = dial

    def subscription(self, channel: str) -> str:
        """What hubs subscribe to on Redis, to hear a channel of the feed."""
        return self._channels + channel

    def channel(self, subscription: str) -> str:
        """The channel of the feed that a message on Redis is of."""
        return subscription.removeprefix(self._channels)

    def connection(self) -> AbstractConnection:
        """One more connection to where the lane is, not connected yet."""
        with away():
            return self._dial(self.beat_channel)

    async def claim(self, name: str) -> None:
        """Become the one that publishes, by that name."""
        args = [_new_epoch(), name, _REMEMBER_IDS_S]
        await self._call("claim", self._clock + self._claims, args)

    async def publish(self, claim: str, batch: Sequence[Pending]) -> Published | None:
        """Publish, in order, what was not published before. None: the claim is void."""
        args: list[Any] = [_new_epoch(), claim, self._histories, self._channels]
        args += [self._size, self._ttl_ms]
        for event in batch:
            args += [event.id, event.event_json, len(event.channels), *event.channels]
        answer = await self._call("publish", self._clock + self._claims, args)
        return None if answer is None else _published(*answer)

    async def reset(self, channels: Collection[str]) -> None:
        """Drop the histories of channels that take no events; the whole lane is to reload."""
        keys = [*self._clock, *(self._histories + channel for channel in channels)]
        await self._call("reset", keys, [_new_epoch()])

    async def beat(self) -> None:
        """Tell every hub that it can hear."""
        await self._call("beat", self._clock, [_new_epoch(), self.beat_channel])

    async def now(self) -> FeedPosition:
        """Where the lane stands."""
        return (await self.read("", None, count=0)).now

    async def read(self, channel: str, after: FeedPosition | None, *, count: int) -> HistoryPage:
        """What came after a position, oldest first; after None: only where the lane stands."""
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
        """Whether a history that lacks a beginning would still hold what came after a position.

        A history lives for its TTL after its newest event. If there had been one after the
        position, then it would have been there when the next came, or would be now.
        """
        until = entries[0].offset if entries else now.offset
        return until.time_ms - after.offset.time_ms < self._ttl_ms


@cache
def script(name: str) -> str:
    lua = files("realtime") / "lua"
    return (lua / "common.lua").read_text() + (lua / f"{name}.lua").read_text()


def _published(ids: list[bytes], refused: list[bytes], held: list[bytes]) -> Published:
    """Raises BusAway where it is not for the events that they were refused."""
    errors = {
        int(id_): error.decode() for id_, error in zip(refused[::2], refused[1::2], strict=True)
    }
    for error in errors.values():
        if error.startswith(_FAULTS_OF_THE_SERVER):
            raise BusAway(error)
    return Published(frozenset(map(int, ids)), errors, frozenset(map(int, held)))


def _new_epoch() -> str:
    return uuid4().hex[:8]


def _entry(epoch: str, raw: Any) -> FeedEntry:
    offset, (_, _, _, event) = raw
    return FeedEntry(FeedPosition(epoch, Offset.parse(offset)), event)


def _preceding(raw: Any) -> Offset | None:
    """What came before an entry in its history; None when it is the first of all."""
    _, (_, preceding, _, _) = raw
    return Offset.parse(preceding) if preceding else None


def heard(message: bytes) -> list[FeedEntry]:
    """The entries that one message on a channel holds."""
    epoch, *lines = message.split(b"\n")
    name = epoch.decode()
    entries = []
    for line in lines:
        offset, _, event = line.partition(b" ")
        entries.append(FeedEntry(FeedPosition(name, Offset.parse(offset)), event))
    return entries


def heard_beat(message: bytes) -> FeedPosition:
    epoch, _, offset = message.partition(b" ")
    return FeedPosition(epoch.decode(), Offset.parse(offset))
