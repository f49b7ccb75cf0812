"""Readings of devices, the physical limits of each value, and the reasons for a rejection."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct
from msgspec.structs import astuple

# The clock of a device may be ahead by this much: later times are rejected.
MAX_CLOCK_AHEAD = timedelta(minutes=5)

# The end of the key of a counter that counts energy which flowed back.
RETURN = "-"

_NO_PARTS: Mapping[str, float] = MappingProxyType({})

Power = Annotated[float, Meta(ge=-1e9, le=1e9)]
Counter = Annotated[float, Meta(ge=0, le=1e15)]


class Reading(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One measurement of one device. A field that the device did not report is None.

    Counters (`_wh`) are lifetime totals. Power is positive when it is produced (for `load_w`, when
    it is consumed).

    A Struct, because tens of thousands per second are decoded from JSON. Decoding checks the limits
    of each field; the constructor does not.
    """

    # Time of the measurement, aware; None until the time of receipt is filled in.
    time: Annotated[datetime, Meta(tz=True)] | None = None
    power_w: Power | None = None
    energy_wh: Counter | None = None
    export_wh: Counter | None = None
    import_wh: Counter | None = None
    load_w: Power | None = None
    voltage_v: Annotated[float, Meta(ge=-1e6, le=1e6)] | None = None
    current_a: Annotated[float, Meta(ge=-1e6, le=1e6)] | None = None
    frequency_hz: Annotated[float, Meta(ge=0, le=1000)] | None = None
    temperature_c: Annotated[float, Meta(ge=-273.15, le=1000)] | None = None
    battery_soc_pct: Annotated[float, Meta(ge=0, le=100)] | None = None

    @property
    def has_measurement(self) -> bool:
        """Return True if it has one of the fields that a reading must have."""
        return not (
            self.power_w is None
            and self.energy_wh is None
            and self.export_wh is None
            and self.import_wh is None
        )

    @property
    def parts(self) -> Mapping[str, float]:
        """The counters of a device that has several of a kind, by key; else empty."""
        return _NO_PARTS

    @property
    def counts_since(self) -> datetime | None:
        """The time since which the generation counter counts, if the device reports it."""
        return None

    def with_details(
        self, parts: Mapping[str, float], counts_since: datetime | None = None
    ) -> "DetailedReading":
        """Return a copy with the details that only some firmwares report."""
        return DetailedReading(*(*astuple(self), parts, counts_since))


class DetailedReading(Reading, frozen=True, gc=False):
    """A reading with details that only some firmwares report; the native format has no such fields.

    If it has parts, those are accounted. The field itself (`energy_wh`) is their sum, for display:
    None unless every known part was reported.
    """

    # The value of each of several counters in Wh, by key: the field and a name, such as
    # `energy_wh:0`. A part that was not reported is absent. A key that ends in `-` counts energy
    # that flowed back, which the part of the same key without `-` counted too.
    parts: Mapping[str, float] = {}
    counts_since: datetime | None = None

    @property
    def has_measurement(self) -> bool:
        """Return True if it has one of the fields that a reading must have, or a part of one."""
        return bool(self.parts) or super().has_measurement


FIELDS = Reading.__struct_fields__


class RejectionReason(StrEnum):
    """The reason for the rejection of a message or a reading: stable codes."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many_readings"
    NO_MEASUREMENT = "no_measurement"
    BAD_VALUE = "bad_value"
    BAD_TIME = "bad_time"
    TOO_OLD = "too_old"
    IN_THE_FUTURE = "in_the_future"
    UNKNOWN_DEVICE = "unknown_device"
    UNSTORABLE = "unstorable"


@dataclass(frozen=True, slots=True)
class RejectedReading:
    """A reading or a whole message that is not stored; `detail` names the field and the cause."""

    reason: RejectionReason
    detail: str = ""
    time: datetime | None = None

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


class AcceptedTimes(NamedTuple):
    """The range of measurement times that are accepted, both ends included."""

    oldest: datetime
    newest: datetime


def accepted_times(now: datetime, late_horizon: timedelta) -> AcceptedTimes:
    """Return the times of readings that are accepted at `now`."""
    return AcceptedTimes(now - late_horizon, now + MAX_CLOCK_AHEAD)


def rejection_by_time(at: datetime, accepted: AcceptedTimes) -> RejectionReason | None:
    """Return the reason why a measurement's time is rejected, or None if it is accepted."""
    if at > accepted.newest:
        return RejectionReason.IN_THE_FUTURE
    if at < accepted.oldest:
        return RejectionReason.TOO_OLD
    return None
