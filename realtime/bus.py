"""Redis, as the feed uses it: publish with history, read history, heartbeats.

Every feed channel has a history, a stream of its last events, written in the same step (one Lua
script per batch) as the message that hubs hear. Redis must not evict keys (`noeviction`).

Published once. Three things make a batch come again: a relay that died before it deleted from the
outbox what it had published, one whose delete failed, and an answer of Redis that came too late.
So each batch leaves the outbox ids that it published beside the histories. A relay that can't
know how its last publish ended (or that is new) first makes a claim: that voids whatever is still
under way, and has those ids skipped when they come again. Ids are compared, never ordered: they
are in the order of commits within one listing, user or device, not in a whole channel.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from uuid import uuid4

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.settings import RedisSettings
from db.outbox import Pending
from realtime.positions import Entry, Offset, Position

TIMEOUT_S = 2.0
CHANNEL_PREFIX = "solarhub:feed:channel:"
BEAT_CHANNEL = "solarhub:feed:beat"
_HISTORY_PREFIX = "solarhub:feed:history:"
_EPOCH = "solarhub:feed:epoch"
_LAST = "solarhub:feed:last"
_CLAIM = "solarhub:feed:claim"
_UNDER_WAY = "solarhub:feed:under_way"
_MAY_COME_AGAIN = "solarhub:feed:may_come_again"
# In braces: all of a Redis Cluster's keys with the same word there are on one of its nodes.
_REPORTERS = "solarhub:feed:{reports}"
_REPORT_PREFIX = "solarhub:feed:{reports}:"
_REPORT_TTL_MS = 3000
_REMEMBER_IDS_S = 86_400
_CONNECTIONS_MAX = 8


class BusAway(Exception):
    """Redis did not do it: it can't be reached, is too slow, or refused."""


@contextmanager
def away() -> Iterator[None]:
    """Whatever keeps Redis from answering is one thing to those who wait for it."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise BusAway(f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a channel's history.

    `now` is the position of the moment it was read at. `complete`: nothing is missing between
    where reading began and the last of the entries. `more`: there are entries after them.
    """

    now: Position
    entries: tuple[Entry, ...]
    complete: bool
    more: bool


class Bus:
    """Made by `open_bus`. Its methods raise BusAway."""

    def __init__(self, redis: "Redis", settings: RedisSettings) -> None:
        self._redis = redis
        self._size = settings.history_size
        self._ttl_ms = round(settings.history_ttl.total_seconds() * 1000)
        self._publish = redis.register_script(_script("publish"))
        self._claim = redis.register_script(_script("claim"))
        self._beat = redis.register_script(_script("beat"))
        self._read = redis.register_script(_script("read"))

    async def claim(self) -> str:
        """Become the one that publishes, and learn by what name."""
        name = uuid4().hex
        keys = [_EPOCH, _LAST, _CLAIM, _UNDER_WAY, _MAY_COME_AGAIN]
        await self._call(self._claim, keys, [_new_epoch(), name, _REMEMBER_IDS_S])
        return name

    async def publish(self, claim: str, batch: Sequence[Pending]) -> int | None:
        """Publish, in order, what was not published before. None: the claim is void."""
        args: list[Any] = [_new_epoch(), claim, _HISTORY_PREFIX, CHANNEL_PREFIX]
        args += [self._size, self._ttl_ms]
        for event in batch:
            args += [event.id, event.event_json, len(event.channels), *event.channels]
        keys = [_EPOCH, _LAST, _CLAIM, _UNDER_WAY, _MAY_COME_AGAIN]
        published: int | None = await self._call(self._publish, keys, args)
        return published

    async def beat(self) -> None:
        """Tell every hub that it can hear."""
        await self._call(self._beat, [_EPOCH, _LAST], [_new_epoch(), BEAT_CHANNEL])

    async def report(self, name: str, figures: str) -> None:
        """Let relays know for a few seconds how the hub of this name is."""
        with away():
            async with asyncio.timeout(TIMEOUT_S):
                await self._redis.set(_REPORT_PREFIX + name, figures, px=_REPORT_TTL_MS)
                await self._redis.sadd(_REPORTERS, name)

    async def reports(self) -> list[bytes]:
        """What hubs reported in the last seconds; those that fell silent are forgotten."""
        with away():
            names: list[Any] = sorted(await self._redis.smembers(_REPORTERS))
            if not names:
                return []
            keys = [_REPORT_PREFIX + name.decode() for name in names]
            found: list[Any] = await self._redis.mget(keys)
            silent = [name for name, one in zip(names, found, strict=True) if one is None]
            if silent:
                await self._redis.srem(_REPORTERS, *silent)
            return [one for one in found if one is not None]

    async def read(self, channel: str, after: Position | None, *, count: int) -> Page:
        """What came after a position, oldest first; after None: only where the feed stands."""
        keys = [_EPOCH, _LAST, _HISTORY_PREFIX + channel]
        args = [_new_epoch(), str(after.offset) if after else "", count]
        epoch, now, exists, found = await self._call(self._read, keys, args)
        here = Position(epoch.decode(), Offset.parse(now))
        if after is None:
            return Page(here, (), complete=True, more=False)
        if after.epoch != here.epoch or after.offset > here.offset:
            return Page(here, (), complete=False, more=False)
        entries = tuple(_entry(here.epoch, raw) for raw in found)
        preceding = _preceding(found[0]) if found else None
        complete = (
            preceding <= after.offset
            if preceding is not None
            else (bool(exists) and not found) or self._remembers(after, entries, here)
        )
        return Page(here, entries, complete, more=len(entries) == count)

    def _remembers(self, after: Position, entries: Sequence[Entry], now: Position) -> bool:
        """Whether a history that lacks a beginning would still hold what came after a position.

        A history lives for its TTL after its newest event. If there had been one after the
        position, then it would have been there when the next came, or would be now.
        """
        until = entries[0].offset if entries else now.offset
        return until.time_ms - after.offset.time_ms < self._ttl_ms

    async def _call(self, script: Any, keys: list[str], args: list[Any]) -> Any:
        with away():
            async with asyncio.timeout(TIMEOUT_S):
                return await script(keys=keys, args=args)


def _script(name: str) -> str:
    lua = files("realtime") / "lua"
    return (lua / "common.lua").read_text() + (lua / f"{name}.lua").read_text()


def _new_epoch() -> str:
    return uuid4().hex[:8]


def _entry(epoch: str, raw: Any) -> Entry:
    offset, (_, _, _, event) = raw
    return Entry(Position(epoch, Offset.parse(offset)), event)


def _preceding(raw: Any) -> Offset | None:
    """What came before an entry in its history; None when it is the first of all."""
    _, (_, preceding, _, _) = raw
    return Offset.parse(preceding) if preceding else None


def heard(message: bytes) -> list[Entry]:
    """The entries that one message on a channel holds."""
    epoch, *lines = message.split(b"\n")
    name = epoch.decode()
    entries = []
    for line in lines:
        offset, _, event = line.partition(b" ")
        entries.append(Entry(Position(name, Offset.parse(offset)), event))
    return entries


def heard_beat(message: bytes) -> Position:
    epoch, _, offset = message.partition(b" ")
    return Position(epoch.decode(), Offset.parse(offset))


@asynccontextmanager
async def open_bus(settings: RedisSettings) -> AsyncIterator[Bus]:
    """A bus that connects when first used, so that a process may start before its Redis."""
    pool = BlockingConnectionPool.from_url(
        settings.redis_url, max_connections=_CONNECTIONS_MAX, timeout=TIMEOUT_S,
        # Timeouts are ours (`_call`): redis-py's own are made with asyncio.wait_for, which before
        # Python 3.12 may swallow a cancellation. Whether to try again is for the caller to say.
        socket_timeout=None, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0),
    )  # fmt: skip
    redis = Redis.from_pool(pool)
    try:
        yield Bus(redis, settings)
    finally:
        await redis.aclose()
