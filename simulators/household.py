"""A home's consumption, its battery and its meters.

Energy is counted in whole microwatt-hours, so that every step balances exactly:
generated + imported + discharged = drawn + exported + charged.
"""

from dataclasses import dataclass, field
from datetime import datetime
from math import exp
from random import Random

from core.readings import Reading

_UWH_PER_WS = 1e6 / 3600
# Of a round trip through the battery; the loss is taken when charging.
_EFFICIENCY_PCT = 92


@dataclass(frozen=True, slots=True)
class Appliance:
    """An appliance that runs `times_a_day`, mostly around an hour of the day, for `lasts_s`."""

    power_w: float
    lasts_s: float
    times_a_day: float
    around_h: float


APPLIANCES = (
    Appliance(2000, 900, 1.5, 7.0),  # water heater
    Appliance(1200, 1500, 2.0, 8.0),  # induction hob, breakfast
    Appliance(750, 1200, 1.0, 10.0),  # water pump
    Appliance(500, 3600, 0.5, 11.0),  # washing machine
    Appliance(1200, 2400, 2.0, 20.0),  # induction hob, dinner
    Appliance(1500, 5400, 1.0, 22.0),  # air conditioner
)


def bump(hour: float, around_h: float, width_h: float) -> float:
    """Return a Gaussian of the hour: 1 at `around_h`, falling on both sides, across midnight."""
    distance_h = abs(hour - around_h) % 24
    distance_h = min(distance_h, 24 - distance_h)
    return exp(-((distance_h / width_h) ** 2))


@dataclass(slots=True)
class Consumption:
    """A home's consumption: a base load, residents' routine, appliances at random."""

    rng: Random
    base_w: float
    people_w: float
    # Remaining seconds and power of each appliance that runs.
    _running: list[tuple[float, float]] = field(default_factory=list)

    def draw_w(self, hour: float, elapsed_s: float) -> float:
        """Return the mean power over the next `elapsed_s`, at an hour of the day."""
        self._running = [(left - elapsed_s, w) for left, w in self._running if left > elapsed_s]
        for appliance in APPLIANCES:
            # The area of a bump of width 2 h is 3.5 h, so that starts add up to `times_a_day`.
            per_s = appliance.times_a_day * bump(hour, appliance.around_h, 2) / (3.5 * 3600)
            if self.rng.random() < per_s * elapsed_s:
                lasts_s = appliance.lasts_s * self.rng.uniform(0.5, 1.5)
                self._running.append((lasts_s, appliance.power_w))
        people_w = self.people_w * (bump(hour, 7.5, 1.5) + 1.6 * bump(hour, 20, 2.5))
        steady_w = (self.base_w + people_w) * self.rng.uniform(0.95, 1.05)
        return steady_w + sum(w for _, w in self._running)


@dataclass(slots=True)
class Battery:
    """A battery that stores surplus; capacity 0 stands for a home without one."""

    capacity_uwh: int
    power_max_w: float
    stored_uwh: int = 0

    @property
    def soc_pct(self) -> float | None:
        if not self.capacity_uwh:
            return None
        return round(100 * self.stored_uwh / self.capacity_uwh, 1)

    def charge(self, offered_uwh: int, elapsed_s: float) -> int:
        """Charge with at most `offered_uwh`; return the energy that was drawn for it."""
        room_uwh = (self.capacity_uwh - self.stored_uwh) * 100 // _EFFICIENCY_PCT
        charged_uwh = min(offered_uwh, room_uwh, _uwh(self.power_max_w, elapsed_s))
        self.stored_uwh += charged_uwh * _EFFICIENCY_PCT // 100
        return charged_uwh

    def discharge(self, wanted_uwh: int, elapsed_s: float) -> int:
        discharged_uwh = min(wanted_uwh, self.stored_uwh, _uwh(self.power_max_w, elapsed_s))
        self.stored_uwh -= discharged_uwh
        return discharged_uwh


def _uwh(power_w: float, elapsed_s: float) -> int:
    return round(power_w * elapsed_s * _UWH_PER_WS)


@dataclass(slots=True)
class Meters:
    """Lifetime totals in microwatt-hours, which never fall."""

    generated_uwh: int = 0
    exported_uwh: int = 0
    imported_uwh: int = 0
    drawn_uwh: int = 0
    charged_uwh: int = 0
    discharged_uwh: int = 0


@dataclass(slots=True)
class Home:
    """One home behind one meter."""

    rng: Random
    consumption: Consumption
    battery: Battery
    meters: Meters
    # The time up to which the meters have counted.
    measured_at: datetime

    def measure(self, at: datetime, *, power_w: float, hour: float) -> Reading:
        """Count up to `at` with this PV power and hour of the day; return the reading."""
        elapsed_s = max(0.0, (at - self.measured_at).total_seconds())
        self.measured_at = max(at, self.measured_at)
        load_w = self.consumption.draw_w(hour, elapsed_s)
        self._count(_uwh(power_w, elapsed_s), _uwh(load_w, elapsed_s), elapsed_s)
        return self._reading(power_w, load_w)

    def _count(self, generated_uwh: int, drawn_uwh: int, elapsed_s: float) -> None:
        surplus_uwh = generated_uwh - drawn_uwh
        charged_uwh = self.battery.charge(max(0, surplus_uwh), elapsed_s)
        discharged_uwh = self.battery.discharge(max(0, -surplus_uwh), elapsed_s)
        net_uwh = surplus_uwh - charged_uwh + discharged_uwh
        meters = self.meters
        meters.generated_uwh += generated_uwh
        meters.drawn_uwh += drawn_uwh
        meters.charged_uwh += charged_uwh
        meters.discharged_uwh += discharged_uwh
        meters.exported_uwh += max(0, net_uwh)
        meters.imported_uwh += max(0, -net_uwh)

    def _reading(self, power_w: float, load_w: float) -> Reading:
        voltage_v = 231 + self.rng.uniform(-3, 3)
        return Reading(
            time=self.measured_at,
            power_w=round(power_w, 1),
            energy_wh=_shown_wh(self.meters.generated_uwh),
            export_wh=_shown_wh(self.meters.exported_uwh),
            import_wh=_shown_wh(self.meters.imported_uwh),
            load_w=round(load_w, 1),
            voltage_v=round(voltage_v, 1),
            current_a=round(power_w / voltage_v, 2),
            frequency_hz=round(50 + self.rng.uniform(-0.03, 0.03), 2),
            temperature_c=round(29 + power_w / 300, 1),
            battery_soc_pct=self.battery.soc_pct,
        )


def _shown_wh(counted_uwh: int) -> float:
    """Round down to whole milliwatt-hours, which is the resolution of the meter."""
    return counted_uwh // 1000 / 1000
