"""Re-accounting of a changed history: the fold ends where no later reading reaches back."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from core.accounting import AccountingState
from core.earning import EarningTerms, account_readings
from core.intervals import Interval
from core.reaccounting import Chunk, Reaccounting
from core.readings import Reading
from core.units import slot_of
from tests.support.meters import CAPACITY_W, NOON

MINUTE = timedelta(minutes=1)
# Readings per chunk.
PAGE = 10


def every_minute(minutes: range) -> list[Reading]:
    """Return readings of a counter that rises by 10 Wh a minute."""
    return [Reading(NOON + n * MINUTE, energy_wh=1_000.0 + 10 * n) for n in minutes]


def time_of(reading: Reading) -> datetime:
    assert reading.time is not None
    return reading.time


def accounted(
    history: Sequence[Reading], terms: EarningTerms
) -> tuple[AccountingState, dict[datetime, Interval], dict[datetime, AccountingState]]:
    """Return the state, the intervals and the checkpoints of a history in order."""
    result = account_readings(None, history, CAPACITY_W, terms)
    assert result is not None
    return result.account, result.intervals, result.checkpoints


def reaccounted(
    stored: Sequence[Reading], late: Reading, terms: EarningTerms
) -> tuple[dict[datetime, Interval], int]:
    """Account a late reading again. Return the intervals and the number of folded chunks."""
    last, intervals, checkpoints = accounted(stored, terms)
    changed_slot = slot_of(time_of(late))
    work = Reaccounting(
        None,
        from_slot=slot_of(time_of(stored[0])),
        changed_slot=changed_slot,
        capacity_w=CAPACITY_W,
        terms=terms,
    )
    current = sorted([*stored, late], key=time_of)
    chunks = 0
    for begin in range(0, len(current), PAGE):
        part = current[begin : begin + PAGE]
        before = [reading for reading in part if reading is not late]
        changed_at = time_of(late) if late in part else None
        list(work.fold(Chunk(before, part, changed_at), checkpoints))
        chunks += 1
        if work.until is not None and work.is_settled(last):
            break
    kept = {slot: i for slot, i in intervals.items() if work.until and slot >= work.until}
    return kept | work.intervals(intervals), chunks


def test_a_fold_ends_at_the_first_checkpoint_that_is_unchanged() -> None:
    history = every_minute(range(120))
    late = history.pop(20)
    terms = EarningTerms(earns_from=NOON)
    result, chunks = reaccounted(history, late, terms)
    _, expected, _ = accounted(sorted([*history, late], key=time_of), terms)
    assert result == expected
    assert chunks < len(history) // PAGE


def test_a_silent_counter_of_the_carried_state_is_settled_only_by_its_next_reading() -> None:
    """The first reading after the carried state credits export since the fifth minute."""
    before = every_minute(range(120))
    before[5] = replace(before[5], export_wh=1_000.0)
    carried, _, _ = accounted(before, EarningTerms(earns_from=NOON))
    terms = EarningTerms(earns_from=NOON + 125 * MINUTE, carried=carried)
    # The history is sent again without export, so its own counters settle at each reading.
    history = every_minute(range(120))
    late = history.pop(20)
    later = every_minute(range(130, 190))
    later[0] = replace(later[0], export_wh=1_400.0)
    history += later
    result, _ = reaccounted(history, late, terms)
    _, expected, _ = accounted(sorted([*history, late], key=time_of), terms)
    assert expected[slot_of(NOON + 20 * MINUTE)].surplus_mwh > 0
    assert result == expected
