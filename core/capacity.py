"""The energy that a device's capacity allows a counter to rise by.

A counter may rise by at most 1.25 × capacity × time, plus one resolution step, because it shows
energy up to one step late. What exceeds the energy of the capacity is an advance, which is deducted
from the limit of the time that follows.
"""

from datetime import datetime, timedelta
from math import gcd

# In cold sunshine a device exceeds its rated power; more than this is garbage.
CAPACITY_MARGIN = 1.25
# The advance of any counter, and the largest that a coarse counter gets for its resolution.
RESOLUTION_MIN_MWH = 10_000
RESOLUTION_MAX_MWH = 1_000_000
# An advance is covered after this, however small the capacity is.
ADVANCE_MAX = timedelta(days=7)

_MWH_PER_WS = 1000 / 3600


def produced_mwh(elapsed: timedelta, power_w: float) -> float:
    """Return the energy of constant power over a time."""
    return power_w * (elapsed.total_seconds() * _MWH_PER_WS)


def energy_limit_mwh(elapsed: timedelta, capacity_w: float) -> float:
    """Return the largest energy that a device of a capacity can generate in a time."""
    return capacity_w * CAPACITY_MARGIN * (elapsed.total_seconds() * _MWH_PER_WS)


def resolution_mwh(level_mwh: int, value_mwh: int) -> int:
    """Return the resolution of a counter that showed both values: their greatest common divisor.

    It exceeds the real resolution only by chance: one in 100,000 for 100 Wh of a counter of
    milliwatt-hours. The resolution of a counter that has only ever shown 0 is unknown: 0.
    """
    return min(gcd(level_mwh, value_mwh), RESOLUTION_MAX_MWH) if level_mwh else 0


def is_possible(level_mwh: int, value_mwh: int, excess_mwh: float) -> bool:
    """Return True if a counter may be `excess_mwh` over its limit after it showed both values."""
    return excess_mwh <= RESOLUTION_MIN_MWH or excess_mwh <= resolution_mwh(level_mwh, value_mwh)


def covered_at(excess_mwh: float, at: datetime, capacity_w: float) -> datetime:
    """Return the time at which the capacity has covered energy credited ahead; at least `at`."""
    if excess_mwh <= 0:
        return at
    most_mwh = energy_limit_mwh(ADVANCE_MAX, capacity_w)
    # Checked before the division, which overflows for a capacity close to 0.
    if excess_mwh >= most_mwh:
        return at + ADVANCE_MAX
    return at + excess_mwh / most_mwh * ADVANCE_MAX
