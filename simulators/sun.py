"""PV power of a roof: clear sky, passing clouds, cell temperature, inverter.

The power curve of a roof's whole day is computed at once (about 15 ms, because pvlib works on
vectors) and then interpolated, so that a reading costs little. Homes of one locality share clouds.

Sources, all through pvlib: Ineichen & Perez, Solar Energy 73 (2002) for the clear sky; Faiman,
Prog. Photovolt. 16 (2008) for the cell's temperature; Dobos, PVWatts Version 5, NREL/TP-6A20-62641.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from math import cos, pi
from random import Random
from typing import Any

from simulators.places import UTC_OFFSET_H, Locality

# Resolution of a power curve.
STEP_S = 60
_STEPS = 86_400 // STEP_S
_ALTITUDE_M = 920
# A hazy tropical city; a constant, so that pvlib need not load its table.
_LINKE_TURBIDITY = 4.5
_GAMMA_PER_C = -0.0037
_INVERTER_EFFICIENCY = 0.96

_CLEAR_MEAN_S = 900.0
_CLOUD_MEAN_S = 240.0
_CLOUD_TRANSMITTANCE = (0.25, 0.85)
_EDGE_STEPS = 2
# Days of one roof in the cache: a week that is simulated at once touches up to 9 UTC days.
_DAYS_CACHED = 9


@dataclass(frozen=True, slots=True)
class Roof:
    """Panels on a roof; azimuth 180 is south."""

    place: Locality
    tilt_deg: float
    azimuth_deg: float


class Sky:
    """The weather over all roofs, reproducible from a seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._days: dict[Roof, dict[date, Sequence[float]]] = defaultdict(dict)

    def power_w_per_w(self, roof: Roof, at: datetime) -> float:
        """Return AC watts per watt of panels at `at`: 0 at night, always below 1."""
        at = at.astimezone(UTC)
        curve = self._day(roof, at.date())
        position = (at - datetime.combine(at, time(), UTC)).total_seconds() / STEP_S
        step = int(position)
        part = position - step
        return curve[step] * (1 - part) + curve[step + 1] * part

    def prepare(self, roofs: Iterable[Roof], at: datetime) -> None:
        """Compute the day of `at` for all roofs; call this in a thread, since it takes long."""
        for roof in roofs:
            self._day(roof, at.astimezone(UTC).date())

    def _day(self, roof: Roof, day: date) -> Sequence[float]:
        days = self._days[roof]
        if day not in days:
            if len(days) == _DAYS_CACHED:
                del days[min(days)]
            rng = Random(f"{self._seed}:{roof.place.name}:{day}")
            days[day] = power_curve(roof, day, clouds(rng))
        return days[day]


def clouds(rng: Random) -> list[float]:
    """Return the part of direct light that passes the clouds, for each step of a day."""
    beam: list[float] = []
    cloudiness = rng.uniform(0.3, 2.0)
    while len(beam) <= _STEPS:
        beam += [1.0] * _steps(rng, _CLEAR_MEAN_S / cloudiness)
        beam += [rng.uniform(*_CLOUD_TRANSMITTANCE)] * _steps(rng, _CLOUD_MEAN_S * cloudiness)
    return _soft_edges(beam)[: _STEPS + 1]


def _steps(rng: Random, mean_s: float) -> int:
    return 1 + int(rng.expovariate(STEP_S / mean_s))


def _soft_edges(values: list[float]) -> list[float]:
    reach = _EDGE_STEPS
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def import_pvlib() -> None:
    """Import pvlib, which takes seconds, before the first power curve needs it."""
    import pvlib  # noqa: F401


def power_curve(roof: Roof, day: date, beam: Sequence[float]) -> list[float]:
    """Return AC watts per watt of panels at each step of a UTC day, both midnights included."""
    import numpy as np
    from pvlib import inverter, pvsystem, temperature

    poa = _irradiance_w_m2(roof, day, np.asarray(beam))
    cell_c = temperature.faiman(poa, np.asarray(_air_c()))
    dc_w = pvsystem.pvwatts_dc(poa, cell_c, 1.0, _GAMMA_PER_C)
    ac_w = inverter.pvwatts(dc_w, 1 / _INVERTER_EFFICIENCY, _INVERTER_EFFICIENCY)
    return [float(watts) for watts in np.nan_to_num(ac_w).clip(min=0)]


def _irradiance_w_m2(roof: Roof, day: date, beam: Any) -> Any:
    """Return plane-of-array irradiance; clouds reduce direct light and add some diffuse light."""
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
    # Divisions by 0 occur while the sun is below the horizon.
    with np.errstate(divide="ignore", invalid="ignore"):
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
    """Return Bangalore's air temperature over a UTC day: 26 °C on average, highest at 15:00."""
    hours = (step * STEP_S / 3600 + UTC_OFFSET_H for step in range(_STEPS + 1))
    return [26 + 5 * cos((hour - 15) * pi / 12) for hour in hours]


@dataclass(frozen=True, slots=True)
class SunClock:
    """The time of the simulated sun: `sun_start` at `start`, running at `speed`."""

    start: datetime
    sun_start: datetime
    speed: float = 1.0

    @classmethod
    def starting(
        cls, now: datetime, *, hour: float | None = None, speed: float = 1.0
    ) -> "SunClock":
        """Start at `now` with the real sun, or with the sun of an hour of today's local day."""
        if hour is None:
            return cls(now, now, speed)
        return cls(now, local_midnight(now) + timedelta(hours=hour), speed)

    def at(self, now: datetime) -> datetime:
        """Return the simulated time at the real time `now`."""
        return self.sun_start + (now - self.start) * self.speed


def local_midnight(at: datetime) -> datetime:
    """Return the start of the local day."""
    return datetime.combine(local_day(at), time(), UTC) - timedelta(hours=UTC_OFFSET_H)


def local(at: datetime) -> datetime:
    """Return an instant as a local clock shows it."""
    return at.astimezone(timezone(timedelta(hours=UTC_OFFSET_H)))


def local_hour(at: datetime) -> float:
    """Return the local hour of the day, with its fraction."""
    shown = local(at)
    return shown.hour + shown.minute / 60 + shown.second / 3600


def local_day(at: datetime) -> date:
    """Return the local day."""
    return local(at).date()
