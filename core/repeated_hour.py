"""The hour that a clock runs through twice, when it is put back: which pass a reading is of.

A device that writes local times without saying of which zone writes each time of that hour twice. A
reading that is told at once is of the pass that it is received in. Of history that is told late the
order of the counters decides: they never fall, so that of two readings the one that shows less is
the older one. Where its clock shows the same time or a later one, it is of the first pass, and the
other of the second.

What is decided depends on the readings alone, not on the order in which they arrive: with each
that arrives, all that are known of that hour are looked at again.
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
# What a counter can differ by between two readings of the hour's passes, beside what is generated.
_COUNT_WH = 1000.0


class Instants(NamedTuple):
    """What a clock may mean by one local time."""

    first: datetime
    second: datetime

    @property
    def is_repeated(self) -> bool:
        """Whether the clock shows this time twice; not so where it leaps over it."""
        return self.first < self.second


def instants(written: datetime, zone: ZoneInfo) -> Instants:
    """Both instants of a naive local time, the same one twice but for a few hours of the year.

    Raises OverflowError beyond the years that a calendar has.
    """
    first, second = (written.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return Instants(first, second)


def clock_of(at: datetime, zone: ZoneInfo) -> datetime:
    """What a clock in that zone shows."""
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


@dataclass(frozen=True, slots=True)
class ShownCounters:
    """A reading of the hour: what the clock showed, and which pass it is in, or likely to be of.

    `is_new`: it just arrived, and is in neither yet.
    """

    clock: datetime
    reading: Reading
    is_first: bool
    is_new: bool = False


def first_passes(shown: Sequence[ShownCounters], capacity_w: float) -> list[bool]:
    """Which of these readings are of the first pass.

    Where no order decides, two that show the same time are told apart by what else they hold. The
    others stay in their pass, or join the one that their counters fit into.
    """
    votes = [_Vote() for _ in shown]
    for levels in _levels(shown, capacity_w):
        _vote(votes, shown, levels)
    contents: dict[datetime, set[str]] = {}
    for one in shown:
        contents.setdefault(one.clock, set()).add(content(one.reading))
    return [
        vote.first
        if vote.first != vote.second
        else _undecided(one, contents[one.clock], (other for other in shown if not other.is_new))
        for one, vote in zip(shown, votes, strict=True)
    ]


def content(reading: Reading) -> str:
    """All that a reading holds but its time: by it, one that comes again is known."""
    return repr(replace(reading, time=None))


def _undecided(one: ShownCounters, contents: set[str], others: Iterable[ShownCounters]) -> bool:
    if len(contents) > 1:
        return content(one.reading) == min(contents)
    if one.is_new:
        for other in others:
            if other.is_first and _shows_more(other.reading, one.reading):
                return True
            if not other.is_first and _shows_more(one.reading, other.reading):
                return False
    return one.is_first


def _shows_more(reading: Reading, than: Reading) -> bool:
    levels = dict(_counters(than))
    return any(wh > levels[key] for key, wh in _counters(reading) if key in levels)


@dataclass(slots=True)
class _Vote:
    first: bool = False
    second: bool = False


def _levels(shown: Sequence[ShownCounters], capacity_w: float) -> Iterator[Mapping[int, float]]:
    """By counter, what it shows in which of the readings; zeros and garbage are left out."""
    by_counter: dict[str, dict[int, float]] = {}
    for n, one in enumerate(shown):
        for key, wh in _counters(one.reading):
            by_counter.setdefault(key, {})[n] = wh
    for levels in by_counter.values():
        middle = median_low(levels.values())
        most_wh = _COUNT_WH + capacity_w * CAPACITY_MARGIN * 2 * _hours(shown)
        yield {n: wh for n, wh in levels.items() if abs(wh - middle) <= most_wh}


def _counters(reading: Reading) -> Iterable[tuple[str, float]]:
    if reading.parts:
        return [(key, wh) for key, wh in reading.parts.items() if wh]
    return [(key, wh) for key in _COUNTERS if (wh := getattr(reading, key))]


def _hours(shown: Sequence[ShownCounters]) -> float:
    clocks = [one.clock for one in shown]
    return (max(clocks) - min(clocks)) / timedelta(hours=1) + 1


def _vote(
    votes: Sequence[_Vote], shown: Sequence[ShownCounters], levels: Mapping[int, float]
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
            # Less than what is of the first pass, or more than what is of the second, is of it too.
            verdict.first = bool(firsts) and levels[n] < max(firsts)
            verdict.second = bool(seconds) and levels[n] > min(seconds)
        votes[n].first |= verdict.first and not verdict.second
        votes[n].second |= verdict.second and not verdict.first
