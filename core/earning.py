"""What a device's readings earn: its energy per slot, and since when that may be sold.

Energy from before `earns_from` is recorded, and can't be sold. In the slot that this instant cuts,
`Interval.early_mwh` says how much of the surplus that is: whatever a reading credits up to that
instant, and what one credits across it. Slots before that one are not for sale at all.

A meter that was registered before goes on from the account that it had then
(`EarningTerms.carried`). What it tells of the time up to that account's last reading was accounted
under the earlier registration: it is accounted by itself, for whoever looks at it, and ends there.

All of that depends on a reading, on the account before it and on the terms alone. So the fold may
be cut anywhere, as `core.accounting` promises.
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
    """Since when a device earns, which is never before the end of the account that it carries."""

    earns_from: datetime
    carried: AccountingState | None = None

    def account_before(
        self, account: AccountingState | None, at: datetime
    ) -> AccountingState | None:
        """The account that a reading of this time is accounted with."""
        carried = self.carried
        if carried is None or at <= carried.last_at:
            return account
        return carried if account is None or account.last_at <= carried.last_at else account

    def are_past(self, account: AccountingState | None) -> bool:
        """Whether no later reading credits anything from before `earns_from`."""
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
    """One reading at a time, until all that follow earn."""
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
    """Two parts of a fold that follow one another; the first one is added to."""
    for slot, interval in then.intervals.items():
        known = first.intervals.get(slot)
        first.intervals[slot] = interval if known is None else known + interval
    first.checkpoints.update(then.checkpoints)
    first.account = then.account
    return first
