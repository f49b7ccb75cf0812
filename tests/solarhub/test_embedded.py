"""The servers out of wheels: they answer, keep what they were given, and come back after a kill."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis

from core.settings import RedisSettings
from solarhub import embedded
from solarhub.errors import CommandError
from tests.support.hubs import run


async def _fetch(url: str, statement: str) -> object:
    conn = await asyncpg.connect(url)
    try:
        return await conn.fetchval(statement)
    finally:
        await conn.close()


async def test_a_database_survives_its_server(data: Path) -> None:
    with embedded.postgres(data / "postgres") as server:
        await _fetch(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with embedded.postgres(data / "postgres") as server:
        assert await _fetch(server.url, "SELECT answer FROM kept") == 42
        assert await _fetch(server.url, "SHOW fsync") == "on"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as somebody else")
def test_as_root_nothing_above_the_data_directory_changes(data: Path) -> None:
    closed = data / "closed"
    closed.mkdir(mode=0o700)
    refused = run("up", "--data", str(closed / "hub"), "--seconds", "1")
    assert refused.returncode == 1
    assert f"may not pass {closed.resolve()} " in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as somebody else")
async def test_as_root_a_data_directory_of_roots_own_is_opened_to_its_server(data: Path) -> None:
    own = data / "hub"
    own.mkdir(mode=0o700)
    with embedded.postgres(own / "postgres") as server:
        assert await _fetch(server.url, "SELECT 1") == 1
    assert stat.S_IMODE(own.stat().st_mode) == 0o701
    assert stat.S_IMODE((own / "postgres").stat().st_mode) == 0o700


async def test_the_server_of_a_killed_hub_is_ended_at_the_next_start(data: Path) -> None:
    directory = data / "postgres"
    with embedded.postgres(directory) as orphan, embedded.postgres(directory) as server:
        assert await _fetch(server.url, "SELECT 1") == 1
        with pytest.raises(CommandError, match="PostgreSQL ended"):
            orphan.child.ensure_running()


async def test_a_stale_pid_file_that_names_another_process_is_forgotten(data: Path) -> None:
    directory = data / "postgres"
    with embedded.postgres(directory):
        pid_file = (directory / "postmaster.pid").read_text().splitlines()
    pid_file[0] = str(os.getpid())
    (directory / "postmaster.pid").write_text("\n".join(pid_file))
    with embedded.postgres(directory) as server:
        assert await _fetch(server.url, "SELECT 1") == 1


async def test_a_path_too_long_for_a_socket_is_no_obstacle(data: Path) -> None:
    directory = data / ("long" * 20) / ("path" * 20)
    directory.mkdir(parents=True)
    with embedded.valkey(directory / "valkey") as server:
        async with Redis.from_url(server.url) as redis:
            assert await redis.ping()


async def test_valkey_keeps_what_was_written_before_it_was_killed(data: Path) -> None:
    with embedded.valkey(data / "valkey") as server:
        async with Redis.from_url(server.url) as redis:
            await redis.set("greeting", "hello")
            await redis.waitaof(1, 0, 5000)
        os.kill(server.child.pid, signal.SIGKILL)
    with embedded.valkey(data / "valkey") as server:
        async with Redis.from_url(server.url) as redis:
            assert await redis.get("greeting") == b"hello"


async def test_each_test_finds_redis_empty(redis_settings: RedisSettings) -> None:
    async with Redis.from_url(redis_settings.redis_url) as redis:
        assert await redis.dbsize() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends them at once")
def test_a_killed_hub_leaves_no_server_behind(data: Path) -> None:
    code = (
        "import sys, signal; from pathlib import Path; from solarhub import embedded\n"
        "with embedded.valkey(Path(sys.argv[1])) as s:\n"
        "    print(s.child.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(data / "valkey")], stdout=subprocess.PIPE
    ) as hub:
        assert hub.stdout is not None
        server = psutil.Process(int(hub.stdout.readline()))
        hub.kill()
        server.wait(10)
