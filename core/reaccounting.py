"""Accounting again what changed of a device's past: which slots change, and to what.

A device has two histories: what its intervals and checkpoints are made of, and what is stored of it
now, where some readings came late (or turned out to be of another time). Both are the same up to an
account from before the first that changed. From there on the present one is folded, chunk by chunk,
up to the first checkpoint that comes out as it was, since from there on both are the same again; or
else to the last reading. The slots in between are replaced.

A credit may begin before the account that one goes back to (the counter was silent, or lied), and
after the checkpoint credits may reach back before it. So the fold begins before the first slot that
a change can reach, and goes on until nothing reaches back any more.

Where a device carries the account that its meter had under an earlier registration, the fold goes
on from that one at the first reading after it (`core.earning`). What that credits may reach back as
well, behind anything that was read before.
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

# What is folded in one go, until others may have a turn: a few milliseconds at most.
FOLDED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Chunk:
    """Readings that follow one another: those that are accounted, and those that there are now.

    `changed_at`: the last time at which these differ; None: they are the same.
    """

    accounted: Sequence[Reading]
    current: Sequence[Reading]
    changed_at: datetime | None = None


def first_slot_touched(
    before: AccountingState, last: AccountingState, told: Collection[str]
) -> datetime:
    """The first slot that may change with readings that were taken after `before`.

    `last`: what became of that account by now: a counter that it knows no different was not told,
    and credits nothing, unless it is among the counters that the changed readings tell.
    """
    heard = {key for key, c in before.counters.items() if key in told or _was_told(last, key, c)}
    return slot_of(before.settled_for(heard))


def first_slot_touched_by_carried(terms: EarningTerms, at: datetime) -> datetime | None:
    """The same of changes from an instant on that are followed by the account that is carried."""
    carried = terms.carried
    if carried is None or at > carried.last_at:
        return None
    return slot_of(carried.settled_until)


def _was_told(later: AccountingState, key: str, counter: object) -> bool:
    return later.counters.get(key) != counter


class Reaccounting:
    """The fold of a device's present history, from `account` on, of readings after it.

    `from_slot`: the first slot that may change. `changed_slot`: that of the first change. Where
    retention has dropped readings since an account from before `from_slot`, `account` is a later
    one, and slots up to it can't be given whole: they get the difference that the change makes.
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
        self.until: datetime | None = None  # where both histories are the same again

    @property
    def account(self) -> AccountingState | None:
        """The account after the last reading that was folded."""
        return self._current.account if self._current is not None else self._begin

    def fold(self, chunk: Chunk, checkpoints: Mapping[datetime, AccountingState]) -> Iterator[None]:
        """Fold what follows, yielding now and then. `checkpoints`: the stored ones of its slots."""
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
            self.until = next((s for s, a in anew if self._is_as_it_was(s, a, checkpoints)), None)

    def _proceed(self, accounted: Accounted | None, readings: Sequence[Reading]) -> Accounted:
        account = accounted.account if accounted is not None else self._begin
        part = account_readings(account, readings, self._capacity_w, self._terms)
        assert part is not None
        return part if accounted is None else joined(accounted, part)

    def _is_as_it_was(
        self,
        slot: datetime,
        account: AccountingState,
        checkpoints: Mapping[datetime, AccountingState],
    ) -> bool:
        """Whether all changes lie before a slot, and the account at its begin is the same."""
        return slot > self._changed_until and checkpoints.get(slot) == account

    def is_settled(self, last: AccountingState) -> bool:
        """Whether no reading that follows adds to the slots before `until`.

        `last`: the account after the device's last reading, of the history that is accounted.
        """
        assert self.until is not None
        return all(
            slot_of(counter.settled_until) >= self.until
            for account in self._accounts_before(last)
            for key, counter in account.counters.items()
            if _was_told(last, key, counter)
        )

    def _accounts_before(self, last: AccountingState) -> Iterator[AccountingState]:
        """Those with which readings that follow are accounted, up to `last`."""
        account, carried = self.account, self._terms.carried
        assert account is not None
        yield account
        if carried is not None and account.last_at <= carried.last_at < last.last_at:
            yield carried

    def intervals(self, stored: Mapping[datetime, Interval]) -> dict[datetime, Interval]:
        """What the slots hold now. `stored`: what they held, from `from_slot` to `until`."""
        current = self._current.intervals if self._current is not None else {}
        whole = {slot: i for slot, i in current.items() if self._replaces(slot)}
        if self._partial_until is None:
            return whole
        accounted = self._accounted.intervals if self._accounted is not None else {}
        for slot, interval in stored.items():
            known = accounted.get(slot)
            # Where they are the same, nothing in the slot is of readings that were dropped.
            if slot <= self._partial_until and interval != known:
                rest = interval - known if known else interval
                whole[slot] = rest + whole[slot] if slot in whole else rest
        return whole

    def checkpoints(self) -> dict[datetime, AccountingState]:
        """The accounts to go back to in these slots."""
        made = self._current.checkpoints if self._current is not None else {}
        return {s: a for s, a in made.items() if s >= self._changed_slot and self._replaces(s)}

    def _replaces(self, slot: datetime) -> bool:
        return slot >= self._from_slot and (self.until is None or slot < self.until)


def _parts(readings: Sequence[Reading]) -> Iterator[Sequence[Reading]]:
    for n in range(0, len(readings), FOLDED_AT_ONCE):
        yield readings[n : n + FOLDED_AT_ONCE]
