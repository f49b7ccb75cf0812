"""Wrong use of `solarhub simulate …`, and how it finds the hub."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.settings import SettingError
from simulators.hub_client import BrokerAddress, HubAddresses
from solarhub import run_file
from solarhub.errors import CommandError
from solarhub.options import DATA
from solarhub.simulate import app
from solarhub.simulate_common import hub_at, with_administrator

COLUMNS = ("--device-column", "d", "--time-column", "t")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--power-column"),
        (("--power-column", "p", "--generated-interval-column", "g"), "--power-column"),
        (("--generated-interval-column", "g"), "--interval-column"),
        (("--power-column", "p", "--speed", "fast"), "--speed"),
        (("--power-column", "p", "--speed", "-1"), "--speed"),
        (("--power-column", "p", "--capacity-w", "nan"), "--capacity-w"),
        (("--power-column", "p", "--date", "15-05-2020"), "--date"),
        (("--power-column", "p", "--date", "2020-05-15", "--to", "2020-05-16"), "--date"),
        (("--power-column", "p", "--power-unit", "GW"), "--power-unit"),
        (("--power-column", "p", "--batch", "1001"), "--batch"),
    ],
)
def test_a_replay_with_contradictory_options_is_wrong_use(
    arguments: tuple[str, ...], message: str
) -> None:
    ended = CliRunner().invoke(app, ["replay", "file.csv", *COLUMNS, *arguments])
    assert ended.exit_code == 2
    assert message in ended.output


@pytest.mark.parametrize("hour", ["25:00", "12", "midnight", "7:5"])
def test_an_invalid_time_of_the_sun_is_wrong_use(hour: str) -> None:
    ended = CliRunner().invoke(app, ["devices", "--sun", hour])
    assert ended.exit_code == 2


def test_a_missing_file_fails_before_anything_is_registered() -> None:
    ended = CliRunner().invoke(app, ["replay", "none.csv", *COLUMNS, "--power-column", "p"])
    assert isinstance(ended.exception, CommandError)
    assert str(ended.exception) == "none.csv cannot be read: No such file or directory"


def test_the_hub_of_a_data_directory_is_found(tmp_path: Path) -> None:
    run_file.write(
        tmp_path,
        run_file.RunFile(
            pid=1,
            api_url="http://127.0.0.1:8123",
            realtime_url="ws://127.0.0.1:8124/ws",
            mqtt_url="mqtt://127.0.0.1:1999",
            database_url="",
            redis_url="",
        ),
    )
    here = HubAddresses(
        "http://127.0.0.1:8123", BrokerAddress("127.0.0.1", 1999), "ws://127.0.0.1:8124/ws"
    )
    assert hub_at(tmp_path, api_url=None) == here
    assert hub_at(tmp_path, api_url="http://127.0.0.1:8123") == here
    assert hub_at(tmp_path, api_url="https://hub.example/") == HubAddresses("https://hub.example")


def test_without_a_running_hub_the_default_port_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_at(DATA, api_url=None) == HubAddresses("http://127.0.0.1:8000")
    hub = hub_at(DATA, api_url=None, mqtt_url="mqtts://broker.example")
    assert hub.broker == BrokerAddress("broker.example", 8883, secure=True)


def test_without_a_running_hub_on_a_named_directory_no_other_hub_is_used(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=f"no hub runs on {tmp_path}"):
        hub_at(tmp_path, api_url=None)


async def test_at_a_remote_hub_the_administrator_comes_from_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = HubAddresses("https://hub.example")
    assert await with_administrator(tmp_path, remote) == remote
    assert "cannot be sold: set SOLARHUB_ADMIN_EMAIL" in capsys.readouterr().err
    monkeypatch.setenv("SOLARHUB_ADMIN_EMAIL", "asha@example.org")
    with pytest.raises(SettingError, match="ADMIN_PASSWORD: is required with SOLARHUB_ADMIN_EMAIL"):
        await with_administrator(tmp_path, remote)
    monkeypatch.setenv("SOLARHUB_ADMIN_PASSWORD", "a password of theirs")
    administrator = (await with_administrator(tmp_path, remote)).administrator
    assert administrator is not None
    assert (administrator.email, administrator.password) == (
        "asha@example.org", "a password of theirs",
    )  # fmt: skip
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("option", [("--truth", "truth.json"), ("--check",)])
def test_truth_and_check_need_faults(option: tuple[str, ...]) -> None:
    ended = CliRunner().invoke(app, ["devices", *option])
    assert ended.exit_code == 2
    assert "--faults" in ended.output


@pytest.mark.parametrize(
    "options", [("--dialect", "klingon"), ("--dialect", "opendtu", "--faults", "1")]
)
def test_an_unknown_dialect_or_one_without_faults_is_wrong_use(
    options: tuple[str, ...],
) -> None:
    ended = CliRunner().invoke(app, ["devices", *options])
    assert ended.exit_code == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--faults", "1", "--kinds", "dip,hail"),
        ("--speed", "60"),
        ("--speed", "60", "--duration", "60", "--backfill", "1"),
        ("--speed", "60", "--duration", "60", "--dialect", "shelly1"),
        ("--speed", "86400", "--duration", "60"),
    ],
)
def test_unknown_faults_and_an_impossible_past_are_wrong_use(
    options: tuple[str, ...],
) -> None:
    ended = CliRunner().invoke(app, ["devices", *options])
    assert ended.exit_code == 2
