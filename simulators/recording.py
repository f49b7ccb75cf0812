"""Recorded telemetry: the rows of a CSV file to one series of readings per device.

The user names columns, units and time zones (`Layout`). Values that were not recorded are absent,
not zero. A row that cannot be read becomes a `RecordingProblem` with its line and is left out.
"""

import csv
import gzip
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TextIO, TypeVar

from core.readings import Reading
from simulators.recorded_time import BadTime, TimeFilter, WallClock, any_time
from simulators.series import IntervalEnergy, counters_of, in_order

POWER_UNITS = {"W": Decimal(1), "kW": Decimal(1000), "MW": Decimal(1_000_000)}
ENERGY_UNITS = {"Wh": Decimal(1), "kWh": Decimal(1000), "MWh": Decimal(1_000_000)}
_ABSENT = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})

Row = Mapping[str, str | None]


class NothingToReplay(Exception):
    """The file contains no reading that can be replayed; the message says why."""


class _Unreadable(Exception):
    """A row cannot be read; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The names of a recording's columns, and their units; None for columns that do not exist.

    Energy is recorded as counters (`energy`, `export`, `imported`), or as energy per interval
    (`generated`, `consumed`). An interval begins at `time` and lasts `interval`, or the minutes in
    the column `interval_min`.
    """

    device: str
    time: str
    time_format: str = "iso"
    # One IANA time zone for all rows, or the column that contains it.
    zone: str | None = None
    time_zone: str | None = None
    power: str | None = None
    load: str | None = None
    power_unit: str = "W"
    energy: str | None = None
    export: str | None = None
    imported: str | None = None
    generated: str | None = None
    consumed: str | None = None
    energy_unit: str = "Wh"
    interval: timedelta | None = None
    interval_min: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        named = (
            self.device, self.time, self.time_zone, self.power, self.load, self.energy,
            self.export, self.imported, self.generated, self.consumed, self.interval_min,
        )  # fmt: skip
        return tuple(name for name in named if name is not None)


@dataclass(frozen=True, slots=True)
class RecordingProblem:
    """A line of the file that is left out, and why."""

    line: int
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.why}"


@dataclass(slots=True)
class Recording:
    """Each device's readings in order of time, and the rows that are left out or repeated."""

    series: dict[str, list[Reading]] = field(default_factory=dict)
    problems: list[RecordingProblem] = field(default_factory=list)
    repeated: int = 0

    @property
    def readings(self) -> int:
        return sum(len(readings) for readings in self.series.values())


EntryT = TypeVar("EntryT", Reading, IntervalEnergy)


def read(path: Path, layout: Layout, time_filter: TimeFilter = any_time) -> Recording:
    """Read the rows whose wall-clock time passes the filter. Raises NothingToReplay."""
    if layout.generated is None:
        return _read(path, layout, time_filter, _reading, in_order)
    return _read(path, layout, time_filter, _interval_energy, counters_of)


def _read(
    path: Path,
    layout: Layout,
    time_filter: TimeFilter,
    entry_of: Callable[[Layout, Row, datetime], EntryT],
    finish: Callable[[Sequence[EntryT]], tuple[list[Reading], int]],
) -> Recording:
    recording, times = Recording(), _Times(layout, time_filter)
    entries: dict[str, list[EntryT]] = defaultdict(list)
    with _opened(path) as file:
        for line, row in _rows(file, path, layout):
            try:
                device = _text(row, layout.device)
                at = times.of(device, row)
                if at is not None:
                    entries[device].append(entry_of(layout, row, at))
            except (_Unreadable, BadTime) as why:
                recording.problems.append(RecordingProblem(line, str(why)))
    for device, recorded in entries.items():
        recording.series[device], repeated = finish(recorded)
        recording.repeated += repeated
    if not recording.readings:
        raise NothingToReplay(f"{path.name}: no row could be replayed{_first(recording.problems)}")
    return recording


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise NothingToReplay(f"{path} cannot be read: {why}") from error


def _rows(file: TextIO, path: Path, layout: Layout) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(file)
    columns = reader.fieldnames or ()
    missing = [name for name in layout.columns if name not in columns]
    if missing:
        raise NothingToReplay(
            f"{path.name} has no column {', '.join(missing)}; its columns are {', '.join(columns)}"
        )
    for row in reader:
        yield reader.line_num, row


def _first(problems: Sequence[RecordingProblem]) -> str:
    return f"; {problems[0]}" if problems else ""


class _Times:
    """Converts the times of rows; tracks which ambiguous times each device has passed once."""

    def __init__(self, layout: Layout, time_filter: TimeFilter) -> None:
        self._layout = layout
        self._time_filter = time_filter
        self._clock = WallClock(layout.time_format)
        self._passed_once: set[tuple[str, datetime]] = set()

    def of(self, device: str, row: Row) -> datetime | None:
        """Return the instant of a row, or None if the filter excludes it. Raises BadTime."""
        layout = self._layout
        zone = layout.zone if layout.time_zone is None else _text(row, layout.time_zone)
        moment = self._clock.read(_text(row, layout.time), zone)
        if not self._time_filter(moment.shown):
            return None
        if not moment.is_ambiguous:
            return moment.instant()
        passed = (device, moment.first)
        second = passed in self._passed_once
        self._passed_once.add(passed)
        return moment.instant(second=second)


def _reading(layout: Layout, row: Row, at: datetime) -> Reading:
    power, energy = POWER_UNITS[layout.power_unit], ENERGY_UNITS[layout.energy_unit]
    reading = Reading(
        time=at,
        power_w=_float(_number(row, layout.power, power)),
        load_w=_float(_number(row, layout.load, power)),
        energy_wh=_float(_number(row, layout.energy, energy)),
        export_wh=_float(_number(row, layout.export, energy)),
        import_wh=_float(_number(row, layout.imported, energy)),
    )
    if not reading.has_measurement:
        raise _Unreadable("the row has no measurement")
    return reading


def _interval_energy(layout: Layout, row: Row, at: datetime) -> IntervalEnergy:
    unit = ENERGY_UNITS[layout.energy_unit]
    generated_wh = _number(row, layout.generated, unit)
    if generated_wh is None:
        raise _Unreadable("no generated energy")
    if generated_wh < 0:
        raise _Unreadable(f"generated energy is {generated_wh} Wh: it must not be negative")
    consumed_wh = _number(row, layout.consumed, unit)
    return IntervalEnergy(at, _duration(layout, row), generated_wh, consumed_wh)


def _duration(layout: Layout, row: Row) -> timedelta:
    minutes = _number(row, layout.interval_min, Decimal(1))
    duration = layout.interval if minutes is None else timedelta(minutes=float(minutes))
    if duration is None or duration <= timedelta(0):
        raise _Unreadable("no length of the interval")
    return duration


def _text(row: Row, column: str) -> str:
    text = (row[column] or "").strip()
    if not text:
        raise _Unreadable(f"no value in column {column}")
    return text


def _number(row: Row, column: str | None, unit: Decimal) -> Decimal | None:
    """Return the exact value in base units, or None if it is absent."""
    if column is None:
        return None
    text = (row[column] or "").strip()
    if text.lower() in _ABSENT:
        return None
    try:
        number = Decimal(text) * unit
    except InvalidOperation:
        raise _Unreadable(f"{column} {text!r} is not a number") from None
    if not number.is_finite():
        raise _Unreadable(f"{column} {text!r} is not a number")
    return number


def _float(number: Decimal | None) -> float | None:
    return None if number is None else float(number)
