"""Readings of an hour that a device's clock runs through twice: put into the pass that they are of.

History that is told late says only what the clock showed. When such a reading arrives, all that the
device has told of that hour is looked at again (`core.repeated_hour`), under the lock of its state.
A stored reading that turns out to be of the other pass is taken back, and arrives again.
"""

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

# No clock is put back by more.
_PUT_BACK_MAX = timedelta(hours=2)
# Of a time that came twice, who tells later than this may mean either.
_SECOND_FOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Unsure:
    """A reading by a clock of that zone that may have been taken at `earlier_at` as well."""

    reading: Reading
    received_at: datetime
    earlier_at: datetime
    zone: ZoneInfo

    @property
    def is_likely_first(self) -> bool:
        assert self.reading.time is not None
        return self.received_at - self.reading.time > _SECOND_FOR


@dataclass(slots=True)
class Passes:
    """`at`: when the readings that arrived were taken, in their order.

    `taken_back`: stored readings that were deleted, with the time that they have to get, by the
    time that they had.
    """

    at: list[datetime] = field(default_factory=list)
    taken_back: dict[datetime, Reading] = field(default_factory=dict)


async def put_into_passes(conn: Connection, state: DeviceState, unsure: Sequence[Unsure]) -> Passes:
    """Decide of readings that arrived of a device, and again of those that are stored."""
    zone, times = unsure[0].zone, [one.earlier_at for one in unsure]
    stored = await readings.between(
        conn, state.device_id, min(times) - _PUT_BACK_MAX, max(times) + 2 * _PUT_BACK_MAX
    )
    shown = [one for reading in stored if (one := _shown(reading, zone)) is not None]
    arrived = [
        ClockReading(clock_of(one.earlier_at, zone), one.reading, one.is_likely_first, is_new=True)
        for one in unsure
    ]
    is_first = first_passes([*shown, *arrived], state.capacity_w)
    at = [
        instants(one.clock, zone)[0 if first else 1]
        for one, first in zip([*shown, *arrived], is_first, strict=True)
    ]
    moved = {
        one.reading.time: structs.replace(one.reading, time=to)
        for one, to in zip(shown, at, strict=False)
        if one.reading.time is not None and one.reading.time != to
    }
    moved = _to_where_there_is_room(moved, stored)
    if moved:
        await readings.take_back(conn, state.device_id, moved)
    return Passes(at[len(shown) :], moved)


def _shown(reading: Reading, zone: ZoneInfo) -> ClockReading | None:
    """A stored reading of the hour; None: its clock showed that time but once."""
    assert reading.time is not None
    clock = clock_of(reading.time, zone)
    both = instants(clock, zone)
    return ClockReading(clock, reading, reading.time == both.first) if both.is_repeated else None


def _to_where_there_is_room(
    moved: Mapping[datetime, Reading], stored: Sequence[Reading]
) -> dict[datetime, Reading]:
    """Those that move to where no other reading stays."""
    staying = {reading.time for reading in stored} - moved.keys()
    return {was: reading for was, reading in moved.items() if reading.time not in staying}
