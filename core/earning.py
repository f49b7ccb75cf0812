"""Energy that a device's readings earn: its energy per slot, and the time from which it is sold.

Energy from before `earns_from` is recorded and can't be sold. In the slot that contains this
instant, `Interval.early_mwh` is the part of the surplus that a reading credits up to the instant or
across it. Earlier slots are not for sale at all.

A meter that was registered before continues from its state at that time (`EarningTerms.carried`).
Readings up to that state's last reading were accounted under the earlier registration. They are
folded by themselves, so that they can be shown, and that fold ends there.

All of this depends only on a reading, on the state before it and on the terms. So a history may be
folded in any parts, as `core.accounting` guarantees.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from core.accounting import Accounted, AccountingState, advance
from core.readings import Reading
from core.units import slot_of


@dataclass(frozen=True, slots=True)
class EarningTerms:
    """The instant from which a device earns, never before the last reading of a carried state."""

    earns_from: datetime
    carried: AccountingState | None = None

    def account_before(
        self, account: AccountingState | None, at: datetime
    ) -> AccountingState | None:
        """Return the state from which a reading of this time is accounted."""
        carried = self.carried
        if carried is None or at <= carried.last_at:
            return account
        return carried if account is None or account.last_at <= carried.last_at else account

    def are_past(self, account: AccountingState | None) -> bool:
        """Return True if no later reading credits energy from before `earns_from`."""
        return account is not None and account.settled_until > self.earns_from


def account_readings(
    account: AccountingState | None,
    readings: Iterable[Reading],
    capacity_w: float,
    terms: EarningTerms,
) -> Accounted | None:
    """Fold readings, sorted by time and all after `account.last_at`. None: there were none."""
    if terms.are_past(account):
        return advance(account, readings, capacity_w)
    whole: Accounted | None = None
    for part in _parts(account, readings, capacity_w, terms):
        whole = part if whole is None else joined(whole, part)
    return whole


def _parts(
    account: AccountingState | None,
    readings: Iterable[Reading],
    capacity_w: float,
    terms: EarningTerms,
) -> Iterator[Accounted]:
    """Fold one reading at a time, until all later ones earn."""
    remaining = iter(readings)
    for reading in remaining:
        assert reading.time is not None
        account = terms.account_before(account, reading.time)
        earns = terms.are_past(account)
        accounted = advance(account, [reading], capacity_w)
        assert accounted is not None
        account = accounted.account
        yield accounted if earns else _early(accounted, terms)
        if earns:
            break
    rest = advance(account, remaining, capacity_w)
    if rest is not None:
        yield rest


def _early(accounted: Accounted, terms: EarningTerms) -> Accounted:
    slot = slot_of(terms.earns_from)
    interval = accounted.intervals.get(slot)
    if interval is not None and slot < terms.earns_from:
        accounted.intervals[slot] = replace(interval, early_mwh=interval.surplus_mwh)
    return accounted


def joined(first: Accounted, then: Accounted) -> Accounted:
    """Add the second of two consecutive parts of a fold to the first, and return it."""
    for slot, interval in then.intervals.items():
        known = first.intervals.get(slot)
        first.intervals[slot] = interval if known is None else known + interval
    first.checkpoints.update(then.checkpoints)
    first.account = then.account
    return first
