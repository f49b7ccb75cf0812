"""The interface of an encoder, and conversions that several firmwares share."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from core.readings import Reading


@dataclass(frozen=True, slots=True)
class EncodedPublish:
    """One MQTT message."""

    topic: str
    payload: str
    retain: bool = False


def _no_messages(_: str) -> list[EncodedPublish]:
    return []


def _no_will(_: str) -> EncodedPublish | None:
    return None


@dataclass(frozen=True, slots=True)
class FirmwareEncoder:
    """Messages of one firmware. The `str` argument is the name in the device's topics."""

    encode: Callable[[str, Reading], list[EncodedPublish]]
    # Messages after connecting, and the last will.
    on_connect: Callable[[str], list[EncodedPublish]] = _no_messages
    will: Callable[[str], EncodedPublish | None] = _no_will
    # False: messages carry no time, so only the newest reading is worth sending.
    has_clock: bool = True
    # The firmware publishes only within a minute of a message on this topic (`{}`: its name).
    keepalive_topic: str | None = None
    # Every counter at full resolution and with its time: nothing is lost in any order of messages.
    lossless: bool = False


def time_of(reading: Reading) -> datetime:
    assert reading.time is not None
    return reading.time


def rounded(values: dict[str, float | None], digits: int) -> dict[str, float]:
    """Round the values that are known, leave out the others."""
    return {name: round(value, digits) for name, value in values.items() if value is not None}


def kwh(energy_wh: float | None) -> float | None:
    return None if energy_wh is None else energy_wh / 1000
