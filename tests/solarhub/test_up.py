"""The whole hub in one go: it comes up, keeps what it has, and leaves nothing behind."""

import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest

from tests.conftest import data_directory
from tests.support.hubs import Hub, hub, run
from tests.support.waiting import eventually

# The contract: within 10 s.
ENDS_WITHIN_S = 10


@pytest.fixture(scope="module")
def running() -> Iterator[Hub]:
    """A hub for the tests that only look at it."""
    with data_directory() as data, hub(data) as running:
        running.wait_ready()
        yield running
        running.end()


async def _is_gone(ended: Hub) -> None:
    assert not (ended.data / "run.json").exists()
    await eventually(lambda: not ended.processes())


async def test_a_second_start_finds_everything_as_it_was(data: Path) -> None:
    with hub(data) as first:
        said = first.wait_ready()
        assert list(said) == [
            "pid", "api_url", "realtime_url", "mqtt_url", "database_url", "redis_url"
        ]  # fmt: skip
        assert said["pid"] == first.process.pid
        async with httpx.AsyncClient(verify=False) as http:
            assert (await http.get(f"{said['api_url']}/readyz")).status_code == 200
        made = run(
            "create-admin", "asha@example.org", "--data", str(data),
            SOLARHUB_ADMIN_PASSWORD="long enough password",
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        keys = (data / "keys.json").read_text()
        assert first.end() < ENDS_WITHIN_S
        assert (first.process.returncode, first.output.count("http://")) == (0, 1), first.errors
        await _is_gone(first)
    with hub(data) as second:
        conn = await asyncpg.connect(str(second.wait_ready()["database_url"]))
        assert await conn.fetchval("SELECT email FROM users") == "asha@example.org"
        await conn.close()
        assert (data / "keys.json").read_text() == keys
        assert run("doctor", "--data", str(data)).returncode == 0


async def test_ctrl_c_at_the_terminal_leaves_nothing_behind(data: Path) -> None:
    with hub(data) as running:
        running.wait_ready()
        assert running.end(signal.SIGINT, group=True) < ENDS_WITHIN_S
        assert running.process.returncode == 0, running.errors
        await _is_gone(running)


async def test_a_request_to_end_while_it_starts_leaves_nothing_behind(data: Path) -> None:
    with hub(data) as running:
        await eventually(lambda: (data / "keys.json").exists(), within_s=30)
        assert running.end() < ENDS_WITHIN_S
        await _is_gone(running)


@pytest.mark.slow
async def test_a_killed_hub_comes_back(data: Path) -> None:
    with hub(data) as killed:
        killed.wait_ready()
        killed.end(signal.SIGKILL)
    with hub(data) as running:
        running.wait_ready()
        running.end()
        assert running.process.returncode == 0
        await _is_gone(running)


def test_the_parts_share_one_process(running: Hub) -> None:
    ours = psutil.Process(running.process.pid).children(recursive=True)
    assert {p.name() for p in ours if p.ppid() == running.process.pid} == {
        "postgres", "valkey-server"
    }  # fmt: skip


def test_one_directory_is_one_hubs(running: Hub) -> None:
    refused = run("up", "--data", str(running.data))
    assert refused.returncode == 1
    assert f"process {running.process.pid}" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_port_that_was_asked_for_is_not_exchanged(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = run("up", "--data", str(data), SOLARHUB_API_PORT=port)
    assert refused.returncode == 1
    assert f"port {port} is taken" in refused.stderr


@pytest.mark.parametrize(
    "name", ["postgres", pytest.param("valkey-server", marks=pytest.mark.slow)]
)
async def test_if_a_server_ends_all_ends(data: Path, name: str) -> None:
    with hub(data) as running:
        running.wait_ready()
        (server,) = [
            p for p in running.processes() if p.name() == name and p.ppid() == running.process.pid
        ]
        server.kill()
        assert running.process.wait(20) == 1
        errors = running.process.communicate()[1]
        assert " ended with -9" in errors.splitlines()[-1]
        await _is_gone(running)


@pytest.mark.slow
async def test_it_ends_by_itself_when_told(data: Path) -> None:
    with hub(data, "--seconds", "1") as running:
        running.wait_ready()
        assert running.process.wait(30) == 0
        await _is_gone(running)


def test_secrets_are_for_their_owner_only(data: Path) -> None:
    with hub(data) as running:
        running.wait_ready()
        for name in ("keys.json", "run.json"):
            assert stat.S_IMODE(os.stat(data / name).st_mode) == 0o600
        running.end()
        secrets = json.loads((data / "keys.json").read_text()).values()
        assert not any(secret in running.output + running.errors for secret in secrets)
