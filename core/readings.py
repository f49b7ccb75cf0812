"""What a device measured, the physical limits of each number, and why a reading is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct
from msgspec.structs import astuple

MAX_CLOCK_AHEAD = timedelta(minutes=5)

# How the key of a counter ends that counts what flows back.
RETURN = "-"

_NO_PARTS: Mapping[str, float] = MappingProxyType({})

Power = Annotated[float, Meta(ge=-1e9, le=1e9)]
Counter = Annotated[float, Meta(ge=0, le=1e15)]


class Reading(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One measurement of one device; None means that the device did not say.

    `time` is the measurement's and aware; None until the time of receipt is filled in. Counters
    (`_wh`) are lifetime totals, power is positive when it is produced (or consumed, for `load_w`).

    A Struct, where others are dataclasses: tens of thousands a second are made straight from JSON,
    with these limits checked. Whoever builds one by hand checks nothing.
    """

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
    def says_something(self) -> bool:
        """Whether it holds one of the fields that a reading must have."""
        return not (
            self.power_w is None
            and self.energy_wh is None
            and self.export_wh is None
            and self.import_wh is None
        )

    @property
    def parts(self) -> Mapping[str, float]:
        """The counters of a device that has several of a kind; empty for a device with one."""
        return _NO_PARTS

    @property
    def counts_since(self) -> datetime | None:
        """Since when the generation counter counts, as far as the device itself says so."""
        return None

    def with_details(
        self, parts: Mapping[str, float], counts_since: datetime | None = None
    ) -> "DetailedReading":
        return DetailedReading(*(*astuple(self), parts, counts_since))


class DetailedReading(Reading, frozen=True, gc=False):
    """A reading with what only some firmwares tell, and the native format has no words for.

    `parts`: what each of several counters shows, in Wh, by its key: the field and a name, such as
    `energy_wh:0`. A part that was not told is absent. A key that ends in `-` counts what is in the
    part of the same key without it too, but flowed the other way. The field itself (`energy_wh`)
    is then their sum, for show: None unless every known part was told. Parts are what is accounted.
    """

    parts: Mapping[str, float] = {}
    counts_since: datetime | None = None

    @property
    def says_something(self) -> bool:
        """Whether it holds one of the fields that a reading must have, or a part of one."""
        return bool(self.parts) or super().says_something


FIELDS = Reading.__struct_fields__


class RejectionReason(StrEnum):
    """Why a message or a reading was refused: stable codes."""

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
    """A reading or a whole message that is not stored; `detail` says which field and why."""

    reason: RejectionReason
    detail: str = ""
    time: datetime | None = None

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


class PhysicalRange(NamedTuple):
    """The measurement times that are taken: both ends are."""

    oldest: datetime
    newest: datetime


def taken_at(now: datetime, late_horizon: timedelta) -> PhysicalRange:
    """What a message may tell of that is received now."""
    return PhysicalRange(now - late_horizon, now + MAX_CLOCK_AHEAD)


def refusal_by_age(at: datetime, span: PhysicalRange) -> RejectionReason | None:
    """Whether a measurement's time rules it out."""
    if at > span.newest:
        return RejectionReason.IN_THE_FUTURE
    if at < span.oldest:
        return RejectionReason.TOO_OLD
    return None
