"""The clock of a demonstration, and who may have one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.clock import REAL_TIME, real_now
from simulators.sun import local
from solarhub.cli import app
from solarhub.demo import clock_after
from solarhub.errors import CommandError


def test_a_demonstration_starts_on_a_morning_weeks_ago() -> None:
    shown = local(clock_after(288, None).now())
    assert (shown.hour, shown.minute) == (9, 0)
    assert timedelta(days=27) < real_now() - shown < timedelta(days=29)


def test_a_demonstration_continues_after_what_happened_before() -> None:
    latest = real_now() - timedelta(days=5)
    assert latest <= clock_after(288, latest).now() < latest + timedelta(hours=1)
    assert clock_after(288, datetime(2020, 1, 1, tzinfo=UTC)).now().year > 2020


def test_a_demonstration_in_real_time_shows_the_real_time() -> None:
    assert clock_after(1, real_now() - timedelta(days=5)) == REAL_TIME


@pytest.mark.parametrize("options", [("--speed", "60"), ("--demo", "--speed", "0.5")])
def test_only_a_demonstration_has_a_speed_and_none_is_slower_than_real_time(
    options: tuple[str, ...],
) -> None:
    ended = CliRunner().invoke(app, ["up", *options])
    assert ended.exit_code == 2
    assert "--speed" in ended.output


def test_a_database_of_a_deployment_never_gets_a_clock_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOLARHUB_DATABASE_URL", "postgresql://solarhub@db.example/solarhub")
    ended = CliRunner().invoke(app, ["up", "--demo", "--speed", "60", "--data", str(tmp_path)])
    assert isinstance(ended.exception, CommandError)
    assert "unset SOLARHUB_DATABASE_URL, or give --speed 1" in str(ended.exception)
