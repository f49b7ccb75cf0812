"""The counters of a device that has several: each is accounted separately, their credits are added.

The key of a counter is the field of a reading (`energy_wh`, `export_wh`), followed by the name of a
part where the device has several (`energy_wh:0`). The rules of `core.counter_rules` apply to each.
Three rules concern several counters at once:

- **Return.** A key that ends in `-` counts energy that flowed back, which the counter of the same
  key without `-` counted too. Generation is the rise of that counter less the rise of the return.
  While the return is not reported (or reads 0, or garbage), the other counter stays unread for at
  most a day: its next reading holds the energy. Return beyond the energy counted so far is owed,
  and subtracted from later energy. So the sum of all credits is the highest value that generation
  less return ever had, whichever of the two is reported first.
- **One capacity.** Each counter may use the whole capacity, but all of them together only once:
  energy beyond it is rejected as a spike.
- **One form.** A device that reports parts is not accounted by one counter for all of them, nor the
  other way round. When it changes from one form to the other, its counters start again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from core.capacity import ADVANCE_MAX, RESOLUTION_MIN_MWH, energy_limit_mwh, resolution_mwh
from core.counter_rules import STALLED_FOR_MAX, update
from core.counters import Counter, ReadingContext, is_unchanged, possible_since
from core.intervals import Credit, Quality, Reason
from core.readings import RETURN, Reading

ENERGY = "energy_wh"
EXPORT = "export_wh"
# Equal to the limit of a stall: no late reading has to go back further.
HELD_FOR_MAX = STALLED_FOR_MAX
# More than any installation has. Invented part names must not make a state grow without end.
COUNTERS_MAX = 100


class Joint(Struct, frozen=True, omit_defaults=True, gc=False):
    """State that concerns several counters together.

    Stored in the database as part of `core.accounting.AccountingState`, in JSON: field names never
    change.
    """

    # Energy returned beyond the energy counted, by the key of the counter that has a return.
    owed_mwh: dict[str, int] = {}
    # Time until which credited energy uses up the capacity, by field.
    filled_until: dict[str, datetime] = {}


@dataclass(slots=True)
class State:
    """The counters of a device while one reading is accounted; updated in place."""

    counters: dict[str, Counter]
    owed_mwh: dict[str, int]
    filled_until: dict[str, datetime]

    @property
    def joint(self) -> Joint:
        return Joint(self.owed_mwh, self.filled_until)


def reported(reading: Reading, field: str) -> dict[str, float]:
    """Return the counters of a field that a reading reports, by key."""
    parts = {key: wh for key, wh in reading.parts.items() if _field(key) == field}
    if parts:
        return parts
    value_wh = getattr(reading, field)
    return {} if value_wh is None else {field: value_wh}


def update_field(
    state: State, field: str, values_wh: Mapping[str, float], context: ReadingContext
) -> list[Credit]:
    """Update the counters of a field in place, and return their credits."""
    _keep_one_form(state, field, values_wh)
    if not _all_unchanged(state, field, values_wh):
        context = replace(context, full_load_time=None)
    before = dict(state.counters)
    credited: list[Credit] = []
    for key in sorted({key.removesuffix(RETURN) for key in values_wh}):
        back = key + RETURN
        if back in values_wh or back in state.counters:
            credited += _update_two_ways(state, key, values_wh, context)
        else:
            credited += _update_one_way(state, key, values_wh[key], context)
    credited = _limit_to_capacity(state, field, credited, before, context)
    _drop_oldest(state)
    return credited


def all_stalled(state: State, field: str) -> bool:
    """Return True if every counter of a field is stalled: unchanged while power flows."""
    counters = list(_forward(state.counters, field).values())
    return bool(counters) and all(counter.stalled_at is not None for counter in counters)


def has_counter(counters: Mapping[str, Counter], field: str) -> bool:
    """Return True if the device has a counter of that field."""
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


def _drop_oldest(state: State) -> None:
    """Drop the counters whose last reading is oldest, down to the limit."""
    counters = state.counters
    while len(counters) > COUNTERS_MAX:
        oldest = min(counters, key=lambda key: (counters[key].at, key))
        del counters[oldest]
        state.owed_mwh.pop(oldest, None)


def _all_unchanged(state: State, field: str, values_wh: Mapping[str, float]) -> bool:
    """Return True if all counters of a field are reported and unchanged."""
    known = _forward(state.counters, field)
    return bool(known) and all(is_unchanged(c, values_wh.get(key)) for key, c in known.items())


def _update_one_way(
    state: State, key: str, value_wh: float, context: ReadingContext
) -> Iterator[Credit]:
    counter, credited = update(state.counters.get(key), value_wh, context)
    assert counter is not None
    state.counters[key] = counter
    yield from credited


def _update_two_ways(
    state: State, key: str, values_wh: Mapping[str, float], context: ReadingContext
) -> Iterator[Credit]:
    back, at = key + RETURN, context.at
    known = state.counters.get(back)
    returned, return_credits = update(
        known, values_wh.get(back), replace(context, full_load_time=None)
    )
    if returned is not None:
        state.counters[back] = returned
    owed_mwh = state.owed_mwh.get(key, 0)
    for credit in return_credits:
        owed_mwh += credit.energy_mwh
        if credit.reason not in (None, Reason.GAP):
            yield replace(credit, energy_mwh=0)
    counter = state.counters.get(key)
    if key in values_wh and not _waits_for_return(counter, returned, values_wh.get(back), at):
        for credit in _update_one_way(state, key, values_wh[key], context):
            # Without the energy that flowed back, generation is unknown too.
            unknown = known is None or any(c.quality is Quality.REJECTED for c in return_credits)
            net_mwh = 0 if unknown else max(0, credit.energy_mwh - owed_mwh)
            owed_mwh = 0 if unknown else max(0, owed_mwh - credit.energy_mwh)
            yield replace(credit, energy_mwh=net_mwh)
        if counter is None:
            owed_mwh = 0
    state.owed_mwh[key] = owed_mwh


def _waits_for_return(
    counter: Counter | None, returned: Counter | None, returned_wh: float | None, at: datetime
) -> bool:
    """Return True if a counter stays unread until its return is reported."""
    if counter is None or at - counter.at >= HELD_FOR_MAX:
        return False
    assert returned is not None
    is_garbage = returned.at != at
    is_zero = not returned_wh and returned.mark_mwh > 0
    return returned_wh is None or is_garbage or is_zero


def _limit_to_capacity(
    state: State,
    field: str,
    credited: list[Credit],
    before: Mapping[str, Counter],
    context: ReadingContext,
) -> list[Credit]:
    """Limit the credits to the capacity, plus one resolution step of each counter.

    Unused capacity from before the oldest mark of these counters is lost, as with a single counter.
    Unused capacity since then remains for a counter that shows its energy later.
    """
    energy_mwh = sum(credit.energy_mwh for credit in credited)
    if not energy_mwh:
        return credited
    moved = [
        (counter, state.counters[key])
        for key, counter in _forward(before, field).items()
        if counter.marked_at != state.counters[key].marked_at
    ]
    since = min((possible_since(counter, context) for counter, _ in moved), default=context.at)
    since = max(since, state.filled_until.get(field, since))
    most_mwh = energy_limit_mwh(context.at - since, context.capacity_w) + 1
    most_mwh += sum(_resolution_mwh(counter.mark_mwh, now.mark_mwh) for counter, now in moved)
    allowed_mwh = min(energy_mwh, max(0, int(most_mwh)))
    state.filled_until[field] = since + _time_at_full_load(allowed_mwh, context.capacity_w)
    return list(_cut(credited, energy_mwh - allowed_mwh))


def _resolution_mwh(level_mwh: int, value_mwh: int) -> int:
    return max(RESOLUTION_MIN_MWH, resolution_mwh(level_mwh, value_mwh))


def _time_at_full_load(energy_mwh: int, capacity_w: float) -> timedelta:
    """Return the time in which the capacity generates an energy; at most `ADVANCE_MAX`."""
    most_mwh = energy_limit_mwh(ADVANCE_MAX, capacity_w)
    # Checked before the division, which overflows for a capacity close to 0.
    if energy_mwh >= most_mwh:
        return ADVANCE_MAX
    return energy_mwh / most_mwh * ADVANCE_MAX


def _cut(credited: list[Credit], excess_mwh: int) -> Iterator[Credit]:
    for credit in credited:
        cut_mwh = min(credit.energy_mwh, excess_mwh)
        excess_mwh -= cut_mwh
        if cut_mwh:
            yield replace(credit, energy_mwh=credit.energy_mwh - cut_mwh)
            yield Credit(credit.start, credit.end, 0, Quality.REJECTED, Reason.SPIKE)
        else:
            yield credit
