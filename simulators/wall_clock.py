"""Recorded times → instants, whatever the recorder's clock showed.

A wall clock without an offset needs its zone. Where clocks are set back, an hour shows twice: the
first row of a device with such a time is of the first pass, the next one of the second (`fold`, PEP
495). Where they are set forward, an hour never shows: a time in it is refused.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo


class BadTime(Exception):
    """Why a recorded time is no instant."""


@dataclass(frozen=True, slots=True)
class RecordedMoment:
    """What a clock showed (`shown`, without zone), and the instants that it may have been."""

    shown: datetime
    first: datetime
    second: datetime
    zone: ZoneInfo | None

    @property
    def is_ambiguous(self) -> bool:
        return self.first != self.second

    def instant(self, *, second: bool = False) -> datetime:
        """The first or the second time that the clock showed this. Raises BadTime: it never did."""
        at = self.second if second else self.first
        if self.zone and at.astimezone(self.zone).replace(tzinfo=None) != self.shown:
            raise BadTime(f"the clocks of {self.zone.key} never showed {self.shown}")
        return at


class WallClock:
    """`form` is `iso`, `unix` (seconds), `unix_ms`, or a format as strptime takes it."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._known: dict[tuple[str, str | None], RecordedMoment] = {}

    def read(self, text: str, zone_name: str | None) -> RecordedMoment:
        """Raises BadTime."""
        # Devices of one recording mostly share their times.
        known = self._known.get((text, zone_name))
        if known is None:
            known = self._known[text, zone_name] = _moment(self._parse(text), _zone(zone_name))
        return known

    def _parse(self, text: str) -> datetime:
        try:
            if self._form == "iso":
                return datetime.fromisoformat(text)
            if self._form == "unix":
                return datetime.fromtimestamp(float(text), UTC)
            if self._form == "unix_ms":
                return datetime.fromtimestamp(float(text) / 1000, UTC)
            return datetime.strptime(text, self._form)  # noqa: DTZ007 (its zone comes next)
        except (ValueError, OverflowError, OSError):
            raise BadTime(f"time {text!r} is not of the form {self._form!r}") from None


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
