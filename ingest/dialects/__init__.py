"""One pure decoder per firmware: from topic and payload to readings, and what was refused.

A firmware's decoder is `decode(levels, payload, speaker, received_at)`: the levels of the topic
behind the device's name, and what must be known of the device. It never raises, whatever it is
given. A number that is null, no number, or text is absent, not zero; a message that says nothing
of a measurement or of the device's presence is NOTHING, and is ignored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

from core.assembly import PartialReading
from core.enums import DeviceStatus
from core.readings import Reading, RejectedReading, RejectionReason


@dataclass(frozen=True, slots=True)
class Status:
    """What a device says of itself: `online`, `offline` or `fault`, with the fault's code."""

    status: DeviceStatus
    fault_code: str | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a message says. `received` readings are either in `readings` or in `refused`."""

    readings: tuple[Reading, ...] = ()
    refused: tuple[RejectedReading, ...] = ()
    status: Status | None = None
    fields_ignored: int = 0


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """What a decoder must know of the device: its name, and where its clock hangs.

    `is_meter`: it measures what the house draws and feeds in, not what panels make. What such a
    device counts forwards was drawn, and its power is positive when the house draws.
    """

    external_id: str
    is_meter: bool
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """What a message of a firmware says: whole readings, or part of one.

    `earlier_at`: when else its reading may have been taken, by a clock that was put back.
    """

    decoded: Decoded = field(default_factory=Decoded)
    part: PartialReading | None = None
    earlier_at: datetime | None = None


Decode: TypeAlias = Callable[[Sequence[str], bytes, DeviceContext, datetime], DecodeResult]

NOTHING = DecodeResult()
ONLINE = DecodeResult(Decoded(status=Status(DeviceStatus.ONLINE)))
OFFLINE = DecodeResult(Decoded(status=Status(DeviceStatus.OFFLINE)))


def refuse(reason: RejectionReason, detail: str, at: datetime | None = None) -> DecodeResult:
    return DecodeResult(Decoded(refused=(RejectedReading(reason, detail, at),)))
