"""What a counter was credited with lately, for a meter that tells since when its counter counts.

When that changes, the counter was reset; and where it was reset before the last reading, a part of
what it shows is credited already. How much is remembered for a week, the older the coarser: for an
hour by minutes, for a day by quarters of an hour, then by hours. Within such a share energy counts
as generated evenly.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from core.units import slot_of

REMEMBERED_FOR = timedelta(days=7)

_MS = timedelta(milliseconds=1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
# Up to which age shares are how long.
_LENGTHS = (
    (timedelta(hours=1) // _MS, timedelta(minutes=1) // _MS),
    (timedelta(days=1) // _MS, timedelta(minutes=15) // _MS),
    (REMEMBERED_FOR // _MS, timedelta(hours=1) // _MS),
)


class CountedSince(Struct, frozen=True, gc=False):
    """Since when a counter counts, as its meter says, and what it was credited with until when.

    `shares`: oldest first, for each its length in milliseconds and its milliwatt-hours.
    """

    since: datetime
    until: datetime
    shares: tuple[int, ...] = ()

    def credited(self, energy_mwh: int, at: datetime) -> "CountedSince":
        """Return the same with what the reading at `at` credited."""
        shares = (*self.shares, (at - self.until) // _MS, energy_mwh)
        is_next_slot = slot_of(at) != slot_of(self.until)
        # All of it once in a slot is often enough.
        shares = _joined(shares, at) if is_next_slot else shares[:-4] + _joined(shares[-4:], at)
        return CountedSince(self.since, at, shares)

    def credited_since(self, start: datetime) -> int | None:
        """Return the milliwatt-hours credited since an instant; None: that is not remembered."""
        energy_mwh, end = 0, self.until
        for length_ms, mwh in zip(self.shares[-2::-2], self.shares[::-2], strict=True):
            begin = end - length_ms * _MS
            if begin < start:
                return energy_mwh + _up(mwh, end - start, end - begin)
            energy_mwh, end = energy_mwh + mwh, begin
        return energy_mwh if start >= end else None


def _up(energy_mwh: int, part: timedelta, whole: timedelta) -> int:
    """Return the energy of a part of a share: rather a little more of it is credited already."""
    return -(-energy_mwh * max(timedelta(0), part) // whole)


def _joined(shares: tuple[int, ...], until: datetime) -> tuple[int, ...]:
    """Return shares, the short ones joined as their age allows, and without those forgotten."""
    joined: list[int] = []
    last_end = 0
    for length_ms, mwh, end in _with_ends(shares, (until - _EPOCH) // _MS):
        age = (until - _EPOCH) // _MS - end
        if joined and _are_one(joined[-2], joined[-1], last_end, mwh, end, age):
            joined[-2] += length_ms
            joined[-1] += mwh
        elif age < REMEMBERED_FOR // _MS:
            joined += [length_ms, mwh]
        last_end = end
    return tuple(joined)


def _with_ends(shares: tuple[int, ...], until_ms: int) -> Iterator[tuple[int, int, int]]:
    end = until_ms - sum(shares[::2])
    for n in range(0, len(shares), 2):
        end += shares[n]
        yield shares[n], shares[n + 1], end


def _are_one(last_ms: int, last_mwh: int, last_end: int, mwh: int, end: int, age: int) -> bool:
    """Return whether a share and the next are one: in one cell of time, or both without energy."""
    length = next((length for up_to, length in _LENGTHS if age <= up_to), _LENGTHS[-1][1])
    in_one_cell = (last_end - 1) // length == (end - 1) // length and last_ms <= length
    return in_one_cell or last_mwh == mwh == 0
