"""Re-accounting of a device from the database, page by page, up to where nothing differs.

It has two callers. A batch with late readings accounts them at once if that takes at most a few
thousand readings (`at_once`). Otherwise it stores their times (`db.unaccounted`). Until they are
accounted, the intervals are those of the other readings, and later readings are accounted on top.
The second caller, `ingest.late_readings`, accounts them beside the batches and holds no row lock
while it loads and folds. One transaction, under the lock of the device's state, writes the result
and deletes the accounted changes.
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
    """Limits in readings: per batch for all its devices, of the first page, of later pages."""

    in_batch: int = 2_000
    first_page: int = 200
    page: int = 1_000


LIMITS = Limits()


class Changes(Protocol):
    """Changes of a device's past that are to be accounted now."""

    @property
    def first_at(self) -> datetime: ...

    async def between(
        self, conn: Connection, after: datetime | None, last: datetime | None
    ) -> tuple[Sequence[Change], Sequence[Change]]:
        """Return changes after an instant (None: the first) up to another (None: the last): those
        to account now, and those that wait."""

    async def reported_counters(self, conn: Connection) -> Collection[str]:
        """Return the keys of the counters in the changed readings."""


class ChangesOfBatch:
    """Changes that a batch has just stored."""

    def __init__(self, changes: Sequence[Change], reported: Collection[str]) -> None:
        self.all = sorted(changes, key=_time_of)
        self._reported = reported

    @property
    def first_at(self) -> datetime:
        return self.all[0].time

    def since(self, slot: datetime | None) -> "ChangesOfBatch":
        """Return the changes from a slot on; None: no changes."""
        return ChangesOfBatch([c for c in self.all if slot and c.time >= slot], self._reported)

    async def between(
        self, _: Connection, after: datetime | None, last: datetime | None
    ) -> tuple[Sequence[Change], Sequence[Change]]:
        times = [change.time for change in self.all]
        begin = bisect_right(times, after) if after is not None else 0
        end = bisect_right(times, last) if last is not None else None
        return self.all[begin:end], ()

    async def reported_counters(self, _: Connection) -> Collection[str]:
        return self._reported


class NotedChanges:
    """Waiting changes of a device with ids up to `last_id`."""

    def __init__(self, device_id: DeviceId, first_at: datetime, last_id: int) -> None:
        self.device_id = device_id
        self.first_at = first_at
        self.last_id = last_id

    async def between(
        self, conn: Connection, after: datetime | None, last: datetime | None
    ) -> tuple[Sequence[Change], Sequence[Change]]:
        changes = await unaccounted.between(conn, self.device_id, after, last)
        due = [change for change in changes if change.id <= self.last_id]
        return due, [change for change in changes if change.id > self.last_id]

    async def reported_counters(self, conn: Connection) -> Collection[str]:
        return await unaccounted.reported_counters(conn, self.device_id)


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Result for the changes of a batch.

    `waiting`: changes that would take too many readings. `folded`: number of readings folded.
    """

    surplus_changes: Sequence[SurplusChange]
    waiting: Sequence[Change]
    folded: int


@dataclass(frozen=True, slots=True)
class ReaccountingPage:
    """Readings to fold, and the checkpoints of their slots.

    `changes`: number of changes among the readings. `is_last`: no reading follows the page.
    """

    chunk: Chunk
    checkpoints: Mapping[datetime, AccountingState]
    changes: int
    is_last: bool


class DeviceReaccounting:
    """The re-accounting of one device: loads its past by pages and writes the result.

    `state`: the device's state as read under its lock. `until`: last time to account; None: all.
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

    async def begin(self, conn: Connection, limit: int) -> ReaccountingPage:
        """Find the begin and load the first page."""
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
            # Later than the base if retention has deleted readings after it.
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
        reported: Collection[str] = ()
        if slot_of(before.settled_until) < slot_of(before.last_at):
            reported = await self._changes.reported_counters(conn)
        return first_slot_touched(before, self._last, reported)

    async def load(self, conn: Connection, limit: int) -> ReaccountingPage:
        """Load the next page."""
        after = self._after
        stored = await readings.page(conn, self._device_id, after, self._until, limit)
        is_last = len(stored) < limit
        end = self._until if is_last else _time_of(stored[-1])
        due, waiting = await self._changes.between(conn, after, end)
        chunk = _chunk(stored, due, waiting)
        passed = [*map(_time_of, stored[-1:]), *map(_time_of, due[-1:])]
        self._after = max(passed) if passed else after
        known = await self._checkpoints(conn, after, chunk)
        return ReaccountingPage(chunk, known, len(due), is_last)

    async def _checkpoints(
        self, conn: Connection, after: datetime | None, chunk: Chunk
    ) -> dict[datetime, AccountingState]:
        """Return the stored checkpoints of the chunk's slots that lie after the first change."""
        begin = self._changed_slot if after is None else max(self._changed_slot, slot_of(after))
        end = slot_of(_time_of(chunk.current[-1])) if chunk.current else begin
        if end <= begin:
            return {}
        return await checkpoints.between(conn, self._device_id, begin, end)

    def fold(self, page: ReaccountingPage) -> Iterator[None]:
        """Fold a page, yielding after each part."""
        assert self._fold is not None
        if self._fold.until is None:
            self.changed += page.changes
        yield from self._fold.fold(page.chunk, page.checkpoints)

    def is_done(self, page: ReaccountingPage, last: AccountingState) -> bool:
        """Return True if nothing changes after the page. `last`: the device's current state."""
        return page.is_last if self.until is None else self.is_settled(last)

    def is_settled(self, last: AccountingState) -> bool:
        """Return True if no later reading adds energy to slots before `until`."""
        assert self._fold is not None
        return self._fold.is_settled(last)

    def is_accounted_as(self, state: DeviceState) -> bool:
        """Return True if the device's capacity and terms are still those of this fold."""
        return (self._capacity_w, self._terms) == (state.capacity_w, state.terms)

    @property
    def until(self) -> datetime | None:
        """The slot from which on nothing differs; None: not found yet."""
        assert self._fold is not None
        return self._fold.until

    async def write(self, conn: Connection, state: DeviceState) -> list[SurplusChange]:
        """Write intervals and checkpoints, under the lock of the device's state."""
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
    """Account a batch's changes of a device, as far as that takes at most `most` readings.

    Changes that lie far apart are accounted one after another: nothing differs between them.
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
    """Return whether nothing else changes, and the number of folded readings."""
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


def _chunk(stored: Sequence[Reading], due: Sequence[Change], waiting: Sequence[Change]) -> Chunk:
    """Return both histories: the accounted one, and the one with the changes that are due."""
    if not due and not waiting:
        return Chunk(stored, stored)
    by_time = {_time_of(reading): reading for reading in stored}
    current = _without(by_time, waiting)
    accounted = _without(current, due)
    return Chunk(_sorted(accounted), _sorted(current), due[-1].time if due else None)


def _without(
    readings_now: Mapping[datetime, Reading], changes: Sequence[Change]
) -> dict[datetime, Reading]:
    """Return the readings, by time, as they were before the changes."""
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
