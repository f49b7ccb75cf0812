"""Histories that are accounted in parts, as batches and re-accounting do."""

from collections.abc import Sequence

from hypothesis import strategies as st

from core.accounting import Accounted, AccountingState, advance
from core.readings import Reading
from tests.support.meters import CAPACITY_W


def fold(account: AccountingState | None, parts: Sequence[list[Reading]]) -> Accounted:
    """Account part after part, as batches are."""
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
