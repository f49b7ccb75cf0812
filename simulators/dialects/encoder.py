"""How a device speaks: what it says of a reading, and of itself coming and going."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from core.readings import Reading


@dataclass(frozen=True, slots=True)
class EncodedPublish:
    topic: str
    payload: str
    retain: bool = False


def _nothing(_: str) -> list[EncodedPublish]:
    return []


def _no_will(_: str) -> EncodedPublish | None:
    return None


@dataclass(frozen=True, slots=True)
class FirmwareEncoder:
    """All of it by the device's `external_id`.

    `has_clock`: it says when it measured; without, only its newest reading is worth sending.
    `asked_on`: it is silent unless something came on this topic (`{}`: its id) within a minute.
    `tells_all`: it says everything it measured, to the last count, in any order, and when.
    """

    say: Callable[[str, Reading], list[EncodedPublish]]
    arrive: Callable[[str], list[EncodedPublish]] = _nothing
    will: Callable[[str], EncodedPublish | None] = _no_will
    has_clock: bool = True
    asked_on: str | None = None
    tells_all: bool = False


def time_of(reading: Reading) -> datetime:
    assert reading.time is not None
    return reading.time


def numbers(values: dict[str, float | None], digits: int) -> dict[str, float]:
    """What is known of them, as a firmware rounds it."""
    return {name: round(value, digits) for name, value in values.items() if value is not None}


def kwh(energy_wh: float | None) -> float | None:
    return None if energy_wh is None else energy_wh / 1000
