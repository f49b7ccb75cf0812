"""Comparison of the hub's energy with the truth: what is missing, and what the hub explains.

The hub must never report more than the truth and 0.1 %. Energy missing beyond 0.1 % must be missing
in slots for which the hub gives a reason, or in slots that shared energy with one of those.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from simulators.shared_slots import SlotSpan, share_reasons

TOLERANCE_PART = 0.001
# Slots on each side of a stretch between which the hub may have spread energy (half an hour).
_NEIGHBOUR_SLOTS = 2
# A meter shows less than it has counted, by less than this.
_METER_STEP_WH = 0.01


@dataclass(frozen=True, slots=True)
class ReportedEnergy:
    """Energy of a slot that the hub measured or interpolated, and its reasons."""

    energy_wh: float
    reasons: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One counter of one device, by the hub and in truth."""

    truth_wh: float
    hub_wh: float
    # The part of the missing energy for which the hub gives a reason.
    explained_wh: float

    @property
    def missing_wh(self) -> float:
        return self.truth_wh - self.hub_wh

    @property
    def unexplained_wh(self) -> float:
        return self.missing_wh - self.explained_wh

    @property
    def tolerated_wh(self) -> float:
        return TOLERANCE_PART * self.truth_wh + _METER_STEP_WH

    @property
    def is_exact(self) -> bool:
        return abs(self.missing_wh) <= self.tolerated_wh

    @property
    def is_sound(self) -> bool:
        """Return whether nothing is invented, and what is missing is explained."""
        return -self.missing_wh <= self.tolerated_wh >= self.unexplained_wh


def compare(
    truth_wh: Mapping[datetime, float],
    hub: Mapping[datetime, ReportedEnergy],
    shared: Iterable[SlotSpan] = (),
) -> Comparison:
    """Compare energies by slot start; `shared` are the spans over which a fault moved energy."""
    missing_wh = {
        slot: truth_wh.get(slot, 0.0) - (hub[slot].energy_wh if slot in hub else 0.0)
        for slot in truth_wh.keys() | hub.keys()
    }
    slots = sorted(missing_wh)
    return Comparison(
        truth_wh=sum(truth_wh.values()),
        hub_wh=sum(reported.energy_wh for reported in hub.values()),
        explained_wh=_explained_wh(
            [missing_wh[slot] for slot in slots],
            share_reasons(
                [slot in hub and bool(hub[slot].reasons) for slot in slots], slots, shared
            ),
        ),
    )


def _explained_wh(missing_wh: Sequence[float], has_reason: Sequence[bool]) -> float:
    """Return the energy missing in slots with a reason.

    Consecutive slots with a reason count together: what one held back, another received. If they
    have more than the truth together, that surplus covers what neighbouring slots lack: energy
    between readings up to half an hour apart is spread evenly over the slots between.
    """
    explained_wh, begin = 0.0, 0
    lacking_wh = [max(0.0, wh) for wh in missing_wh]
    for reason, slots in groupby(has_reason):
        end = begin + len(list(slots))
        if reason:
            together_wh = sum(missing_wh[begin:end])
            neighbours = [*range(max(0, begin - _NEIGHBOUR_SLOTS), begin)]
            neighbours += range(end, min(len(missing_wh), end + _NEIGHBOUR_SLOTS))
            for slot in neighbours if together_wh < 0 else ():
                moved_wh = min(lacking_wh[slot], -together_wh)
                lacking_wh[slot] -= moved_wh
                together_wh += moved_wh
            explained_wh += together_wh
        begin = end
    return explained_wh
