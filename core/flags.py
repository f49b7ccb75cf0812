"""Flags on a device's energy that looks wrong, though each part of it is possible.

A flag is not a decision: an administrator looks into its evidence. A check compares the energy of
slots within one day (`WINDOW`), so the order in which readings arrive hardly matters. There are
three kinds:

- `earning_resets`: a counter is reset repeatedly, and earns by it. At least 4 resets within a day
  credit 1 kWh together, and a quarter of all energy credited in that day. A device that starts anew
  after each power cut earns far less by it.
- `night_generation`: slots in which the sun was below -6 degrees all the time have energy. At least
  2 slots within a day have 100 Wh together, and the energy of 3 minutes at full capacity. Energy
  that is interpolated over a silence counts as far as it exceeds what the capacity makes in all
  the daylight of the silence. Devices with a battery are exempt.
- `near_limit`: slots have more than 1.15 times the energy of the capacity (a counter may rise by
  1.25 times). At least 8 slots, which is two hours, within a day.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from core.capacity import CAPACITY_MARGIN
from core.intervals import SELLABLE, Quality, Reason
from core.sun import DARK_BELOW_DEG, elevation_deg
from core.units import SLOT, rfc3339

WINDOW = timedelta(days=1)

# A device that restarts after each power cut earns less than this by its resets.
RESETS_MIN = 4
RESETS_MIN_WH = 1_000
RESETS_MIN_SHARE = 0.25

NIGHT_MIN_SLOTS = 2
NIGHT_MIN_WH = 100
NIGHT_MIN_AT_CAPACITY = timedelta(minutes=3)

NEAR_LIMIT_FACTOR = 1.15
NEAR_LIMIT_MIN_SLOTS = 8

# Evidence is stored with the flag: this limits its size.
_EXAMPLES_MAX = 10
_SLOTS_PER_HOUR = timedelta(hours=1) / SLOT
_SLOTS_PER_DAY = timedelta(days=1) // SLOT


class FlagKind(StrEnum):
    """The pattern that looks wrong."""

    EARNING_RESETS = "earning_resets"
    NIGHT_GENERATION = "night_generation"
    NEAR_LIMIT = "near_limit"


@dataclass(frozen=True, slots=True)
class CheckedDevice:
    """The facts about a device that the checks depend on."""

    capacity_w: float
    # Latitude and longitude; None: unknown.
    place: tuple[float, float] | None
    # A battery may feed in at night the energy that it stored by day.
    has_battery: bool


@dataclass(frozen=True, slots=True)
class SlotEnergy:
    """The energy of a slot: generated, or exported if only export is counted."""

    start: datetime
    energy_wh: float
    quality: Quality
    reasons: frozenset[Reason]


@dataclass(frozen=True, slots=True)
class ReadingCredit:
    """The energy that one reading credited."""

    at: datetime
    energy_wh: float
    is_reset: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """A pattern that raises a flag: its energy, and the evidence that an administrator sees."""

    kind: FlagKind
    energy_wh: float
    # Numbers and times as JSON values.
    evidence: dict[str, Any]


def find_in_slots(
    slots: Sequence[SlotEnergy], device: CheckedDevice, *, since: datetime | None = None
) -> list[Finding]:
    """Return the findings in slots, sorted by time, that need no readings.

    `since`: the slots are those from this instant on; None: there are no earlier ones.
    """
    found = (_night_generation(slots, device, since), _near_limit(slots, device))
    return [finding for finding in found if finding is not None]


def slots_with_resets(slots: Sequence[SlotEnergy]) -> Sequence[SlotEnergy]:
    """Return the slots of a day with energy from resets, if that may suffice for a finding.

    These slots may hold other energy too, so `find_resets` needs the credits of their readings.
    """
    reset = [
        slot
        for slot in slots
        if slot.quality is Quality.MEASURED and Reason.RESET in slot.reasons and slot.energy_wh > 0
    ]
    richest = _richest(reset, RESETS_MIN_WH, slots_min=1)
    if not richest or _energy_wh(richest) < RESETS_MIN_SHARE * _day_wh(slots, richest):
        return ()
    return richest


def find_resets(
    slots: Sequence[SlotEnergy], reset: Sequence[SlotEnergy], credited: Sequence[ReadingCredit]
) -> Finding | None:
    """Return the finding of a day whose slots `reset` contain resets, if there is one.

    `credited`: credits of the readings in these slots, or in a sample of them. The share of resets
    in the sample then counts for all of them.
    """
    resets = sorted((one for one in credited if one.is_reset), key=lambda one: one.at)
    credited_wh = sum(one.energy_wh for one in credited)
    if len(resets) < RESETS_MIN or not credited_wh:
        return None
    share = sum(one.energy_wh for one in resets) / credited_wh
    energy_wh, day_wh = share * _energy_wh(reset), _day_wh(slots, reset)
    if energy_wh < max(RESETS_MIN_WH, RESETS_MIN_SHARE * day_wh):
        return None
    largest = sorted(resets, key=lambda one: -one.energy_wh)[:_EXAMPLES_MAX]
    evidence = {
        **_span(reset),
        "resets_seen": len(resets),
        "share_of_day": round(energy_wh / day_wh, 3),
        "largest": [
            {"time": rfc3339(one.at), "energy_wh": round(one.energy_wh, 3)} for one in largest
        ],
    }
    return Finding(FlagKind.EARNING_RESETS, energy_wh, evidence)


def _night_generation(
    slots: Sequence[SlotEnergy], device: CheckedDevice, since: datetime | None
) -> Finding | None:
    if device.place is None or device.has_battery:
        return None
    latitude, longitude = device.place

    def is_dark(slot: SlotEnergy) -> bool:
        return _highest_sun_deg(slot, latitude, longitude) < DARK_BELOW_DEG

    measured = (s for s in slots if s.energy_wh > 0 and s.quality is Quality.MEASURED)
    dark = [slot for slot in measured if is_dark(slot)]
    for silence in _silences(slots, since):
        dark += _beyond_daylight(silence, device, is_dark)
    dark.sort(key=lambda slot: slot.start)
    energy_min_wh = max(
        NIGHT_MIN_WH, device.capacity_w * (NIGHT_MIN_AT_CAPACITY / timedelta(hours=1))
    )
    night = _richest(dark, energy_min_wh, slots_min=NIGHT_MIN_SLOTS)
    if not night:
        return None
    examples = sorted(night, key=lambda slot: -slot.energy_wh)[:_EXAMPLES_MAX]
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


def _silences(
    slots: Iterable[SlotEnergy], since: datetime | None
) -> Iterator[Sequence[SlotEnergy]]:
    """Yield each run of slots whose energy is interpolated, without a gap between them.

    A run that may have begun before `since` is cut to whole days: its energy is spread evenly, so
    the rest of a night alone would hold energy of days before.
    """
    run: list[SlotEnergy] = []
    for slot in slots:
        if slot.quality is not Quality.INTERPOLATED:
            continue
        if run and slot.start - run[-1].start != SLOT:
            yield _whole_days(run, since)
            run = []
        run.append(slot)
    yield _whole_days(run, since)


def _whole_days(run: Sequence[SlotEnergy], since: datetime | None) -> Sequence[SlotEnergy]:
    if not run or since is None or run[0].start - since >= SLOT:
        return run
    return run[len(run) % _SLOTS_PER_DAY :]


def _beyond_daylight(
    silence: Sequence[SlotEnergy], device: CheckedDevice, is_dark: Callable[[SlotEnergy], bool]
) -> Iterator[SlotEnergy]:
    """Yield the dark slots of a silence with energy that its daylight can't have made, if any."""
    dark = [slot for slot in silence if is_dark(slot)]
    capacity_wh = device.capacity_w / _SLOTS_PER_HOUR
    excess_wh = _energy_wh(silence) - (len(silence) - len(dark)) * capacity_wh
    if dark and excess_wh > 0:
        yield from (replace(slot, energy_wh=excess_wh / len(dark)) for slot in dark)


def _near_limit(slots: Iterable[SlotEnergy], device: CheckedDevice) -> Finding | None:
    capacity_wh = device.capacity_w / _SLOTS_PER_HOUR
    near = [
        slot
        for slot in slots
        if slot.quality in SELLABLE and slot.energy_wh > NEAR_LIMIT_FACTOR * capacity_wh
    ]
    day = _richest(near, 0, slots_min=NEAR_LIMIT_MIN_SLOTS)
    if not day:
        return None
    mean_w = _energy_wh(day) / len(day) * _SLOTS_PER_HOUR
    evidence = {
        **_span(day),
        "hours": len(day) / _SLOTS_PER_HOUR,
        "mean_power_w": round(mean_w, 1),
        "capacity_w": device.capacity_w,
        "limit_w": device.capacity_w * CAPACITY_MARGIN,
    }
    return Finding(FlagKind.NEAR_LIMIT, _energy_wh(day), evidence)


def _highest_sun_deg(slot: SlotEnergy, latitude: float, longitude: float) -> float:
    """Return the highest elevation at a slot's start, middle and end: a good enough maximum."""
    return max(
        elevation_deg(slot.start + part * SLOT / 2, latitude, longitude) for part in range(3)
    )


def _day_wh(slots: Iterable[SlotEnergy], some: Sequence[SlotEnergy]) -> float:
    """Return the energy of all slots in the day that ends with the last one of `some`."""
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


def _richest(
    slots: Sequence[SlotEnergy], energy_min_wh: float, *, slots_min: int
) -> Sequence[SlotEnergy]:
    """Return the slots of the day with most energy that reaches both minimums, or none."""
    enough = (
        day for day in _days(slots) if len(day) >= slots_min and _energy_wh(day) >= energy_min_wh
    )
    return max(enough, key=_energy_wh, default=())


def _days(slots: Sequence[SlotEnergy]) -> Iterator[Sequence[SlotEnergy]]:
    """Yield for each slot the slots within the day that ends with it."""
    first = 0
    for last, slot in enumerate(slots):
        while slot.start - slots[first].start >= WINDOW:
            first += 1
        yield slots[first : last + 1]
