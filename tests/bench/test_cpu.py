"""Tests of the CPU time of a process and all its descendants."""

import subprocess
import sys

import psutil

from bench.cpu import CpuClock, postgres
from db.pool import Pool
from tests.support.waiting import eventually

_BUSY = "import time\nwhile time.process_time() < 0.2: pass"
_BUSY_THROUGH_A_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_BUSY!r}])"


def test_cpu_time_of_children_is_included() -> None:
    program = f"{_BUSY_THROUGH_A_CHILD}; print('done', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        clock = CpuClock({"process": psutil.Process(process.pid)})
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        assert clock.since_us({"process": 0.0}, items=1000)["process"] >= 200
        process.communicate(b"\n")


async def test_the_server_behind_a_connection_is_found(pool: Pool) -> None:
    async with pool.acquire() as conn:
        clock = CpuClock(await postgres(conn))
        began = clock.read_s()

        async def used() -> bool:
            await conn.fetchval("SELECT count(*) FROM generate_series(1, 100000)")
            return clock.since_us(began, items=1)["PostgreSQL"] > 0

        await eventually(used)
