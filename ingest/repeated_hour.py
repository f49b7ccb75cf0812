"""Readings of an hour that a device's clock shows twice, assigned to the pass that they are of.

History that arrives late states only the time that the clock showed. When such a reading arrives,
all stored readings of that hour are decided again (`core.repeated_hour`), under the lock of the
device's state. A stored reading that turns out to be of the other pass is deleted, and returned to
be stored again with its right time.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import structs

from core.readings import Reading
from core.repeated_hour import ClockReading, clock_of, first_passes, instants
from db import readings
from db.device_states import DeviceState
from db.pool import Connection

# No zone puts its clocks back by more.
_PUT_BACK_MAX = timedelta(hours=2)
# A reading that arrives later than this after its second instant is likely to be of the first.
_PROMPT_WITHIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class AmbiguousReading:
    """A reading that may have been measured at its own time or at `earlier_at`.

    `zone` is that of the device's clock.
    """

    reading: Reading
    received_at: datetime
    earlier_at: datetime
    zone: ZoneInfo

    @property
    def is_likely_first(self) -> bool:
        assert self.reading.time is not None
        return self.received_at - self.reading.time > _PROMPT_WITHIN


@dataclass(slots=True)
class AssignedPasses:
    """The decided times of the readings that arrived, in their order.

    `retimed` are stored readings that were deleted, with their new times, by their old times.
    """

    times: list[datetime] = field(default_factory=list)
    retimed: dict[datetime, Reading] = field(default_factory=dict)


async def assign_passes(
    conn: Connection, state: DeviceState, ambiguous: Sequence[AmbiguousReading]
) -> AssignedPasses:
    """Decide the times of readings that arrived from a locked device, and of those stored."""
    zone, times = ambiguous[0].zone, [one.earlier_at for one in ambiguous]
    stored = await readings.between(
        conn, state.device_id, min(times) - _PUT_BACK_MAX, max(times) + 2 * _PUT_BACK_MAX
    )
    shown = [one for reading in stored if (one := _shown(reading, zone)) is not None]
    arrived = [
        ClockReading(clock_of(one.earlier_at, zone), one.reading, one.is_likely_first, is_new=True)
        for one in ambiguous
    ]
    # In a thread: a few thousand readings would stop the event loop for a third of a second.
    is_first = await asyncio.to_thread(first_passes, [*shown, *arrived], state.capacity_w)
    decided = [
        instants(one.clock, zone)[0 if first else 1]
        for one, first in zip([*shown, *arrived], is_first, strict=True)
    ]
    retimed = {
        one.reading.time: structs.replace(one.reading, time=at)
        for one, at in zip(shown, decided, strict=False)
        if one.reading.time is not None and one.reading.time != at
    }
    retimed = _without_conflicts(retimed, stored)
    if retimed:
        await readings.delete(conn, state.device_id, retimed)
    return AssignedPasses(decided[len(shown) :], retimed)


def _shown(reading: Reading, zone: ZoneInfo) -> ClockReading | None:
    """Return a stored reading of the hour, or None if the clock showed its time only once."""
    assert reading.time is not None
    clock = clock_of(reading.time, zone)
    both = instants(clock, zone)
    return ClockReading(clock, reading, reading.time == both.first) if both.is_repeated else None


def _without_conflicts(
    retimed: Mapping[datetime, Reading], stored: Sequence[Reading]
) -> dict[datetime, Reading]:
    """Return those whose new time is not that of a reading that stays."""
    staying = {reading.time for reading in stored} - retimed.keys()
    return {was: reading for was, reading in retimed.items() if reading.time not in staying}
