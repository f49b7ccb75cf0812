"""One device: its home's meters, what goes wrong with them, and what is to be sent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random

from core.readings import Reading
from simulators.delivery import FaultyWay, Sending, Storms
from simulators.faults import Fault, FaultPlan, FaultyMeter, Hit
from simulators.homes import Dwelling, move_in
from simulators.residents import Resident
from simulators.shared_slots import SharedSlots, Slots
from simulators.sun import Sky, SunClock, local_hour
from simulators.truth import Truth

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Weather:
    """What a home sees of the outside: the sun on its roof, and the hour of the day."""

    sky: Sky
    sun: SunClock

    def power_w(self, home: Dwelling, at: datetime) -> float:
        return home.capacity_w * self.sky.power_w_per_w(home.roof, self.sun.at(at))

    def hour(self, at: datetime) -> float:
        return local_hour(self.sun.at(at))


class Station:
    """Measures when it is told to. With a plan of faults it is unreliable, and knows the truth."""

    def __init__(
        self,
        resident: Resident,
        weather: Weather,
        begins: datetime,
        *,
        faults: FaultPlan | None = None,
        live: bool = True,
    ) -> None:
        self.resident = resident
        self._home = move_in(resident.dwelling, resident.meters, begins)
        self._weather = weather
        self._troubles = None
        if faults is not None:
            kinds = faults.of_home(resident.dwelling.number)
            self._troubles = _Troubles(faults, kinds, resident.dwelling.key, live)

    def measure(self, at: datetime) -> list[Sending]:
        """What is sent now that it was measured: this, something else, or nothing."""
        reading = self._read(at)
        if self._troubles is None:
            return [Sending((reading,))]
        return self._troubles.send(reading)

    def measure_well(self, at: datetime) -> list[Sending]:
        """As the last act: nothing is wrong any more, and nothing held back."""
        reading = self._read(at)
        if self._troubles is None:
            return [Sending((reading,))]
        return self._troubles.send_well(reading)

    @property
    def truth(self) -> Truth:
        assert self._troubles is not None
        return self._troubles.truth

    @property
    def hits(self) -> Sequence[Hit]:
        assert self._troubles is not None
        return [*self._troubles.meter.hits, *self._troubles.way.hits]

    @property
    def shared(self) -> Sequence[Slots]:
        """From which slot to which the faults moved energy."""
        assert self._troubles is not None
        return self._troubles.shared.spans

    def _read(self, at: datetime) -> Reading:
        home, weather = self.resident.dwelling, self._weather
        reading = self._home.measure(at, power_w=weather.power_w(home, at), hour=weather.hour(at))
        if self._troubles is not None:
            self._troubles.truth.measured(self._home.measured_at, self._home.meters)
        return reading


class _Troubles:
    """What a plan has in store for a home."""

    def __init__(self, plan: FaultPlan, kinds: Sequence[Fault], key: str, live: bool) -> None:
        seed, calm = plan.seed, plan.calm
        chance = Random(f"{seed}:{key}:meter")
        self.meter = FaultyMeter(chance, faults=kinds, calm=calm, live=live)
        storms = Storms(Random(f"{seed}:storms"))
        self.way = FaultyWay(Random(f"{seed}:{key}:way"), storms, faults=kinds, calm=calm)
        self.truth = Truth()
        self.shared = SharedSlots()

    def send(self, reading: Reading) -> list[Sending]:
        """What is sent of a reading, by what the meter shows and what becomes of it."""
        assert reading.time is not None
        known = len(self.meter.hits), len(self.way.hits)
        sendings = self.way.send(self.meter.show(reading))
        begun = [*self.meter.hits[known[0] :], *self.way.hits[known[1] :]]
        self.shared.note(reading.time, begun)
        return sendings

    def send_well(self, reading: Reading) -> list[Sending]:
        """The same once nothing is wrong any more, and nothing held back."""
        assert reading.time is not None
        self.shared.note(reading.time, ())
        self.shared.end()
        return [*self.way.rest(), Sending((self.meter.show_well(reading),))]
