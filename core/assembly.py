"""Measurements that devices tell in parts, laid together: one reading per measurement.

A `Part` is what one message says of a measurement; `lay` adds it to the measurement that is open,
or closes that one first where the part belongs to the next. What stays open is closed once its
time is over. All that must be kept of a device between its messages is a `Partial`.

A number that a measurement doesn't tell is what was last told, as firmwares send what has changed.
Not so a counter: "nothing was generated since" is more than silence says. Where several numbers
add up to a counter (phases, inverters), it is told once all of them were said anew, so that the sum
never falls by the part that a lost message held. A part that is first said later, or again after it
was gone, doesn't lift the sum by what it had counted before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from core.readings import MAX_CLOCK_AHEAD, Reading

# More than any installation has; who makes up names doesn't make us keep them.
PARTS_MAX = 100

COUNTERS = frozenset({"energy_wh", "export_wh", "import_wh"})

# What a device without a measurement yet gives for its time.
NEVER = datetime(1970, 1, 1, tzinfo=UTC)

# The least that moves a counter's mark: exactly 0 would be taken for a glitch.
_RESTARTED_WH = 0.001


@dataclass(frozen=True, slots=True)
class Part:
    """Some numbers of a measurement: a field of `Reading`, or `field:name` for one of several that
    add up. None: not known any more. `at` is None where the message doesn't say when."""

    values: Mapping[str, float | None] = field(default_factory=dict)
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How a firmware spreads a measurement: over which time, and whether a number that is said
    again in it belongs to the next measurement or is the better one."""

    window: timedelta
    last_counts: bool = False


@dataclass(slots=True)
class Open:
    """A measurement that is being told. `bare` and `timed`: what was said without and with a time,
    which some firmwares do both."""

    opened_at: datetime
    topic: str
    at: datetime | None = None
    values: dict[str, float | None] = field(default_factory=dict)
    bare: set[str] = field(default_factory=set)
    timed: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Partial:
    """What must be kept of a device between its messages.

    `fresh`: parts of counters said since their sum was last told. `gone`: parts that the sum still
    holds, but doesn't wait for. `offsets`: what keeps sums from jumping as parts come and go.
    """

    known: dict[str, float] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    offsets: dict[str, float] = field(default_factory=dict)
    open: Open | None = None
    last_at: datetime | None = None
    counting_since: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement that is complete; `topic` is where it began, `opened_at` when."""

    reading: Reading
    topic: str
    opened_at: datetime


def lay(
    partial: Partial, part: Part, rhythm: Rhythm, *, topic: str, received_at: datetime
) -> Measured | None:
    """Lay a part over what is known. Returns the measurement that this completes."""
    measured = None
    if partial.open is not None and not _belongs(partial.open, part, rhythm, received_at):
        measured = close(partial)
    if partial.open is None:
        partial.open = Open(received_at, topic)
    _add(partial.open, part)
    return measured


def close_if_due(partial: Partial, rhythm: Rhythm, now: datetime) -> Measured | None:
    """Close the open measurement if no more of it is awaited."""
    if partial.open is None or now < partial.open.opened_at + rhythm.window:
        return None
    return close(partial)


def _belongs(measurement: Open, part: Part, rhythm: Rhythm, received_at: datetime) -> bool:
    if received_at >= measurement.opened_at + rhythm.window:
        return False
    if None not in (part.at, measurement.at) and part.at != measurement.at:
        return False
    said = measurement.bare if part.at is None else measurement.timed
    return rhythm.last_counts or all(
        measurement.values[name] == value for name, value in part.values.items() if name in said
    )


def _add(measurement: Open, part: Part) -> None:
    measurement.at = measurement.at or part.at
    said = measurement.bare if part.at is None else measurement.timed
    for name, value in part.values.items():
        if name in measurement.values or len(measurement.values) < PARTS_MAX:
            measurement.values[name] = value
            said.add(name)


def close(partial: Partial) -> Measured | None:
    """Close the open measurement. None: it says nothing that makes a reading."""
    measurement, partial.open = partial.open, None
    if measurement is None or not measurement.values or measurement.at == NEVER:
        return None
    at = measurement.at or measurement.opened_at
    # A clock that is ahead must not make all that follows look late.
    impossible = at > measurement.opened_at + MAX_CLOCK_AHEAD
    if impossible or (partial.last_at is not None and at <= partial.last_at):
        told = _alone(partial, measurement)
    else:
        _learn(partial, measurement)
        told = _told(partial)
        partial.last_at = at
    reading = Reading(at, **told)
    if not (reading.says_something or impossible):
        return None
    return Measured(reading, measurement.topic, measurement.opened_at)


def _learn(partial: Partial, measurement: Open) -> None:
    for name, value in measurement.values.items():
        if name not in partial.known and len(partial.known) >= PARTS_MAX:
            continue
        if _field(name) not in COUNTERS:
            partial.known.pop(name, None)
            if value is not None:
                partial.known[name] = value
        elif value is not None:
            _learn_counter(partial, name, value)
        elif name in partial.known:
            partial.gone.add(name)


def _learn_counter(partial: Partial, name: str, value: float) -> None:
    if name not in partial.known and _field(name) in partial.offsets:
        partial.offsets[_field(name)] -= value
    partial.known[name] = value
    partial.gone.discard(name)
    partial.fresh.add(name)


def _told(partial: Partial) -> dict[str, float]:
    """The fields of a reading from what is known, and of counters what is new."""
    sums: dict[str, float] = {}
    for name, value in partial.known.items():
        sums[_field(name)] = sums.get(_field(name), 0.0) + value
    for counter in COUNTERS & sums.keys():
        awaited = {name for name in partial.known.keys() - partial.gone if _field(name) == counter}
        if awaited and awaited <= partial.fresh:
            partial.fresh -= awaited
            sums[counter] += partial.offsets.setdefault(counter, 0.0)
        else:
            del sums[counter]
    return sums


def _alone(partial: Partial, measurement: Open) -> dict[str, float]:
    """What a measurement says by itself, when it is late: it changes nothing of what is known."""
    fields = {_field(name) for name in measurement.values}
    whole = {
        name
        for name in fields
        if {n for n in partial.known.keys() - partial.gone if _field(n) == name}
        <= {n for n, value in measurement.values.items() if value is not None}
    }
    sums = {name: partial.offsets.get(name, 0.0) for name in whole}
    for name, value in measurement.values.items():
        if value is not None and _field(name) in whole:
            sums[_field(name)] += value
    return sums


def _field(name: str) -> str:
    return name.partition(":")[0]


def restarted(partial: Partial, since: str, since_at: datetime, at: datetime) -> Reading | None:
    """What a counter read when it was reset, if it was since the last reading before `at`.

    `since`: what the device says its counter counts from, `since_at`: the same as an instant. Where
    that can't be, it was just after the last reading.
    """
    before, last_at = partial.counting_since, partial.last_at
    if last_at is not None and at <= last_at:
        return None
    partial.counting_since, partial.last_at = since, at
    if before in (None, since) or last_at is None:
        return None
    if not last_at < since_at < at:
        since_at = last_at + min(timedelta(seconds=1), (at - last_at) / 2)
    return Reading(since_at, energy_wh=_RESTARTED_WH)
