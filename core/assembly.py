"""Assembly of measurements that devices send in parts: one reading per measurement.

A `PartialReading` holds the part of a measurement that one message reports. `merge` adds it to the
open measurement, or closes that one first if the part belongs to the next. A measurement that stays
open is closed when its window is over. `AssemblyState` is all that is stored of a device between
its messages.

Firmwares send only values that changed. So a value that a measurement doesn't report is the last
reported one, except for counters: a counter that is not reported may have changed. If a device has
several counters of a kind (phases, inverters), a reading holds the reported ones, and their sum
only if all known ones were reported.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from core.readings import MAX_CLOCK_AHEAD, RETURN, Reading

# More than any installation has. Invented names must not make a state grow without end.
PARTS_MAX = 100

COUNTERS = frozenset({"energy_wh", "export_wh", "import_wh"})

# The time that a device reports before its first measurement.
NEVER = datetime(1970, 1, 1, tzinfo=UTC)

# Values by name: a field of `Reading`, or `field:part` for one of several parts that add up.
# None: the device has this value, but it is unknown at present.
Known = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class PartialReading:
    """The values of a measurement that one message reports, by name.

    Names are a field of `Reading`, or `field:part` for one of several parts that add up.
    """

    # None: the value is no longer known.
    values: Known = field(default_factory=dict)
    # None: the message has no time.
    at: datetime | None = None
    # Names of values that the device no longer has.
    removed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ReportingPattern:
    """The way in which a firmware spreads a measurement over messages."""

    # A measurement's parts arrive within this time.
    window: timedelta
    # A value that is reported twice in a window replaces the first one. Otherwise it opens the next
    # measurement.
    last_wins: bool = False
    # Computes the device's power from the known values, if it isn't the sum of its parts.
    power_w: Callable[[Known], float | None] | None = None


@dataclass(slots=True)
class OpenMeasurement:
    """A measurement of which more parts may arrive."""

    opened_at: datetime
    # The topic of the first part.
    topic: str
    at: datetime | None = None
    values: dict[str, float | None] = field(default_factory=dict)
    # Names of the values that were reported without and with a time. Some firmwares report a value
    # in both ways, and that is no repetition.
    bare: set[str] = field(default_factory=set)
    timed: set[str] = field(default_factory=set)


@dataclass(slots=True)
class AssemblyState:
    """All that is stored of a device between its messages (`db/partials.py`)."""

    known: dict[str, float | None] = field(default_factory=dict)
    open: OpenMeasurement | None = None
    # Time of the newest closed measurement: older ones are late.
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """A complete measurement, with the topic and the time of receipt of its first part."""

    reading: Reading
    topic: str
    opened_at: datetime


def merge(
    state: AssemblyState,
    part: PartialReading,
    pattern: ReportingPattern,
    *,
    topic: str,
    received_at: datetime,
) -> Measurement | None:
    """Merge a part into the state. Return the measurement that this closes, if any."""
    closed = None
    if state.open is not None and not _belongs(state.open, part, pattern, received_at):
        closed = close(state, pattern)
    for name in part.removed:
        state.known.pop(name, None)
        if state.open is not None:
            state.open.values.pop(name, None)
    if part.values or part.at is not None:
        if state.open is None:
            state.open = OpenMeasurement(received_at, topic)
        _add(state.open, part)
    return closed


def close_if_due(
    state: AssemblyState, pattern: ReportingPattern, now: datetime
) -> Measurement | None:
    """Close the open measurement if its window is over."""
    if state.open is None or now < state.open.opened_at + pattern.window:
        return None
    return close(state, pattern)


def _belongs(
    measurement: OpenMeasurement,
    part: PartialReading,
    pattern: ReportingPattern,
    received_at: datetime,
) -> bool:
    if received_at >= measurement.opened_at + pattern.window:
        return False
    if None not in (part.at, measurement.at) and part.at != measurement.at:
        return False
    reported = _reported(measurement, part)
    return pattern.last_wins or all(
        measurement.values.get(name) == value
        for name, value in part.values.items()
        if name in reported
    )


def _reported(measurement: OpenMeasurement, part: PartialReading) -> set[str]:
    """Return the names that were reported in the same way as a part: with or without a time."""
    return measurement.bare if part.at is None else measurement.timed


def _add(measurement: OpenMeasurement, part: PartialReading) -> None:
    measurement.at = measurement.at or part.at
    reported = _reported(measurement, part)
    for name, value in part.values.items():
        if name in measurement.values or len(measurement.values) < PARTS_MAX:
            measurement.values[name] = value
            reported.add(name)


def close(state: AssemblyState, pattern: ReportingPattern) -> Measurement | None:
    """Close the open measurement. Return None if its values make no reading."""
    measurement, state.open = state.open, None
    if measurement is None or not measurement.values or measurement.at == NEVER:
        return None
    at = measurement.at or measurement.opened_at
    # A clock that is ahead must not make all later measurements look late.
    is_ahead = at > measurement.opened_at + MAX_CLOCK_AHEAD
    known: Known
    if is_ahead or (state.last_at is not None and at <= state.last_at):
        # A late measurement is a reading of its own values, and does not change the known ones.
        known = _updated(dict.fromkeys(state.known), measurement.values)
    else:
        known = state.known = _updated(state.known, measurement.values)
        state.last_at = at
    reading = _reading(at, known, measurement.values, pattern)
    if not (reading.has_measurement or is_ahead):
        return None
    return Measurement(reading, measurement.topic, measurement.opened_at)


def _updated(known: Known, reported: Known) -> dict[str, float | None]:
    """Return the known values after a measurement.

    A new name without a value is left out: the device may not have such a part at all.
    """
    updated = dict(known)
    for name, value in reported.items():
        if name in updated or (value is not None and len(updated) < PARTS_MAX):
            updated[name] = value
    # A field is reported as a whole or in parts: the form that was reported last replaces the
    # other one.
    in_parts = {_field(name): ":" in name for name, value in reported.items() if value is not None}
    return {
        name: value
        for name, value in updated.items()
        if (":" in name) == in_parts.get(_field(name), ":" in name)
    }


def _reading(at: datetime, known: Known, reported: Known, pattern: ReportingPattern) -> Reading:
    """Return the reading of a measurement: known values, but only those counters it reported."""
    counters = {name: wh for name, wh in reported.items() if _field(name) in COUNTERS}
    totals: dict[str, float | None] = {}
    for name, value in known.items():
        number = counters.get(name) if _field(name) in COUNTERS else value
        total = totals.get(_field(name), 0.0)
        if number is None or total is None:
            totals[_field(name)] = None
        else:
            totals[_field(name)] = total - number if name.endswith(RETURN) else total + number
    if pattern.power_w is not None:
        totals["power_w"] = pattern.power_w(known)
    fields = {name: value for name, value in totals.items() if value is not None}
    for name in COUNTERS & fields.keys():
        # More flowed back than was counted: one of the counters was reset.
        if fields[name] < 0:
            del fields[name]
    parts = {n: wh for n, wh in counters.items() if ":" in n and n in known and wh is not None}
    whole = Reading(at, **fields)
    return whole.with_details(parts) if parts else whole


def _field(name: str) -> str:
    return name.partition(":")[0]
