"""The homes of a fleet: which roof, how many panels, what battery. Made from a seed alone."""

from dataclasses import dataclass
from datetime import datetime
from random import Random

from simulators.household import Battery, Consumption, Home, Meters
from simulators.places import LOCALITIES, Locality, near
from simulators.sun import Roof

_TILT_DEG = 13.0  # Bangalore's latitude
_AZIMUTHS_DEG = (180.0, 180.0, 90.0, 270.0)
_PANEL_W = 540
_PANELS = (5, 14)
_BATTERY_SHARE = 0.3
_AGED_KWH = (2_000, 30_000)


@dataclass(frozen=True, slots=True)
class Dwelling:
    """What does not change about a home. `roof` stands at its locality, `place` is its own."""

    key: str
    number: int
    name: str
    place: Locality
    roof: Roof
    capacity_w: float
    battery_wh: int
    base_w: float
    people_w: float
    aged_wh: int
    price_per_kwh: str


def dwelling(seed: int, index: int) -> Dwelling:
    """The home with this number in the city of this seed: always the same one."""
    key = f"{seed}:{index}"
    chance = Random(key)
    locality = LOCALITIES[index % len(LOCALITIES)]
    return Dwelling(
        key=key,
        number=index,
        name=f"{locality.name} {index + 1}",
        place=near(locality, chance),
        roof=Roof(locality, _TILT_DEG, chance.choice(_AZIMUTHS_DEG)),
        capacity_w=float(_PANEL_W * chance.randint(*_PANELS)),
        battery_wh=chance.choice((5_000, 10_000)) if chance.random() < _BATTERY_SHARE else 0,
        base_w=chance.uniform(80, 220),
        people_w=chance.uniform(150, 500),
        aged_wh=1000 * chance.randint(*_AGED_KWH),
        price_per_kwh=f"{chance.uniform(5, 8):.2f}",
    )


def new_meters(dwelling: Dwelling) -> Meters:
    """Meters that have been counting for years."""
    aged_uwh = dwelling.aged_wh * 1_000_000
    return Meters(
        generated_uwh=aged_uwh, exported_uwh=aged_uwh // 10 * 6, imported_uwh=aged_uwh // 2
    )


def move_in(dwelling: Dwelling, meters: Meters, at: datetime) -> Home:
    """The home from `at` on."""
    battery_uwh = dwelling.battery_wh * 1_000_000
    chance = Random(f"{dwelling.key}:life")
    return Home(
        chance=chance,
        consumption=Consumption(chance, dwelling.base_w, dwelling.people_w),
        battery=Battery(battery_uwh, dwelling.battery_wh / 2, battery_uwh // 2),
        meters=meters,
        measured_at=at,
    )
