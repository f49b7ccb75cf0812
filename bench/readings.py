"""Readings of a fleet: plausible power, and counters that only rise."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.ids import DeviceId
from core.units import rfc3339

STEP = timedelta(seconds=10)
CAPACITY_W = 5000
_MEAN_W = 2500.0
_SWING_W = 2000.0
_TICKS_PER_WAVE = 4000
# Part of the generated energy that is exported.
_EXPORTED = 0.6
_START_WH = 1_000_000.0

Row = tuple[DeviceId | datetime | float, ...]


@dataclass(frozen=True, slots=True)
class FleetReadings:
    """A part of a fleet's history: `ticks` readings of every device, the first at `first_tick`."""

    devices: Sequence[DeviceId]
    began_at: datetime
    first_tick: int
    ticks: int

    @property
    def count(self) -> int:
        return len(self.devices) * self.ticks

    def messages(self, readings_each: int = 1) -> Iterator[tuple[str, bytes]]:
        """Yield (topic, payload) in order of time; the payload is an array for several readings."""
        for first in range(self.first_tick, self.first_tick + self.ticks, readings_each):
            texts = [self._text(tick) for tick in range(first, first + readings_each)]
            payload = (f"[{','.join(texts)}]" if readings_each > 1 else texts[0]).encode()
            for device_id in self.devices:
                yield f"solar/{device_id}/telemetry", payload

    def rows(self) -> Iterator[Row]:
        """Yield the same readings as rows of `telemetry`."""
        for tick in range(self.first_tick, self.first_tick + self.ticks):
            at, values = self.began_at + tick * STEP, tuple(_values(tick).values())
            for device_id in self.devices:
                yield (device_id, at, *values)

    def _text(self, tick: int) -> str:
        members = ",".join(f'"{name}":{value}' for name, value in _values(tick).items())
        return f'{{"time":"{rfc3339(self.began_at + tick * STEP)}",{members}}}'


def _values(tick: int) -> dict[str, float]:
    """Return all fields of a reading but its time, in the order of `telemetry`'s columns."""
    turn = 2 * math.pi / _TICKS_PER_WAVE
    power_w = _MEAN_W + _SWING_W * math.sin(tick * turn)
    hours = tick * STEP.total_seconds() / 3600
    swing_h = STEP.total_seconds() / 3600 * (1 - math.cos(tick * turn)) / turn
    energy_wh = _START_WH + _MEAN_W * hours + _SWING_W * swing_h
    return {
        "power_w": round(power_w, 1),
        "energy_wh": round(energy_wh, 1),
        "export_wh": round(energy_wh * _EXPORTED, 1),
        "import_wh": 120.0,
        "load_w": round(power_w * (1 - _EXPORTED), 1),
        "voltage_v": 231.2,
        "current_a": round(power_w / 231.2, 2),
        "frequency_hz": 50.01,
        "temperature_c": 48.2,
        "battery_soc_pct": 76.0,
    }
