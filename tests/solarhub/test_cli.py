"""Failing commands: one line on stderr that says what to do, and the exit code."""

import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from core.settings import DatabaseSettings
from solarhub import admin
from solarhub.errors import CommandError
from tests.support.hubs import environment, run
from tests.support.mosquitto import SecuredMosquitto

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.mark.parametrize("arguments", [("nonsense",), ("audit", "--nonsense"), ("create-admin",)])
def test_wrong_use_ends_with_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).returncode == 2


def test_bench_is_a_command_that_an_entry_point_adds() -> None:
    done = run("bench", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Measure the hub against a floor or a peer" in done.stdout


def test_a_missing_setting_is_named_in_one_line() -> None:
    done = run("migrate", "--data", "/nonexistent")
    assert done.returncode == 2
    assert done.stderr == (
        "solarhub: SOLARHUB_DATABASE_URL: is required and not set, and no hub runs on"
        " /nonexistent\n"
    )


def test_an_unknown_setting_is_refused_with_the_nearest_name() -> None:
    done = run("migrate", SOLARHUB_DATABASE_URL=NOWHERE, SOLARHUB_DATABASE_POOL_MAXIMUM="5")
    assert (done.returncode, done.stderr) == (
        2,
        "solarhub: SOLARHUB_DATABASE_POOL_MAXIMUM is no setting: did you mean"
        " SOLARHUB_DATABASE_POOL_MAX?\n",
    )


@pytest.mark.parametrize("command", [("devices",), ("buyers",)])
def test_a_simulator_joins_no_other_hub_than_the_one_it_is_given(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    data = tmp_path / "nothing here"
    done = run("simulate", *command, "--data", str(data))
    assert done.returncode == 1
    assert f"no hub runs on {data}" in done.stderr
    assert not data.exists()


def test_a_reader_that_ends_early_is_no_failure_of_the_database(
    database: DatabaseSettings,
) -> None:
    settings = environment({"SOLARHUB_DATABASE_URL": database.database_url})
    with subprocess.Popen(
        [sys.executable, "-m", "solarhub", "audit"],
        env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as audit:  # fmt: skip
        assert audit.stdout is not None
        assert audit.stderr is not None
        audit.stdout.readline()
        audit.stdout.close()
        assert audit.stderr.read() == ""
        assert audit.wait(60) == 1


def test_an_administrators_address_is_checked_before_the_password_is_asked_for(
    database: DatabaseSettings,
) -> None:
    done = run("create-admin", "nobody", SOLARHUB_DATABASE_URL=database.database_url)
    assert done.returncode == 1
    assert "nobody: " in done.stderr
    assert "Password" not in done.stdout + done.stderr


def test_a_wrong_setting_is_named_and_its_value_is_not_shown() -> None:
    done = run("api", SOLARHUB_DATABASE_URL=NOWHERE, SOLARHUB_JWT_SECRET="short-secret")
    assert done.returncode == 2
    assert "SOLARHUB_JWT_SECRET" in done.stderr
    assert "short-secret" not in done.stderr


def test_an_unavailable_database_is_reported_in_one_line() -> None:
    done = run("audit", SOLARHUB_DATABASE_URL=NOWHERE)
    assert done.returncode == 1
    assert "check SOLARHUB_DATABASE_URL" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_debug_shows_the_traceback() -> None:
    done = run("audit", "--debug", SOLARHUB_DATABASE_URL=NOWHERE)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_the_audit_of_an_empty_hub_passes(database: DatabaseSettings) -> None:
    done = run("audit", SOLARHUB_DATABASE_URL=database.database_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(line.startswith("ok ") for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("head", "code", "message"),
    [
        ("12", 1, "--head: must be 64 hexadecimal digits"),
        ("7:" + "ab" * 32, 1, "FAILS head"),
    ],
)
def test_the_audit_checks_a_head_that_was_noted_elsewhere(
    database: DatabaseSettings, head: str, code: int, message: str
) -> None:
    done = run("audit", "--head", head, SOLARHUB_DATABASE_URL=database.database_url)
    assert done.returncode == code
    assert message in done.stdout + done.stderr


async def test_a_failed_check_names_the_offending_ids(
    database: DatabaseSettings, conn: asyncpg.Connection
) -> None:
    user_id = await conn.fetchval(
        """
        WITH person AS (INSERT INTO users (email, password_hash, full_name, role)
                        VALUES ('a@example.org', 'x', 'A', 'buyer') RETURNING id)
        INSERT INTO wallets (user_id, balance) SELECT id, 5 FROM person RETURNING user_id
        """
    )
    done = run("audit", SOLARHUB_DATABASE_URL=database.database_url)
    assert done.returncode == 1
    assert any(
        line.startswith("FAILS wallets") and str(user_id) in line
        for line in done.stdout.splitlines()
    )


async def test_an_administrator_is_created_once(
    database: DatabaseSettings, conn: asyncpg.Connection
) -> None:
    def create(email: str, password: str) -> tuple[int, str]:
        done = run(
            "create-admin", email,
            SOLARHUB_DATABASE_URL=database.database_url, SOLARHUB_ADMIN_PASSWORD=password,
        )  # fmt: skip
        return done.returncode, done.stderr

    # A password that signing in would refuse creates no administrator.
    code, errors = create("asha@example.org", "tab\tin the middle")
    assert (code, errors) == (1, "solarhub: the password: must not contain control characters\n")
    for email, password in (
        ("no email", "long enough password"),
        ("asha@example.org", "short"),
    ):
        with pytest.raises(CommandError):
            await admin.create(database, email, password, 4)
    assert create("asha@example.org", "long enough password") == (0, "")
    assert await conn.fetchval("SELECT role FROM users WHERE email = 'asha@example.org'") == "admin"
    with pytest.raises(CommandError, match="already has a user account"):
        await admin.create(database, "Asha@example.org", "long enough password", 4)


def test_the_doctor_names_missing_settings_and_shows_no_secret(tmp_path: Path) -> None:
    done = run("doctor", "--data", str(tmp_path), SOLARHUB_JWT_SECRET="x" * 32)
    assert done.returncode == 1
    assert "BAD  database   SOLARHUB_DATABASE_URL: is required and not set" in done.stdout
    assert "x" * 32 not in done.stdout


def test_the_doctor_asks_the_broker_for_devices_broker_accounts(
    tmp_path: Path, secured: SecuredMosquitto
) -> None:
    output = run("doctor", "--data", str(tmp_path), SOLARHUB_MQTT_URL=secured.url).stdout
    assert "ok   accounts   dynamic security answers: 1 accounts" in output
    wrong = secured.url.replace("hub-password", "another")
    output = run("doctor", "--data", str(tmp_path), SOLARHUB_MQTT_URL=wrong).stdout
    assert "BAD  accounts   " in output
    assert "another" not in output
