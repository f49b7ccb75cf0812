"""Energy that may be sold: only energy from after the time at which a device earns."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from core.accounting import Accounted, advance
from core.earning import EarningTerms, account_readings
from core.readings import Reading
from core.units import slot_of
from tests.support.meters import CAPACITY_W, NOON, histories, histories_in_parts, reading

TEN_PAST = EarningTerms(NOON + timedelta(minutes=10))


def fold(readings: list[Reading], terms: EarningTerms, *cuts: int) -> Accounted:
    """Fold a history in parts."""
    account, whole = None, None
    for begin, end in zip([0, *cuts], [*cuts, len(readings)], strict=True):
        part = account_readings(account, readings[begin:end], CAPACITY_W, terms)
        if part is None:
            continue
        account = part.account
        if whole is None:
            whole = Accounted(part.account, dict(part.intervals), {})
            continue
        whole.account = account
        for slot, interval in part.intervals.items():
            known = whole.intervals.get(slot)
            whole.intervals[slot] = known + interval if known else interval
    assert whole is not None
    return whole


def early_wh(*readings: Reading, terms: EarningTerms = TEN_PAST) -> float:
    accounted = fold(list(readings), terms)
    return accounted.intervals[NOON].early_mwh / 1000


def test_energy_read_before_the_device_earns_is_early() -> None:
    assert early_wh(reading(1, 1000), reading(6, 1100), reading(10, 1150)) == 150


def test_energy_read_after_the_device_earns_is_not_early() -> None:
    assert early_wh(reading(11, 1000), reading(13, 1100), reading(14, 1150)) == 0


def test_a_difference_across_the_instant_is_early_only_in_its_slot() -> None:
    across = (reading(5, 1000), reading(25, 1400))
    accounted = fold(list(across), TEN_PAST)
    after = NOON + timedelta(minutes=15)
    assert accounted.intervals[NOON].early_mwh == accounted.intervals[NOON].surplus_mwh == 200_000
    assert accounted.intervals[after].early_mwh == 0
    assert accounted.intervals[after].surplus_mwh == 200_000


def test_a_spike_across_the_instant_earns_nothing_from_before() -> None:
    """The reading after a spike is credited since the reading before the spike."""
    spike = [reading(1, 1000), reading(11, 4e9), reading(12, 1500), reading(14, 1550)]
    assert early_wh(*spike) == 500


def test_a_slot_that_earns_from_its_start_has_no_early_energy() -> None:
    accounted = fold([reading(-5, 1000), reading(10, 1200)], EarningTerms(NOON))
    assert accounted.intervals[NOON].early_mwh == 0


def test_a_meter_continues_from_its_state_under_another_registration() -> None:
    before = advance(None, [reading(0, 1000), reading(5, 1300)], CAPACITY_W)
    assert before is not None
    terms = EarningTerms(NOON + timedelta(minutes=7), before.account)
    replayed = [reading(0, 1000), reading(3, 1290), reading(5, 1300), reading(12, 1500)]
    accounted = fold(replayed, terms)
    assert accounted.intervals[NOON].surplus_mwh == 500_000
    assert accounted.intervals[NOON].sellable_wh == 0
    more = fold([*replayed, reading(14, 1600)], terms)
    assert more.intervals[NOON].sellable_wh == 100


@given(st.one_of(histories(), histories_in_parts()), st.data())
def test_a_fold_may_be_cut_anywhere(history: list[Reading], data: st.DataObject) -> None:
    times = [one.time for one in history if one.time is not None]
    instants = st.sampled_from(times).map(lambda at: at + timedelta(seconds=7))
    carried = None
    if data.draw(st.booleans()):
        part = advance(None, history[: data.draw(st.integers(1, len(history)))], CAPACITY_W)
        assert part is not None
        carried = part.account
    earns_from = data.draw(instants)
    if carried is not None:
        earns_from = max(earns_from, carried.last_at)
    terms = EarningTerms(earns_from, carried)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(history)), max_size=6)))
    whole, in_parts = fold(history, terms), fold(history, terms, *cuts)
    assert in_parts.intervals == whole.intervals
    assert in_parts.account == whole.account
    for slot, interval in whole.intervals.items():
        assert 0 <= interval.early_mwh <= interval.surplus_mwh
        assert slot == slot_of(earns_from) or interval.early_mwh == 0
