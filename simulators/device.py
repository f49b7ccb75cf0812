"""A simulated device: its home's meters, the faults injected into them, and what it sends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random

from core.readings import Reading
from simulators.delivery import FaultyDelivery, ReconnectStorms, SendBatch
from simulators.faults import Fault, FaultOccurrence, FaultPlan, FaultyMeter
from simulators.homes import HomeSpec, start_home
from simulators.registered_homes import RegisteredHome
from simulators.shared_slots import SharedSlots, SlotSpan
from simulators.sun import Sky, SunClock, local_hour
from simulators.truth import Truth

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Weather:
    """The outside of all homes: the sun on their roofs and the hour of the day."""

    sky: Sky
    sun: SunClock

    def power_w(self, home: HomeSpec, at: datetime) -> float:
        return home.capacity_w * self.sky.power_w_per_w(home.roof, self.sun.at(at))

    def hour(self, at: datetime) -> float:
        return local_hour(self.sun.at(at))


class SimulatedDevice:
    """Measures a home on request; with a fault plan, sends faulty readings and keeps the truth."""

    def __init__(
        self,
        registered: RegisteredHome,
        weather: Weather,
        begins: datetime,
        *,
        faults: FaultPlan | None = None,
        live: bool = True,
    ) -> None:
        self.registered = registered
        self._home = start_home(registered.spec, registered.meters, begins)
        self._weather = weather
        self._injection = None
        if faults is not None:
            kinds = faults.of_home(registered.spec.number)
            self._injection = _FaultInjection(faults, kinds, registered.spec.key, live)

    def measure(self, at: datetime) -> list[SendBatch]:
        """Measure, and return what is sent now: this reading, others, or nothing."""
        reading = self._measure(at)
        if self._injection is None:
            return [SendBatch((reading,))]
        return self._injection.send(reading)

    def measure_last(self, at: datetime) -> list[SendBatch]:
        """Measure once all faults are over, and return everything that was held back too."""
        reading = self._measure(at)
        if self._injection is None:
            return [SendBatch((reading,))]
        return self._injection.send_last(reading)

    @property
    def truth(self) -> Truth:
        assert self._injection is not None
        return self._injection.truth

    @property
    def occurrences(self) -> Sequence[FaultOccurrence]:
        assert self._injection is not None
        return [*self._injection.meter.occurrences, *self._injection.delivery.occurrences]

    @property
    def shared_slots(self) -> Sequence[SlotSpan]:
        """Return the spans of slots over which the faults moved energy."""
        assert self._injection is not None
        return self._injection.shared.spans

    def _measure(self, at: datetime) -> Reading:
        spec, weather = self.registered.spec, self._weather
        reading = self._home.measure(at, power_w=weather.power_w(spec, at), hour=weather.hour(at))
        if self._injection is not None:
            self._injection.truth.add(self._home.measured_at, self._home.meters)
        return reading


class _FaultInjection:
    """The faults of one home: those of its meter and those of its delivery."""

    def __init__(self, plan: FaultPlan, kinds: Sequence[Fault], key: str, live: bool) -> None:
        seed, calm_readings = plan.seed, plan.calm_readings
        self.meter = FaultyMeter(
            Random(f"{seed}:{key}:meter"), faults=kinds, calm_readings=calm_readings, live=live
        )
        # The same seed for all homes: storms strike the whole fleet at once.
        storms = ReconnectStorms(Random(f"{seed}:storms"))
        self.delivery = FaultyDelivery(
            Random(f"{seed}:{key}:way"), storms, faults=kinds, calm_readings=calm_readings
        )
        self.truth = Truth()
        self.shared = SharedSlots()

    def send(self, reading: Reading) -> list[SendBatch]:
        assert reading.time is not None
        before = len(self.meter.occurrences), len(self.delivery.occurrences)
        batches = self.delivery.send(self.meter.show(reading))
        begun = [*self.meter.occurrences[before[0] :], *self.delivery.occurrences[before[1] :]]
        self.shared.add_reading(reading.time, begun)
        return batches

    def send_last(self, reading: Reading) -> list[SendBatch]:
        assert reading.time is not None
        self.shared.add_reading(reading.time, ())
        self.shared.end()
        last = SendBatch((self.meter.show_without_fault(reading),))
        return [*self.delivery.flush(), last]
