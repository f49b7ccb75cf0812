"""What looks wrong about a device's energy, though each part of it is possible.

A flag is no verdict: an administrator looks into its evidence. What is looked at is what slots hold
when they are looked at, within a day (`WINDOW`), so the order in which readings arrived hardly
matters. Three things raise one:

- `earning_resets`: a counter that is reset again and again, and earns by it: at least 4 resets
  within a day that credit 1 kWh together, and a quarter of all that was credited meanwhile. A
  device that starts anew in each power cut earns far less by it.
- `night_generation`: energy of slots in which the sun was below -6 degrees all the time at the
  device's place: 2 slots within a day at least, 100 Wh and 3 minutes of its capacity. Not where a
  battery may have given it, nor where energy is interpolated over a silence.
- `near_limit`: slots with more than 1.15 times what the capacity makes in them (1.25 is what a
  counter may rise by): at least 8, two hours, within a day.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from core.capacity import CAPACITY_MARGIN
from core.intervals import SELLABLE, Quality, Reason
from core.sun import DARK_BELOW_DEG, elevation_deg
from core.units import SLOT, rfc3339

WINDOW = timedelta(days=1)

RESETS_LEAST = 4
RESETS_LEAST_WH = 1_000
RESETS_LEAST_SHARE = 0.25

NIGHT_LEAST_SLOTS = 2
NIGHT_LEAST_WH = 100
NIGHT_LEAST_OF_CAPACITY = timedelta(minutes=3)

NEAR_LIMIT_FACTOR = 1.15
NEAR_LIMIT_LEAST_SLOTS = 8

_EXAMPLES = 10
_SLOTS_PER_HOUR = timedelta(hours=1) / SLOT


class FlagKind(StrEnum):
    """What looks wrong."""

    EARNING_RESETS = "earning_resets"
    NIGHT_GENERATION = "night_generation"
    NEAR_LIMIT = "near_limit"


@dataclass(frozen=True, slots=True)
class FlagSuspicion:
    """A device that is looked at. `has_battery`: it may give at night what it took by day."""

    capacity_w: float
    place: tuple[float, float] | None
    has_battery: bool


@dataclass(frozen=True, slots=True)
class SlotEnergy:
    """What a slot holds: generated, or exported where only that is counted."""

    start: datetime
    energy_wh: float
    quality: Quality
    reasons: frozenset[Reason]


@dataclass(frozen=True, slots=True)
class Credited:
    """What one reading credited."""

    at: datetime
    energy_wh: float
    is_reset: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """What raises a flag: the energy that it is about, and numbers and times for whoever looks."""

    kind: FlagKind
    energy_wh: float
    evidence: dict[str, Any]


def find_in_slots(slots: Sequence[SlotEnergy], suspect: FlagSuspicion) -> list[Finding]:
    """What slots, sorted by time, tell by themselves."""
    found = (_night_generation(slots, suspect), _near_limit(slots, suspect))
    return [finding for finding in found if finding is not None]


def with_resets(slots: Sequence[SlotEnergy]) -> Sequence[SlotEnergy]:
    """The slots of a day that were earned in part by resets, if those may have earned enough.

    Their readings are to be looked at: what else they credited is in these slots too.
    """
    reset = [
        slot
        for slot in slots
        if slot.quality is Quality.MEASURED and Reason.RESET in slot.reasons and slot.energy_wh > 0
    ]
    richest = _richest(reset, RESETS_LEAST_WH, least=1)
    if not richest or _energy_wh(richest) < RESETS_LEAST_SHARE * _day_wh(slots, richest):
        return ()
    return richest


def find_resets(
    slots: Sequence[SlotEnergy], reset: Sequence[SlotEnergy], credited: Sequence[Credited]
) -> Finding | None:
    """What was earned by resets in a day. `credited`: of the readings of all the slots with resets,
    or of those that were looked at: the others are taken to be alike."""
    resets = sorted((one for one in credited if one.is_reset), key=lambda one: one.at)
    credited_wh = sum(one.energy_wh for one in credited)
    if len(resets) < RESETS_LEAST or not credited_wh:
        return None
    share = sum(one.energy_wh for one in resets) / credited_wh
    energy_wh, day_wh = share * _energy_wh(reset), _day_wh(slots, reset)
    if energy_wh < max(RESETS_LEAST_WH, RESETS_LEAST_SHARE * day_wh):
        return None
    largest = sorted(resets, key=lambda one: -one.energy_wh)[:_EXAMPLES]
    evidence = {
        **_span(reset),
        "resets_seen": len(resets),
        "share_of_day": round(energy_wh / day_wh, 3),
        "largest": [
            {"time": rfc3339(one.at), "energy_wh": round(one.energy_wh, 3)} for one in largest
        ],
    }
    return Finding(FlagKind.EARNING_RESETS, energy_wh, evidence)


def _night_generation(slots: Iterable[SlotEnergy], suspect: FlagSuspicion) -> Finding | None:
    if suspect.place is None or suspect.has_battery:
        return None
    latitude, longitude = suspect.place
    dark = [
        slot
        for slot in slots
        if slot.energy_wh > 0
        and slot.quality is Quality.MEASURED
        and _highest_sun_deg(slot, latitude, longitude) < DARK_BELOW_DEG
    ]
    least_wh = max(
        NIGHT_LEAST_WH, suspect.capacity_w * (NIGHT_LEAST_OF_CAPACITY / timedelta(hours=1))
    )
    night = _richest(dark, least_wh, least=NIGHT_LEAST_SLOTS)
    if not night:
        return None
    examples = sorted(night, key=lambda slot: -slot.energy_wh)[:_EXAMPLES]
    return Finding(
        FlagKind.NIGHT_GENERATION,
        _energy_wh(night),
        {
            **_span(night),
            "latitude": latitude,
            "longitude": longitude,
            "examples": [
                {
                    "slot_start": rfc3339(slot.start),
                    "energy_wh": round(slot.energy_wh, 3),
                    "sun_at_most_deg": round(_highest_sun_deg(slot, latitude, longitude), 2),
                }
                for slot in examples
            ],
        },
    )


def _near_limit(slots: Iterable[SlotEnergy], suspect: FlagSuspicion) -> Finding | None:
    plate_wh = suspect.capacity_w / _SLOTS_PER_HOUR
    near = [
        slot
        for slot in slots
        if slot.quality in SELLABLE and slot.energy_wh > NEAR_LIMIT_FACTOR * plate_wh
    ]
    day = _richest(near, 0, least=NEAR_LIMIT_LEAST_SLOTS)
    if not day:
        return None
    mean_w = _energy_wh(day) / len(day) * _SLOTS_PER_HOUR
    evidence = {
        **_span(day),
        "hours": len(day) / _SLOTS_PER_HOUR,
        "mean_power_w": round(mean_w, 1),
        "capacity_w": suspect.capacity_w,
        "limit_w": suspect.capacity_w * CAPACITY_MARGIN,
    }
    return Finding(FlagKind.NEAR_LIMIT, _energy_wh(day), evidence)


def _highest_sun_deg(slot: SlotEnergy, latitude: float, longitude: float) -> float:
    """Of the beginning, the middle and the end: between them it hardly rises any higher."""
    return max(
        elevation_deg(slot.start + part * SLOT / 2, latitude, longitude) for part in range(3)
    )


def _day_wh(slots: Iterable[SlotEnergy], some: Sequence[SlotEnergy]) -> float:
    """All energy of the day that ends with the last of some slots."""
    ends = some[-1].start
    return _energy_wh(slot for slot in slots if ends - WINDOW < slot.start <= ends)


def _span(slots: Sequence[SlotEnergy]) -> dict[str, Any]:
    return {
        "from": rfc3339(slots[0].start),
        "to": rfc3339(slots[-1].start + SLOT),
        "slots": len(slots),
    }


def _energy_wh(slots: Iterable[SlotEnergy]) -> float:
    return sum(slot.energy_wh for slot in slots)


def _richest(slots: Sequence[SlotEnergy], least_wh: float, *, least: int) -> Sequence[SlotEnergy]:
    """The slots within a day that hold the most, if they are enough of both; else none."""
    enough = (day for day in _days(slots) if len(day) >= least and _energy_wh(day) >= least_wh)
    return max(enough, key=_energy_wh, default=())


def _days(slots: Sequence[SlotEnergy]) -> Iterator[Sequence[SlotEnergy]]:
    """For each slot, those within a day that ends with it."""
    first = 0
    for last, slot in enumerate(slots):
        while slot.start - slots[first].start >= WINDOW:
            first += 1
        yield slots[first : last + 1]
