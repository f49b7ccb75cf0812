"""Slots between which a fault moved energy: hidden in one slot, shown in a later one.

While a counter stands still or no reading arrives, the slot of its energy cannot be known. Between
readings up to half an hour apart the hub spreads it evenly and gives no reason.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from core.units import slot_of
from simulators.faults import Fault, FaultOccurrence

_HIDING = frozenset(
    {
        Fault.DIP,
        Fault.ZERO,
        Fault.NIGHT_ZERO,
        Fault.STALL,
        Fault.POWER_ONLY,
        Fault.SKEW,
        Fault.GAP,
    }
)

# First and last slot, by their starts.
SlotSpan = tuple[datetime, datetime]


@dataclass(slots=True)
class _HidingFault:
    """A fault that lasts: since when energy is hidden, and the readings left."""

    begins: datetime
    readings_left: int


@dataclass(slots=True)
class SharedSlots:
    """Tracks one device's faults, reading by reading; `spans` holds those over several slots."""

    spans: list[SlotSpan] = field(default_factory=list)
    _hiding: list[_HidingFault] = field(default_factory=list)
    _before: datetime | None = None

    def add_reading(self, at: datetime, begun: Iterable[FaultOccurrence]) -> None:
        """Add a reading and the faults that began with it."""
        for occurrence in begun:
            if occurrence.fault in _HIDING:
                self._hiding.append(_HidingFault(self._before or at, occurrence.readings))
        self._before = at
        for hiding in self._hiding:
            hiding.readings_left -= 1
        for hiding in [over for over in self._hiding if over.readings_left < 0]:
            self._end(hiding, at)

    def end(self) -> None:
        """End all faults: the last reading was a good one."""
        for hiding in list(self._hiding):
            self._end(hiding, self._before or hiding.begins)

    def _end(self, hiding: _HidingFault, at: datetime) -> None:
        self._hiding.remove(hiding)
        first, last = slot_of(hiding.begins), slot_of(at)
        if first < last:
            self.spans.append((first, last))


def share_reasons(
    has_reason: Sequence[bool], slots: Sequence[datetime], spans: Iterable[SlotSpan]
) -> list[bool]:
    """Return which slots have a reason, if all slots of a span have it as soon as one does."""
    by_slot = dict(zip(slots, has_reason, strict=True))
    groups = [[slot for slot in slots if first <= slot <= last] for first, last in spans]
    pending = [group for group in groups if group]
    # Spans overlap, so that a reason may reach a group by way of another.
    while reached := [group for group in pending if any(by_slot[slot] for slot in group)]:
        pending = [group for group in pending if group not in reached]
        by_slot |= dict.fromkeys((slot for group in reached for slot in group), True)
    return [by_slot[slot] for slot in slots]
