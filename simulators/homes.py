"""The homes of a fleet: roof, panels, battery and consumption, derived from a seed alone."""

from dataclasses import dataclass
from datetime import datetime
from random import Random

from simulators.household import Battery, Consumption, Home, Meters
from simulators.places import LOCALITIES, Locality, near
from simulators.sun import Roof

# Bangalore's latitude: the tilt with the highest yearly yield.
_TILT_DEG = 13.0
_AZIMUTHS_DEG = (180.0, 180.0, 90.0, 270.0)
_PANEL_W = 540
_PANELS = (5, 14)
# Part of homes that have a battery.
_BATTERY_PART = 0.3
# What meters of new homes have counted already, as those of homes with older panels have.
_INITIAL_KWH = (2_000, 30_000)


@dataclass(frozen=True, slots=True)
class HomeSpec:
    """The constant properties of a home.

    `roof` is at the centre of its locality, so that neighbours share the sun's curve; `place` is
    the home's own point.
    """

    key: str
    number: int
    name: str
    place: Locality
    roof: Roof
    capacity_w: float
    battery_wh: int
    base_w: float
    people_w: float
    initial_wh: int
    price_per_kwh: str


def home_spec(seed: int, index: int, *, panels: tuple[int, int] = _PANELS) -> HomeSpec:
    """Return the home with this index, the same for the same seed.

    `panels` is the fewest and the most panels of a home.
    """
    key = f"{seed}:{index}"
    rng = Random(key)
    locality = LOCALITIES[index % len(LOCALITIES)]
    return HomeSpec(
        key=key,
        number=index,
        name=f"{locality.name} {index + 1}",
        place=near(locality, rng),
        roof=Roof(locality, _TILT_DEG, rng.choice(_AZIMUTHS_DEG)),
        capacity_w=float(_PANEL_W * rng.randint(*panels)),
        battery_wh=rng.choice((5_000, 10_000)) if rng.random() < _BATTERY_PART else 0,
        base_w=rng.uniform(80, 220),
        people_w=rng.uniform(150, 500),
        initial_wh=1000 * rng.randint(*_INITIAL_KWH),
        price_per_kwh=f"{rng.uniform(5, 8):.2f}",
    )


def new_meters(spec: HomeSpec) -> Meters:
    """Return meters as they are after years of counting."""
    initial_uwh = spec.initial_wh * 1_000_000
    return Meters(
        generated_uwh=initial_uwh, exported_uwh=initial_uwh // 10 * 6, imported_uwh=initial_uwh // 2
    )


def start_home(spec: HomeSpec, meters: Meters, at: datetime) -> Home:
    """Return a home whose meters count from `at` on."""
    battery_uwh = spec.battery_wh * 1_000_000
    rng = Random(f"{spec.key}:life")
    return Home(
        rng=rng,
        consumption=Consumption(rng, spec.base_w, spec.people_w),
        battery=Battery(battery_uwh, spec.battery_wh / 2, battery_uwh // 2),
        meters=meters,
        measured_at=at,
    )
