"""Measurements that devices tell in parts, laid together: one reading per measurement.

A `PartialReading` is what one message says of a measurement; `merge` adds it to the measurement
that is open, or closes that one first where the part belongs to the next. What stays open is closed
once its time is over. All that must be kept of a device between its messages is an `AssemblyState`.

A number that a measurement doesn't tell is what was last told, as firmwares send what has changed.
Not so a counter: "nothing was generated since" is more than silence says. Where a device has
several counters of a kind (phases, inverters), a reading holds those that the measurement told, and
their sum only if it told all that are known of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from core.readings import MAX_CLOCK_AHEAD, RETURN, Reading

# More than any installation has; who makes up names doesn't make us keep them.
PARTS_MAX = 100

COUNTERS = frozenset({"energy_wh", "export_wh", "import_wh"})

# What a device without a measurement yet gives for its time.
NEVER = datetime(1970, 1, 1, tzinfo=UTC)

# By name, what is known of numbers and of parts of them; None: there is one, but not what it is.
Known = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class PartialReading:
    """Some numbers of a measurement: a field of `Reading`, or `field:name` for one of several that
    add up. None: not known any more; `gone`: there is no such thing any more. `at` is None where
    the message doesn't say when."""

    values: Known = field(default_factory=dict)
    at: datetime | None = None
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ReportingPattern:
    """How a firmware spreads a measurement: over which time, and whether a number that is said
    again in it belongs to the next measurement or is the better one.

    `power_w`: what the device's power is by what is known, where it isn't the sum of its parts.
    """

    window: timedelta
    last_counts: bool = False
    power_w: Callable[[Known], float | None] | None = None


@dataclass(slots=True)
class OpenMeasurement:
    """A measurement that is being told. `bare` and `timed`: what was said without and with a time,
    which some firmwares do both."""

    opened_at: datetime
    topic: str
    at: datetime | None = None
    values: dict[str, float | None] = field(default_factory=dict)
    bare: set[str] = field(default_factory=set)
    timed: set[str] = field(default_factory=set)


@dataclass(slots=True)
class AssemblyState:
    """What must be kept of a device between its messages."""

    known: dict[str, float | None] = field(default_factory=dict)
    open: OpenMeasurement | None = None
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement that is complete; `topic` is where it began, `opened_at` when."""

    reading: Reading
    topic: str
    opened_at: datetime


def merge(
    partial: AssemblyState,
    part: PartialReading,
    rhythm: ReportingPattern,
    *,
    topic: str,
    received_at: datetime,
) -> Measured | None:
    """Lay a part over what is known. Returns the measurement that this completes."""
    measured = None
    if partial.open is not None and not _belongs(partial.open, part, rhythm, received_at):
        measured = close(partial, rhythm)
    for name in part.gone:
        partial.known.pop(name, None)
        if partial.open is not None:
            partial.open.values.pop(name, None)
    if part.values or part.at is not None:
        if partial.open is None:
            partial.open = OpenMeasurement(received_at, topic)
        _add(partial.open, part)
    return measured


def close_if_due(
    partial: AssemblyState, rhythm: ReportingPattern, now: datetime
) -> Measured | None:
    """Close the open measurement if no more of it is awaited."""
    if partial.open is None or now < partial.open.opened_at + rhythm.window:
        return None
    return close(partial, rhythm)


def _belongs(
    measurement: OpenMeasurement,
    part: PartialReading,
    rhythm: ReportingPattern,
    received_at: datetime,
) -> bool:
    if received_at >= measurement.opened_at + rhythm.window:
        return False
    if None not in (part.at, measurement.at) and part.at != measurement.at:
        return False
    said = measurement.bare if part.at is None else measurement.timed
    return rhythm.last_counts or all(
        measurement.values.get(name) == value for name, value in part.values.items() if name in said
    )


def _add(measurement: OpenMeasurement, part: PartialReading) -> None:
    measurement.at = measurement.at or part.at
    said = measurement.bare if part.at is None else measurement.timed
    for name, value in part.values.items():
        if name in measurement.values or len(measurement.values) < PARTS_MAX:
            measurement.values[name] = value
            said.add(name)


def close(partial: AssemblyState, rhythm: ReportingPattern) -> Measured | None:
    """Close the open measurement. None: it says nothing that makes a reading."""
    measurement, partial.open = partial.open, None
    if measurement is None or not measurement.values or measurement.at == NEVER:
        return None
    at = measurement.at or measurement.opened_at
    # A clock that is ahead must not make all that follows look late.
    impossible = at > measurement.opened_at + MAX_CLOCK_AHEAD
    known: Known
    if impossible or (partial.last_at is not None and at <= partial.last_at):
        # It is late: it says what it says by itself, and changes nothing of what is known.
        known = _learnt(dict.fromkeys(partial.known), measurement.values)
    else:
        known = partial.known = _learnt(partial.known, measurement.values)
        partial.last_at = at
    reading = _told(at, known, measurement.values, rhythm)
    if not (reading.says_something or impossible):
        return None
    return Measured(reading, measurement.topic, measurement.opened_at)


def _learnt(known: Known, said: Known) -> dict[str, float | None]:
    """What is known after a measurement. That something never heard of is not known is no news."""
    learnt = dict(known)
    for name, value in said.items():
        if name in learnt or (value is not None and len(learnt) < PARTS_MAX):
            learnt[name] = value
    # What comes in parts is no number of its own any more, nor the other way round.
    in_parts = {_field(name): ":" in name for name, value in said.items() if value is not None}
    return {
        name: value
        for name, value in learnt.items()
        if (":" in name) == in_parts.get(_field(name), ":" in name)
    }


def _told(at: datetime, known: Known, said: Known, rhythm: ReportingPattern) -> Reading:
    """The reading of a measurement: numbers as they are known, counters as far as it said them."""
    counters = {name: wh for name, wh in said.items() if _field(name) in COUNTERS}
    totals: dict[str, float | None] = {}
    for name, value in known.items():
        number = counters.get(name) if _field(name) in COUNTERS else value
        total = totals.get(_field(name), 0.0)
        if number is None or total is None:
            totals[_field(name)] = None
        else:
            totals[_field(name)] = total - number if name.endswith(RETURN) else total + number
    if rhythm.power_w is not None:
        totals["power_w"] = rhythm.power_w(known)
    fields = {name: value for name, value in totals.items() if value is not None}
    for name in COUNTERS & fields.keys():
        if fields[name] < 0:
            del fields[name]  # More came back than was counted: one of them was reset.
    parts = {n: wh for n, wh in counters.items() if ":" in n and n in known and wh is not None}
    whole = Reading(at, **fields)
    return whole.with_details(parts) if parts else whole


def _field(name: str) -> str:
    return name.partition(":")[0]
