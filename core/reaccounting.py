"""Re-accounting of a device whose past changed: the slots that change, and their new intervals.

A device has two histories: the one that its intervals and checkpoints were computed from, and the
stored one, in which some readings arrived late or moved to another time. Both are the same up to a
state from before the first change. From there the stored history is folded, chunk by chunk, up to
the first checkpoint that comes out unchanged: both histories are the same after it. Otherwise it is
folded up to the last reading. The slots in between are replaced.

A credit may begin before the state where the fold begins (the counter was silent or rejected), and
credits after the checkpoint may reach back before it. So the fold begins before the first slot that
a change can reach, and continues until no later credit reaches back.

A device may carry over the state of its meter's earlier registration. The fold then continues from
that state at the first reading after it (`core.earning`), and credits there may reach back as well.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from core.accounting import Accounted, AccountingState
from core.earning import EarningTerms, account_readings, joined
from core.intervals import Interval
from core.readings import Reading
from core.units import slot_of

# Readings folded between two yields, a few milliseconds at most: the caller may pause there.
FOLDED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive readings of both histories: `accounted` and `current`.

    `changed_at`: the last time at which they differ; None: they are the same.
    """

    accounted: Sequence[Reading]
    current: Sequence[Reading]
    changed_at: datetime | None = None


def first_slot_touched(
    before: AccountingState, last: AccountingState, reported: Collection[str]
) -> datetime:
    """Return the first slot that changed readings after the state `before` may change.

    `last`: the device's latest state. A counter that is the same in both was not reported since and
    credits nothing, unless it is among `reported`, the counters of the changed readings.
    """
    moved = {
        key for key, c in before.counters.items() if key in reported or _was_reported(last, key, c)
    }
    return slot_of(before.settled_for(moved))


def first_slot_touched_by_carried(terms: EarningTerms, at: datetime) -> datetime | None:
    """Return the first slot that the carried state may change after a change at `at`, if any."""
    carried = terms.carried
    if carried is None or at > carried.last_at:
        return None
    return slot_of(carried.settled_until)


def _was_reported(later: AccountingState, key: str, counter: object) -> bool:
    return later.counters.get(key) != counter


class Reaccounting:
    """The fold of a device's stored history from the state `account` on.

    `from_slot`: the first slot that may change. `changed_slot`: the slot of the first change. Where
    retention has deleted readings after `from_slot`, `account` is a later state. Slots up to it
    can't be recomputed as a whole: they get the difference that the change makes.
    """

    def __init__(
        self,
        account: AccountingState | None,
        *,
        from_slot: datetime,
        changed_slot: datetime,
        capacity_w: float,
        terms: EarningTerms,
    ) -> None:
        self._from_slot = from_slot
        self._changed_slot = self._changed_until = changed_slot
        self._capacity_w = capacity_w
        self._terms = terms
        self._partial_until: datetime | None = None
        if account is not None and slot_of(account.last_at) >= from_slot:
            self._partial_until = slot_of(account.last_at)
        self._begin = account
        self._current: Accounted | None = None
        self._accounted: Accounted | None = None
        # Slot from which on both histories are the same again; None: not found yet.
        self.until: datetime | None = None

    @property
    def account(self) -> AccountingState | None:
        """The state after the last folded reading."""
        return self._current.account if self._current is not None else self._begin

    def fold(self, chunk: Chunk, checkpoints: Mapping[datetime, AccountingState]) -> Iterator[None]:
        """Fold a chunk, yielding after each part. `checkpoints`: the stored ones of its slots."""
        known = len(self._current.checkpoints) if self._current is not None else 0
        if chunk.changed_at is not None:
            self._changed_until = slot_of(chunk.changed_at)
        readings = chunk.current if self.until is None else chunk.accounted
        for part in _parts(readings):
            self._current = self._proceed(self._current, part)
            yield
        if self._partial_until is not None:
            for part in _parts(chunk.accounted):
                self._accounted = self._proceed(self._accounted, part)
                yield
        if self.until is None and self._current is not None:
            anew = islice(self._current.checkpoints.items(), known, None)
            self.until = next((s for s, a in anew if self._is_unchanged(s, a, checkpoints)), None)

    def _proceed(self, accounted: Accounted | None, readings: Sequence[Reading]) -> Accounted:
        account = accounted.account if accounted is not None else self._begin
        part = account_readings(account, readings, self._capacity_w, self._terms)
        assert part is not None
        return part if accounted is None else joined(accounted, part)

    def _is_unchanged(
        self,
        slot: datetime,
        account: AccountingState,
        checkpoints: Mapping[datetime, AccountingState],
    ) -> bool:
        """Return True if all changes lie before a slot and the state at its begin is the same."""
        return slot > self._changed_until and checkpoints.get(slot) == account

    def is_settled(self, last: AccountingState) -> bool:
        """Return True if no later reading adds energy to slots before `until`.

        `last`: the state after the last reading of the accounted history.
        """
        assert self.until is not None
        return all(
            slot_of(counter.settled_until) >= self.until
            for account in self._accounts_before(last)
            for key, counter in account.counters.items()
            if _was_reported(last, key, counter)
        )

    def _accounts_before(self, last: AccountingState) -> Iterator[AccountingState]:
        """Yield the states from which later readings are accounted, up to `last`."""
        account, carried = self.account, self._terms.carried
        assert account is not None
        yield account
        if carried is not None and account.last_at <= carried.last_at < last.last_at:
            yield carried

    def intervals(self, stored: Mapping[datetime, Interval]) -> dict[datetime, Interval]:
        """Return the new intervals. `stored`: the old ones, from `from_slot` to `until`."""
        current = self._current.intervals if self._current is not None else {}
        whole = {slot: i for slot, i in current.items() if self._replaces(slot)}
        if self._partial_until is None:
            return whole
        accounted = self._accounted.intervals if self._accounted is not None else {}
        for slot, interval in stored.items():
            known = accounted.get(slot)
            # If they are equal, the slot contains no energy of deleted readings.
            if slot <= self._partial_until and interval != known:
                rest = interval - known if known else interval
                whole[slot] = rest + whole[slot] if slot in whole else rest
        return whole

    def checkpoints(self) -> dict[datetime, AccountingState]:
        """Return the checkpoints of the replaced slots."""
        made = self._current.checkpoints if self._current is not None else {}
        return {s: a for s, a in made.items() if s >= self._changed_slot and self._replaces(s)}

    def _replaces(self, slot: datetime) -> bool:
        return slot >= self._from_slot and (self.until is None or slot < self.until)


def _parts(readings: Sequence[Reading]) -> Iterator[Sequence[Reading]]:
    for n in range(0, len(readings), FOLDED_AT_ONCE):
        yield readings[n : n + FOLDED_AT_ONCE]
