"""The hub's clock, and the rule that no other code asks for the time."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import core
from core.clock import REAL_TIME, Clock, real_now

_ROOT = Path(core.__file__).parents[1]
_FOLDERS = ("api", "core", "db", "ingest", "realtime", "simulators", "solarhub")
_THE_CLOCK = Path("core/clock.py")
_ASKS_FOR_THE_TIME = re.compile(
    r"\b(datetime\.(now|utcnow|today)|date\.today|time\.time(_ns)?|time\.(gmtime|localtime))\("
    r"|\bfrom time import [^\n]*\btime\b"
)
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_no_code_but_the_clock_asks_for_the_time() -> None:
    """Pass a `Clock` or the time, so that a demonstration and a test may choose it.

    Use `real_now` for what the world outside the hub decides, such as the validity of a token.
    """
    sources = {path for folder in _FOLDERS for path in (_ROOT / folder).rglob("*.py")}
    assert _ROOT / _THE_CLOCK in sources
    asking = {
        f"{path.relative_to(_ROOT)}: {found[0]}"
        for path in sources - {_ROOT / _THE_CLOCK}
        for found in _ASKS_FOR_THE_TIME.finditer(path.read_text("utf-8"))
    }
    assert asking == set()


def test_the_hub_s_clock_shows_the_real_time_by_default() -> None:
    assert REAL_TIME.at(_NOON) == _NOON
    assert REAL_TIME.pace == 1
    assert real_now() - timedelta(seconds=5) < REAL_TIME.now() <= real_now()


def test_a_clock_runs_fast_until_it_has_caught_up() -> None:
    clock = Clock(_NOON, timedelta(hours=10), speed=61)
    assert clock.at(_NOON) == _NOON - timedelta(hours=10)
    assert clock.at(_NOON + timedelta(minutes=5)) == _NOON + timedelta(minutes=5, hours=-5)
    caught_up = _NOON + timedelta(minutes=10)
    assert clock.at(caught_up) == caught_up
    assert clock.at(caught_up + timedelta(days=1)) == caught_up + timedelta(days=1)


def test_a_clock_converts_durations_while_it_is_behind() -> None:
    clock = Clock.starting(real_now() - timedelta(days=28), speed=240)
    assert clock.real_s(timedelta(minutes=4)) == 1
    assert clock.lasting(timedelta(seconds=1)) == timedelta(minutes=4)
    assert REAL_TIME.real_s(timedelta(minutes=4)) == 240


def test_a_clock_at_the_speed_of_real_time_stays_behind() -> None:
    clock = Clock(_NOON, timedelta(hours=1))
    assert clock.at(_NOON + timedelta(days=1)) == _NOON + timedelta(hours=23)


def test_a_clock_never_starts_ahead_of_the_real_time() -> None:
    assert Clock.starting(real_now() + timedelta(days=1), speed=240).behind == timedelta(0)
    for behind, speed in ((timedelta(seconds=-1), 1.0), (timedelta(0), 0.5)):
        with pytest.raises(ValueError, match="neither run ahead"):
            Clock(_NOON, behind, speed)


def test_a_clock_is_the_same_after_a_round_trip_as_text() -> None:
    clock = Clock.starting(real_now() - timedelta(days=28), speed=287.5)
    assert Clock.parse(str(clock)) == clock
