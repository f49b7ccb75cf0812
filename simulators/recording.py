"""Recorded telemetry: the rows of a CSV → one series of readings for each device.

Columns, units and time zones are named by whoever replays it (`Layout`). What was not recorded is
absent, not zero; a row that can't be read is a `RecordingProblem` with its line, and the others
count.
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
from simulators.selection import Chosen, everything
from simulators.series import SeriesSegment, cumulated, in_order
from simulators.wall_clock import BadTime, WallClock

POWER_UNITS = {"W": Decimal(1), "kW": Decimal(1000), "MW": Decimal(1_000_000)}
ENERGY_UNITS = {"Wh": Decimal(1), "kWh": Decimal(1000), "MWh": Decimal(1_000_000)}
_ABSENT = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})

Row = Mapping[str, str | None]


class NothingToReplay(Exception):
    """The file holds no reading that could be sent; the message says why."""


class _Unreadable(Exception):
    """Why a row can't be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a recording's columns mean; None: there is no such column.

    `generated`, `drawn` are energies per interval, which begins at `time` and lasts `interval`, or
    as many minutes as `interval_min` holds. `time_zone` holds IANA names, unless all are `zone`.
    """

    device: str
    time: str
    time_form: str = "iso"
    zone: str | None = None
    time_zone: str | None = None
    power: str | None = None
    load: str | None = None
    power_unit: str = "W"
    energy: str | None = None
    export: str | None = None
    imported: str | None = None
    generated: str | None = None
    drawn: str | None = None
    energy_unit: str = "Wh"
    interval: timedelta | None = None
    interval_min: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        named = (
            self.device, self.time, self.time_zone, self.power, self.load, self.energy,
            self.export, self.imported, self.generated, self.drawn, self.interval_min,
        )  # fmt: skip
        return tuple(name for name in named if name is not None)


@dataclass(frozen=True, slots=True)
class RecordingProblem:
    """A line of the file that was left out."""

    line: int
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.why}"


@dataclass(slots=True)
class Recording:
    """Each device's readings in order of time, and what was left out."""

    series: dict[str, list[Reading]] = field(default_factory=dict)
    problems: list[RecordingProblem] = field(default_factory=list)
    repeated: int = 0

    @property
    def readings(self) -> int:
        return sum(len(readings) for readings in self.series.values())


EntryT = TypeVar("EntryT", Reading, SeriesSegment)


def read(path: Path, layout: Layout, chosen: Chosen = everything) -> Recording:
    """Read the rows whose clock showed a chosen time. Raises NothingToReplay."""
    if layout.generated is None:
        return _read(path, layout, chosen, _reading, in_order)
    return _read(path, layout, chosen, _stretch, cumulated)


def _read(
    path: Path,
    layout: Layout,
    chosen: Chosen,
    entry_of: Callable[[Layout, Row, datetime], EntryT],
    finish: Callable[[Sequence[EntryT]], tuple[list[Reading], int]],
) -> Recording:
    recording, times = Recording(), _Times(layout, chosen)
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
        raise NothingToReplay(f"{path} can't be read: {why}") from error


def _rows(file: TextIO, path: Path, layout: Layout) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(file)
    there = reader.fieldnames or ()
    missing = [name for name in layout.columns if name not in there]
    if missing:
        raise NothingToReplay(
            f"{path.name} has no column {', '.join(missing)}; it has {', '.join(there)}"
        )
    for row in reader:
        yield reader.line_num, row


def _first(problems: Sequence[RecordingProblem]) -> str:
    return f"; {problems[0]}" if problems else ""


class _Times:
    """When a row was recorded, unless nobody asked for it."""

    def __init__(self, layout: Layout, chosen: Chosen) -> None:
        self._layout = layout
        self._chosen = chosen
        self._clock = WallClock(layout.time_form)
        self._passed_once: set[tuple[str, datetime]] = set()

    def of(self, device: str, row: Row) -> datetime | None:
        layout = self._layout
        zone = layout.zone if layout.time_zone is None else _text(row, layout.time_zone)
        moment = self._clock.read(_text(row, layout.time), zone)
        if not self._chosen(moment.shown):
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
    if not reading.says_something:
        raise _Unreadable("nothing was measured")
    return reading


def _stretch(layout: Layout, row: Row, at: datetime) -> SeriesSegment:
    unit = ENERGY_UNITS[layout.energy_unit]
    generated_wh = _number(row, layout.generated, unit)
    if generated_wh is None:
        raise _Unreadable("no generated energy")
    if generated_wh < 0:
        raise _Unreadable(f"{generated_wh} Wh generated: a counter can't fall")
    return SeriesSegment(at, _interval(layout, row), generated_wh, _number(row, layout.drawn, unit))


def _interval(layout: Layout, row: Row) -> timedelta:
    minutes = _number(row, layout.interval_min, Decimal(1))
    lasts = layout.interval if minutes is None else timedelta(minutes=float(minutes))
    if lasts is None or lasts <= timedelta(0):
        raise _Unreadable("no length of the interval")
    return lasts


def _text(row: Row, column: str) -> str:
    text = (row[column] or "").strip()
    if not text:
        raise _Unreadable(f"no {column}")
    return text


def _number(row: Row, column: str | None, unit: Decimal) -> Decimal | None:
    """The exact value in base units; None when the recording does not say."""
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
