"""The counters of a device that has several: each is accounted by itself, and what they credit.

A counter is known by its key: the field of a reading (`energy_wh`, `export_wh`), and the name of a
part where the device has several (`energy_wh:0`). The rules of `core.counters` apply to each; what
they credit is added. Three things concern several counters at once:

- **Two ways.** A key that ends in `-` counts return: energy that flowed back, and that the counter
  of the same key without `-` counted too. Generation is the rise of the one less the rise of the
  other. While the return is not told (or reads 0, or garbage), the other counter is left unread,
  a day at most: its next reading holds the energy. What was returned beyond what was counted so far
  is owed, and taken from what is counted next. So the sum of all credits is the highest that
  generation less return ever was, whichever of the two is told first.
- **One capacity.** Each counter may use the whole capacity, all of them together no more than that:
  energy beyond it is refused as a spike is.
- **One form.** A device that tells parts is not accounted by a counter of its own for all of them,
  nor the other way round: when it changes from one form to the other, it begins anew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from core.capacity import LEAST_COUNT_MWH, LENT_FOR_MAX, capable_mwh, count_mwh
from core.counters import STALLED_FOR_MAX, Counter, Moment, read, rose_at, stands
from core.credits import Credit
from core.intervals import Quality, Reason
from core.readings import RETURN, Reading

ENERGY = "energy_wh"
EXPORT = "export_wh"
# As long as a counter that stalls: no late reading has to go back further.
HELD_FOR_MAX = STALLED_FOR_MAX
# More than any installation has; who makes up names doesn't make an account grow without end.
COUNTERS_MAX = 100


class Joint(Struct, frozen=True, omit_defaults=True, gc=False):
    """What is known of several counters together.

    `owed_mwh`: by the key of a counter of both directions, what was returned beyond what it
    counted.
    `filled_until`: by field, until when the capacity is used up by what was credited.
    """

    owed_mwh: dict[str, int] = {}
    filled_until: dict[str, datetime] = {}


@dataclass(slots=True)
class State:
    """The counters while a reading is accounted, brought up to date by it."""

    counters: dict[str, Counter]
    owed_mwh: dict[str, int]
    filled_until: dict[str, datetime]

    @property
    def joint(self) -> Joint:
        return Joint(self.owed_mwh, self.filled_until)


def told(reading: Reading, field: str) -> dict[str, float]:
    """The counters of a field that a reading tells, by key."""
    parts = {key: wh for key, wh in reading.parts.items() if _field(key) == field}
    if parts:
        return parts
    value_wh = getattr(reading, field)
    return {} if value_wh is None else {field: value_wh}


def read_field(
    state: State, field: str, values_wh: Mapping[str, float], moment: Moment
) -> list[Credit]:
    """What the counters of a field credit."""
    _keep_one_form(state, field, values_wh)
    if not _all_stand(state, field, values_wh):
        moment = replace(moment, worked=None)
    before = dict(state.counters)
    credited: list[Credit] = []
    for key in sorted({key.removesuffix(RETURN) for key in values_wh}):
        back = key + RETURN
        if back in values_wh or back in state.counters:
            credited += _read_two_ways(state, key, values_wh, moment)
        else:
            credited += _read_one_way(state, key, values_wh[key], moment)
    credited = _within_capacity(state, field, credited, before, moment)
    _forget_the_oldest(state)
    return credited


def all_stalled(state: State, field: str) -> bool:
    """Whether every counter of a field stands still though power says that it should count."""
    counters = list(_forward(state.counters, field).values())
    return bool(counters) and all(counter.stalled_at is not None for counter in counters)


def counts(counters: Mapping[str, Counter], field: str) -> bool:
    """Whether the device has a counter of that field."""
    return field in counters or any(_field(key) == field for key in counters)


def _field(key: str) -> str:
    return key.partition(":")[0]


def _forward(counters: Mapping[str, Counter], field: str) -> dict[str, Counter]:
    return {k: c for k, c in counters.items() if _field(k) == field and not k.endswith(RETURN)}


def _keep_one_form(state: State, field: str, values_wh: Mapping[str, float]) -> None:
    if not values_wh:
        return
    in_parts = field not in values_wh
    for key in list(state.counters):
        if _field(key) == field and (key != field) != in_parts:
            del state.counters[key]
            state.owed_mwh.pop(key, None)


def _forget_the_oldest(state: State) -> None:
    """Forget the counters that were not read for longest: told again, they begin anew."""
    counters = state.counters
    while len(counters) > COUNTERS_MAX:
        oldest = min(counters, key=lambda key: (counters[key].at, key))
        del counters[oldest]
        state.owed_mwh.pop(oldest, None)


def _all_stand(state: State, field: str, values_wh: Mapping[str, float]) -> bool:
    """Whether no counter of a field can have counted: one that is not told may have."""
    known = _forward(state.counters, field)
    return bool(known) and all(stands(c, values_wh.get(key)) for key, c in known.items())


def _read_one_way(state: State, key: str, value_wh: float, moment: Moment) -> Iterator[Credit]:
    counter, credited = read(state.counters.get(key), value_wh, moment)
    assert counter is not None
    state.counters[key] = counter
    yield from credited


def _read_two_ways(
    state: State, key: str, values_wh: Mapping[str, float], moment: Moment
) -> Iterator[Credit]:
    back, at = key + RETURN, moment.at
    known = state.counters.get(back)
    returned, taken = read(known, values_wh.get(back), replace(moment, worked=None))
    if returned is not None:
        state.counters[back] = returned
    owed_mwh = state.owed_mwh.get(key, 0)
    for credit in taken:
        owed_mwh += credit.energy_mwh
        if credit.reason not in (None, Reason.GAP):
            yield replace(credit, energy_mwh=0)
    counter = state.counters.get(key)
    if key in values_wh and not _is_held(counter, returned, values_wh.get(back), at):
        for credit in _read_one_way(state, key, values_wh[key], moment):
            # What flowed back is not known: neither is what was generated.
            unknown = known is None or any(c.quality is Quality.REJECTED for c in taken)
            net_mwh = 0 if unknown else max(0, credit.energy_mwh - owed_mwh)
            owed_mwh = 0 if unknown else max(0, owed_mwh - credit.energy_mwh)
            yield replace(credit, energy_mwh=net_mwh)
        if counter is None:
            owed_mwh = 0
    state.owed_mwh[key] = owed_mwh


def _is_held(
    counter: Counter | None, returned: Counter | None, returned_wh: float | None, at: datetime
) -> bool:
    """Whether a counter of both directions waits for what flowed back to be told."""
    if counter is None or at - counter.at >= HELD_FOR_MAX:
        return False
    assert returned is not None
    is_garbage = returned.at != at
    is_zero = not returned_wh and returned.mark_mwh > 0
    return returned_wh is None or is_garbage or is_zero


def _within_capacity(
    state: State, field: str, credited: list[Credit], before: Mapping[str, Counter], moment: Moment
) -> list[Credit]:
    """The credits, cut down to what the capacity makes, and one count of each counter more.

    What the capacity did not make before the oldest of these marks is forfeited, as with a counter
    alone. What it made since, and was not credited, another counter may show later.
    """
    energy_mwh = sum(credit.energy_mwh for credit in credited)
    if not energy_mwh:
        return credited
    moved = [
        (counter, state.counters[key])
        for key, counter in _forward(before, field).items()
        if counter.marked_at != state.counters[key].marked_at
    ]
    since = min((rose_at(counter, moment) for counter, _ in moved), default=moment.at)
    since = max(since, state.filled_until.get(field, since))
    most_mwh = capable_mwh(moment.at - since, moment.capacity_w) + 1
    most_mwh += sum(_count_mwh(counter.mark_mwh, now.mark_mwh) for counter, now in moved)
    allowed_mwh = min(energy_mwh, max(0, int(most_mwh)))
    state.filled_until[field] = since + _time_for(allowed_mwh, moment.capacity_w)
    return list(_cut(credited, energy_mwh - allowed_mwh))


def _count_mwh(level_mwh: int, value_mwh: int) -> int:
    return max(LEAST_COUNT_MWH, count_mwh(level_mwh, value_mwh))


def _time_for(energy_mwh: int, capacity_w: float) -> timedelta:
    """How long the capacity takes; at most as long as a counter is lent a count for."""
    longest_mwh = capable_mwh(LENT_FOR_MAX, capacity_w)
    # Before dividing: a capacity may be next to nothing.
    if energy_mwh >= longest_mwh:
        return LENT_FOR_MAX
    return energy_mwh / longest_mwh * LENT_FOR_MAX


def _cut(credited: list[Credit], excess_mwh: int) -> Iterator[Credit]:
    for credit in credited:
        cut_mwh = min(credit.energy_mwh, excess_mwh)
        excess_mwh -= cut_mwh
        if cut_mwh:
            yield replace(credit, energy_mwh=credit.energy_mwh - cut_mwh)
            yield Credit(credit.start, credit.end, 0, Quality.REJECTED, Reason.SPIKE)
        else:
            yield credit
