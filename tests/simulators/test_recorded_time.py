"""The selection of recorded times."""

from datetime import datetime

import pytest

from simulators.recorded_time import between, on_day

NOON = datetime.fromisoformat("2020-05-15T12:00")


def test_a_day_is_of_one_year_or_of_any() -> None:
    assert on_day("2020-05-15")(NOON)
    assert not on_day("2019-05-15")(NOON)
    assert on_day("05-15")(NOON)
    assert not on_day("05-16")(NOON)
    assert on_day("02-29")(datetime.fromisoformat("2024-02-29"))


@pytest.mark.parametrize("text", ["", "15-05-2020", "05-32", "2020-02-30", "today"])
def test_an_invalid_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        on_day(text)


def test_a_range_includes_its_start_and_not_its_end() -> None:
    later = datetime.fromisoformat("2020-05-15T13:00")
    assert between(NOON, later)(NOON)
    assert not between(NOON, later)(later)
    assert between(None, later)(NOON)
    assert between(NOON, None)(later)
    assert not between(later, None)(NOON)
