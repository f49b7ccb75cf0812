"""Faults of meters: a home's true readings to what its faulty meter shows.

Pure and reproducible from a seed. A meter works for a while, then has one fault of its plan for
some readings; each fault occurs once before any occurs again. The home's own `Meters` are never
changed: they hold the truth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as dataclass_replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from random import Random

from msgspec.structs import replace

from core.readings import Reading
from simulators.sun import local_day

CALM_READINGS = 60
# What a 32-bit counter shows one step below 0.
_UNDERFLOW_WH = 4_294_967_295.0
_CLOCK_NEVER_SET = datetime(1970, 1, 1, tzinfo=UTC)


class Fault(StrEnum):
    """Everything that can go wrong: first with a meter, from `GAP` on with the delivery."""

    RESET = "reset"
    DIP = "dip"
    ZERO = "zero"
    STALL = "stall"  # a counter stands still for long, then catches up
    SPIKE = "spike"
    LEVEL = "level"  # garbage on which at least three readings in a row agree
    POWER_ONLY = "power_only"
    SKEW = "skew"
    NIGHT_ZERO = "night_zero"
    DAILY = "daily"  # a counter that starts again at midnight
    GAP = "gap"
    DUPLICATE = "duplicate"
    LATE = "late"
    DISORDER = "disorder"
    RECONNECT = "reconnect"


# Fewest and most readings that each fault lasts.
METER_FAULTS = {
    Fault.RESET: (1, 1),
    Fault.DIP: (1, 12),
    Fault.ZERO: (1, 12),
    Fault.STALL: (31, 60),
    Fault.SPIKE: (1, 2),
    Fault.LEVEL: (3, 5),
    Fault.POWER_ONLY: (3, 12),
    Fault.SKEW: (1, 3),
}


# After these faults the generated energy cannot be known.
LOSING = frozenset({Fault.RESET, Fault.LEVEL, Fault.DAILY})
# These faults hide the counters. The hub recovers all of the energy if the fault ends within
# _RECOVERED_WITHIN and none of its readings is lost in a gap. All other faults lose nothing.
HIDING = frozenset({Fault.DIP, Fault.ZERO, Fault.STALL, Fault.POWER_ONLY})
_RECOVERED_WITHIN = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The faults of a fleet, reproducible from `seed`."""

    seed: int
    kinds: Sequence[Fault] = tuple(Fault)
    # Mean number of good readings between two faults.
    calm_readings: int = CALM_READINGS
    # Each home has only one kind of fault, one home after the other.
    one_each: bool = False

    def of_home(self, number: int) -> Sequence[Fault]:
        return (self.kinds[number % len(self.kinds)],) if self.one_each else self.kinds


@dataclass(frozen=True, slots=True)
class FaultOccurrence:
    """One fault: the time of its first reading and the number of readings it lasts."""

    fault: Fault
    at: datetime
    readings: int
    # From the last reading before the fault to the last reading of it.
    hidden_for: timedelta = timedelta(0)


def may_lose_energy(occurrences: Sequence[FaultOccurrence], first_at: datetime | None) -> bool:
    """Return whether energy may be lost for good; if not, the hub's energy must equal the truth.

    A meter that starts with a night zero shows its counter only at dawn, or after a gap: the hub
    then cannot know where it started.
    """
    faults = {occurrence.fault for occurrence in occurrences}
    starts_at_zero = any(
        occurrence.fault is Fault.NIGHT_ZERO and occurrence.at == first_at
        for occurrence in occurrences
    )
    hidden_too_long = any(
        occurrence.fault in HIDING and occurrence.hidden_for > _RECOVERED_WITHIN
        for occurrence in occurrences
    )
    hidden_in_gap = Fault.GAP in faults and not faults.isdisjoint(HIDING)
    return starts_at_zero or hidden_too_long or hidden_in_gap or not faults.isdisjoint(LOSING)


class FaultSchedule:
    """Draws faults in random order, each once before any occurs again, with calm between them."""

    def __init__(
        self,
        durations: Mapping[Fault, tuple[int, int]],
        rng: Random,
        calm_readings: int = CALM_READINGS,
    ) -> None:
        self._durations = durations
        self._rng = rng
        # Fewest and most good readings between two faults; their mean is `calm_readings`.
        self._between = max(1, calm_readings // 6), 2 * calm_readings - calm_readings // 6
        self._ahead: list[Fault] = []
        self._calm_left = rng.randint(*self._between)

    def draw(self, at: datetime) -> FaultOccurrence | None:
        """Return the fault that begins with the reading of `at`, if any.

        Call this once per reading, but not while a fault lasts.
        """
        if self._calm_left or not self._durations:
            self._calm_left = max(0, self._calm_left - 1)
            return None
        if not self._ahead:
            self._ahead = self._rng.sample(list(self._durations), len(self._durations))
        fault = self._ahead.pop()
        self._calm_left = self._rng.randint(*self._between)
        return FaultOccurrence(fault, at, self._rng.randint(*self._durations[fault]))


@dataclass(slots=True)
class _Counter:
    """A counter that shows what was counted since `base_wh`; `true_wh` is the last true value."""

    true_wh: float
    base_wh: float = 0.0

    def reset(self, now_wh: float, part: float) -> None:
        """Restart from 0 at a point `part` of the way from the last reading to this one."""
        self.base_wh = self.true_wh + part * (now_wh - self.true_wh)

    def shown_wh(self, now_wh: float) -> float:
        self.true_wh = now_wh
        return round(max(0.0, now_wh - self.base_wh), 3)


_COUNTERS = ("energy_wh", "export_wh")


class FaultyMeter:
    """The meter of one device with the given faults; `occurrences` records them.

    `live`: readings are sent at once. Only then can the hub refuse a clock that is minutes ahead.
    """

    def __init__(
        self,
        rng: Random,
        *,
        faults: Sequence[Fault] = tuple(Fault),
        calm_readings: int = CALM_READINGS,
        live: bool = True,
    ) -> None:
        self._live = live
        self._rng = rng
        durations = {fault: METER_FAULTS[fault] for fault in faults if fault in METER_FAULTS}
        self._schedule = FaultSchedule(durations, rng, calm_readings)
        only_one = len(faults) == 1
        self._zero_at_night = Fault.NIGHT_ZERO in faults and (only_one or rng.random() < 0.5)
        self._starts_daily = Fault.DAILY in faults and (only_one or rng.random() < 0.1)
        self._counters: dict[str, _Counter] = {}
        self._day: date | None = None
        self._night = False
        # The fault that lasts now: its index in `occurrences`, the readings left, and a random
        # number in [0, 1) that decides how it looks.
        self._current: FaultOccurrence | None = None
        self._current_index = 0
        self._readings_left = 0
        self._variant = 0.0
        self._before: datetime | None = None
        self._shown: dict[str, float] = {}
        # What the counters showed before the current fault.
        self._frozen: dict[str, float] = {}
        self.occurrences: list[FaultOccurrence] = []

    def show(self, reading: Reading) -> Reading:
        """Return the reading that the meter shows instead of the true one."""
        assert reading.time is not None
        if not self._readings_left:
            self._begin(self._schedule.draw(reading.time))
        self._readings_left = max(0, self._readings_left - 1)
        shown = self._with_counters(reading)
        fault = self._current.fault if self._current else None
        self._extend(reading.time)
        if not self._readings_left:
            self._current = None
        self._before = reading.time
        return self._spoil(shown, fault)

    def show_without_fault(self, reading: Reading) -> Reading:
        """Return the reading that the meter shows once all faults are over."""
        self._readings_left, self._current = 0, None
        self._night = False
        return self._with_counters(reading)

    def _begin(self, occurrence: FaultOccurrence | None) -> None:
        self._current = occurrence
        if occurrence is not None:
            self._readings_left = occurrence.readings
            self._variant = self._rng.random()
            self._frozen = dict(self._shown)
            self._current_index = len(self.occurrences)
            self.occurrences.append(occurrence)

    def _extend(self, at: datetime) -> None:
        """Record how long the current fault has lasted."""
        if self._current is None or self._before is None:
            return
        so_far = self.occurrences[self._current_index]
        hidden_for = so_far.hidden_for + (at - self._before)
        self.occurrences[self._current_index] = dataclass_replace(so_far, hidden_for=hidden_for)

    def _with_counters(self, reading: Reading) -> Reading:
        """Return the reading with counters since their last reset."""
        resets = self._resets(reading)
        shown: dict[str, float] = {}
        for name in _COUNTERS:
            true_wh = getattr(reading, name)
            if true_wh is None:
                continue
            counter = self._counters.setdefault(name, _Counter(true_wh))
            if name in resets:
                counter.reset(true_wh, self._variant)
            shown[name] = counter.shown_wh(true_wh)
        self._shown = shown
        return _replace_counters(reading, shown)

    def _resets(self, reading: Reading) -> tuple[str, ...]:
        """Return the counters that restart with this reading: none, one or both."""
        assert reading.time is not None
        day, previous_day = local_day(reading.time), self._day
        self._day = day
        if self._current and self._current.fault is Fault.RESET:
            return self._rng.choice([_COUNTERS, _COUNTERS[:1], _COUNTERS[1:]])
        if self._starts_daily and previous_day not in (None, day):
            self.occurrences.append(FaultOccurrence(Fault.DAILY, reading.time, 1))
            return _COUNTERS
        return ()

    def _spoil(self, shown: Reading, fault: Fault | None) -> Reading:
        if fault is Fault.SKEW:
            assert shown.time is not None
            return replace(shown, time=self._skewed(shown.time))
        if fault is Fault.POWER_ONLY:
            return replace(shown, energy_wh=None, export_wh=None)
        if fault is Fault.ZERO or self._is_night_zero(shown):
            return _map_counters(shown, lambda _: 0.0)
        if fault is Fault.STALL:
            return _replace_counters(shown, self._frozen)
        if fault is Fault.DIP:
            lower = {name: self._lower_wh(wh) for name, wh in self._frozen.items()}
            return _replace_counters(shown, lower)
        if fault in (Fault.SPIKE, Fault.LEVEL):
            return _map_counters(shown, self._garbage_wh)
        return shown

    def _is_night_zero(self, shown: Reading) -> bool:
        was_night, self._night = self._night, self._zero_at_night and shown.power_w == 0
        if self._night and not was_night:
            assert shown.time is not None
            self.occurrences.append(FaultOccurrence(Fault.NIGHT_ZERO, shown.time, 1))
        return self._night

    def _lower_wh(self, wh: float) -> float:
        return round(wh * (0.91 + 0.085 * self._variant), 3)

    def _garbage_wh(self, wh: float) -> float:
        return _UNDERFLOW_WH if self._variant < 0.5 else wh + 1e9

    def _skewed(self, at: datetime) -> datetime:
        """Return the time of a clock that was never set, is years off, or runs minutes ahead."""
        if self._variant < 0.3:
            return _CLOCK_NEVER_SET + timedelta(days=self._variant, seconds=at.second)
        if self._variant < 0.6 or not self._live:
            return at + timedelta(days=3650 * (1 if self._variant < 0.45 else -1))
        return at + timedelta(minutes=6 + 3 * self._variant)


def _map_counters(reading: Reading, change: Callable[[float], float]) -> Reading:
    """Return the reading with each known counter changed."""
    values = ((name, getattr(reading, name)) for name in _COUNTERS)
    return _replace_counters(reading, {n: change(wh) for n, wh in values if wh is not None})


def _replace_counters(reading: Reading, counters: Mapping[str, float]) -> Reading:
    energy_wh, export_wh = (counters.get(name) for name in _COUNTERS)
    return replace(reading, energy_wh=energy_wh, export_wh=export_wh)
