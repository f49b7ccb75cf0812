"""The hour that a local clock shows twice when it is put back, and the pass of each reading in it.

A device that sends local times without an offset sends each time of that hour twice. A reading that
arrives at once belongs to the current pass. For history that arrives late, the counters decide.
They never fall, so the reading with the lower value is the older one. If its clock shows the same
time as the other's or a later one, it belongs to the first pass, and the other to the second.

The result depends on the readings alone and not on their order of arrival: each new reading causes
all known ones of that hour to be decided again.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from statistics import median_low
from typing import NamedTuple
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from core.capacity import CAPACITY_MARGIN
from core.readings import Reading

_COUNTERS = ("energy_wh", "export_wh", "import_wh")
# Two readings of a counter may differ by this, in addition to the energy of the capacity. A larger
# difference is garbage.
_TOLERANCE_WH = 1000.0


class Instants(NamedTuple):
    """The instants that one local time may denote, in UTC."""

    first: datetime
    second: datetime

    @property
    def is_repeated(self) -> bool:
        """Return True if the clock shows this time twice; False if it never does, or once."""
        return self.first < self.second


def instants(written: datetime, zone: ZoneInfo) -> Instants:
    """Return both instants of a naive local time; they are equal except near a clock change.

    Raises OverflowError outside the years of `datetime`.
    """
    first, second = (written.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return Instants(first, second)


def clock_of(at: datetime, zone: ZoneInfo) -> datetime:
    """Return the naive local time that a clock in a zone shows at an instant."""
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


@dataclass(frozen=True, slots=True)
class ClockReading:
    """A reading in the repeated hour."""

    # The local time that the device's clock showed.
    clock: datetime
    reading: Reading
    # It is stored in the first pass. For a new reading: it is likely to belong there.
    is_first: bool
    # It just arrived and is not stored yet.
    is_new: bool = False


def first_passes(shown: Sequence[ClockReading], capacity_w: float) -> list[bool]:
    """Return for each reading True if it belongs to the first pass.

    If the counters do not decide between two readings of the same clock time, their other values
    do, in a fixed order. Other readings stay in their pass; a new one joins the pass that its
    counters fit.
    """
    votes = [_Vote() for _ in shown]
    for levels in _levels(shown, capacity_w):
        _vote(votes, shown, levels)
    contents: dict[datetime, set[str]] = {}
    for one in shown:
        contents.setdefault(one.clock, set()).add(content(one.reading))
    stored = _StoredLevels.of(shown)
    return [
        vote.first if vote.first != vote.second else _undecided(one, contents[one.clock], stored)
        for one, vote in zip(shown, votes, strict=True)
    ]


def content(reading: Reading) -> str:
    """Return a key of all values of a reading except its time. A repeated reading has the same."""
    return repr(replace(reading, time=None))


def _undecided(one: ClockReading, contents: set[str], stored: "_StoredLevels") -> bool:
    if len(contents) > 1:
        return content(one.reading) == min(contents)
    if one.is_new:
        if stored.first_shows_more(one.reading):
            return True
        if stored.second_shows_less(one.reading):
            return False
    return one.is_first


@dataclass(frozen=True, slots=True)
class _StoredLevels:
    """By counter, the highest level of stored readings in the first pass, the lowest in the second.

    A batch may hold a thousand new readings: they are not compared with each stored one.
    """

    highest_of_first: Mapping[str, float]
    lowest_of_second: Mapping[str, float]

    @classmethod
    def of(cls, shown: Iterable[ClockReading]) -> "_StoredLevels":
        highest: dict[str, float] = {}
        lowest: dict[str, float] = {}
        for one in shown:
            for key, wh in () if one.is_new else _counters(one.reading):
                if one.is_first:
                    highest[key] = max(wh, highest.get(key, wh))
                else:
                    lowest[key] = min(wh, lowest.get(key, wh))
        return cls(highest, lowest)

    def first_shows_more(self, than: Reading) -> bool:
        return any(self.highest_of_first.get(key, wh) > wh for key, wh in _counters(than))

    def second_shows_less(self, than: Reading) -> bool:
        return any(self.lowest_of_second.get(key, wh) < wh for key, wh in _counters(than))


@dataclass(slots=True)
class _Vote:
    first: bool = False
    second: bool = False


def _levels(shown: Sequence[ClockReading], capacity_w: float) -> Iterator[Mapping[int, float]]:
    """Yield for each counter its value by index of the reading, without zeros and garbage."""
    by_counter: dict[str, dict[int, float]] = {}
    for n, one in enumerate(shown):
        for key, wh in _counters(one.reading):
            by_counter.setdefault(key, {})[n] = wh
    for levels in by_counter.values():
        middle = median_low(levels.values())
        most_wh = _TOLERANCE_WH + capacity_w * CAPACITY_MARGIN * 2 * _hours(shown)
        yield {n: wh for n, wh in levels.items() if abs(wh - middle) <= most_wh}


def _counters(reading: Reading) -> Iterable[tuple[str, float]]:
    if reading.parts:
        return [(key, wh) for key, wh in reading.parts.items() if wh]
    return [(key, wh) for key in _COUNTERS if (wh := getattr(reading, key))]


def _hours(shown: Sequence[ClockReading]) -> float:
    clocks = [one.clock for one in shown]
    return (max(clocks) - min(clocks)) / timedelta(hours=1) + 1


def _vote(
    votes: Sequence[_Vote], shown: Sequence[ClockReading], levels: Mapping[int, float]
) -> None:
    ordered = sorted(levels, key=lambda n: shown[n].clock)
    clocks = [shown[n].clock for n in ordered]
    highest = list(accumulate((levels[n] for n in ordered), max))
    lowest = list(accumulate((levels[n] for n in reversed(ordered)), min))[::-1]
    verdicts: dict[int, _Vote] = {}
    for n in ordered:
        begin = bisect_left(clocks, shown[n].clock)
        end = bisect_left(clocks, shown[n].clock + datetime.resolution)
        verdicts[n] = _Vote(first=highest[end - 1] > levels[n], second=lowest[begin] < levels[n])
    firsts = [levels[n] for n, v in verdicts.items() if v.first and not v.second]
    seconds = [levels[n] for n, v in verdicts.items() if v.second and not v.first]
    for n, verdict in verdicts.items():
        if not (verdict.first or verdict.second):
            # A value below one of the first pass belongs there too, and a value above one of the
            # second pass belongs to the second.
            verdict.first = bool(firsts) and levels[n] < max(firsts)
            verdict.second = bool(seconds) and levels[n] > min(seconds)
        votes[n].first |= verdict.first and not verdict.second
        votes[n].second |= verdict.second and not verdict.first
