"""Slots between which a fault moved energy: what was hidden in one was shown in another.

While a counter stands still or nothing arrives, nobody can tell in which slot its energy was made.
Readings up to half an hour apart share it evenly, and the hub gives no reason for that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from core.units import slot_of
from simulators.faults import Fault, Hit

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

Slots = tuple[datetime, datetime]


@dataclass(slots=True)
class _Hiding:
    begins: datetime
    readings: int


@dataclass(slots=True)
class SharedSlots:
    """Notes, reading by reading, from which slot to which each fault of a device reached.

    `spans`: the first and the last slot of those that reached into several.
    """

    spans: list[Slots] = field(default_factory=list)
    _hiding: list[_Hiding] = field(default_factory=list)
    _before: datetime | None = None

    def note(self, at: datetime, begun: Iterable[Hit]) -> None:
        """A reading was taken, with which these faults began."""
        for hit in begun:
            if hit.fault in _HIDING:
                self._hiding.append(_Hiding(self._before or at, hit.readings))
        self._before = at
        for hiding in self._hiding:
            hiding.readings -= 1
        for hiding in [over for over in self._hiding if over.readings < 0]:
            self._end(hiding, at)

    def end(self) -> None:
        """Nothing is hidden any more: the last reading told all."""
        for hiding in list(self._hiding):
            self._end(hiding, self._before or hiding.begins)

    def _end(self, hiding: _Hiding, at: datetime) -> None:
        self._hiding.remove(hiding)
        first, last = slot_of(hiding.begins), slot_of(at)
        if first < last:
            self.spans.append((first, last))


def with_shared(
    reasons: Sequence[bool], slots: Sequence[datetime], spans: Iterable[Slots]
) -> list[bool]:
    """Which slots have a reason, if those that shared energy have it together."""
    told = dict(zip(slots, reasons, strict=True))
    groups = [[slot for slot in slots if first <= slot <= last] for first, last in spans]
    waiting = [group for group in groups if group]
    while reached := [group for group in waiting if any(told[slot] for slot in group)]:
        waiting = [group for group in waiting if group not in reached]
        told |= dict.fromkeys((slot for group in reached for slot in group), True)
    return [told[slot] for slot in slots]
