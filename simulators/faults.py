"""What goes wrong with meters: a home's readings → what its meter shows of them.

Pure, and the same from the same chance: a meter is well for a while, then has one of the troubles
that meters of its kind have, for some readings; each trouble comes once before any comes again.
What was generated is not touched: it stands in the home's own `Meters`, which is the truth.
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
_UNDERFLOW_WH = 4_294_967_295.0  # 32 bits below 0
_NEVER_SET = datetime(1970, 1, 1, tzinfo=UTC)


class Fault(StrEnum):
    """What may go wrong: with a meter first, on its readings' way then."""

    RESET = "reset"
    DIP = "dip"
    ZERO = "zero"
    STALL = "stall"  # a counter that shows the same for long, and then catches up
    SPIKE = "spike"
    LEVEL = "level"  # garbage that three readings in a row agree on
    POWER_ONLY = "power_only"
    SKEW = "skew"
    NIGHT_ZERO = "night_zero"
    DAILY = "daily"  # a counter that starts again at midnight
    GAP = "gap"
    DUPLICATE = "duplicate"
    LATE = "late"
    DISORDER = "disorder"
    RECONNECT = "reconnect"


# For how many readings each lasts.
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


# After these nobody can know what was generated.
LOSING = frozenset({Fault.RESET, Fault.LEVEL, Fault.DAILY})
# These hide what is counted. All of it is made up for when they are over by then, none lost to a
# gap in between; all other faults are made whole.
HIDING = frozenset({Fault.DIP, Fault.ZERO, Fault.STALL, Fault.POWER_ONLY})
_MADE_UP_FOR = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What may go wrong in a fleet, from one seed.

    `calm`: for how many readings, on average, all is well in between. `one_each`: a home knows
    but one of the kinds, the next home the next one.
    """

    seed: int
    kinds: Sequence[Fault] = tuple(Fault)
    calm: int = CALM_READINGS
    one_each: bool = False

    def of_home(self, number: int) -> Sequence[Fault]:
        return (self.kinds[number % len(self.kinds)],) if self.one_each else self.kinds


@dataclass(frozen=True, slots=True)
class Hit:
    """A fault that began with the reading of `at`, and lasted for so many.

    `hidden_for`: from the reading before to its last one.
    """

    fault: Fault
    at: datetime
    readings: int
    hidden_for: timedelta = timedelta(0)


def may_lose(hits: Sequence[Hit], first_at: datetime | None) -> bool:
    """Whether energy may be lost for good; if not, the hub's has to be the truth.

    Who was asleep at first told what it counts at dawn, or when it was heard of next.
    """
    befell = {hit.fault for hit in hits}
    asleep = any(hit.fault is Fault.NIGHT_ZERO and hit.at == first_at for hit in hits)
    hidden = any(hit.fault in HIDING and hit.hidden_for > _MADE_UP_FOR for hit in hits)
    together = Fault.GAP in befell and not befell.isdisjoint(HIDING)
    return asleep or hidden or together or not befell.isdisjoint(LOSING)


class Deck:
    """Faults in any order, all of them before any comes again, with calm between them."""

    def __init__(
        self, lasting: Mapping[Fault, tuple[int, int]], chance: Random, calm: int = CALM_READINGS
    ) -> None:
        self._lasting = lasting
        self._chance = chance
        self._between = max(1, calm // 6), 2 * calm - calm // 6
        self._ahead: list[Fault] = []
        self._calm = chance.randint(*self._between)

    def deal(self, at: datetime) -> Hit | None:
        """What begins with this reading, if anything does: to be asked when nothing lasts."""
        if self._calm or not self._lasting:
            self._calm = max(0, self._calm - 1)
            return None
        if not self._ahead:
            self._ahead = self._chance.sample(list(self._lasting), len(self._lasting))
        fault = self._ahead.pop()
        self._calm = self._chance.randint(*self._between)
        return Hit(fault, at, self._chance.randint(*self._lasting[fault]))


@dataclass(slots=True)
class _Count:
    """One counter. `true_wh`: what its home's meter last read; it shows what came since `base`."""

    true_wh: float
    base_wh: float = 0.0

    def reset(self, now_wh: float, part: float) -> None:
        """Begin again from 0, part of the way from the last reading to this one."""
        self.base_wh = self.true_wh + part * (now_wh - self.true_wh)

    def shown_wh(self, now_wh: float) -> float:
        self.true_wh = now_wh
        return round(max(0.0, now_wh - self.base_wh), 3)


_COUNTERS = ("energy_wh", "export_wh")


class FaultyMeter:
    """One device's meter, which knows some of the faults. `hits` tells what befell it.

    `live`: what it shows is sent at once, so that the hub sees that a clock runs minutes ahead.
    """

    def __init__(
        self,
        chance: Random,
        *,
        faults: Sequence[Fault] = tuple(Fault),
        calm: int = CALM_READINGS,
        live: bool = True,
    ) -> None:
        self._live = live
        self._chance = chance
        lasting = {fault: METER_FAULTS[fault] for fault in faults if fault in METER_FAULTS}
        self._deck = Deck(lasting, chance, calm)
        alone = len(faults) == 1
        self._zero_at_night = Fault.NIGHT_ZERO in faults and (alone or chance.random() < 0.5)
        self._starts_daily = Fault.DAILY in faults and (alone or chance.random() < 0.1)
        self._counts: dict[str, _Count] = {}
        self._day: date | None = None
        self._night = False
        self._hit: Hit | None = None
        self._hit_number = 0
        self._left = 0
        self._much = 0.0
        self._before: datetime | None = None
        self._shown: dict[str, float] = {}
        self._stood: dict[str, float] = {}
        self.hits: list[Hit] = []

    def show(self, reading: Reading) -> Reading:
        """What it shows instead of the truth."""
        assert reading.time is not None
        if not self._left:
            self._begin(self._deck.deal(reading.time))
        self._left = max(0, self._left - 1)
        shown = self._counted(reading)
        fault = self._hit.fault if self._hit else None
        self._hide(reading.time)
        if not self._left:
            self._hit = None
        self._before = reading.time
        return self._spoilt(shown, fault)

    def show_well(self, reading: Reading) -> Reading:
        """What it shows once nothing is wrong any more."""
        self._left, self._hit = 0, None
        self._night = False
        return self._counted(reading)

    def _begin(self, hit: Hit | None) -> None:
        self._hit = hit
        if hit is not None:
            self._left = hit.readings
            self._much = self._chance.random()
            self._stood = dict(self._shown)
            self._hit_number = len(self.hits)
            self.hits.append(hit)

    def _hide(self, at: datetime) -> None:
        """Note how long it has lasted by now."""
        if self._hit is None or self._before is None:
            return
        so_far = self.hits[self._hit_number]
        hidden_for = so_far.hidden_for + (at - self._before)
        self.hits[self._hit_number] = dataclass_replace(so_far, hidden_for=hidden_for)

    def _counted(self, reading: Reading) -> Reading:
        """The counters as they count since they last began again."""
        resets = self._resets(reading)
        shown: dict[str, float] = {}
        for name in _COUNTERS:
            true_wh = getattr(reading, name)
            if true_wh is None:
                continue
            count = self._counts.setdefault(name, _Count(true_wh))
            if name in resets:
                count.reset(true_wh, self._much)
            shown[name] = count.shown_wh(true_wh)
        self._shown = shown
        return _with(reading, shown)

    def _resets(self, reading: Reading) -> tuple[str, ...]:
        """Which counters begin again: one, or the other, or both."""
        assert reading.time is not None
        day, known = local_day(reading.time), self._day
        self._day = day
        if self._hit and self._hit.fault is Fault.RESET:
            return self._chance.choice([_COUNTERS, _COUNTERS[:1], _COUNTERS[1:]])
        if self._starts_daily and known not in (None, day):
            self.hits.append(Hit(Fault.DAILY, reading.time, 1))
            return _COUNTERS
        return ()

    def _spoilt(self, shown: Reading, fault: Fault | None) -> Reading:
        if fault is Fault.SKEW:
            assert shown.time is not None
            return replace(shown, time=self._skewed(shown.time))
        if fault is Fault.POWER_ONLY:
            return replace(shown, energy_wh=None, export_wh=None)
        if fault is Fault.ZERO or self._is_asleep(shown):
            return _counting(shown, lambda _: 0.0)
        if fault is Fault.STALL:
            return _with(shown, self._stood)
        if fault is Fault.DIP:
            return _with(shown, {name: self._lower(wh) for name, wh in self._stood.items()})
        if fault in (Fault.SPIKE, Fault.LEVEL):
            return _counting(shown, self._garbage)
        return shown

    def _is_asleep(self, shown: Reading) -> bool:
        asleep = self._zero_at_night and shown.power_w == 0
        was, self._night = self._night, asleep
        if self._night and not was:
            assert shown.time is not None
            self.hits.append(Hit(Fault.NIGHT_ZERO, shown.time, 1))
        return self._night

    def _lower(self, wh: float) -> float:
        return round(wh * (0.91 + 0.085 * self._much), 3)

    def _garbage(self, wh: float) -> float:
        return _UNDERFLOW_WH if self._much < 0.5 else wh + 1e9

    def _skewed(self, at: datetime) -> datetime:
        """A clock that was never set, one that is years off, or one that runs ahead."""
        if self._much < 0.3:
            return _NEVER_SET + timedelta(days=self._much, seconds=at.second)
        if self._much < 0.6 or not self._live:
            return at + timedelta(days=3650 * (1 if self._much < 0.45 else -1))
        return at + timedelta(minutes=6 + 3 * self._much)


def _counting(shown: Reading, show: Callable[[float], float]) -> Reading:
    """The same reading with other counters, as far as it has any."""
    known = ((name, getattr(shown, name)) for name in _COUNTERS)
    return _with(shown, {name: show(wh) for name, wh in known if wh is not None})


def _with(reading: Reading, counters: Mapping[str, float]) -> Reading:
    energy_wh, export_wh = (counters.get(name) for name in _COUNTERS)
    return replace(reading, energy_wh=energy_wh, export_wh=export_wh)
