"""One pure decoder per firmware: from topic and payload to readings, and what was refused."""

from dataclasses import dataclass

from core.readings import Reading, Refused


@dataclass(frozen=True, slots=True)
class Status:
    """What a device says of itself: `online`, `offline` or `fault`, with the fault's code."""

    status: str
    fault_code: str | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a message says. `received` readings are either in `readings` or in `refused`."""

    readings: tuple[Reading, ...] = ()
    refused: tuple[Refused, ...] = ()
    status: Status | None = None
    fields_ignored: int = 0
