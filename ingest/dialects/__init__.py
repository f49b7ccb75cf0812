"""A pure decoder per firmware: from an MQTT topic and payload to readings and rejections.

`firmwares` finds the firmware and the device's name in a topic; `native` decodes the hub's own
format. The decoder of a firmware is `decode(levels, payload, device, received_at)`: the levels of
the topic after the device's name, and what it must know of the device. `values` holds what decoders
share.

Invariants: a decoder never raises, whatever the payload is. A value that is null, text or no finite
number is absent, never zero. A message that holds no measurement and no presence gives NOTHING, and
is ignored. Imported by the rest of `ingest`; needs `core` only.
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
    """The status that a device reports: online, offline, or fault with the fault's code."""

    status: DeviceStatus
    fault_code: str | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """The content of a message. Each of its readings is in `readings` or in `rejected`.

    `fields_ignored` counts fields of native readings that the hub does not know.
    """

    readings: tuple[Reading, ...] = ()
    rejected: tuple[RejectedReading, ...] = ()
    status: Status | None = None
    fields_ignored: int = 0


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """The properties of a device that its decoder needs.

    `is_meter`: the device measures what the house draws and feeds in, not what panels produce. Its
    forward counter is import, and its power is positive while the house draws.
    `zone` is that of the device's clock.
    """

    external_id: str
    is_meter: bool
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """The content of a firmware's message: whole readings, or a part of one.

    `earlier_at` is set if the clock showed the reading's time twice, because it was put back
    between them: the reading may have been measured then too.
    """

    decoded: Decoded = field(default_factory=Decoded)
    partial: PartialReading | None = None
    earlier_at: datetime | None = None


Decode: TypeAlias = Callable[[Sequence[str], bytes, DeviceContext, datetime], DecodeResult]

NOTHING = DecodeResult()
ONLINE = DecodeResult(Decoded(status=Status(DeviceStatus.ONLINE)))
OFFLINE = DecodeResult(Decoded(status=Status(DeviceStatus.OFFLINE)))


def reject(reason: RejectionReason, detail: str, at: datetime | None = None) -> DecodeResult:
    """Return the result of a message whose content is rejected as a whole."""
    return DecodeResult(Decoded(rejected=(RejectedReading(reason, detail, at),)))
