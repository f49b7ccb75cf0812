"""The hub's energy beside the truth: what is missing, and whether the hub says why.

The rule: never more than the truth and a thousandth; and what is missing beyond a thousandth
is missing in slots that the hub gives a reason for, or that shared energy with one while a fault
hid what was counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from simulators.shared_slots import Slots, with_shared

TOLERANCE_PART = 0.001
_SHARED_SLOTS = 2
_COUNT_WH = 0.01  # a meter shows less than it has counted, by less than this


@dataclass(frozen=True, slots=True)
class ReportedEnergy:
    """A slot as the hub tells it: energy that was measured or interpolated, and its reasons."""

    energy_wh: float
    reasons: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One counter of one device. `explained_wh`: what is missing where the hub says why."""

    truth_wh: float
    hub_wh: float
    explained_wh: float

    @property
    def missing_wh(self) -> float:
        return self.truth_wh - self.hub_wh

    @property
    def unexplained_wh(self) -> float:
        return self.missing_wh - self.explained_wh

    @property
    def tolerated_wh(self) -> float:
        return TOLERANCE_PART * self.truth_wh + _COUNT_WH

    @property
    def is_exact(self) -> bool:
        return abs(self.missing_wh) <= self.tolerated_wh

    @property
    def is_sound(self) -> bool:
        return -self.missing_wh <= self.tolerated_wh >= self.unexplained_wh


def compare(
    truth_wh: Mapping[datetime, float],
    hub: Mapping[datetime, ReportedEnergy],
    shared: Iterable[Slots] = (),
) -> Comparison:
    """Both by the start of the slot. `shared`: from which to which slot a fault moved energy."""
    missing_wh = {
        slot: truth_wh.get(slot, 0.0) - (hub[slot].energy_wh if slot in hub else 0.0)
        for slot in truth_wh.keys() | hub.keys()
    }
    slots = sorted(missing_wh)
    return Comparison(
        truth_wh=sum(truth_wh.values()),
        hub_wh=sum(told.energy_wh for told in hub.values()),
        explained_wh=_missing_with_reason(
            [missing_wh[slot] for slot in slots],
            with_shared([slot in hub and bool(hub[slot].reasons) for slot in slots], slots, shared),
        ),
    )


def _missing_with_reason(missing_wh: Sequence[float], has_reason: Sequence[bool]) -> float:
    """Slots with a reason count as one stretch: what was held back in one came in another.

    A stretch with more than the truth explains nothing, but has what its neighbours lack: readings
    up to half an hour apart share their energy evenly over the slots between.
    """
    explained_wh, begin = 0.0, 0
    lacking_wh = [max(0.0, wh) for wh in missing_wh]
    for reason, slots in groupby(has_reason):
        end = begin + len(list(slots))
        if reason:
            stretch_wh = sum(missing_wh[begin:end])
            beside = [*range(max(0, begin - _SHARED_SLOTS), begin)]
            beside += range(end, min(len(missing_wh), end + _SHARED_SLOTS))
            for slot in beside if stretch_wh < 0 else ():
                moved_wh = min(lacking_wh[slot], -stretch_wh)
                lacking_wh[slot] -= moved_wh
                stretch_wh += moved_wh
            explained_wh += stretch_wh
        begin = end
    return explained_wh
