"""Recorded times: conversion to instants, and selection of the times to replay.

A wall-clock time without an offset needs a time zone. Where clocks are set back, an hour occurs
twice: a device's first row with such a time belongs to the first pass, the next to the second
(`fold`, PEP 495). Where they are set forward, an hour does not occur: a time in it is refused.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

# Takes the wall-clock time without zone; returns whether it is to be replayed.
TimeFilter = Callable[[datetime], bool]

_DAY_OF_ANY_YEAR = re.compile(r"(\d\d)-(\d\d)")


class BadTime(Exception):
    """A recorded time is not an instant; the message says why."""


@dataclass(frozen=True, slots=True)
class RecordedMoment:
    """A wall-clock time (`shown`, without zone) and the instants that it can mean."""

    shown: datetime
    first: datetime
    second: datetime
    zone: ZoneInfo | None

    @property
    def is_ambiguous(self) -> bool:
        return self.first != self.second

    def instant(self, *, second: bool = False) -> datetime:
        """Return the first or second instant. Raises BadTime if the clock skipped this time."""
        at = self.second if second else self.first
        if self.zone and at.astimezone(self.zone).replace(tzinfo=None) != self.shown:
            raise BadTime(f"the clocks of {self.zone.key} never showed {self.shown}")
        return at


class WallClock:
    """Parses recorded times.

    `time_format` is `iso`, `unix` (seconds), `unix_ms`, or a format of `strptime`.
    """

    def __init__(self, time_format: str) -> None:
        self._format = time_format
        # Devices of one recording mostly share their times, so each is parsed once.
        self._parsed: dict[tuple[str, str | None], RecordedMoment] = {}

    def read(self, text: str, zone_name: str | None) -> RecordedMoment:
        """Parse a time that has an offset or is of the zone `zone_name`. Raises BadTime."""
        moment = self._parsed.get((text, zone_name))
        if moment is None:
            moment = _moment(self._parse(text), _zone(zone_name))
            self._parsed[text, zone_name] = moment
        return moment

    def _parse(self, text: str) -> datetime:
        try:
            if self._format == "iso":
                return datetime.fromisoformat(text)
            if self._format == "unix":
                return datetime.fromtimestamp(float(text), UTC)
            if self._format == "unix_ms":
                return datetime.fromtimestamp(float(text) / 1000, UTC)
            return datetime.strptime(text, self._format)  # noqa: DTZ007 (the zone comes next)
        except (ValueError, OverflowError, OSError):
            raise BadTime(f"time {text!r} does not have the format {self._format!r}") from None


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return None if name is None else ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        raise BadTime(f"time zone {name!r} is not known") from None


def _moment(parsed: datetime, zone: ZoneInfo | None) -> RecordedMoment:
    if parsed.tzinfo is not None:
        shown = parsed.astimezone(zone) if zone else parsed
        at = parsed.astimezone(UTC)
        return RecordedMoment(shown.replace(tzinfo=None), at, at, zone)
    if zone is None:
        raise BadTime("the time has no offset, and no time zone was given")
    first = parsed.replace(tzinfo=zone, fold=0).astimezone(UTC)
    second = parsed.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return RecordedMoment(parsed, first, second, zone)


def any_time(_: datetime) -> bool:
    return True


def on_day(text: str) -> TimeFilter:
    """Select one day: `YYYY-MM-DD`, or `MM-DD` of any year. Raises ValueError."""
    match = _DAY_OF_ANY_YEAR.fullmatch(text)
    if match is None:
        begins = datetime.combine(date.fromisoformat(text), datetime.min.time())
        return between(begins, begins + timedelta(days=1))
    day = date(2000, int(match[1]), int(match[2]))  # a leap year, so that 02-29 is valid
    return lambda shown: (shown.month, shown.day) == (day.month, day.day)


def between(begins: datetime | None, ends: datetime | None) -> TimeFilter:
    """Select times from `begins` (inclusive) to `ends` (exclusive); None leaves a side open."""
    return lambda shown: (begins is None or begins <= shown) and (ends is None or shown < ends)
