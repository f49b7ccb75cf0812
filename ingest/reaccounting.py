"""Account a device again whose past changed, page by page, until nothing is different any more.

There are two callers. A batch that brings late readings does it at once, as long as that takes no
more than a few thousand readings (`at_once`). Else it stores them, and notes their times
(`db.unaccounted`): until they are accounted, intervals are those of the readings without them, and
the device goes on as if they had not come. The other caller is `ingest.late_readings`, which does
it beside the batches: nothing is locked while it loads and folds. What that changes is written in
one transaction, under the lock of the device's state, together with what becomes of the notes.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.accounting import AccountingState
from core.ids import DeviceId
from core.reaccounting import (
    Chunk,
    Reaccounting,
    first_slot_touched,
    first_slot_touched_by_carried,
)
from core.readings import Reading
from core.units import slot_of
from db import checkpoints, intervals, readings, unaccounted
from db.device_states import DeviceState
from db.intervals import SurplusChange
from db.pool import Connection
from db.unaccounted import Change


@dataclass(frozen=True, slots=True)
class Limits:
    """How many readings a batch folds again, of all its devices together; and how many are loaded
    at a time, at first and later."""

    in_batch: int = 2_000
    first_page: int = 200
    page: int = 1_000


LIMITS = Limits()


class Changes(Protocol):
    """What changed of a device's past, as far as it is to be accounted now."""

    @property
    def first_at(self) -> datetime: ...

    async def between(
        self, conn: Connection, after: datetime | None, last: datetime | None
    ) -> tuple[Sequence[Change], Sequence[Change]]:
        """Return what changed after an instant (None: all) up to another, and what else did that
        has to wait."""

    async def told(self, conn: Connection) -> Collection[str]:
        """Return the keys of the counters that the changed readings tell."""


class ChangesOfBatch:
    """What a batch changes, and has just stored."""

    def __init__(self, changes: Sequence[Change], told: Collection[str]) -> None:
        self.all = sorted(changes, key=_time_of)
        self._told = told

    @property
    def first_at(self) -> datetime:
        return self.all[0].time

    def since(self, slot: datetime | None) -> "ChangesOfBatch":
        """Return those from a slot on; None: none."""
        return ChangesOfBatch([c for c in self.all if slot and c.time >= slot], self._told)

    async def between(
        self, _: Connection, after: datetime | None, last: datetime | None
    ) -> tuple[Sequence[Change], Sequence[Change]]:
        times = [change.time for change in self.all]
        begin = bisect_right(times, after) if after is not None else 0
        end = bisect_right(times, last) if last is not None else None
        return self.all[begin:end], ()

    async def told(self, _: Connection) -> Collection[str]:
        return self._told


class NotedChanges:
    """What was noted of a device, up to the change `last_id`."""

    def __init__(self, device_id: DeviceId, first_at: datetime, last_id: int) -> None:
        self.device_id = device_id
        self.first_at = first_at
        self.last_id = last_id

    async def between(
        self, conn: Connection, after: datetime | None, last: datetime | None
    ) -> tuple[Sequence[Change], Sequence[Change]]:
        changes = await unaccounted.between(conn, self.device_id, after, last)
        ours = [change for change in changes if change.id <= self.last_id]
        return ours, [change for change in changes if change.id > self.last_id]

    async def told(self, conn: Connection) -> Collection[str]:
        return await unaccounted.told(conn, self.device_id)


@dataclass(frozen=True, slots=True)
class AtOnce:
    """What came of changes of a batch: `waiting` take more readings than it may fold; `folded`: how
    many it did."""

    surplus_changes: Sequence[SurplusChange]
    waiting: Sequence[Change]
    folded: int


@dataclass(frozen=True, slots=True)
class Page:
    """Readings to fold, and the checkpoints of their slots. `changes`: how many are among them.

    `is_last`: no other readings were there when it was loaded.
    """

    chunk: Chunk
    checkpoints: Mapping[datetime, AccountingState]
    changes: int
    is_last: bool


class DeviceReaccounting:
    """One device: loads its past page by page, and writes what comes of it.

    `state`: as it was under lock. `until`: no later readings count; None: all that are there.
    """

    def __init__(
        self, state: DeviceState, changes: Changes, *, until: datetime | None = None
    ) -> None:
        assert state.account is not None
        self._device_id = state.device_id
        self._last = state.account
        self._capacity_w = state.capacity_w
        self._terms = state.terms
        self._changes = changes
        self._until = until
        self._changed_slot = self._from_slot = slot_of(changes.first_at)
        self._after: datetime | None = None
        self._fold: Reaccounting | None = None
        self.changed = 0

    async def begin(self, conn: Connection, limit: int) -> Page:
        """Find where to begin, and load the first readings."""
        changed_at = self._changes.first_at
        before = await checkpoints.before(conn, self._device_id, changed_at)
        before = self._terms.account_before(before, changed_at)
        if before is not None:
            self._from_slot = await self._first_slot(conn, before)
        carried_from = first_slot_touched_by_carried(self._terms, changed_at)
        if carried_from is not None:
            self._from_slot = min(self._from_slot, carried_from)
        if before is not None:
            base = await checkpoints.before(conn, self._device_id, self._from_slot)
            self._after = base.last_at if base is not None else None
        page = await self.load(conn, limit)
        first_at = _first_at(page.chunk)
        account = None
        if first_at is not None:
            # Where retention dropped what came after the base, that is a later one.
            account = await checkpoints.before(conn, self._device_id, first_at)
        if before is None and first_at is not None:
            self._from_slot = min(self._from_slot, slot_of(first_at))
        self._fold = Reaccounting(
            account,
            from_slot=self._from_slot,
            changed_slot=self._changed_slot,
            capacity_w=self._capacity_w,
            terms=self._terms,
        )
        return page

    async def _first_slot(self, conn: Connection, before: AccountingState) -> datetime:
        told: Collection[str] = ()
        if slot_of(before.settled_until) < slot_of(before.last_at):
            told = await self._changes.told(conn)
        return first_slot_touched(before, self._last, told)

    async def load(self, conn: Connection, limit: int) -> Page:
        """Load the readings that follow those loaded before."""
        after = self._after
        stored = await readings.page(conn, self._device_id, after, self._until, limit)
        is_last = len(stored) < limit
        end = self._until if is_last else _time_of(stored[-1])
        ours, others = await self._changes.between(conn, after, end)
        chunk = _chunk(stored, ours, others)
        passed = [*map(_time_of, stored[-1:]), *map(_time_of, ours[-1:])]
        self._after = max(passed) if passed else after
        known = await self._checkpoints(conn, after, chunk)
        return Page(chunk, known, len(ours), is_last)

    async def _checkpoints(
        self, conn: Connection, after: datetime | None, chunk: Chunk
    ) -> dict[datetime, AccountingState]:
        """Those that may come out as they were: after the first change, of the chunk's slots."""
        begin = self._changed_slot if after is None else max(self._changed_slot, slot_of(after))
        end = slot_of(_time_of(chunk.current[-1])) if chunk.current else begin
        if end <= begin:
            return {}
        return await checkpoints.between(conn, self._device_id, begin, end)

    def fold(self, page: Page) -> Iterator[None]:
        """Fold a page, yielding now and then."""
        assert self._fold is not None
        if self._fold.until is None:
            self.changed += page.changes
        yield from self._fold.fold(page.chunk, page.checkpoints)

    def is_done(self, page: Page, last: AccountingState) -> bool:
        """Whether what follows the page changes nothing. `last`: the device's account by now."""
        return page.is_last if self.until is None else self.is_settled(last)

    def is_settled(self, last: AccountingState) -> bool:
        assert self._fold is not None
        return self._fold.is_settled(last)

    def is_accounted_as(self, state: DeviceState) -> bool:
        """Whether nothing was decided of the device meanwhile that readings are accounted by."""
        return (self._capacity_w, self._terms) == (state.capacity_w, state.terms)

    @property
    def until(self) -> datetime | None:
        """From where on nothing is different; None: nowhere so far."""
        assert self._fold is not None
        return self._fold.until

    async def write(self, conn: Connection, state: DeviceState) -> list[SurplusChange]:
        """Write what came of it, under the lock of the device's state."""
        assert self._fold is not None
        stored = await intervals.between(conn, self._device_id, self._from_slot, self.until)
        accounted = self._fold.intervals(stored)
        changes = await intervals.replace(conn, self._device_id, stored, accounted)
        made = self._fold.checkpoints()
        await checkpoints.remove_others(
            conn, self._device_id, self._changed_slot, self.until, made.keys()
        )
        if made:
            await checkpoints.save(conn, {(self._device_id, s): a for s, a in made.items()})
        if changes:
            state.energy_changed(min(change.slot_start for change in changes))
        if self.until is None:
            state.account = self._fold.account
        return changes


async def at_once(
    conn: Connection, state: DeviceState, changes: ChangesOfBatch, *, most: int, limits: Limits
) -> AtOnce:
    """Account what a batch changed of a device, as far as that takes no more readings than `most`.

    Between changes that lie far apart nothing is different: they are accounted one after another.
    """
    assert state.account is not None
    surplus_changes: list[SurplusChange] = []
    left, remaining = most, changes
    while remaining.all and left > 0:
        work = DeviceReaccounting(state, remaining, until=state.account.last_at)
        is_done, folded = await _fold_at_once(conn, work, state.account, left, limits)
        left -= folded
        if not is_done:
            break
        surplus_changes += await work.write(conn, state)
        remaining = remaining.since(work.until)
    return AtOnce(surplus_changes, remaining.all, most - left)


async def _fold_at_once(
    conn: Connection, work: DeviceReaccounting, last: AccountingState, most: int, limits: Limits
) -> tuple[bool, int]:
    """Returns whether that is all, and how many readings it took."""
    folded, size = 0, min(limits.first_page, most)
    page = await work.begin(conn, size)
    while True:
        for _ in work.fold(page):
            pass
        folded += len(page.chunk.current)
        if work.is_done(page, last) or folded >= most:
            return work.is_done(page, last), folded
        size = min(2 * size, limits.page, most - folded)
        page = await work.load(conn, size)


def _chunk(stored: Sequence[Reading], ours: Sequence[Change], others: Sequence[Change]) -> Chunk:
    """The two histories of a stretch of time, by what is stored and what changed."""
    if not ours and not others:
        return Chunk(stored, stored)
    by_time = {_time_of(reading): reading for reading in stored}
    current = _as_accounted(by_time, others)
    accounted = _as_accounted(current, ours)
    return Chunk(_sorted(accounted), _sorted(current), ours[-1].time if ours else None)


def _as_accounted(
    readings_now: Mapping[datetime, Reading], changes: Sequence[Change]
) -> dict[datetime, Reading]:
    before = dict(readings_now)
    for change in changes:
        before.pop(change.time, None)
        if change.accounted is not None:
            before[change.time] = change.accounted
    return before


def _sorted(by_time: Mapping[datetime, Reading]) -> list[Reading]:
    return [by_time[at] for at in sorted(by_time)]


def _first_at(chunk: Chunk) -> datetime | None:
    firsts = [*chunk.accounted[:1], *chunk.current[:1]]
    return min(map(_time_of, firsts)) if firsts else None


def _time_of(one: Reading | Change) -> datetime:
    assert one.time is not None
    return one.time
