"""Recent credits of a counter whose meter reports the time since which it counts.

A change of that time is a reset. Where the reset lies before the previous reading, part of the new
value is credited already. So credits are remembered for a week as shares of time: for an hour by
minutes, for a day by quarters of an hour, then by hours. The energy of a longer share counts as
generated evenly.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from core.units import slot_of

REMEMBERED_FOR = timedelta(days=7)

_MS = timedelta(milliseconds=1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
# (largest age, length of a share), in milliseconds.
_LENGTHS = (
    (timedelta(hours=1) // _MS, timedelta(minutes=1) // _MS),
    (timedelta(days=1) // _MS, timedelta(minutes=15) // _MS),
    (REMEMBERED_FOR // _MS, timedelta(hours=1) // _MS),
)
# The longest share that joins others: each lies in one minute, or ends in the same one.
_JOINED_MAX_MS = 2 * _LENGTHS[0][1]


class CountedSince(Struct, frozen=True, gc=False):
    """The time since which a counter counts, as its meter reports it, and its recent credits.

    Stored in the database as part of `core.counters.Counter`: its field names never change.
    """

    since: datetime
    # End of the last share.
    until: datetime
    # Alternating length in milliseconds and energy in milliwatt-hours, oldest share first.
    shares: tuple[int, ...] = ()

    def credited(self, energy_mwh: int, at: datetime) -> "CountedSince":
        """Return a copy that includes the credit of the reading at `at`."""
        shares = (*self.shares, (at - self.until) // _MS, energy_mwh)
        is_next_slot = slot_of(at) != slot_of(self.until)
        # Joining all shares once per slot bounds their number; each reading joins the newest only.
        shares = _joined(shares, at) if is_next_slot else shares[:-4] + _joined(shares[-4:], at)
        return CountedSince(self.since, at, shares)

    def credited_since(self, start: datetime) -> int | None:
        """Return the milliwatt-hours credited since `start`; None if it lies before all shares."""
        energy_mwh, end = 0, self.until
        for length_ms, mwh in zip(self.shares[-2::-2], self.shares[::-2], strict=True):
            begin = end - length_ms * _MS
            if begin < start:
                # Such a share does not show when in it the energy came: all of it counts.
                is_joined = length_ms <= _JOINED_MAX_MS
                return energy_mwh + (mwh if is_joined else _up(mwh, end - start, end - begin))
            energy_mwh, end = energy_mwh + mwh, begin
        return energy_mwh if start >= end else None


def _up(energy_mwh: int, part: timedelta, whole: timedelta) -> int:
    """Return the energy of part of a share, rounded up: too much would be credited otherwise."""
    return -(-energy_mwh * max(timedelta(0), part) // whole)


def _joined(shares: tuple[int, ...], until: datetime) -> tuple[int, ...]:
    """Return shares joined to the length that their age allows, without those that are too old."""
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
    """Return True if two shares lie in one cell of time, or both hold no energy."""
    length = next((length for up_to, length in _LENGTHS if age <= up_to), _LENGTHS[-1][1])
    in_one_cell = (last_end - 1) // length == (end - 1) // length and last_ms <= length
    return in_one_cell or last_mwh == mwh == 0
