"""Faults of delivery: what a meter shows to what reaches the hub, and when.

Pure, like `faults`. Readings are lost, repeated, delayed or reordered, and connections are cut.
No reading is invented, and a reading that is not lost is sent at least once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from core.readings import Reading
from simulators.faults import CALM_READINGS, Fault, FaultOccurrence, FaultSchedule

# Fewest and most readings that each fault lasts.
DELIVERY_FAULTS = {
    Fault.GAP: (31, 60),
    Fault.DUPLICATE: (1, 8),
    Fault.LATE: (5, 40),
    Fault.DISORDER: (4, 12),
}
_STORM_EVERY_READINGS = (40, 160)


@dataclass(frozen=True, slots=True)
class SendBatch:
    """Readings to send now, in this order; with `cut` after the connection was cut."""

    readings: Sequence[Reading]
    cut: bool = False


class ReconnectStorms:
    """The readings at which all devices of a fleet lose their connection at once.

    Each device has its own instance with the same seed and counts its own readings.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._next = rng.randint(*_STORM_EVERY_READINGS)
        self._readings = 0

    def strikes(self) -> bool:
        """Return whether a storm strikes with the next reading. Call this once per reading."""
        self._readings += 1
        if self._readings < self._next:
            return False
        self._next += self._rng.randint(*_STORM_EVERY_READINGS)
        return True


class FaultyDelivery:
    """The delivery of one device with the given faults; `occurrences` records them."""

    def __init__(
        self,
        rng: Random,
        storms: ReconnectStorms,
        *,
        faults: Sequence[Fault] = tuple(Fault),
        calm_readings: int = CALM_READINGS,
    ) -> None:
        self._rng = rng
        self._storms = storms if Fault.RECONNECT in faults else None
        durations = {fault: DELIVERY_FAULTS[fault] for fault in faults if fault in DELIVERY_FAULTS}
        self._schedule = FaultSchedule(durations, rng, calm_readings)
        self._fault: Fault | None = None
        self._readings_left = 0
        # Readings held back by the current fault, and those that wait to be sent late.
        self._held: list[Reading] = []
        self._late: list[Reading] = []
        self._late_for_readings = 0
        self.occurrences: list[FaultOccurrence] = []

    def send(self, reading: Reading) -> list[SendBatch]:
        """Return what is sent when this reading was taken: it, other readings, or nothing."""
        assert reading.time is not None
        if not self._readings_left:
            self._begin(self._schedule.draw(reading.time))
        batches = [SendBatch(b) for b in [*self._after_fault(reading), *self._overdue()] if b]
        if self._storms is not None and self._storms.strikes():
            self.occurrences.append(FaultOccurrence(Fault.RECONNECT, reading.time, 1))
            batches.insert(0, SendBatch((), cut=True))
        return batches

    def flush(self) -> list[SendBatch]:
        """End the current fault and return everything that is still held back."""
        remaining, self._held, self._late = [self._held, self._late], [], []
        self._readings_left, self._fault = 0, None
        return [SendBatch(readings) for readings in remaining if readings]

    def _begin(self, occurrence: FaultOccurrence | None) -> None:
        self._fault = occurrence.fault if occurrence else None
        if occurrence is not None:
            self._readings_left = occurrence.readings
            self.occurrences.append(occurrence)

    def _after_fault(self, reading: Reading) -> list[list[Reading]]:
        fault, self._readings_left = self._fault, max(0, self._readings_left - 1)
        if fault is None:
            return [[reading]]
        if fault is Fault.GAP:
            return []
        if fault is Fault.DUPLICATE:
            return self._rng.choice([[[reading, reading]], [[reading], [reading]]])
        self._held.append(reading)
        return [] if self._readings_left else self._release(fault)

    def _release(self, fault: Fault) -> list[list[Reading]]:
        held, self._held = self._held, []
        if fault is Fault.DISORDER:
            return [[reading] for reading in self._rng.sample(held, len(held))]
        # Readings are late once newer ones were sent before them.
        self._late += held
        self._late_for_readings = self._rng.randint(*DELIVERY_FAULTS[Fault.LATE])
        return []

    def _overdue(self) -> list[list[Reading]]:
        if not self._late or self._late_for_readings:
            self._late_for_readings = max(0, self._late_for_readings - 1)
            return []
        late, self._late = self._late, []
        return [late]
