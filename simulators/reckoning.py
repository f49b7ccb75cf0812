"""The hub's energy beside the truth: what is missing, and whether the hub says why.

The rule: never more than the truth and a thousandth; and what is missing beyond a thousandth
is missing where the hub gives a reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

TOLERANCE_PART = 0.001
_SHARED_SLOTS = 2
_COUNT_WH = 0.01  # a meter shows less than it has counted, by less than this


@dataclass(frozen=True, slots=True)
class Told:
    """A slot as the hub tells it: energy that was measured or interpolated, and its reasons."""

    energy_wh: float
    reasons: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reckoned:
    """One counter of one device. `explained_wh`: what is missing where the hub says why."""

    truth_wh: float
    hub_wh: float
    explained_wh: float

    @property
    def missing_wh(self) -> float:
        return self.truth_wh - self.hub_wh

    @property
    def tolerated_wh(self) -> float:
        return TOLERANCE_PART * self.truth_wh + _COUNT_WH

    @property
    def is_exact(self) -> bool:
        return abs(self.missing_wh) <= self.tolerated_wh

    @property
    def is_sound(self) -> bool:
        unexplained_wh = self.missing_wh - self.explained_wh
        return -self.missing_wh <= self.tolerated_wh and unexplained_wh <= self.tolerated_wh


def reckon(truth_wh: Mapping[datetime, float], hub: Mapping[datetime, Told]) -> Reckoned:
    """Both by the start of the slot."""
    missing_wh = {
        slot: truth_wh.get(slot, 0.0) - (hub[slot].energy_wh if slot in hub else 0.0)
        for slot in truth_wh.keys() | hub.keys()
    }
    slots = sorted(missing_wh)
    return Reckoned(
        truth_wh=sum(truth_wh.values()),
        hub_wh=sum(told.energy_wh for told in hub.values()),
        explained_wh=_missing_with_reason(
            [missing_wh[slot] for slot in slots],
            [slot in hub and bool(hub[slot].reasons) for slot in slots],
        ),
    )


def _missing_with_reason(missing_wh: Sequence[float], has_reason: Sequence[bool]) -> float:
    """Slots with a reason count as one stretch: what was held back in one came in another.

    And with up to two slots on either side, since readings up to half an hour apart share their
    energy evenly and without a reason.
    """
    explained_wh, end, free = 0.0, 0, 0
    while True in has_reason[end:]:
        begin = has_reason.index(True, end)
        end = next((n for n in range(begin, len(has_reason)) if not has_reason[n]), len(has_reason))
        before = missing_wh[max(free, begin - _SHARED_SLOTS) : begin]
        beyond = next((n for n in range(end, len(has_reason)) if has_reason[n]), len(has_reason))
        after = missing_wh[end : min(beyond, end + _SHARED_SLOTS)]
        _, before_wh = _most(before[::-1])
        used, after_wh = _most(after)
        free = end + used
        explained_wh += max(0.0, before_wh + sum(missing_wh[begin:end]) + after_wh)
    return explained_wh


def _most(missing_wh: Sequence[float]) -> tuple[int, float]:
    """How many from the first on are missing most together, and what."""
    sums = [0.0, *accumulate(missing_wh)]
    most_wh = max(sums)
    return sums.index(most_wh), most_wh
