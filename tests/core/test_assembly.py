"""Measurements that arrive in parts become one reading each."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.assembly import (
    NEVER,
    PARTS_MAX,
    AssemblyState,
    Measurement,
    PartialReading,
    ReportingPattern,
    close,
    close_if_due,
    merge,
)
from core.readings import Reading

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
BURST = ReportingPattern(timedelta(seconds=2))
STREAM = ReportingPattern(timedelta(seconds=5), last_wins=True)

Said = tuple[float, PartialReading]


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def bare(seconds: float, **values: float | None) -> Said:
    return seconds, PartialReading({name.replace("__", ":"): v for name, v in values.items()})


def timed(seconds: float, at: float, **values: float | None) -> Said:
    return seconds, PartialReading(bare(seconds, **values)[1].values, after(at))


def told(
    *said: Said, rhythm: ReportingPattern = BURST, partial: AssemblyState | None = None
) -> list[Reading]:
    """The readings that parts make, the last one closed when its time is over."""
    partial = AssemblyState() if partial is None else partial
    measured: list[Measurement | None] = [
        merge(partial, part, rhythm, topic="t", received_at=after(seconds))
        for seconds, part in said
    ]
    measured.append(close_if_due(partial, rhythm, after(said[-1][0]) + rhythm.window))
    return [m.reading for m in measured if m is not None]


def values(readings: Iterable[Reading], field: str) -> list[Any]:
    return [getattr(reading, field) for reading in readings]


def test_numbers_of_one_burst_are_one_reading_at_its_first() -> None:
    readings = told(bare(0, power_w=5), bare(0.01, energy_wh=100), bare(0.02, voltage_v=230))
    assert readings == [Reading(START, power_w=5, energy_wh=100, voltage_v=230)]


def test_a_time_is_of_the_whole_burst_before_it_or_behind_it() -> None:
    one = Reading(after(-3), power_w=5, energy_wh=100)
    two = Reading(after(2), power_w=6, energy_wh=101)
    first = told(
        timed(0, -3), bare(0, power_w=5), bare(0, energy_wh=100),
        timed(0.1, 2), bare(0.1, power_w=6), bare(0.1, energy_wh=101),
    )  # fmt: skip
    last = told(
        bare(0, power_w=5), bare(0, energy_wh=100), timed(0, -3),
        bare(0.1, power_w=6), bare(0.1, energy_wh=101), timed(0.1, 2),
    )  # fmt: skip
    assert first == last == [one, two]


def test_a_number_that_is_said_again_is_of_the_next_measurement() -> None:
    readings = told(bare(0, power_w=5), bare(0.5, power_w=5), bare(1, power_w=6))
    assert values(readings, "power_w") == [5, 6]


def test_a_notice_and_the_status_behind_it_are_one_reading() -> None:
    readings = told(
        timed(0, -0.1, power_w=11.5, current_a=0.071),
        bare(0.007, power_w=11.5, current_a=0.073, energy_wh=152669.987),
        timed(1, 0.9, power_w=12),
    )
    assert readings == [
        Reading(after(-0.1), power_w=11.5, current_a=0.073, energy_wh=152669.987),
        Reading(after(0.9), power_w=12, current_a=0.073),
    ]


def test_what_has_not_changed_is_as_it_was_but_a_counter_must_say_so() -> None:
    readings = told(bare(0, power_w=5, voltage_v=230, energy_wh=100), bare(10, power_w=6))
    assert readings[1] == Reading(after(10), power_w=6, voltage_v=230)


def test_what_is_gone_is_neither_as_it_was_nor_zero() -> None:
    readings = told(bare(0, power_w=5, voltage_v=230), bare(10, voltage_v=None, load_w=1))
    assert readings[1] == Reading(after(10), power_w=5, load_w=1)


def test_phases_add_up_once_each_was_told_and_each_is_told_by_itself() -> None:
    readings = told(
        bare(0, energy_wh__0=100, energy_wh__1=200, power_w__0=1, power_w__1=2),
        bare(30, energy_wh__0=101, power_w__0=3),
        bare(60, energy_wh__0=102, energy_wh__1=203, power_w__0=4, power_w__1=5),
    )
    assert values(readings, "energy_wh") == [300, None, 305]
    assert values(readings, "parts") == [
        {"energy_wh:0": 100, "energy_wh:1": 200},
        {"energy_wh:0": 101},
        {"energy_wh:0": 102, "energy_wh:1": 203},
    ]
    assert values(readings, "power_w") == [3, 5, 9]


def test_what_flows_back_is_taken_from_the_sum() -> None:
    readings = told(
        bare(0, **{"energy_wh__0": 1000, "energy_wh__0-": 48}), bare(30, energy_wh__0=1001)
    )
    assert values(readings, "energy_wh") == [952, None]


def test_what_is_not_valid_now_is_awaited_and_what_is_gone_is_not() -> None:
    readings = told(
        bare(0, energy_wh__a=100, energy_wh__b=1000, power_w__a=1, power_w__b=2),
        bare(30, energy_wh__a=101, energy_wh__b=None, power_w__b=None),
        (60, PartialReading(removed=frozenset({"energy_wh:b", "power_w:b"}))),
        bare(90, energy_wh__a=102),
    )
    assert values(readings, "energy_wh") == [1100, None, 102]
    assert values(readings, "power_w") == [3, None, 1]
    assert readings[1].parts == {"energy_wh:a": 101}


def test_that_something_never_heard_of_is_not_valid_says_nothing() -> None:
    readings = told(bare(0, power_w__L1=5, power_w__L2=None), bare(30, power_w__L1=6))
    assert values(readings, "power_w") == [5, 6]


def test_what_comes_in_parts_is_no_number_of_its_own_any_more() -> None:
    readings = told(
        bare(0, energy_wh=300), bare(30, energy_wh__a=100, energy_wh__b=200), bare(60, energy_wh=9)
    )
    assert values(readings, "energy_wh") == [300, 300, 9]
    assert values(readings, "parts") == [{}, {"energy_wh:a": 100, "energy_wh:b": 200}, {}]


def test_of_a_stream_that_never_pauses_a_while_is_one_measurement() -> None:
    stream = [bare(n, power_w=n) for n in range(12)]
    assert values(told(*stream, rhythm=STREAM), "power_w") == [4, 9, 11]


def test_what_never_was_measured_is_no_reading() -> None:
    never = (0.0, PartialReading(at=NEVER))
    assert told(never, bare(0, energy_wh=0)) == []
    assert told(timed(0, -1)) == []
    assert told(bare(0, voltage_v=230)) == []


def test_a_late_measurement_says_what_it_says_and_changes_nothing() -> None:
    readings = told(
        timed(0, 0, power_w=5, voltage_v=230, energy_wh=100),
        timed(1, -60, power_w=3, energy_wh=99),
        timed(2, 2, load_w=1),
    )
    assert readings == [
        Reading(START, power_w=5, voltage_v=230, energy_wh=100),
        Reading(after(-60), power_w=3, energy_wh=99),
        Reading(after(2), power_w=5, voltage_v=230, load_w=1),
    ]


def test_a_clock_that_was_ahead_does_not_make_what_follows_late() -> None:
    readings = told(
        timed(0, 0, power_w=5, voltage_v=230),
        timed(10, 9_000_000, power_w=6),
        timed(20, 20, power_w=7),
    )
    assert [reading.time for reading in readings] == [START, after(9_000_000), after(20)]
    assert readings[2].voltage_v == 230


def test_parts_that_are_made_up_are_not_kept_without_end() -> None:
    partial = AssemblyState()
    for n in range(0, 3 * PARTS_MAX, 30):
        told((n, PartialReading({f"energy_wh:{n + m}": 1.0 for m in range(30)})), partial=partial)
    told(
        (900, PartialReading({f"power_w:{n}": 1.0 for n in range(3 * PARTS_MAX)})), partial=partial
    )
    assert len(partial.known) == PARTS_MAX


# Of three phases at a time: whether it is told, lost, or gone, on the way to us.
steps = st.lists(
    st.lists(st.sampled_from(["told", "told", "told", "lost", "gone"]), min_size=3, max_size=3),
    min_size=1,
    max_size=40,
)


@given(steps)
def test_whatever_is_lost_each_part_is_what_was_told_and_a_sum_is_of_all(
    history: list[list[str]],
) -> None:
    partial, known = AssemblyState(), set[str]()
    for n, phases in enumerate(history):
        said = {
            f"energy_wh:{phase}": 1000.0 * phase + n if fate == "told" else None
            for phase, fate in enumerate(phases)
            if fate != "lost"
        }
        told_now = {name: wh for name, wh in said.items() if wh is not None}
        known |= told_now.keys()
        readings = told((30.0 * n, PartialReading(said)), partial=partial)
        assert [dict(reading.parts) for reading in readings] == ([told_now] if told_now else [])
        is_whole = told_now.keys() == known and known
        assert [r.energy_wh for r in readings] == (
            [sum(told_now.values()) if is_whole else None] if told_now else []
        )


spoken = st.lists(
    st.tuples(
        st.floats(-1, 3),
        st.builds(
            PartialReading,
            st.dictionaries(
                st.sampled_from(["power_w", "power_w:1", "energy_wh:0", "export_wh", "voltage_v"]),
                st.none() | st.floats(-1e300, 1e300),
                max_size=4,
            ),
            st.none() | st.datetimes(timezones=st.just(UTC)) | st.just(NEVER),
        ),
    ),
    max_size=30,
)


@given(spoken, st.sampled_from([BURST, STREAM]))
def test_whatever_is_said_each_measurement_is_told_once_and_at_its_time(
    said: list[Said], rhythm: ReportingPattern
) -> None:
    partial, seconds = AssemblyState(), 0.0
    times = {part.at for _, part in said}
    for pause, part in said:
        seconds += pause
        measured = merge(partial, part, rhythm, topic="t", received_at=after(seconds))
        if measured is not None:
            assert measured.reading.time in times | {measured.opened_at}
    close(partial, rhythm)
    assert partial.open is None
