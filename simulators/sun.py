"""PV power at a place: clear sky, passing clouds, warm cells, PVWatts.

A roof's whole day is computed at once (pvlib works in vectors, about 15 ms) and then read by
interpolation, so that a tick costs next to nothing. Neighbours of one locality share its clouds.

Sources, all through pvlib: Ineichen & Perez, Solar Energy 73 (2002) for the clear sky; Faiman,
Prog. Photovolt. 16 (2008) for the cell's temperature; Dobos, PVWatts Version 5, NREL/TP-6A20-62641.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import cos, pi
from random import Random
from typing import Any

from simulators.places import UTC_OFFSET_H, Locality

STEP_S = 60
_STEPS = 86_400 // STEP_S
_ALTITUDE_M = 920
_LINKE_TURBIDITY = 4.5  # hazy tropical city; fixed, so that no table has to be loaded
_GAMMA_PER_C = -0.0037
_INVERTER_EFFICIENCY = 0.96

_CLEAR_MEAN_S = 900.0
_CLOUD_MEAN_S = 240.0
_CLOUD_TRANSMITS = (0.25, 0.85)
_EDGE_STEPS = 2
_DAYS_KEPT = 9  # a week that is simulated at once, and what it begins and ends in


@dataclass(frozen=True, slots=True)
class Roof:
    """Panels on a house: azimuth 180 looks south."""

    place: Locality
    tilt_deg: float
    azimuth_deg: float


class Sky:
    """The weather over all roofs, reproducible from its seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._days: dict[Roof, dict[date, Sequence[float]]] = defaultdict(dict)

    def power_w_per_w(self, roof: Roof, at: datetime) -> float:
        """AC watts at the instant `at` for each watt of panels, 0 at night, below 1 always."""
        at = at.astimezone(UTC)
        curve = self._day(roof, at.date())
        place = (at - datetime.combine(at, time(), UTC)).total_seconds() / STEP_S
        step = int(place)
        part = place - step
        return curve[step] * (1 - part) + curve[step + 1] * part

    def prepare(self, roofs: Iterable[Roof], at: datetime) -> None:
        """Compute the day of `at` ahead of time: it takes a while, so do it in a thread."""
        for roof in roofs:
            self._day(roof, at.astimezone(UTC).date())

    def _day(self, roof: Roof, day: date) -> Sequence[float]:
        days = self._days[roof]
        if day not in days:
            if len(days) == _DAYS_KEPT:
                del days[min(days)]
            chance = Random(f"{self._seed}:{roof.place.name}:{day}")
            days[day] = power_curve(roof, day, clouds(chance))
        return days[day]


def clouds(chance: Random) -> list[float]:
    """The part of the direct beam that passes, for each step of a day: clouds come and go."""
    beam: list[float] = []
    cloudiness = chance.uniform(0.3, 2.0)
    while len(beam) <= _STEPS:
        beam += [1.0] * _steps(chance, _CLEAR_MEAN_S / cloudiness)
        beam += [chance.uniform(*_CLOUD_TRANSMITS)] * _steps(chance, _CLOUD_MEAN_S * cloudiness)
    return _soft_edges(beam)[: _STEPS + 1]


def _steps(chance: Random, mean_s: float) -> int:
    return 1 + int(chance.expovariate(STEP_S / mean_s))


def _soft_edges(values: list[float]) -> list[float]:
    reach = _EDGE_STEPS
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def power_curve(roof: Roof, day: date, beam: Sequence[float]) -> list[float]:
    """AC watts per watt of panels at each step of a UTC day, both midnights included."""
    import numpy as np
    from pvlib import inverter, pvsystem, temperature

    poa = _irradiance_w_m2(roof, day, np.asarray(beam))
    cell_c = temperature.faiman(poa, np.asarray(_air_c()))
    dc_w = pvsystem.pvwatts_dc(poa, cell_c, 1.0, _GAMMA_PER_C)
    ac_w = inverter.pvwatts(dc_w, 1 / _INVERTER_EFFICIENCY, _INVERTER_EFFICIENCY)
    return [float(watts) for watts in np.nan_to_num(ac_w).clip(min=0)]


def _irradiance_w_m2(roof: Roof, day: date, beam: Any) -> Any:
    """Plane-of-array irradiance; clouds take from the beam and give a little to the sky."""
    import numpy as np
    import pandas as pd
    from pvlib import atmosphere, clearsky, irradiance, solarposition

    begins = datetime.combine(day, time(), UTC)
    times = pd.date_range(begins, begins + timedelta(days=1), periods=_STEPS + 1)
    sun = solarposition.get_solarposition(
        times, roof.place.latitude, roof.place.longitude, altitude=_ALTITUDE_M
    )
    zenith = sun["apparent_zenith"].to_numpy()
    air_mass = atmosphere.get_absolute_airmass(
        atmosphere.get_relative_airmass(zenith), atmosphere.alt2pres(_ALTITUDE_M)
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # where the sun is below the horizon
        clear = clearsky.ineichen(zenith, air_mass, _LINKE_TURBIDITY, altitude=_ALTITUDE_M)
    direct = clear["dni"] * beam
    diffuse = clear["dhi"] * (1.25 - 0.25 * beam)
    horizontal = direct * np.cos(np.radians(zenith)).clip(min=0) + diffuse
    azimuth = sun["azimuth"].to_numpy()
    total = irradiance.get_total_irradiance(
        roof.tilt_deg, roof.azimuth_deg, zenith, azimuth, direct, horizontal, diffuse
    )
    return np.nan_to_num(total["poa_global"]).clip(min=0)


def _air_c() -> list[float]:
    """Bangalore's air over a UTC day: 26 °C on average, warmest at three in the afternoon."""
    hours = (step * STEP_S / 3600 + UTC_OFFSET_H for step in range(_STEPS + 1))
    return [26 + 5 * cos((hour - 15) * pi / 12) for hour in hours]


@dataclass(frozen=True, slots=True)
class SunClock:
    """Where the simulated sun stands: `speed` 1 keeps real time, from `sun_start` on."""

    start: datetime
    sun_start: datetime
    speed: float = 1.0

    @classmethod
    def starting(
        cls, now: datetime, *, hour: float | None = None, speed: float = 1.0
    ) -> "SunClock":
        """From `now`, with the sun as it is, or as it stands at an hour of today's local day."""
        if hour is None:
            return cls(now, now, speed)
        local = now.astimezone(UTC) + timedelta(hours=UTC_OFFSET_H)
        midnight = datetime.combine(local, time(), UTC) - timedelta(hours=UTC_OFFSET_H)
        return cls(now, midnight + timedelta(hours=hour), speed)

    def at(self, now: datetime) -> datetime:
        """What the sun and the people take for the time."""
        return self.sun_start + (now - self.start) * self.speed


def local_hour(at: datetime) -> float:
    """The hour of the day where the homes are, with its part."""
    local = at.astimezone(UTC) + timedelta(hours=UTC_OFFSET_H)
    return local.hour + local.minute / 60 + local.second / 3600


def local_day(at: datetime) -> date:
    """The day where the homes are."""
    return (at.astimezone(UTC) + timedelta(hours=UTC_OFFSET_H)).date()
