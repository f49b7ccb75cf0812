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

Received = tuple[float, PartialReading]


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def bare(seconds: float, **values: float | None) -> Received:
    return seconds, PartialReading({name.replace("__", ":"): v for name, v in values.items()})


def timed(seconds: float, at: float, **values: float | None) -> Received:
    return seconds, PartialReading(bare(seconds, **values)[1].values, after(at))


def readings_of(
    *received: Received, pattern: ReportingPattern = BURST, state: AssemblyState | None = None
) -> list[Reading]:
    """Merge parts, close the last measurement after its window, and return all readings."""
    state = AssemblyState() if state is None else state
    closed: list[Measurement | None] = [
        merge(state, part, pattern, topic="t", received_at=after(seconds))
        for seconds, part in received
    ]
    closed.append(close_if_due(state, pattern, after(received[-1][0]) + pattern.window))
    return [measurement.reading for measurement in closed if measurement is not None]


def values(readings: Iterable[Reading], field: str) -> list[Any]:
    return [getattr(reading, field) for reading in readings]


def test_values_of_one_burst_are_one_reading_at_its_first_time() -> None:
    readings = readings_of(bare(0, power_w=5), bare(0.01, energy_wh=100), bare(0.02, voltage_v=230))
    assert readings == [Reading(START, power_w=5, energy_wh=100, voltage_v=230)]


def test_a_time_before_or_after_a_burst_applies_to_all_of_it() -> None:
    one = Reading(after(-3), power_w=5, energy_wh=100)
    two = Reading(after(2), power_w=6, energy_wh=101)
    first = readings_of(
        timed(0, -3), bare(0, power_w=5), bare(0, energy_wh=100),
        timed(0.1, 2), bare(0.1, power_w=6), bare(0.1, energy_wh=101),
    )  # fmt: skip
    last = readings_of(
        bare(0, power_w=5), bare(0, energy_wh=100), timed(0, -3),
        bare(0.1, power_w=6), bare(0.1, energy_wh=101), timed(0.1, 2),
    )  # fmt: skip
    assert first == last == [one, two]


def test_a_repeated_value_opens_the_next_measurement() -> None:
    readings = readings_of(bare(0, power_w=5), bare(0.5, power_w=5), bare(1, power_w=6))
    assert values(readings, "power_w") == [5, 6]


def test_a_notice_and_the_status_after_it_are_one_reading() -> None:
    readings = readings_of(
        timed(0, -0.1, power_w=11.5, current_a=0.071),
        bare(0.007, power_w=11.5, current_a=0.073, energy_wh=152669.987),
        timed(1, 0.9, power_w=12),
    )
    assert readings == [
        Reading(after(-0.1), power_w=11.5, current_a=0.073, energy_wh=152669.987),
        Reading(after(0.9), power_w=12, current_a=0.073),
    ]


def test_an_unreported_value_keeps_its_last_one_unless_it_is_a_counter() -> None:
    readings = readings_of(bare(0, power_w=5, voltage_v=230, energy_wh=100), bare(10, power_w=6))
    assert readings[1] == Reading(after(10), power_w=6, voltage_v=230)


def test_an_unknown_value_is_neither_its_last_one_nor_zero() -> None:
    readings = readings_of(bare(0, power_w=5, voltage_v=230), bare(10, voltage_v=None, load_w=1))
    assert readings[1] == Reading(after(10), power_w=5, load_w=1)


def test_phases_add_up_only_if_all_were_reported() -> None:
    readings = readings_of(
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


def test_returned_energy_is_subtracted_from_the_sum() -> None:
    readings = readings_of(
        bare(0, **{"energy_wh__0": 1000, "energy_wh__0-": 48}), bare(30, energy_wh__0=1001)
    )
    assert values(readings, "energy_wh") == [952, None]


def test_an_unknown_part_is_awaited_and_a_removed_one_is_not() -> None:
    readings = readings_of(
        bare(0, energy_wh__a=100, energy_wh__b=1000, power_w__a=1, power_w__b=2),
        bare(30, energy_wh__a=101, energy_wh__b=None, power_w__b=None),
        (60, PartialReading(removed=frozenset({"energy_wh:b", "power_w:b"}))),
        bare(90, energy_wh__a=102),
    )
    assert values(readings, "energy_wh") == [1100, None, 102]
    assert values(readings, "power_w") == [3, None, 1]
    assert readings[1].parts == {"energy_wh:a": 101}


def test_a_new_part_without_a_value_is_ignored() -> None:
    readings = readings_of(bare(0, power_w__L1=5, power_w__L2=None), bare(30, power_w__L1=6))
    assert values(readings, "power_w") == [5, 6]


def test_a_field_that_comes_in_parts_is_no_longer_one_value() -> None:
    readings = readings_of(
        bare(0, energy_wh=300), bare(30, energy_wh__a=100, energy_wh__b=200), bare(60, energy_wh=9)
    )
    assert values(readings, "energy_wh") == [300, 300, 9]
    assert values(readings, "parts") == [{}, {"energy_wh:a": 100, "energy_wh:b": 200}, {}]


def test_a_stream_without_pauses_is_one_measurement_per_window() -> None:
    stream = [bare(n, power_w=n) for n in range(12)]
    assert values(readings_of(*stream, pattern=STREAM), "power_w") == [4, 9, 11]


def test_values_without_a_measurement_are_no_reading() -> None:
    never = (0.0, PartialReading(at=NEVER))
    assert readings_of(never, bare(0, energy_wh=0)) == []
    assert readings_of(timed(0, -1)) == []
    assert readings_of(bare(0, voltage_v=230)) == []


def test_a_late_measurement_is_a_reading_that_does_not_change_known_values() -> None:
    readings = readings_of(
        timed(0, 0, power_w=5, voltage_v=230, energy_wh=100),
        timed(1, -60, power_w=3, energy_wh=99),
        timed(2, 2, load_w=1),
    )
    assert readings == [
        Reading(START, power_w=5, voltage_v=230, energy_wh=100),
        Reading(after(-60), power_w=3, energy_wh=99),
        Reading(after(2), power_w=5, voltage_v=230, load_w=1),
    ]


def test_a_clock_that_was_ahead_does_not_make_later_measurements_late() -> None:
    readings = readings_of(
        timed(0, 0, power_w=5, voltage_v=230),
        timed(10, 9_000_000, power_w=6),
        timed(20, 20, power_w=7),
    )
    assert [reading.time for reading in readings] == [START, after(9_000_000), after(20)]
    assert readings[2].voltage_v == 230


def test_the_number_of_parts_is_limited() -> None:
    state = AssemblyState()
    for n in range(0, 3 * PARTS_MAX, 30):
        readings_of(
            (n, PartialReading({f"energy_wh:{n + m}": 1.0 for m in range(30)})), state=state
        )
    readings_of(
        (900, PartialReading({f"power_w:{n}": 1.0 for n in range(3 * PARTS_MAX)})), state=state
    )
    assert len(state.known) == PARTS_MAX


# For each of three phases: its value is reported, lost on the way, or unknown.
steps = st.lists(
    st.lists(
        st.sampled_from(["reported", "reported", "reported", "lost", "unknown"]),
        min_size=3,
        max_size=3,
    ),
    min_size=1,
    max_size=40,
)


@given(steps)
def test_if_parts_are_lost_a_reading_has_the_reported_parts_and_no_sum(
    history: list[list[str]],
) -> None:
    state, known = AssemblyState(), set[str]()
    for n, phases in enumerate(history):
        received = {
            f"energy_wh:{phase}": 1000.0 * phase + n if fate == "reported" else None
            for phase, fate in enumerate(phases)
            if fate != "lost"
        }
        reported = {name: wh for name, wh in received.items() if wh is not None}
        known |= reported.keys()
        readings = readings_of((30.0 * n, PartialReading(received)), state=state)
        assert [dict(reading.parts) for reading in readings] == ([reported] if reported else [])
        is_whole = reported.keys() == known and known
        assert [r.energy_wh for r in readings] == (
            [sum(reported.values()) if is_whole else None] if reported else []
        )


received_parts = st.lists(
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


@given(received_parts, st.sampled_from([BURST, STREAM]))
def test_every_measurement_is_closed_once_and_at_its_time(
    received: list[Received], pattern: ReportingPattern
) -> None:
    state, seconds = AssemblyState(), 0.0
    times = {part.at for _, part in received}
    for pause, part in received:
        seconds += pause
        closed = merge(state, part, pattern, topic="t", received_at=after(seconds))
        if closed is not None:
            assert closed.reading.time in times | {closed.opened_at}
    close(state, pattern)
    assert state.open is None
