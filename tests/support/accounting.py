"""Helpers that account readings, also in parts as batches and re-accounting do."""

from collections.abc import Sequence
from datetime import timedelta

from hypothesis import strategies as st

from core.accounting import Accounted, AccountingState, advance
from core.intervals import Interval
from core.readings import Reading
from tests.support.meters import CAPACITY_W, NOON


def intervals_of(*readings: Reading, capacity_w: float = CAPACITY_W) -> dict[int, Interval]:
    """Account readings, and return the intervals by the minute after noon at which they start."""
    accounted = advance(None, sorted(readings, key=lambda r: r.time), capacity_w)
    assert accounted is not None
    return {(slot - NOON) // timedelta(minutes=1): i for slot, i in accounted.intervals.items()}


def generated_wh(*readings: Reading) -> float:
    """Account readings, and return the energy of all intervals."""
    return sum(i.generated_mwh for i in intervals_of(*readings).values()) / 1000


def fold(account: AccountingState | None, parts: Sequence[list[Reading]]) -> Accounted:
    """Account parts one after the other, as batches are."""
    whole = Accounted(account, {}, {})
    for part in parts:
        accounted = advance(whole.account, part, CAPACITY_W)
        if accounted is not None:
            whole.account = accounted.account
            whole.checkpoints |= accounted.checkpoints
            for slot, interval in accounted.intervals.items():
                known = whole.intervals.get(slot)
                whole.intervals[slot] = known + interval if known else interval
    return whole


def assert_a_checkpoint_gives_the_rest(history: list[Reading], data: st.DataObject) -> None:
    """Fold a history again from any of its checkpoints: every slot from there on is the same."""
    whole = fold(None, [history])
    if not whole.checkpoints:
        return
    slot = data.draw(st.sampled_from(sorted(whole.checkpoints)))
    checkpoint = whole.checkpoints[slot]
    again = fold(checkpoint, [[r for r in history if r.time > checkpoint.last_at]])
    assert again.account == whole.account
    for at, interval in whole.intervals.items():
        assert at < slot or again.intervals[at] == interval
